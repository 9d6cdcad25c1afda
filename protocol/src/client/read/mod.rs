//! READ(x): ask a quorum, take the newest valid entry, write it back if needed. Paper: §4.1 read.
//! Rule R5.

mod asking;
mod certify;
mod choose;
mod whole;
mod write_back;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::choose::Fetching;
use self::whole::Wholes;
use super::ask::{Ask, Elsewhere, open_response, shortfall};
use super::candidates::Held;
use super::hedge::{Hedge, Spare};
use super::repair::Repair;
use super::{Action, ClientError, Consistency, Fault, Lost, Phase, Problem, RETRY_CHANGING, Round};
use crate::{
    CertifiedEntry, Configuration, Configurations, EntryHash, Group, NodeId, Refusal, Response,
    Timestamp, Variable, Verify,
};

/// What to read, and how patiently.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct ReadOptions {
    /// Exactly this version; `None` for the newest.
    pub at: Option<Timestamp>,
    /// What the read promises.
    pub consistency: Consistency,
    /// Whether the entry must come with a verified collective signature, to be shown to others. Without it, what
    /// b+1 members agree on is given as the first of them showed it, with a collective signature that may be
    /// anything.
    pub proof: bool,
    /// Nodes that were cut out on proof: they are not asked.
    pub cut: BTreeSet<NodeId>,
    /// Whom to ask first.
    pub hedge: Hedge,
    /// Whom of those to ask for the whole entry, and how long to wait before another is asked for it
    /// too; the others are asked which entry it is. With `after: None` all are asked for all of it.
    pub whole: Hedge,
    /// When to give up, on the driver's clock.
    pub deadline: Duration,
    /// How long one round of questions may take before those who are silent are asked again.
    pub round_timeout: Duration,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The entry, or `None` if the variable (or the version) was never written.
    pub entry: Option<CertifiedEntry>,
    /// Who lied on the way, and how.
    pub culprits: BTreeMap<NodeId, Fault>,
}

/// One read of one variable.
#[derive(Debug)]
pub struct Read {
    configurations: Arc<Configurations>,
    configuration: Arc<Configuration>,
    variable: Variable,
    options: ReadOptions,

    step: Step,
    step_ends: Duration,
    /// When somebody was asked last.
    asked: Duration,
    round: Round,
    /// The last number that was given to a round.
    rounds: Round,
    /// Members of the store group that are asked only if need be.
    spare: Spare,
    wholes: Wholes,
    /// Certificates that were looked for since the nodes were last asked; for each, who had shown
    /// an entry that needs it and then answered that he has not got it.
    fetched: BTreeMap<NodeId, BTreeSet<NodeId>>,
    /// The search that is not answered yet. There is never more than one, so that no answer is
    /// taken for the answer to another.
    fetching: Option<Fetching>,
    /// Entries that were found to be incomplete, and that nobody stores any more: whoever shows one
    /// counts as silent, because a complete one may be hidden behind it.
    nowhere: BTreeSet<EntryHash>,
    elsewhere: Elsewhere,
    culprits: BTreeMap<NodeId, Fault>,
    actions: VecDeque<Action>,
    result: Option<Result<Found, ClientError>>,
}

#[derive(Debug)]
enum Step {
    /// "read": collects entries.
    Asking(Ask<Held>),
    /// A certificate is missing to check the newest entry.
    Fetching(Ask<Held>),
    /// "write back": waits until a quorum of every group holds the entry.
    WritingBack(Box<CertifiedEntry>, Ask<()>),
    /// Its signers were cut out: it is certified again.
    Certifying(Box<Repair>),
    /// It is over.
    Finished,
}

impl Read {
    /// Begins to read `variable`.
    #[must_use]
    pub fn start(
        now: Duration,
        configurations: Arc<Configurations>,
        variable: Variable,
        options: ReadOptions,
    ) -> Self {
        let mut read = Self {
            configuration: Arc::clone(configurations.newest()),
            configurations,
            variable,
            options,
            step: Step::Finished,
            step_ends: now,
            asked: now,
            round: 0,
            rounds: 0,
            spare: Spare::default(),
            wholes: Wholes::default(),
            fetched: BTreeMap::new(),
            fetching: None,
            nowhere: BTreeSet::new(),
            elsewhere: Elsewhere::default(),
            culprits: BTreeMap::new(),
            actions: VecDeque::new(),
            result: None,
        };
        read.ask(now);
        read
    }

