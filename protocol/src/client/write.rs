//! WRITE(x, v): time, sign, store. Paper: §4.1 write. Rule R2.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, shortfall};
use super::jitter::Jitter;
use super::refused::{Obstacle, Verdict};
use super::timestamp_choice::{TimeAnswer, base, choose, proof};
use super::{Action, ClientError, Fault, Lost, Phase, Problem, Round, newer};
use crate::{
    Address, Answer, CertifiedEntry, CollectiveSignature, Configuration, Entry, EntryId, Evidence,
    Group, NodeId, Outcome, Progress, Purpose, Refusal, Request, Response, ShareStatement,
    SignatureShare, SignedEntry, SignedTime, Tally, TimeStatement, Timestamp, Value, Variable,
    Verify, verify_certified,
};

/// Who writes, and how patiently.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct Options {
    /// The writer's certificate.
    pub me: NodeId,
    /// The address in its user ID under which it writes.
    pub owner: Address,
    /// When to give up, on the driver's clock.
    pub deadline: Duration,
    /// How long one round of questions may take before those who are silent count as lost.
    pub round_timeout: Duration,
    /// The unit of the jittered backoff between attempts.
    pub backoff: Duration,
    /// Seeds the jitter.
    pub seed: u64,
    /// Nodes that were cut out on proof: they are not asked.
    pub cut: BTreeSet<NodeId>,
    /// Attempts on this variable that a crashed process of this home left behind and that never
    /// had all their shares: they are abandoned first.
    pub leftovers: Vec<EntryId>,
}

/// What a successful write tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// t of the new entry.
    pub timestamp: Timestamp,
    /// The certified entry.
    pub entry: CertifiedEntry,
    /// Who lied on the way, and how.
    pub culprits: BTreeMap<NodeId, Fault>,
}

/// Why the writer's home did not reserve (x, t).
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "used or broken")]
pub enum Reserve {
    /// Another attempt of this certificate used t or a later one.
    Used {
        /// The largest t used for the variable.
        mark: Timestamp,
    },
    /// The key could not sign, or the home could not be written.
    Failed(String),
}

/// One write of one value. See the module's picture.
#[derive(Debug)]
pub struct Write {
    configuration: Arc<Configuration>,
    options: Options,
    variable: Variable,
    value: Value,
    is_final: bool,

    step: Step,
    step_ends: Duration,
    round: Round,
    attempt: u32,
    jitter: Jitter,

    base: Timestamp,
    hint: Timestamp,
    mark: Timestamp,
    known: Option<CertifiedEntry>,
    unchecked: Vec<(NodeId, CertifiedEntry)>,
    evidence: Evidence,

    obstacle: Obstacle,
    elsewhere: Tally<crate::ConfigurationDigest>,
    culprits: BTreeMap<NodeId, Fault>,
    actions: VecDeque<Action>,
    result: Option<Result<Written, ClientError>>,
}

/// The paper's lines, in order.
#[derive(Debug)]
enum Step {
    /// "get time": collects timestamps.
    Timestamps(Ask<TimeAnswer>),
    /// The home signs the entry and remembers it.
    Reserving,
    /// "echo request": collects S.
    Signing(Box<Signing>),
    /// The home remembers that S is complete.
    Recording(Box<CertifiedEntry>),
    /// "write": collects acknowledgements.
    Storing(Box<CertifiedEntry>, Ask<()>),
    /// Waits before the next attempt.
    BackingOff,
    /// It is over.
    Finished,
}

#[derive(Debug)]
struct Signing {
    entry: SignedEntry,
    attempt: EntryId,
    statement: Vec<u8>,
    shares: Ask<SignatureShare>,
    refusals: Tally<Refusal>,
}

