//! READ(x): ask a quorum, take the newest valid entry, write it back if needed. Paper: §4.1 read.
//! Rule R5.

mod certify;
mod write_back;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, Elsewhere, convict, open_response, shortfall};
use super::candidates::{Candidate, Held, newest_first};
use super::hedge::{Hedge, Spare};
use super::repair::Repair;
use super::{Action, ClientError, Consistency, Fault, Lost, Phase, Problem, RETRY_CHANGING, Round};
use crate::planted::{self, Bug};
use crate::{
    Answer, CertifiedEntry, Configuration, Configurations, EntryHash, EquivocationProof, Group,
    NodeId, Progress, Refusal, Request, Response, Tally, Timestamp, Variable, Verify,
    verify_certified,
};

/// What to read, and how patiently.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct ReadOptions {
    /// Exactly this version; `None` for the newest.
    pub at: Option<Timestamp>,
    /// What the read promises.
    pub consistency: Consistency,
    /// Whether the entry must come with a verified collective signature, to be shown to others.
    pub proof: bool,
    /// Nodes that were cut out on proof: they are not asked.
    pub cut: BTreeSet<NodeId>,
    /// Whom to ask first.
    pub hedge: Hedge,
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
    /// Members of the store group that are asked only if need be.
    spare: Spare,
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
            spare: Spare::default(),
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
                Some(self.spare_due().map_or(ends, |due| due.min(ends)))
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
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        if round != self.round || !self.configuration.has_member(from) {
            return;
        }
        if let Step::Certifying(_) = &self.step {
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
            Step::Asking(_) => self.take_entry(from, outcome, keys),
            Step::WritingBack(..) => self.take_acknowledgement(from, outcome, keys),
            Step::Fetching(_) | Step::Certifying(_) | Step::Finished => {}
        }
        self.ask_spare_if_needed();
    }

    /// Learns that [`Action::Fetch`] is done, and which nodes answered it, whether or not they
    /// had the certificates.
    pub fn handle_fetched(&mut self, answered: &BTreeSet<NodeId>, keys: &dyn Verify) {
        if let Some(Fetching { ids, shown_by }) = self.fetching.take() {
            let without: BTreeSet<NodeId> = shown_by.intersection(answered).cloned().collect();
            self.fetched.extend(ids.into_iter().map(|id| (id, without.clone())));
        }
        self.choose(keys);
        self.ask_spare_if_needed();
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
    fn choose(&mut self, keys: &dyn Verify) {
        let step = std::mem::replace(&mut self.step, Step::Finished);
        if let Step::Fetching(ask) = step {
            self.step = Step::Asking(ask);
            self.evaluate(keys);
        } else {
            self.step = step;
        }
    }

    /// To be called when the time of [`Read::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Duration, keys: &dyn Verify) {
        if self.spare_due().is_some_and(|due| now >= due) {
            self.ask_spare();
        }
        if now >= self.options.deadline {
            self.expire();
        } else if now >= self.step_ends {
            match &self.step {
                Step::Asking(_) => self.ask_again(now),
                Step::Fetching(_) => {
                    self.step_ends = now.saturating_add(self.options.round_timeout);
                    self.choose(keys);
                }
                Step::WritingBack(..) => self.write_back_again(now),
                Step::Certifying(_) => self.certify_again(now),
                Step::Finished => {}
            }
        }
    }

    // ----- asking -----

    fn begin_round(&mut self, now: Duration) {
        self.round = self.round.saturating_add(1);
        self.wait(now);
    }

    /// Whoever was just asked has so long to answer.
    fn wait(&mut self, now: Duration) {
        self.asked = now;
        self.step_ends = now.saturating_add(self.options.round_timeout);
        self.spare = Spare::default();
    }

    fn ask(&mut self, now: Duration) {
        self.begin_round(now);
        self.step = Step::Asking(Ask::new(self.round));
        let (mut to, round) = (self.store_members(), self.options.round_timeout);
        let store = [self.configuration.store()];
        self.spare = Spare::out_of(&mut to, &self.options.hedge, store, now, round);
        self.send_read(to);
    }

    /// Asks those who were held back.
    fn ask_spare(&mut self) {
        let spare = self.spare.take();
        self.send_read(spare);
    }

    /// When those who were held back are to be asked. While a certificate is looked for no answer
    /// is taken.
    fn spare_due(&self) -> Option<Duration> {
        matches!(self.step, Step::Asking(_)).then(|| self.spare.due()).flatten()
    }

    /// Those who were asked cannot make a quorum by themselves any more.
    fn ask_spare_if_needed(&mut self) {
        let Step::Asking(ask) = &self.step else { return };
        if ask.needs(self.spare.nodes(), [self.configuration.store()]) {
            self.ask_spare();
        }
    }

    /// Those who were silent are asked again; answers that came stay.
    fn ask_again(&mut self, now: Duration) {
        let members = self.store_members();
        let Step::Asking(ask) = &mut self.step else { return };
        ask.lost.clear();
        // Whoever has a certificate may have been slow to show it.
        self.fetched.clear();
        let heard = ask.answers.nodes();
        self.wait(now);
        self.send_read(members.difference(&heard).cloned().collect());
    }

    fn send_read(&mut self, to: BTreeSet<NodeId>) {
        let request =
            Box::new(Request::Read { variable: self.variable.clone(), at: self.options.at });
        self.actions.push_back(Action::Send { round: self.round, to, request });
    }

    fn take_entry(&mut self, from: &NodeId, outcome: Option<crate::Outcome>, keys: &dyn Verify) {
        let candidate = match outcome {
            Some(Ok(Answer::Entry(entry))) => self.check_fit(from, entry),
            Some(Ok(_)) => {
                self.blame(from, Fault::BadAnswer);
                None
            }
            Some(Err(_)) | None => None,
        };
        let Step::Asking(ask) = &mut self.step else { return };
        match candidate {
            Some(candidate) => ask.answers.note(from.clone(), candidate),
            None => ask.lose(from),
        }
        let few = planted::is(Bug::FewAnswers) && ask.answers.len() > 1;
        if few || ask.progress([self.configuration.store()]) == Progress::Reached {
            self.evaluate(keys);
        }
    }

    /// An answer about another variable or version is a lie.
    fn check_fit(&mut self, from: &NodeId, entry: Option<Box<CertifiedEntry>>) -> Option<Held> {
        let Some(entry) = entry else { return Some(None) };
        let fits = *entry.variable() == self.variable
            && self.options.at.is_none_or(|at| at == entry.timestamp());
        if !fits {
            self.blame(from, Fault::BadEntry);
            return None;
        }
        Some(Some((entry.hash(), entry)))
    }

    // ----- choosing -----

    /// Paper: §4.1 read, "discard pairs that do not have sufficient number of valid signatures;
    /// choose a pair with maximum timestamp".
    fn evaluate(&mut self, keys: &dyn Verify) {
        let step = std::mem::replace(&mut self.step, Step::Finished);
        let Step::Asking(mut ask) = step else {
            self.step = step;
            return;
        };
        let few = |ask: &Ask<Held>| planted::is(Bug::FewAnswers) && ask.answers.len() > 1;
        while few(&ask) || ask.progress([self.configuration.store()]) == Progress::Reached {
            match self.pick(&ask.answers, keys) {
                Pick::Entry(entry, holders) => return self.conclude(*entry, &holders),
                Pick::Absent => return self.finish(None),
                Pick::Fetch(ids, shown_by) => {
                    self.actions.push_back(Action::Fetch(ids.clone()));
                    self.fetching = Some(Fetching { ids, shown_by });
                    self.step = Step::Fetching(ask);
                    return;
                }
                Pick::Withdraw(holders) => holders.iter().for_each(|node| ask.withdraw(node)),
            }
        }
        self.step = Step::Asking(ask);
    }

    fn pick(&mut self, answers: &Tally<Held>, keys: &dyn Verify) -> Pick {
        let candidates = newest_first(answers);
        let enough = self.configuration.store().thresholds().one_honest();
        for candidate in &candidates {
            // One of b+1 is honest, and has verified what it stores.
            let vouched = candidate.holders.len() >= enough;
            if !vouched && self.nowhere.contains(&candidate.hash) {
                return Pick::Withdraw(candidate.holders.clone());
            }
            let checked = if vouched && !self.needs_proof(candidate) {
                Checked::Valid(candidate.first.clone())
            } else {
                self.check(candidate, keys)
            };
            match checked {
                Checked::Valid(entry) => {
                    self.report_equivocation(&candidates, &entry, keys);
                    return Pick::Entry(Box::new(entry), candidate.holders.clone());
                }
                Checked::Missing(ids) => return Pick::Fetch(ids, candidate.holders.clone()),
                Checked::Unbacked(ids) => {
                    self.blame_unbacked(&candidate.holders, &ids);
                    return Pick::Withdraw(candidate.holders.clone());
                }
                Checked::Bad => self.blame_all(&candidate.holders, Fault::BadEntry),
            }
        }
        Pick::Absent
    }

    /// Whoever stores an entry has checked it and keeps its writer's certificate. One who shows
    /// an entry and answers that it has no such certificate made it up; one who was silent may
    /// be slow. Neither answer can count.
    fn blame_unbacked(&mut self, holders: &BTreeSet<NodeId>, ids: &BTreeSet<NodeId>) {
        let without = ids.iter().filter_map(|id| self.fetched.get(id)).flatten();
        let liars: BTreeSet<NodeId> = without.filter(|id| holders.contains(*id)).cloned().collect();
        self.blame_all(&liars, Fault::BadEntry);
    }

    /// Whether a valid S is needed, and not only the certainty that there is one: members that
    /// agree on <x,t,v,s_C> each bring an S of their own.
    fn needs_proof(&self, candidate: &Candidate<'_>) -> bool {
        self.options.proof || !self.is_settled(candidate.first, &candidate.holders)
    }

    /// Whether a quorum holds the entry already, so that nothing needs to be written back.
    fn is_settled(&self, entry: &CertifiedEntry, holders: &BTreeSet<NodeId>) -> bool {
        let store = self.configuration.store();
        let held = store.count(holders) >= store.thresholds().q();
        // A Final must also be known to the signers, who else could let something follow it.
        let sealed_here = entry.entry().is_final && !self.configuration.store_is_authority();
        self.options.at.is_some() || (held && !sealed_here)
    }

    /// Looks for a copy with a valid S.
    fn check(&self, candidate: &Candidate<'_>, keys: &dyn Verify) -> Checked {
        let mut missing = BTreeSet::new();
        for copy in &candidate.copies {
            match verify_certified(copy, &self.configurations, keys) {
                _ if planted::is(Bug::ReadUnverified) => return Checked::Valid((*copy).clone()),
                Ok(()) => return Checked::Valid((*copy).clone()),
                Err(invalid) => missing.extend(invalid.missing_certificate().cloned()),
            }
        }
        if missing.is_empty() {
            return Checked::Bad;
        }
        let is_new = missing.iter().all(|id| !self.fetched.contains_key(id));
        if is_new && self.fetching.is_none() {
            Checked::Missing(missing)
        } else {
            Checked::Unbacked(missing)
        }
    }

    /// Paper: §4.1 read, "revoke all signers who have signed <t,v> and <t,v'>".
    fn report_equivocation(
        &mut self,
        candidates: &[Candidate<'_>],
        chosen: &CertifiedEntry,
        keys: &dyn Verify,
    ) {
        let hash = chosen.hash();
        let rivals = candidates
            .iter()
            .filter(|c| c.first.timestamp() == chosen.timestamp() && c.hash != hash)
            .flat_map(|c| &c.copies);
        for rival in rivals {
            let proofs = EquivocationProof::of_certified(chosen, rival, &self.configurations, keys);
            convict(proofs, &mut self.culprits, &mut self.actions);
        }
    }

    fn conclude(&mut self, entry: CertifiedEntry, holders: &BTreeSet<NodeId>) {
        if self.is_settled(&entry, holders) {
            self.finish(Some(entry));
        } else {
            self.write_back(entry, holders);
        }
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

/// A search for certificates.
#[derive(Debug)]
struct Fetching {
    ids: BTreeSet<NodeId>,
    /// Who had shown an entry that needs them when the search began: an honest one has them.
    shown_by: BTreeSet<NodeId>,
}

enum Checked {
    Valid(CertifiedEntry),
    /// A certificate is missing that was not looked for yet.
    Missing(BTreeSet<NodeId>),
    /// A certificate is missing that could not be found.
    Unbacked(BTreeSet<NodeId>),
    Bad,
}

/// What the answers come to.
enum Pick {
    Entry(Box<CertifiedEntry>, BTreeSet<NodeId>),
    Absent,
    /// Which certificates to look for, and who showed an entry that needs them.
    Fetch(BTreeSet<NodeId>, BTreeSet<NodeId>),
    Withdraw(BTreeSet<NodeId>),
}
