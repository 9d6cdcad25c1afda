//! The server's state machine: one request per variable at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::MAX_QUEUE;
use super::admit::{Admitted, Task};
use super::decide::{Decision, Loaded, Reply, decide};
use super::recall::Recall;
use crate::planted::{self, Bug};
use crate::{
    Answer, Batch, CertifiedEntry, Configurations, EquivocationProof, NodeId, Refusal, StoreError,
    Timestamp, Variable, Verify,
};

/// Names a request between driver and machine.
pub type Ticket = u64;

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum ServerAction {
    /// Load the variable's state and, if asked, one version; then call [`Server::handle_loaded`].
    Load {
        /// For which request.
        ticket: Ticket,
        /// Which variable.
        variable: Variable,
        /// Which version, besides the newest.
        version: Option<Timestamp>,
    },
    /// List timestamps of versions, newest first; then call [`Server::handle_listed`].
    List {
        /// For which request.
        ticket: Ticket,
        /// Which variable.
        variable: Variable,
        /// Only versions below this timestamp.
        below: Option<Timestamp>,
        /// At most so many.
        limit: u16,
    },
    /// Put a page of everything together (see [`super::page`]); then call
    /// [`Server::handle_recalled`].
    Recall {
        /// For which request.
        ticket: Ticket,
        /// What is asked for.
        what: Recall,
    },
    /// Make the batch durable; then call [`Server::handle_persisted`]. The answer is held until
    /// then: nothing is signed that a crash could forget.
    Persist {
        /// For which request.
        ticket: Ticket,
        /// What to write.
        batch: Batch,
    },
    /// Send the answer.
    Reply {
        /// To which request.
        ticket: Ticket,
        /// What to answer.
        reply: Reply,
    },
    /// Somebody is convicted for the first time: cut him out and tell the others.
    Accuse(EquivocationProof),
}

/// One server. Requests that change a variable run one at a time, in order of arrival; requests
/// that only read see the last durable state and do not wait.
///
/// Call a `handle_*` method for everything that happens, then drain [`Server::poll`].
#[derive(Debug)]
pub struct Server {
    known: Arc<Configurations>,
    /// The requests that wait, for every variable with a change under way.
    queues: BTreeMap<Variable, VecDeque<(Ticket, Task)>>,
    reading: BTreeMap<Ticket, Task>,
    running: BTreeMap<Ticket, Running>,
    /// Who was convicted on proof. One proof against each is kept.
    convicted: BTreeSet<NodeId>,
    actions: VecDeque<ServerAction>,
}

/// A change that is under way.
#[derive(Debug)]
enum Running {
    Loading { variable: Variable, task: Box<Task> },
    Persisting { variable: Option<Variable>, decision: Box<Decision> },
}

