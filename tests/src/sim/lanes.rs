//! Requests of independent operations of one client that go to one node together: the real
//! `client::Lanes`, shared by all processes with one key.

use std::time::Duration;

use bftkv_protocol::client::{Departure, Lost};
use bftkv_protocol::{NodeId, Part, Request, Response};

use super::ground::{Caller, Event, Ground};

impl Ground {
    /// Sends a request by the lanes of its client, if it has some and the request may go with others.
    pub(super) fn send_in_lanes(
        &mut self,
        client: &NodeId,
        to: &[NodeId],
        caller: &Caller,
        request: &Request,
    ) -> bool {
        if !self.together || !matches!(caller, Caller::Op { .. }) {
            return false;
        }
        let Ok(part) = Part::try_from(request.clone()) else { return false };
        let lanes = self.lanes.entry(client.clone()).or_default();
        to.iter().for_each(|node| lanes.add(caller.clone(), node, part.clone()));
        self.begin_departures(client);
        true
    }

    /// What leaves now waits for what else happens in this moment.
    fn begin_departures(&mut self, client: &NodeId) {
        let Some(lanes) = self.lanes.get_mut(client) else { return };
        while let Some(message) = lanes.poll() {
            let client = client.clone();
            self.clock.after(Duration::ZERO, Event::Depart { client, message });
        }
    }

    /// A message leaves, with all that waits for it by now.
    pub(crate) fn depart(&mut self, client: &NodeId, message: u64) {
        let departure = self.lanes.get_mut(client).and_then(|lanes| lanes.depart(message));
        self.begin_departures(client);
        let Some(Departure { to, request, patience }) = departure else { return };
        if matches!(request, Request::Many(_)) {
            let (shared, _) = &mut self.together_counts;
            *shared = shared.saturating_add(1);
        }
        let caller = Caller::Lane { client: client.clone(), message };
        self.request(client, &to, caller, &request);
        let client = client.clone();
        self.clock.after(patience, Event::Late { client, message });
    }

    /// The others no longer wait for a message that takes long.
    pub(crate) fn is_late(&mut self, client: &NodeId, message: u64) {
        if let Some(lanes) = self.lanes.get_mut(client) {
            lanes.handle_late(message);
        }
        self.begin_departures(client);
    }

    /// What an answer says to each of those whose requests went together.
    pub(crate) fn arrived(
        &mut self,
        client: &NodeId,
        message: u64,
        response: Result<Response, Lost>,
    ) -> Vec<(Caller, Result<Response, Lost>)> {
        let lanes = self.lanes.get_mut(client);
        let each = lanes.map(|lanes| lanes.handle_response(message, response)).unwrap_or_default();
        self.begin_departures(client);
        each
    }
}