impl Write {
    /// Begins to write `value` to `variable`; with `is_final`, nothing else may ever follow it.
    #[must_use]
    pub fn start(
        now: Duration,
        configuration: Arc<Configuration>,
        variable: Variable,
        value: Value,
        is_final: bool,
        options: Options,
    ) -> Self {
        let mut write = Self {
            jitter: Jitter::new(options.seed),
            configuration,
            variable,
            value,
            is_final,
            step: Step::BackingOff,
            step_ends: now,
            round: 0,
            attempt: 0,
            base: Timestamp::ZERO,
            hint: Timestamp::ZERO,
            mark: Timestamp::ZERO,
            known: None,
            unchecked: Vec::new(),
            evidence: Evidence::default(),
            obstacle: Obstacle::None,
            elsewhere: Tally::default(),
            culprits: BTreeMap::new(),
            actions: VecDeque::new(),
            result: None,
            options,
        };
        for attempt in std::mem::take(&mut write.options.leftovers) {
            write.abandon(attempt);
        }
        write.ask_time(now);
        write
    }

    /// The next thing to do. Drain it after every call.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Write::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        match self.step {
            Step::Finished => None,
            Step::Reserving | Step::Recording(_) => Some(self.options.deadline),
            _ => Some(self.step_ends.min(self.options.deadline)),
        }
    }

    /// The result, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Written, ClientError>> {
        self.result.as_ref()
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
        if round != self.round || !self.configuration.has_member(from) {
            return;
        }
        let outcome = self.open_response(from, response);
        match &mut self.step {
            Step::Timestamps(_) => self.take_time(now, from, outcome, keys),
            Step::Signing(_) => self.take_share(now, from, outcome, keys),
            Step::Storing(..) => self.take_acknowledgement(from, outcome, keys),
            Step::BackingOff => self.take_abandons(outcome),
            Step::Reserving | Step::Recording(_) | Step::Finished => {}
        }
    }

    /// An answer under another configuration does not count (rule R1).
    fn open_response(
        &mut self,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) -> Option<Outcome> {
        match response {
            Ok(response) if response.configuration == self.configuration.digest() => {
                Some(response.outcome)
            }
            Ok(response) => {
                self.elsewhere.note(from.clone(), response.configuration);
                None
            }
            Err(Lost::Lied) => {
                self.blame(from, Fault::BadAnswer);
                None
            }
            Err(Lost::Silent) => None,
        }
    }

    /// Takes what [`Action::Reserve`] came to.
    pub fn handle_reserved(&mut self, now: Duration, reserved: Result<SignedEntry, Reserve>) {
        if !matches!(self.step, Step::Reserving) {
            return;
        }
        match reserved {
            Ok(entry) => self.ask_shares(now, entry),
            Err(Reserve::Used { mark }) => {
                self.mark = self.mark.max(mark);
                self.reserve();
            }
            Err(Reserve::Failed(reason)) => self.fail(Problem::Own(reason)),
        }
    }

    /// Learns that [`Action::RecordAssembled`] is on disk, or why it is not.
    pub fn handle_recorded(&mut self, now: Duration, recorded: Result<(), String>) {
        let Step::Recording(certified) = &self.step else { return };
        let certified = (**certified).clone();
        match recorded {
            Ok(()) => self.store(now, certified),
            Err(reason) => self.fail(Problem::Own(reason)),
        }
    }

    /// Learns that [`Action::Fetch`] is done, well or not.
    pub fn handle_fetched(&mut self, keys: &dyn Verify) {
        for (from, entry) in std::mem::take(&mut self.unchecked) {
            match verify_certified(&entry, &self.configuration, keys) {
                Ok(()) => self.known = Some(newer(self.known.take(), entry)),
                // Who sent it may be slow to show the certificate: that is no crime.
                Err(invalid) if invalid.missing_certificate().is_some() => {}
                Err(_) => self.blame(&from, Fault::BadEntry),
            }
        }
        if matches!(self.step, Step::BackingOff)
            && let Some(problem) = self.forbidden()
        {
            self.fail(problem);
        }
    }

    /// To be called when the time of [`Write::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if now >= self.options.deadline {
            self.expire();
        } else if now >= self.step_ends {
            match &mut self.step {
                Step::Timestamps(_) => self.back_off(now),
                Step::Signing(_) => self.give_up_attempt(now),
                Step::Storing(..) => self.store_again(now),
                Step::BackingOff => self.ask_time(now),
                Step::Reserving | Step::Recording(_) | Step::Finished => {}
            }
        }
    }

    // ----- step 1: time -----

    /// Paper: §4.1 write, "get time", to a quorum of QS_A.
    fn ask_time(&mut self, now: Duration) {
        self.attempt = self.attempt.saturating_add(1);
        self.next_round(now);
        self.step = Step::Timestamps(Ask::new(self.round));
        // The first attempt saves the members a signature; a later one needs the evidence.
        let evidence = self.attempt > 1;
        self.send(self.authority(), Request::Time { variable: self.variable.clone(), evidence });
    }

    fn take_time(
        &mut self,
        now: Duration,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let answer = match outcome {
            Some(Ok(Answer::Time { seen, latest, signature })) => {
                self.check_time(from, seen, latest, signature, keys)
            }
            Some(Ok(_)) => {
                self.blame(from, Fault::BadAnswer);
                None
            }
            Some(Err(_)) | None => None,
        };
        let Step::Timestamps(ask) = &mut self.step else { return };
        match answer {
            Some(answer) => ask.answers.note(from.clone(), answer),
            None => ask.lose(from),
        }
        match ask.progress(self.configuration.cliques()) {
            Progress::Reached => self.choose_timestamp(),
            Progress::Unreachable => self.back_off(now),
            Progress::Pending => {}
        }
    }

    fn check_time(
        &mut self,
        from: &NodeId,
        seen: Timestamp,
        latest: Option<Box<CertifiedEntry>>,
        signature: Option<crate::SignatureBytes>,
        keys: &dyn Verify,
    ) -> Option<TimeAnswer> {
        if let Some(latest) = latest {
            self.learn(from, *latest, keys);
        }
        let Some(signature) = signature else {
            return Some(TimeAnswer { seen, signed: None });
        };
        let statement = TimeStatement {
            realm: self.configuration.realm().clone(),
            configuration: self.configuration.digest(),
            variable: self.variable.clone(),
            seen,
        };
        if keys.verify(from, Purpose::Time, &statement.signed_bytes(), &signature).is_err() {
            self.blame(from, Fault::BadTime);
            return None;
        }
        Some(TimeAnswer {
            seen,
            signed: Some(SignedTime { signer: from.clone(), seen, signature }),
        })
    }

    /// Paper: §4.1 write, "t <- max(t_i) + 1".
    fn choose_timestamp(&mut self) {
        let Step::Timestamps(ask) = &self.step else { return };
        self.base = base(&ask.answers, self.configuration.cliques());
        let times = proof(&ask.answers, self.configuration.cliques());
        self.evidence = Evidence { latest: self.known.clone().map(Box::new), times };
        match self.forbidden() {
            Some(problem) => self.fail(problem),
            None => self.reserve(),
        }
    }

    /// Whether the newest certified entry forbids this write.
    fn forbidden(&self) -> Option<Problem> {
        let known = self.known.as_ref()?;
        let last = known.entry();
        if last.writer != self.options.me && last.owner != self.options.owner {
            return Some(Problem::NotOwner(Box::new(known.clone())));
        }
        let same = self.is_final && last.value == self.value;
        (last.is_final && !same).then(|| Problem::Sealed(Box::new(known.clone())))
    }

    // ----- step 2: sign -----

    fn reserve(&mut self) {
        let known = self.known.as_ref().map_or(Timestamp::ZERO, CertifiedEntry::timestamp);
        let entry = Entry {
            realm: self.configuration.realm().clone(),
            variable: self.variable.clone(),
            timestamp: choose(self.base, self.hint, known, self.mark),
            value: self.value.clone(),
            is_final: self.is_final,
            writer: self.options.me.clone(),
            owner: self.options.owner.clone(),
        };
        self.step = Step::Reserving;
        self.actions.push_back(Action::Reserve(Box::new(entry)));
    }

    /// Paper: §4.1 write, "echo request".
    fn ask_shares(&mut self, now: Duration, entry: SignedEntry) {
        self.next_round(now);
        let attempt = entry.id();
        let statement = ShareStatement {
            realm: entry.entry.realm.clone(),
            configuration: self.configuration.digest(),
            variable: attempt.variable.clone(),
            timestamp: attempt.timestamp,
            entry: attempt.hash,
        };
        let request = Request::Sign { entry: entry.clone(), evidence: self.evidence.clone() };
        self.step = Step::Signing(Box::new(Signing {
            entry,
            attempt,
            statement: statement.signed_bytes(),
            shares: Ask::new(self.round),
            refusals: Tally::default(),
        }));
        self.send(self.authority(), request);
    }

    /// Each share is verified when it arrives, so that a bad one names its sender.
    fn take_share(
        &mut self,
        now: Duration,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let Step::Signing(signing) = &mut self.step else { return };
        match outcome {
            Some(Ok(Answer::Share(share))) => {
                let is_own = share.signer == *from;
                let valid =
                    keys.verify(from, Purpose::Share, &signing.statement, &share.signature).is_ok();
                if is_own && valid {
                    signing.shares.answers.note(from.clone(), share);
                } else {
                    signing.shares.lose(from);
                    self.blame(from, Fault::BadShare);
                }
            }
            Some(Ok(_)) => {
                signing.shares.lose(from);
                self.blame(from, Fault::BadAnswer);
            }
            Some(Err(refusal)) => {
                signing.shares.lose(from);
                signing.refusals.note(from.clone(), refusal.clone());
                self.heed(from, refusal, keys);
            }
            None => signing.shares.lose(from),
        }
        let Step::Signing(signing) = &self.step else { return };
        match signing.shares.progress(self.configuration.cliques()) {
            Progress::Reached => self.assemble(),
            Progress::Unreachable => self.give_up_attempt(now),
            Progress::Pending => {}
        }
    }

    /// Learns what a refusal tells, once its proof is checked.
    fn heed(&mut self, from: &NodeId, refusal: Refusal, keys: &dyn Verify) {
        match refusal {
            Refusal::OldTimestamp { seen } => self.hint = self.hint.max(seen),
            Refusal::NotOwner(entry) | Refusal::Sealed(entry) => self.learn(from, *entry, keys),
            Refusal::Equivocation(proofs) => {
                for proof in proofs {
                    if proof.verify(&self.configuration, keys).is_ok() {
                        self.blame(&proof.guilty().clone(), Fault::Equivocation);
                        self.actions.push_back(Action::Accuse(proof));
                    } else {
                        self.blame(from, Fault::BadAnswer);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes a certified entry from a member: evidence if it is valid, a lie if it is not.
    fn learn(&mut self, from: &NodeId, entry: CertifiedEntry, keys: &dyn Verify) {
        if *entry.variable() != self.variable {
            self.blame(from, Fault::BadEntry);
            return;
        }
        match verify_certified(&entry, &self.configuration, keys) {
            Ok(()) => self.known = Some(newer(self.known.take(), entry)),
            Err(invalid) => match invalid.missing_certificate() {
                Some(id) => {
                    self.actions.push_back(Action::Fetch(BTreeSet::from([id.clone()])));
                    self.unchecked.push((from.clone(), entry));
                }
                None => self.blame(from, Fault::BadEntry),
            },
        }
    }

    /// S is complete: from now on the attempt is finished or unknown, never failed.
    fn assemble(&mut self) {
        let Step::Signing(signing) = &self.step else { return };
        let shares = self.configuration.cliques().iter().flat_map(|clique| {
            let of_clique = signing.shares.answers.iter().filter(|(id, _)| clique.contains(id));
            of_clique.take(clique.thresholds().q()).map(|(_, share)| share.clone())
        });
        let collective = CollectiveSignature::new(self.configuration.digest(), shares.collect());
        let certified = CertifiedEntry { signed: signing.entry.clone(), collective };
        self.actions.push_back(Action::RecordAssembled(signing.attempt.clone()));
        self.step = Step::Recording(Box::new(certified));
    }

    /// The attempt can no longer get all its shares: abandon it, and try again with a fresh t.
    fn give_up_attempt(&mut self, now: Duration) {
        if let Some(problem) = self.drop_attempt() {
            self.fail(problem);
            return;
        }
        if matches!(self.obstacle, Obstacle::Others(_)) {
            self.back_off(now);
            // Whoever was refused may relay what the other writer has abandoned.
            let request = Request::Abandoned { variable: self.variable.clone() };
            self.send(self.authority(), request);
        } else {
            self.back_off(now);
        }
    }

    /// Abandons the attempt; tells whether trying again is pointless.
    fn drop_attempt(&mut self) -> Option<Problem> {
        let Step::Signing(signing) = &self.step else { return None };
        let verdict = Verdict::of(&signing.refusals, self.configuration.cliques());
        let good = signing.shares.answers.nodes();
        let attempt = signing.attempt.clone();
        self.abandon(attempt);
        match verdict {
            Verdict::Fatal(problem) => return Some(problem),
            Verdict::Retry(Obstacle::None) => {
                let (have, need, missing) = shortfall(&good, self.configuration.cliques());
                self.obstacle = Obstacle::Silence(Phase::Sign, have, need, missing);
            }
            Verdict::Retry(obstacle) => self.obstacle = obstacle,
        }
        self.forbidden()
    }

    fn abandon(&mut self, attempt: EntryId) {
        let evidence = self.evidence.clone();
        self.actions.push_back(Action::Abandon {
            to: self.authority(),
            attempt: attempt.clone(),
            evidence,
        });
        self.actions.push_back(Action::Settle(attempt));
    }

    /// Relays abandon messages of other writers to everyone, once for each round.
    fn take_abandons(&mut self, outcome: Option<Outcome>) {
        let Some(Ok(Answer::Abandons(abandons))) = outcome else { return };
        for abandon in abandons.into_iter().take(crate::Marks::MAX_ABANDONS) {
            if abandon.attempt.variable == self.variable && abandon.writer != self.options.me {
                let evidence = self.evidence.clone();
                let request = Box::new(Request::Abandon { abandon, evidence });
                self.actions.push_back(Action::Post { to: self.authority(), request });
            }
        }
    }

    // ----- step 3: store -----

    /// Paper: §4.1 write, "write", to the clique and to the store group.
    ///
    /// Differs: the text stores outside the cliques only; signers would then not know who owns x.
    fn store(&mut self, now: Duration, certified: CertifiedEntry) {
        self.next_round(now);
        let request = Request::Store { entry: certified.clone() };
        self.step = Step::Storing(Box::new(certified), Ask::new(self.round));
        self.send(self.everyone(), request);
    }

    fn take_acknowledgement(&mut self, from: &NodeId, outcome: Option<Outcome>, keys: &dyn Verify) {
        let Step::Storing(certified, ask) = &mut self.step else { return };
        match outcome {
            Some(Ok(Answer::Done)) => ask.answers.note(from.clone(), ()),
            Some(Ok(_)) => {
                ask.lose(from);
                self.blame(from, Fault::BadAnswer);
                return;
            }
            Some(Err(refusal)) => {
                ask.lose(from);
                self.heed(from, refusal, keys);
                return;
            }
            None => {
                ask.lose(from);
                return;
            }
        }
        let groups = self.configuration.cliques().iter().chain([self.configuration.store()]);
        if ask.progress(groups) == Progress::Reached {
            let entry = (**certified).clone();
            self.actions.push_back(Action::Settle(entry.signed.id()));
            let culprits = std::mem::take(&mut self.culprits);
            let written = Written { timestamp: entry.timestamp(), entry, culprits };
            self.step = Step::Finished;
            self.result = Some(Ok(written));
        }
    }

    /// Asks those again who have not acknowledged, until the deadline.
    fn store_again(&mut self, now: Duration) {
        let everyone = self.everyone();
        let Step::Storing(certified, ask) = &mut self.step else { return };
        ask.lost.clear();
        let good = ask.answers.nodes();
        let request = Request::Store { entry: (**certified).clone() };
        self.step_ends = now.saturating_add(self.options.round_timeout);
        self.send(everyone.difference(&good).cloned().collect(), request);
    }

    // ----- the end -----

    fn expire(&mut self) {
        match &self.step {
            Step::Finished => return,
            Step::Recording(certified) | Step::Storing(certified, _) => {
                let good = match &self.step {
                    Step::Storing(_, ask) => ask.answers.nodes(),
                    _ => BTreeSet::new(),
                };
                let groups = self.groups();
                let (have, need, missing) = shortfall(&good, groups);
                let timestamp = certified.timestamp();
                self.fail(Problem::Unknown { timestamp, have, need, missing });
                return;
            }
            Step::Timestamps(ask) => self.note_silence(Phase::Time, &ask.answers.nodes()),
            Step::Signing(_) => {
                if let Some(problem) = self.drop_attempt() {
                    self.fail(problem);
                    return;
                }
            }
            Step::Reserving | Step::BackingOff => {}
        }
        let problem = match self.other_configuration() {
            Some(problem) => problem,
            None => std::mem::replace(&mut self.obstacle, Obstacle::None).into_problem(),
        };
        self.fail(problem);
    }

    fn note_silence(&mut self, phase: Phase, good: &BTreeSet<NodeId>) {
        let (have, need, missing) = shortfall(good, self.configuration.cliques());
        self.obstacle = Obstacle::Silence(phase, have, need, missing);
    }

    /// More than b members with another configuration: at least one is honest.
    fn other_configuration(&self) -> Option<Problem> {
        let nodes = self.elsewhere.nodes();
        let lost = |c: &Group| c.count(&nodes) >= c.thresholds().one_honest();
        let (_, theirs) = self.elsewhere.iter().next()?;
        let any = self.configuration.cliques().iter().any(lost);
        any.then_some(Problem::OtherConfiguration { theirs: *theirs })
    }

    fn back_off(&mut self, now: Duration) {
        if let Step::Timestamps(ask) = &self.step {
            let good = ask.answers.nodes();
            self.note_silence(Phase::Time, &good);
        }
        if let Some(problem) = self.other_configuration() {
            self.fail(problem);
            return;
        }
        self.round = self.round.saturating_add(1);
        let wait = self.jitter.backoff(self.options.backoff, self.attempt);
        self.step = Step::BackingOff;
        self.step_ends = now.saturating_add(wait);
    }

    fn fail(&mut self, problem: Problem) {
        let culprits = std::mem::take(&mut self.culprits);
        self.step = Step::Finished;
        self.result = Some(Err(ClientError { problem, culprits }));
    }

    // ----- helpers -----

    fn next_round(&mut self, now: Duration) {
        self.round = self.round.saturating_add(1);
        self.step_ends = now.saturating_add(self.options.round_timeout);
    }

    fn send(&mut self, to: BTreeSet<NodeId>, request: Request) {
        self.actions.push_back(Action::Send { round: self.round, to, request: Box::new(request) });
    }

    fn blame(&mut self, node: &NodeId, fault: Fault) {
        self.culprits.entry(node.clone()).or_insert(fault);
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.configuration.cliques().iter().chain([self.configuration.store()])
    }

    fn authority(&self) -> BTreeSet<NodeId> {
        self.configuration.authority().difference(&self.options.cut).cloned().collect()
    }

    fn everyone(&self) -> BTreeSet<NodeId> {
        self.configuration.everyone().difference(&self.options.cut).cloned().collect()
    }
}