impl Server {
    /// A server of the newest of these configurations.
    #[must_use]
    pub fn new(known: Arc<Configurations>) -> Self {
        Self {
            known,
            queues: BTreeMap::new(),
            reading: BTreeMap::new(),
            running: BTreeMap::new(),
            convicted: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    /// Learns at its start who was convicted before, by proofs that the store holds.
    pub fn note_convicted(&mut self, guilty: impl IntoIterator<Item = NodeId>) {
        self.convicted.extend(guilty);
    }

    /// Serves the newest of these configurations from now on. To be called when no request is
    /// under way: one that was checked under the old groups must not be decided under the new.
    pub fn reconfigure(&mut self, known: Arc<Configurations>) {
        self.known = known;
    }

    /// Takes a request. `ticket` must be new.
    pub fn handle_request(&mut self, ticket: Ticket, Admitted(task): Admitted) {
        match task {
            Task::Versions { variable, below, limit } => {
                self.actions.push_back(ServerAction::List { ticket, variable, below, limit });
            }
            Task::Recall { what } => {
                self.actions.push_back(ServerAction::Recall { ticket, what });
            }
            Task::Accuse { proof } => self.keep_proof(ticket, proof),
            Task::Time { ref variable, .. } | Task::Abandoned { ref variable } => {
                let variable = variable.clone();
                self.read(ticket, task, variable, None);
            }
            Task::Read { ref variable, at, .. } => {
                let variable = variable.clone();
                self.read(ticket, task, variable, at);
            }
            Task::Sign { ref attempt, .. } => {
                let variable = attempt.variable.clone();
                self.enqueue(ticket, task, variable);
            }
            Task::Store { ref entry, .. }
            | Task::Vouch { ref entry, .. }
            | Task::Suspect { ref entry, .. } => {
                let variable = entry.variable().clone();
                self.enqueue(ticket, task, variable);
            }
            Task::Abandon { ref abandon, .. } => {
                let variable = abandon.attempt.variable.clone();
                self.enqueue(ticket, task, variable);
            }
        }
    }

    /// Takes what [`ServerAction::Load`] asked for.
    pub fn handle_loaded(
        &mut self,
        ticket: Ticket,
        loaded: Result<Loaded, StoreError>,
        keys: &dyn Verify,
    ) {
        if let Some(task) = self.reading.remove(&ticket) {
            let reply = match loaded {
                Ok(loaded) => decide(task, loaded, &self.known, keys).reply,
                Err(_) => Reply::Plain(Err(Refusal::StorageUnavailable)),
            };
            self.actions.push_back(ServerAction::Reply { ticket, reply });
        } else if let Some((variable, task)) = self.take_loading(ticket) {
            match loaded {
                Ok(mut loaded) => {
                    self.free_slots(&mut loaded);
                    let decision = decide(*task, loaded, &self.known, keys);
                    self.persist(ticket, Some(variable), decision);
                }
                Err(_) => {
                    let decision = Decision::refuse(Refusal::StorageUnavailable);
                    self.finish(ticket, Some(variable), decision);
                }
            }
        }
    }

    /// Takes what [`ServerAction::List`] asked for.
    pub fn handle_listed(&mut self, ticket: Ticket, listed: Result<Vec<Timestamp>, StoreError>) {
        let outcome = listed.map(Answer::Versions).map_err(|_| Refusal::StorageUnavailable);
        self.actions.push_back(ServerAction::Reply { ticket, reply: Reply::Plain(outcome) });
    }

    /// Takes what [`ServerAction::Recall`] asked for.
    pub fn handle_recalled(&mut self, ticket: Ticket, page: Result<Answer, StoreError>) {
        let outcome = page.map_err(|_| Refusal::StorageUnavailable);
        self.actions.push_back(ServerAction::Reply { ticket, reply: Reply::Plain(outcome) });
    }

    /// Learns that the batch of [`ServerAction::Persist`] is on disk, or that it may not be.
    pub fn handle_persisted(&mut self, ticket: Ticket, persisted: Result<(), StoreError>) {
        let Some((variable, decision)) = self.take_persisting(ticket) else { return };
        let decision = match persisted {
            Ok(()) => *decision,
            Err(_) => Decision::refuse(Refusal::StorageUnavailable),
        };
        self.finish(ticket, variable, decision);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<ServerAction> {
        self.actions.pop_front()
    }

    /// The task whose state is being loaded. One that waits for something else stays as it is.
    fn take_loading(&mut self, ticket: Ticket) -> Option<(Variable, Box<Task>)> {
        match self.running.remove(&ticket)? {
            Running::Loading { variable, task } => Some((variable, task)),
            other => {
                self.running.insert(ticket, other);
                None
            }
        }
    }

    /// The decision that is being made durable. A task that waits for something else stays.
    fn take_persisting(&mut self, ticket: Ticket) -> Option<(Option<Variable>, Box<Decision>)> {
        match self.running.remove(&ticket)? {
            Running::Persisting { variable, decision } => Some((variable, decision)),
            other => {
                self.running.insert(ticket, other);
                None
            }
        }
    }

    fn read(&mut self, ticket: Ticket, task: Task, variable: Variable, version: Option<Timestamp>) {
        self.reading.insert(ticket, task);
        self.actions.push_back(ServerAction::Load { ticket, variable, version });
    }

    fn enqueue(&mut self, ticket: Ticket, task: Task, variable: Variable) {
        match self.queues.get_mut(&variable).filter(|_| !planted::is(Bug::NoQueue)) {
            None => {
                self.queues.insert(variable.clone(), VecDeque::new());
                self.start(ticket, task, variable);
            }
            Some(queue) if queue.len() < MAX_QUEUE => queue.push_back((ticket, task)),
            Some(_) => {
                let reply = Reply::Plain(Err(Refusal::Busy));
                self.actions.push_back(ServerAction::Reply { ticket, reply });
            }
        }
    }

    fn start(&mut self, ticket: Ticket, task: Task, variable: Variable) {
        let version = match &task {
            Task::Store { entry, .. } | Task::Vouch { entry, .. } | Task::Suspect { entry, .. } => {
                Some(entry.timestamp())
            }
            Task::Sign { shown, .. } | Task::Abandon { shown, .. } => {
                shown.latest.as_ref().map(CertifiedEntry::timestamp)
            }
            _ => None,
        };
        self.running
            .insert(ticket, Running::Loading { variable: variable.clone(), task: Box::new(task) });
        self.actions.push_back(ServerAction::Load { ticket, variable, version });
    }

    /// Rule R6: what a convicted writer left behind on an empty variable blocks nobody. Its
    /// timestamps stay covered by seen(x), so whoever writes now gets a larger one, and overtakes
    /// whatever the convicted still has in its pocket.
    fn free_slots(&self, loaded: &mut Loaded) {
        if loaded.state.latest.is_none() {
            loaded.state.marks.slots.retain(|slot| !self.convicted.contains(&slot.writer));
        }
    }

    /// The variable is free: the next request that waits for it may run.
    fn start_next(&mut self, variable: Variable) {
        match self.queues.get_mut(&variable).and_then(VecDeque::pop_front) {
            Some((ticket, task)) => self.start(ticket, task, variable),
            None => {
                self.queues.remove(&variable);
            }
        }
    }

    fn keep_proof(&mut self, ticket: Ticket, proof: EquivocationProof) {
        let mut decision = Decision::answer(Answer::Done);
        decision.batch.proofs.push(proof.clone());
        decision.accused.push(proof);
        self.persist(ticket, None, decision);
    }

    fn persist(&mut self, ticket: Ticket, variable: Option<Variable>, mut decision: Decision) {
        decision.batch.proofs.retain(|proof| !self.convicted.contains(proof.guilty()));
        if decision.batch.is_empty() {
            self.finish(ticket, variable, decision);
            return;
        }
        let batch = std::mem::take(&mut decision.batch);
        self.running.insert(ticket, Running::Persisting { variable, decision: Box::new(decision) });
        self.actions.push_back(ServerAction::Persist { ticket, batch });
    }

    fn finish(&mut self, ticket: Ticket, variable: Option<Variable>, decision: Decision) {
        let Decision { reply, accused, .. } = decision;
        self.actions.push_back(ServerAction::Reply { ticket, reply });
        for proof in accused {
            if self.convicted.insert(proof.guilty().clone()) {
                self.actions.push_back(ServerAction::Accuse(proof));
            }
        }
        if let Some(variable) = variable {
            self.start_next(variable);
        }
    }
}
