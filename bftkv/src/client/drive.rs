//! Runs a state machine of the protocol: performs its actions, tells it what happened.
//!
//! There are no decisions in here; they are in `bftkv_protocol::client`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Action, ListVersions, Lost, Read, Reserve, Round, Write};
use bftkv_protocol::{Configurations, NodeId, Part, Request, Response, SignedEntry};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::inner::Inner;
use super::lanes::Asker;
use super::notes::Note;
use super::pace::Work;

/// What happened, as far as a state machine cares.
pub(super) enum Event {
    Response(Round, NodeId, Result<Response, Lost>),
    Reserved(Result<SignedEntry, Reserve>),
    Recorded(Result<(), String>),
    Fetched(BTreeSet<NodeId>),
    Refreshed(Arc<Configurations>),
}

/// The three state machines, seen alike.
pub(super) trait Machine {
    fn poll(&mut self) -> Option<Action>;
    fn wake_at(&self) -> Option<Duration>;
    fn handle(&mut self, now: Duration, event: Event, inner: &Inner);
    fn handle_timeout(&mut self, now: Duration, inner: &Inner);
    fn is_over(&self) -> bool;
}

/// Runs the machine to its end.
pub(super) async fn drive(machine: &mut (dyn Machine + Send), inner: &Arc<Inner>) {
    let (sender, mut events) = mpsc::unbounded_channel();
    loop {
        while let Some(action) = machine.poll() {
            perform(action, inner, &sender);
        }
        if machine.is_over() {
            return;
        }
        let wake = inner.instant(machine.wake_at().unwrap_or_default());
        tokio::select! {
            Some(event) = events.recv() => machine.handle(inner.now(), event, inner),
            () = sleep_until(Instant::from_std(wake)) => machine.handle_timeout(inner.now(), inner),
        }
    }
}

/// Starts what the action asks for; its outcome comes back as an event.
fn perform(action: Action, inner: &Arc<Inner>, events: &mpsc::UnboundedSender<Event>) {
    let (inner, events) = (Arc::clone(inner), events.clone());
    match action {
        Action::Send { round, to, request } => match Part::try_from(*request) {
            Ok(part) => {
                let (since, work) = (Instant::now().into_std(), Work::of_part(&part));
                let asker = Asker { round, events, since, work };
                inner.lanes.send(&inner, &asker, &to, &part);
            }
            Err(request) => {
                let event = move |node, response| Event::Response(round, node, response);
                tokio::spawn(send(event, to, request, inner, events));
            }
        },
        Action::Reserve(entry) => inner.note(Note::Reserve(*entry, events)),
        Action::RecordAssembled(attempt) => inner.note(Note::Assembled(attempt, events)),
        Action::Settle(attempt) => inner.note(Note::Settled(attempt)),
        other => perform_aside(other, &inner, events, Event::Fetched, Event::Refreshed),
    }
}

/// Starts what no two operations share.
pub(super) fn perform_aside<E: Send + 'static>(
    action: Action,
    inner: &Arc<Inner>,
    events: mpsc::UnboundedSender<E>,
    fetched: impl FnOnce(BTreeSet<NodeId>) -> E + Send + 'static,
    refreshed: impl FnOnce(Arc<Configurations>) -> E + Send + 'static,
) {
    let inner = Arc::clone(inner);
    match action {
        Action::Post { to, request } => inner.peers.post(to, *request),
        Action::Abandon { to, attempt, evidence } => {
            let work = Arc::clone(&inner).abandon(to, attempt, evidence);
            inner.peers.in_background(work);
        }
        Action::Fetch(ids) => {
            tokio::spawn(async move {
                let answered = inner.fetch(ids).await;
                let _ = events.send(fetched(answered));
            });
        }
        Action::Refresh => {
            tokio::spawn(async move {
                if let Some(known) = inner.refresh().await {
                    let _ = events.send(refreshed(known));
                }
            });
        }
        Action::Accuse(proof) => inner.accuse(proof),
        other => tracing::error!(?other, "an action of the protocol is not known here"),
    }
}

