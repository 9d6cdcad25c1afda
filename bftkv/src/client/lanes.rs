//! Sends requests of operations that run at the same time together (docs/adr/0016).
//!
//! There are no decisions in here; they are in `bftkv_protocol::client::Lanes`.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bftkv_protocol::client::{self, Departure, Lost, Round};
use bftkv_protocol::{NodeId, Part, Response};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::drive::{Event, is_store};
use super::inner::Inner;
use super::pace::Work;

/// What all operations of a client have on the way.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<client::Lanes<Asker>>);

/// Who waits for an answer.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) round: Round,
    pub(super) events: UnboundedSender<Event>,
    pub(super) since: Instant,
    pub(super) work: Work,
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
        for (Asker { round, events, since, work }, response) in answered {
            let took = now.saturating_duration_since(since);
            match is_good {
                true => self.pace.answered(&node, work, took, now),
                // Whom nobody waited for to the end is slow if it took long, and else just not heard.
                false => self.pace.failed(&node, work, events.is_closed().then_some(took), now),
            }
            let _ = events.send(Event::Response(round, node.clone(), response));
        }
    }

    /// The answer. When nobody waits for it any more, it is listened for only as long as it takes to
    /// know whether the node is slow, and is then `Silent`; unless it goes on in the background.
    async fn response(
        self: &Arc<Self>,
        message: u64,
        departure: Departure,
    ) -> Result<Response, Lost> {
        let Departure { to, request, patience } = departure;
        let lingers = is_store(&request);
        let askers: Vec<Asker> = self.lanes.lock().carried(message).cloned().collect();
        let mut answers = self.ask(BTreeSet::from([to.clone()]), request, lingers);
        let answer =
            async { answers.recv().await.map_or(Err(Lost::Silent), |(_, response)| response) };
        let left = async {
            let curiosity = self.left(&to, &askers).await;
            self.lanes.with(self, |lanes| lanes.handle_late(message));
            match lingers {
                true => std::future::pending().await,
                false => sleep(curiosity).await,
            }
        };
        let mut heard = pin!(async {
            tokio::select! {
                answer = answer => answer,
                () = left => Err(Lost::Silent),
            }
        });
        match timeout(patience, &mut heard).await {
            Ok(response) => response,
            Err(_) => {
                self.lanes.with(self, |lanes| lanes.handle_late(message));
                heard.await
            }
        }
    }

    /// Waits until nobody waits for the node any more. Tells how much longer it is to be listened to.
    async fn left(&self, node: &NodeId, askers: &[Asker]) -> Duration {
        let mut curiosity = Duration::ZERO;
        for Asker { events, since, work, .. } in askers {
            events.closed().await;
            let now = Instant::now();
            self.pace.failed(node, *work, Some(now.saturating_duration_since(*since)), now);
            curiosity = curiosity.max(self.pace.curiosity(*work));
        }
        curiosity
    }
}
