//! Many operations side by side, whose messages travel together (docs/adr/0016).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::lanes::part_responses;
use super::{Action, Lost, Read, Reserve, Round, Write};
use crate::{
    Configurations, Entry, EntryId, MAX_PARTS, MAX_PARTS_BYTES, NodeId, Part, Request, Response,
    SignedEntry, Verify, encoded_len,
};

/// One operation among many: [`Write`] or [`Read`].
pub trait Single {
    /// The next thing to do.
    fn poll(&mut self) -> Option<Action>;
    /// When its time is over; `None` when it is over itself.
    fn wake_at(&self) -> Option<Duration>;
    /// Takes an answer.
    fn handle_response(
        &mut self,
        now: Duration,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    );
    /// Learns what [`Action::Reserve`] came to.
    fn handle_reserved(&mut self, now: Duration, reserved: Result<SignedEntry, Reserve>);
    /// Learns what [`Action::RecordAssembled`] came to.
    fn handle_recorded(&mut self, now: Duration, recorded: Result<(), String>);
    /// Learns that [`Action::Fetch`] is done, and who answered.
    fn handle_fetched(&mut self, now: Duration, answered: &BTreeSet<NodeId>, keys: &dyn Verify);
    /// Learns what [`Action::Refresh`] came to.
    fn handle_configurations(&mut self, now: Duration, known: Arc<Configurations>);
    /// Its time has come.
    fn handle_timeout(&mut self, now: Duration, keys: &dyn Verify);
    /// Whether it has its result.
    fn is_over(&self) -> bool;
}

/// What the driver of [`Many`] is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum ManyAction {
    /// Send the request to all of these; report each answer with [`Many::handle_response`].
    Send {
        /// Answers carry it back.
        message: u64,
        /// To whom.
        to: BTreeSet<NodeId>,
        /// What.
        request: Box<Request>,
    },
    /// As [`Action::Reserve`] for each of these, under one signature; then
    /// [`Many::handle_reserved`].
    Reserve(Vec<(usize, Entry)>),
    /// As [`Action::RecordAssembled`] for each of these; then [`Many::handle_recorded`].
    RecordAssembled(Vec<(usize, EntryId)>),
    /// As [`Action::Settle`].
    Settle(Vec<EntryId>),
    /// What one operation wants by itself: never one of the above.
    One(usize, Box<Action>),
}

/// Operations on many variables, of which each is the machine that it is alone: each is atomic on
/// its own and has a result of its own. What they ask of the same nodes at the same time goes into
/// one message, and what they ask of the writer's home is done at once.
///
/// The driver may have any two of them on one variable; two writes of it would then stand in each
/// other's way.
#[derive(Debug)]
pub struct Many<M> {
    operations: Vec<M>,
    /// What was sent, to be given to its operation when the answer comes.
    sent: BTreeMap<u64, Sent>,
    messages: u64,
    actions: VecDeque<ManyAction>,
    /// Operations that may have something to do.
    touched: BTreeSet<usize>,
}

/// A message that was sent.
#[derive(Debug, Clone)]
enum Sent {
    /// One with parts.
    Parts(Vec<Item>),
    /// What one operation asks by itself, in one of its rounds.
    Alone(usize, Round),
}

/// A part of a message: whose it is, and of which of its rounds.
#[derive(Debug, Clone)]
struct Item {
    operation: usize,
    round: Round,
    part: Part,
}

impl<M: Single> Many<M> {
    /// All of these at once. They have just been started.
    #[must_use]
    pub fn start(operations: Vec<M>) -> Self {
        let touched = (0..operations.len()).collect();
        let (sent, actions) = (BTreeMap::new(), VecDeque::new());
        Self { operations, sent, messages: 0, actions, touched }
    }

    /// The next thing to do. Drain it after every call.
    pub fn poll(&mut self) -> Option<ManyAction> {
        if self.actions.is_empty() {
            self.gather();
        }
        self.actions.pop_front()
    }

