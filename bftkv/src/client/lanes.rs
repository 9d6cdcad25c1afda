//! Sends requests of operations that run at the same time together (docs/adr/0016).
//!
//! There are no decisions in here; they are in `bftkv_protocol::client::Lanes`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bftkv_protocol::client::{self, Departure, Lost, Round};
use bftkv_protocol::{NodeId, Part, Response};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::drive::{Event, is_store};
use super::inner::Inner;

/// What all operations of a client have on the way.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<client::Lanes<Asker>>);

/// Who waits for an answer.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) round: Round,
    pub(super) events: UnboundedSender<Event>,
    pub(super) since: Instant,
}

impl Lanes {
    /// Sends the request to all of these; each answer comes as an event.
    pub(super) fn send(
        &self,
        inner: &Arc<Inner>,
        asker: &Asker,
        to: &BTreeSet<NodeId>,
        part: &Part,
    ) {
        let mut lanes = self.lock();
        to.iter().for_each(|node| lanes.add(asker.clone(), node, part.clone()));
        self.begin(inner, lanes);
    }

    /// Starts what is to leave.
    fn begin(&self, inner: &Arc<Inner>, mut lanes: MutexGuard<'_, client::Lanes<Asker>>) {
        let begun: Vec<u64> = std::iter::from_fn(|| lanes.poll()).collect();
        drop(lanes);
        for message in begun {
            inner.peers.in_background(Arc::clone(inner).exchange(message));
        }
    }

    fn with<T>(
        &self,
        inner: &Arc<Inner>,
        change: impl FnOnce(&mut client::Lanes<Asker>) -> T,
    ) -> T {
        let mut lanes = self.lock();
        let outcome = change(&mut lanes);
        self.begin(inner, lanes);
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, client::Lanes<Asker>> {
        // Nothing that panics runs inside.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Sends one message and hands on what comes back.
    async fn exchange(self: Arc<Self>, message: u64) {
        // Operations that were woken by the same answer all have their say before it leaves.
        yield_now().await;
        let Some(departure) = self.lanes.with(&self, |lanes| lanes.depart(message)) else { return };
        let node = departure.to.clone();
        let response = self.response(message, departure).await;
        let is_good = response.is_ok();
        let answered = self.lanes.with(&self, |lanes| lanes.handle_response(message, response));
        let now = Instant::now();
        for (Asker { round, events, since }, response) in answered {
            let took = now.saturating_duration_since(since);
            match is_good {
                true => self.pace.answered(&node, took, now),
                // Whom nobody waited for to the end is slow if it took long, and else just not heard.
                false => self.pace.failed(&node, events.is_closed().then_some(took), now),
            }
            let _ = events.send(Event::Response(round, node.clone(), response));
        }
    }

    /// The answer; `Silent` when nobody waits for it any more, unless it goes on in the background.
    async fn response(
        self: &Arc<Self>,
        message: u64,
        departure: Departure,
    ) -> Result<Response, Lost> {
        let Departure { to, request, patience } = departure;
        let lingers = is_store(&request);
        let askers: Vec<Asker> = self.lanes.lock().carried(message).cloned().collect();
        let mut answers = self.ask(BTreeSet::from([to]), request, lingers);
        let first = timeout(patience, hear(&mut answers, &askers, lingers)).await;
        match first {
            Ok(response) => response,
            Err(_) => {
                self.lanes.with(self, |lanes| lanes.handle_late(message));
                hear(&mut answers, &askers, lingers).await
            }
        }
    }
}

async fn hear(
    answers: &mut tokio::sync::mpsc::UnboundedReceiver<crate::peers::Heard>,
    askers: &[Asker],
    lingers: bool,
) -> Result<Response, Lost> {
    let all_gone = async {
        for asker in askers {
            asker.events.closed().await;
        }
    };
    tokio::select! {
        answer = answers.recv() => answer.map_or(Err(Lost::Silent), |(_, response)| response),
        () = all_gone, if !lingers => Err(Lost::Silent),
    }
}
