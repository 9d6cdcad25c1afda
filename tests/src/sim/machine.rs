//! The state machines of clients behind one face.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    Action, ClientError, Fault, ListVersions, Lost, Problem, Read, Reserve, Round, Single, Write,
};
use bftkv_protocol::{Configurations, NodeId, Response, SignedEntry, Verify};

use crate::oracle::Outcome;

/// One operation of a client.
#[derive(Debug)]
pub(super) enum Machine {
    Write(Box<Write>),
    Read(Box<Read>),
    List(Box<ListVersions>),
}

impl Machine {
    pub(super) fn refreshed(&mut self, now: Duration, known: &Arc<Configurations>) {
        match self {
            Self::Write(write) => write.handle_configurations(now, Arc::clone(known)),
            Self::Read(read) => read.handle_configurations(now, Arc::clone(known)),
            Self::List(_) => {}
        }
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        match self {
            Self::Write(write) => write.poll(),
            Self::Read(read) => read.poll(),
            Self::List(list) => list.poll(),
        }
    }

    pub(super) fn wake_at(&self) -> Option<Duration> {
        match self {
            Self::Write(write) => write.wake_at(),
            Self::Read(read) => read.wake_at(),
            Self::List(list) => list.wake_at(),
        }
    }

    pub(super) fn take(
        &mut self,
        now: Duration,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        match self {
            Self::Write(write) => write.handle_response(now, round, from, response, keys),
            Self::Read(read) => read.handle_response(now, round, from, response, keys),
            Self::List(list) => list.handle_response(round, from, response),
        }
    }

    pub(super) fn wake(&mut self, now: Duration, keys: &dyn Verify) {
        match self {
            Self::Write(write) => write.handle_timeout(now),
            Self::Read(read) => read.handle_timeout(now, keys),
            Self::List(list) => list.handle_timeout(now),
        }
    }

    /// The outcome, and who was found lying.
    pub(super) fn result(&self) -> Option<(Outcome, BTreeMap<NodeId, Fault>)> {
        match self {
            Self::Write(write) => written(write),
            Self::Read(read) => read.result().map(|result| match result {
                Ok(found) => (Outcome::Found(found.entry.clone()), found.culprits.clone()),
                Err(error) => failure(error),
            }),
            Self::List(list) => list.result().map(|result| match result {
                Ok(all) => (Outcome::Listed(all.clone()), BTreeMap::new()),
                Err(error) => failure(error),
            }),
        }
    }
}

/// The outcome of a write, and who was found lying.
fn written(write: &Write) -> Option<(Outcome, BTreeMap<NodeId, Fault>)> {
    write.result().map(|result| match result {
        Ok(done) => (Outcome::Written(done.entry.clone()), done.culprits.clone()),
        Err(error) => failure(error),
    })
}

fn failure(error: &ClientError) -> (Outcome, BTreeMap<NodeId, Fault>) {
    let outcome = match &error.problem {
        Problem::Unknown { .. } => Outcome::Unknown,
        problem => Outcome::Failed(Box::new(problem.clone())),
    };
    (outcome, error.culprits.clone())
}

/// As one of several that go together.
impl Single for Machine {
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
        self.take(now, round, from, response, keys);
    }

    fn handle_reserved(&mut self, now: Duration, reserved: Result<SignedEntry, Reserve>) {
        if let Self::Write(write) = self {
            write.handle_reserved(now, reserved);
        }
    }

    fn handle_recorded(&mut self, now: Duration, recorded: Result<(), String>) {
        if let Self::Write(write) = self {
            write.handle_recorded(now, recorded);
        }
    }

    fn handle_fetched(&mut self, now: Duration, answered: &BTreeSet<NodeId>, keys: &dyn Verify) {
        match self {
            Self::Write(write) => write.handle_fetched(keys),
            Self::Read(read) => read.handle_fetched(now, answered, keys),
            Self::List(_) => {}
        }
    }

    fn handle_configurations(&mut self, now: Duration, known: Arc<Configurations>) {
        self.refreshed(now, &known);
    }

    fn handle_timeout(&mut self, now: Duration, keys: &dyn Verify) {
        self.wake(now, keys);
    }

    fn is_over(&self) -> bool {
        self.result().is_some()
    }
}