/// Whether it goes on in the background when nobody waits any more.
pub(super) fn is_store(request: &Request) -> bool {
    match request {
        Request::Store { .. } => true,
        Request::Many(parts) => parts.iter().any(|part| matches!(part, Part::Store { .. })),
        _ => false,
    }
}

/// Asks nodes, hands their answers on, and notes how soon they came.
pub(super) async fn send<E>(
    event: impl Fn(NodeId, Result<Response, Lost>) -> E,
    to: BTreeSet<NodeId>,
    request: Request,
    inner: Arc<Inner>,
    events: mpsc::UnboundedSender<E>,
) {
    let asked = Instant::now().into_std();
    let mut waiting = to.clone();
    let (lingers, work) = (is_store(&request), Work::of(&request));
    let mut answers = inner.ask(to, request, lingers);
    loop {
        let next = tokio::select! {
            next = answers.recv() => next,
            // Nobody waits any more: what need not go on in the background ends here.
            () = events.closed() => None,
        };
        let now = Instant::now().into_std();
        let Some((node, response)) = next else {
            let waited = Some(now.duration_since(asked));
            waiting.iter().for_each(|node| inner.pace.failed(node, work, waited, now));
            return;
        };
        match &response {
            Ok(_) => inner.pace.answered(&node, work, now.duration_since(asked), now),
            Err(_) => inner.pace.failed(&node, work, None, now),
        }
        waiting.remove(&node);
        let _ = events.send(event(node, response));
    }
}

impl Machine for Write {
    fn poll(&mut self) -> Option<Action> {
        Self::poll(self)
    }

    fn wake_at(&self) -> Option<Duration> {
        Self::wake_at(self)
    }

    fn handle(&mut self, now: Duration, event: Event, inner: &Inner) {
        match event {
            Event::Response(round, from, response) => {
                self.handle_response(now, round, &from, response, inner.keys());
            }
            Event::Reserved(reserved) => self.handle_reserved(now, reserved),
            Event::Recorded(recorded) => self.handle_recorded(now, recorded),
            Event::Fetched(_) => self.handle_fetched(inner.keys()),
            Event::Refreshed(known) => self.handle_configurations(now, known),
        }
    }

    fn handle_timeout(&mut self, now: Duration, _inner: &Inner) {
        Self::handle_timeout(self, now);
    }

    fn is_over(&self) -> bool {
        self.result().is_some()
    }
}

impl Machine for Read {
    fn poll(&mut self) -> Option<Action> {
        Self::poll(self)
    }

    fn wake_at(&self) -> Option<Duration> {
        Self::wake_at(self)
    }

    fn handle(&mut self, now: Duration, event: Event, inner: &Inner) {
        match event {
            Event::Response(round, from, response) => {
                self.handle_response(now, round, &from, response, inner.keys());
            }
            Event::Fetched(answered) => self.handle_fetched(now, &answered, inner.keys()),
            Event::Refreshed(known) => self.handle_configurations(now, known),
            Event::Reserved(_) | Event::Recorded(_) => {}
        }
    }

    fn handle_timeout(&mut self, now: Duration, inner: &Inner) {
        Self::handle_timeout(self, now, inner.keys());
    }

    fn is_over(&self) -> bool {
        self.result().is_some()
    }
}

impl Machine for ListVersions {
    fn poll(&mut self) -> Option<Action> {
        Self::poll(self)
    }

    fn wake_at(&self) -> Option<Duration> {
        Self::wake_at(self)
    }

    fn handle(&mut self, _now: Duration, event: Event, _inner: &Inner) {
        if let Event::Response(round, from, response) = event {
            self.handle_response(round, &from, response);
        }
    }

    fn handle_timeout(&mut self, now: Duration, _inner: &Inner) {
        Self::handle_timeout(self, now);
    }

    fn is_over(&self) -> bool {
        self.result().is_some()
    }
}