    /// When to call [`Many::handle_timeout`]; `None` when all are over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.operations.iter().filter_map(M::wake_at).min()
    }

    /// The operations, in their order.
    #[must_use]
    pub fn operations(&self) -> &[M] {
        &self.operations
    }

    /// The operations, in their order.
    #[must_use]
    pub fn into_operations(self) -> Vec<M> {
        self.operations
    }

    /// Whether all are over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.operations.iter().all(M::is_over)
    }

    /// Takes an answer to [`ManyAction::Send`]. Each part of it goes to its operation. A list that is
    /// shorter than the question is asked for the rest; one that is longer, or empty, is no answer.
    pub fn handle_response(
        &mut self,
        now: Duration,
        message: u64,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        let items = match self.sent.get(&message) {
            None => return,
            Some(Sent::Alone(index, round)) => {
                let (index, round) = (*index, *round);
                return self.with(index, |operation| {
                    operation.handle_response(now, round, from, response, keys);
                });
            }
            Some(Sent::Parts(items)) => items.clone(),
        };
        let outcomes = part_responses(response, items.len());
        let rest = items.get(outcomes.len()..).unwrap_or_default().to_vec();
        for (item, outcome) in items.iter().zip(outcomes) {
            self.tell(now, from, item, outcome, keys);
        }
        if !rest.is_empty() {
            self.send(BTreeSet::from([from.clone()]), rest);
        }
    }

    /// Learns what [`ManyAction::Reserve`] came to, for each of its operations.
    pub fn handle_reserved(
        &mut self,
        now: Duration,
        reserved: Vec<(usize, Result<SignedEntry, Reserve>)>,
    ) {
        for (index, reserved) in reserved {
            self.with(index, |operation| operation.handle_reserved(now, reserved));
        }
    }

    /// Learns what [`ManyAction::RecordAssembled`] came to, for each of its operations.
    pub fn handle_recorded(&mut self, now: Duration, recorded: Vec<(usize, Result<(), String>)>) {
        for (index, recorded) in recorded {
            self.with(index, |operation| operation.handle_recorded(now, recorded));
        }
    }

    /// Learns that an operation's [`Action::Fetch`] is done, and who answered.
    pub fn handle_fetched(
        &mut self,
        now: Duration,
        index: usize,
        answered: &BTreeSet<NodeId>,
        keys: &dyn Verify,
    ) {
        self.with(index, |operation| operation.handle_fetched(now, answered, keys));
    }

    /// Learns what an [`Action::Refresh`] came to: it concerns all of them.
    pub fn handle_configurations(&mut self, now: Duration, known: &Arc<Configurations>) {
        for index in 0..self.operations.len() {
            self.with(index, |operation| operation.handle_configurations(now, Arc::clone(known)));
        }
    }

    /// To be called when the time of [`Many::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Duration, keys: &dyn Verify) {
        for index in 0..self.operations.len() {
            let is_due = |operation: &M| operation.wake_at().is_some_and(|wake| wake <= now);
            if self.operations.get(index).is_some_and(is_due) {
                self.with(index, |operation| operation.handle_timeout(now, keys));
            }
        }
    }

    // ----- helpers -----

    fn with(&mut self, index: usize, change: impl FnOnce(&mut M)) {
        if let Some(operation) = self.operations.get_mut(index) {
            change(operation);
            self.touched.insert(index);
        }
    }

    fn tell(
        &mut self,
        now: Duration,
        from: &NodeId,
        item: &Item,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        let round = item.round;
        self.with(item.operation, |operation| {
            operation.handle_response(now, round, from, response, keys);
        });
    }

    /// Asks the operations what they want, and puts together what goes together.
    fn gather(&mut self) {
        let mut sends: BTreeMap<BTreeSet<NodeId>, Vec<Item>> = BTreeMap::new();
        let (mut reserve, mut record, mut settle) = (Vec::new(), Vec::new(), Vec::new());
        for index in std::mem::take(&mut self.touched) {
            let Some(operation) = self.operations.get_mut(index) else { continue };
            while let Some(action) = operation.poll() {
                match action {
                    Action::Send { round, to, request } => match Part::try_from(*request) {
                        Ok(part) => {
                            let item = Item { operation: index, round, part };
                            sends.entry(to).or_default().push(item);
                        }
                        Err(request) => {
                            let request = Box::new(request);
                            let message = next(&mut self.messages);
                            self.sent.insert(message, Sent::Alone(index, round));
                            self.actions.push_back(ManyAction::Send { message, to, request });
                        }
                    },
                    Action::Reserve(entry) => reserve.push((index, *entry)),
                    Action::RecordAssembled(attempt) => record.push((index, attempt)),
                    Action::Settle(attempt) => settle.push(attempt),
                    other => self.actions.push_back(ManyAction::One(index, Box::new(other))),
                }
            }
        }
        sends.into_iter().for_each(|(to, items)| self.send(to, items));
        let lists = [
            (!reserve.is_empty()).then_some(ManyAction::Reserve(reserve)),
            (!record.is_empty()).then_some(ManyAction::RecordAssembled(record)),
            (!settle.is_empty()).then_some(ManyAction::Settle(settle)),
        ];
        self.actions.extend(lists.into_iter().flatten());
    }

    /// Sends these parts in as few messages as they fit in.
    fn send(&mut self, to: BTreeSet<NodeId>, items: Vec<Item>) {
        let mut message: Vec<Item> = Vec::new();
        let mut bytes = 0_usize;
        for item in items {
            let more = encoded_len(&item.part);
            let is_full =
                message.len() >= MAX_PARTS || bytes.saturating_add(more) > MAX_PARTS_BYTES;
            if is_full && !message.is_empty() {
                self.send_message(to.clone(), std::mem::take(&mut message));
                bytes = 0;
            }
            bytes = bytes.saturating_add(more);
            message.push(item);
        }
        self.send_message(to, message);
    }

    fn send_message(&mut self, to: BTreeSet<NodeId>, items: Vec<Item>) {
        if items.is_empty() || to.is_empty() {
            return;
        }
        let parts = items.iter().map(|item| item.part.clone()).collect();
        let (message, request) = (next(&mut self.messages), Box::new(Request::Many(parts)));
        self.sent.insert(message, Sent::Parts(items));
        self.actions.push_back(ManyAction::Send { message, to, request });
    }
}

