//! Lists the versions of a variable. Paper: §4.1, "Servers must keep all versions of values".

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, Elsewhere, shortfall};
use super::{Action, ClientError, Lost, Phase, Problem, Round};
use crate::{Answer, Configuration, NodeId, Progress, Request, Response, Timestamp, Variable};

/// Collects the timestamps that a quorum of the store group lists.
///
/// Every certified version is known to an honest member of each quorum, so none is missing. A
/// liar may add timestamps that do not exist: read each version (which verifies it) before
/// believing in it.
#[derive(Debug)]
pub struct ListVersions {
    configuration: Arc<Configuration>,
    ask: Ask<Vec<Timestamp>>,
    elsewhere: Elsewhere,
    limit: u16,
    deadline: Duration,
    actions: VecDeque<Action>,
    result: Option<Result<Vec<Timestamp>, ClientError>>,
}

impl ListVersions {
    /// Begins to list versions below `below`, newest first, at most `limit` from each member.
    #[must_use]
    pub fn start(
        configuration: Arc<Configuration>,
        variable: Variable,
        below: Option<Timestamp>,
        limit: u16,
        cut: &BTreeSet<NodeId>,
        deadline: Duration,
    ) -> Self {
        let to = configuration.store().members().filter(|id| !cut.contains(*id)).cloned().collect();
        let request = Box::new(Request::Versions { variable, below, limit });
        let actions = VecDeque::from([Action::Send { round: 0, to, request }]);
        let (ask, elsewhere) = (Ask::new(0), Elsewhere::default());
        Self { configuration, ask, elsewhere, limit, deadline, actions, result: None }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`ListVersions::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        self.result.is_none().then_some(self.deadline)
    }

    /// The timestamps, newest first, once there are enough answers.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Vec<Timestamp>, ClientError>> {
        self.result.as_ref()
    }

    /// Gives the result away.
    ///
    /// # Errors
    /// What went wrong; [`Problem::Unfinished`] if it is not over yet.
    pub fn into_result(self) -> Result<Vec<Timestamp>, ClientError> {
        self.result.unwrap_or_else(|| Err(ClientError::unfinished()))
    }

    /// Takes an answer to [`Action::Send`].
    pub fn handle_response(
        &mut self,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        if round != self.ask.round || self.result.is_some() {
            return;
        }
        let ours = self.configuration.digest();
        match response {
            Ok(Response { configuration, outcome: Ok(Answer::Versions(mut list)) })
                if configuration == ours =>
            {
                list.truncate(usize::from(self.limit));
                self.ask.answers.note(from.clone(), list);
            }
            other => {
                if let Ok(Response { configuration, .. }) = other
                    && configuration != ours
                {
                    self.elsewhere.note(from.clone(), configuration);
                }
                self.ask.lose(from);
            }
        }
        match self.ask.progress([self.configuration.store()]) {
            Progress::Reached => self.finish(),
            Progress::Unreachable => self.fail(),
            Progress::Pending => {}
        }
    }

    /// To be called at the deadline.
    pub fn handle_timeout(&mut self, now: Duration) {
        if now >= self.deadline && self.result.is_none() {
            self.fail();
        }
    }

    fn finish(&mut self) {
        let all: BTreeSet<Timestamp> =
            self.ask.answers.iter().flat_map(|(_, list)| list.iter().copied()).collect();
        let newest = all.into_iter().rev().take(usize::from(self.limit)).collect();
        self.result = Some(Ok(newest));
    }

    fn fail(&mut self) {
        let good = self.ask.answers.nodes();
        let (have, need, missing) = shortfall(&good, [self.configuration.store()]);
        let unreachable = Problem::Unreachable { phase: Phase::Read, have, need, missing };
        let problem = self.elsewhere.problem([self.configuration.store()]).unwrap_or(unreachable);
        self.result = Some(Err(ClientError { problem, culprits: Default::default() }));
    }
}