    /// The next thing to do. Drain it after every call.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Read::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match self.step {
            Step::Finished => None,
            _ => {
                let ends = self.step_ends.min(self.options.deadline);
                let dues = [self.spare_due(), self.whole_due()];
                dues.into_iter().flatten().chain([ends]).min()
            }
        }
    }

    /// The result, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Found, ClientError>> {
        self.result.as_ref()
    }

    /// Gives the result away.
    ///
    /// # Errors
    /// What went wrong; [`Problem::Unfinished`] if it is not over yet.
    pub fn into_result(self) -> Result<Found, ClientError> {
        self.result.unwrap_or_else(|| Err(ClientError::unfinished()))
    }

    /// Takes an answer to [`Action::Send`].
    pub fn handle_response(
        &mut self,
        now: Duration,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        let shows = self.wholes.has_asked(round, from);
        if !(shows || round == self.round) || !self.configuration.has_member(from) {
            return;
        }
        if !shows && matches!(self.step, Step::Certifying(_)) {
            return self.take_certifying(round, from, response, keys);
        }
        let outcome = open_response(
            &self.configuration,
            from,
            response,
            &mut self.elsewhere,
            &mut self.culprits,
        );
        if self.elsewhere.wants_refresh() {
            self.actions.push_back(Action::Refresh);
        }
        if outcome == Some(Err(Refusal::Changing)) {
            self.step_ends = self.step_ends.min(self.asked.saturating_add(RETRY_CHANGING));
        }
        match &self.step {
            _ if shows => self.take_whole(now, round, outcome, keys),
            Step::Asking(_) => self.take_entry(now, from, outcome, keys),
            Step::WritingBack(..) => self.take_acknowledgement(from, outcome, keys),
            Step::Fetching(_) | Step::Certifying(_) | Step::Finished => {}
        }
        self.ask_spare_if_needed(now);
    }

    /// Learns that [`Action::Fetch`] is done, and which nodes answered it, whether or not they
    /// had the certificates.
    pub fn handle_fetched(
        &mut self,
        now: Duration,
        answered: &BTreeSet<NodeId>,
        keys: &dyn Verify,
    ) {
        if let Some(Fetching { ids, shown_by }) = self.fetching.take() {
            let without: BTreeSet<NodeId> = shown_by.intersection(answered).cloned().collect();
            self.fetched.extend(ids.into_iter().map(|id| (id, without.clone())));
        }
        self.choose(now, keys);
        self.ask_spare_if_needed(now);
    }

    /// Learns what [`Action::Refresh`] came to. Under a new configuration its members are asked
    /// anew: answers under two configurations never count together.
    pub fn handle_configurations(&mut self, now: Duration, known: Arc<Configurations>) {
        self.elsewhere.refreshing = false;
        if known.newest().number() <= self.configuration.number() {
            return;
        }
        self.configuration = Arc::clone(known.newest());
        self.configurations = known;
        self.elsewhere = Elsewhere::default();
        match std::mem::replace(&mut self.step, Step::Finished) {
            Step::Asking(_) | Step::Fetching(_) => self.ask(now),
            Step::WritingBack(entry, _) => {
                self.begin_round(now);
                self.write_back(*entry, &BTreeSet::new());
            }
            Step::Certifying(repair) => self.certify_elsewhere(now, repair.entry().clone()),
            Step::Finished => {}
        }
    }

    /// Goes on without the certificates, or with them.
    fn choose(&mut self, now: Duration, keys: &dyn Verify) {
        let step = std::mem::replace(&mut self.step, Step::Finished);
        if let Step::Fetching(ask) = step {
            self.step = Step::Asking(ask);
            self.evaluate(now, keys);
        } else {
            self.step = step;
        }
    }

    /// To be called when the time of [`Read::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Duration, keys: &dyn Verify) {
        if self.spare_due().is_some_and(|due| now >= due) {
            self.ask_spare(now);
        }
        if self.whole_due().is_some_and(|due| now >= due) {
            self.ask_another(now, keys);
            self.ask_spare_if_needed(now);
        }
        if now >= self.options.deadline {
            self.expire();
        } else if now >= self.step_ends {
            match &self.step {
                Step::Asking(_) => self.ask_again(now, keys),
                Step::Fetching(_) => {
                    self.step_ends = now.saturating_add(self.options.round_timeout);
                    self.choose(now, keys);
                }
                Step::WritingBack(..) => self.write_back_again(now),
                Step::Certifying(_) => self.certify_again(now),
                Step::Finished => {}
            }
        }
    }

    /// A number that no round has had: an answer to one question is never taken for one to another.
    fn next_round(&mut self) -> Round {
        self.rounds = self.rounds.max(self.round).saturating_add(1);
        self.rounds
    }

    // ----- the end -----

    fn expire(&mut self) {
        let problem = match &self.step {
            Step::Finished => return,
            Step::Asking(ask) | Step::Fetching(ask) => {
                let good = ask.answers.nodes();
                self.other_configuration()
                    .unwrap_or_else(|| self.unreachable(Phase::Read, &good, &[]))
            }
            Step::WritingBack(_, ask) => {
                let good = ask.answers.nodes();
                self.unreachable(Phase::WriteBack, &good, self.configuration.cliques())
            }
            Step::Certifying(_) => return self.certify_again(self.options.deadline),
        };
        let culprits = std::mem::take(&mut self.culprits);
        self.step = Step::Finished;
        self.result = Some(Err(ClientError { problem, culprits }));
    }

    fn unreachable(&self, phase: Phase, good: &BTreeSet<NodeId>, more: &[Group]) -> Problem {
        let groups = more.iter().chain([self.configuration.store()]);
        let (have, need, missing) = shortfall(good, groups);
        Problem::Unreachable { phase, have, need, missing }
    }

    fn other_configuration(&self) -> Option<Problem> {
        self.elsewhere.problem([self.configuration.store()])
    }

    fn finish(&mut self, entry: Option<CertifiedEntry>) {
        let culprits = std::mem::take(&mut self.culprits);
        self.step = Step::Finished;
        self.result = Some(Ok(Found { entry, culprits }));
    }

    fn store_members(&self) -> BTreeSet<NodeId> {
        self.configuration
            .store()
            .members()
            .filter(|id| !self.options.cut.contains(*id))
            .cloned()
            .collect()
    }

    fn blame(&mut self, node: &NodeId, fault: Fault) {
        self.culprits.entry(node.clone()).or_insert(fault);
    }

    fn blame_all(&mut self, nodes: &BTreeSet<NodeId>, fault: Fault) {
        nodes.iter().for_each(|node| self.blame(node, fault));
    }
}