fn next(messages: &mut u64) -> u64 {
    *messages = messages.saturating_add(1);
    *messages
}

impl Single for Write {
    fn poll(&mut self) -> Option<Action> {
        Self::poll(self)
    }

    fn wake_at(&self) -> Option<Duration> {
        Self::wake_at(self)
    }

    fn handle_response(
        &mut self,
        now: Duration,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        Self::handle_response(self, now, round, from, response, keys);
    }

    fn handle_reserved(&mut self, now: Duration, reserved: Result<SignedEntry, Reserve>) {
        Self::handle_reserved(self, now, reserved);
    }

    fn handle_recorded(&mut self, now: Duration, recorded: Result<(), String>) {
        Self::handle_recorded(self, now, recorded);
    }

    fn handle_fetched(&mut self, _: Duration, _: &BTreeSet<NodeId>, keys: &dyn Verify) {
        Self::handle_fetched(self, keys);
    }

    fn handle_configurations(&mut self, now: Duration, known: Arc<Configurations>) {
        Self::handle_configurations(self, now, known);
    }

    fn handle_timeout(&mut self, now: Duration, _: &dyn Verify) {
        Self::handle_timeout(self, now);
    }

    fn is_over(&self) -> bool {
        self.result().is_some()
    }
}

impl Single for Read {
    fn poll(&mut self) -> Option<Action> {
        Self::poll(self)
    }

    fn wake_at(&self) -> Option<Duration> {
        Self::wake_at(self)
    }

    fn handle_response(
        &mut self,
        now: Duration,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        Self::handle_response(self, now, round, from, response, keys);
    }

    fn handle_reserved(&mut self, _: Duration, _: Result<SignedEntry, Reserve>) {}

    fn handle_recorded(&mut self, _: Duration, _: Result<(), String>) {}

    fn handle_fetched(&mut self, now: Duration, answered: &BTreeSet<NodeId>, keys: &dyn Verify) {
        Self::handle_fetched(self, now, answered, keys);
    }

    fn handle_configurations(&mut self, now: Duration, known: Arc<Configurations>) {
        Self::handle_configurations(self, now, known);
    }

    fn handle_timeout(&mut self, now: Duration, keys: &dyn Verify) {
        Self::handle_timeout(self, now, keys);
    }

    fn is_over(&self) -> bool {
        self.result().is_some()
    }
}
