//! The state machines of clients behind one face.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    Action, ClientError, Fault, ListVersions, Lost, Problem, Read, Round, Write,
};
use bftkv_protocol::{Configurations, NodeId, Response, Verify};

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
pub(super) fn written(write: &Write) -> Option<(Outcome, BTreeMap<NodeId, Fault>)> {
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
