//! WRITE(x, v): time, sign, store. Paper: §4.1 write. Rule R2.

mod ending;
mod sign;
mod store;
mod time;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::ask::{Ask, Elsewhere, open_response};
use super::hedge::{Hedge, Spare};
use super::jitter::Jitter;
use super::refused::Obstacle;
use super::timestamp_choice::TimeAnswer;
use super::{Action, ClientError, Fault, Lost, Problem, Round, newer};
use crate::{
    Abandon, Address, CertifiedEntry, Configuration, Configurations, EntryId, Evidence, Group,
    NodeId, Refusal, Request, Response, SignatureShare, SignedEntry, Tally, Timestamp, Value,
    Variable, Verify, verify_certified,
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
    /// Whom a first attempt asks first.
    pub hedge: Hedge,
    /// Attempts on this variable that a crashed process of this home left behind and that never
    /// had all their shares: they are abandoned first.
    pub leftovers: Vec<EntryId>,
    /// The timestamp of this writer's own newest entry, if it knows that all who must have it do.
    /// The first attempt then signs at once, above it. If it is no longer the newest, the members
    /// refuse, and the second attempt asks for the time.
    pub last: Option<Timestamp>,
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
    configurations: Arc<Configurations>,
    configuration: Arc<Configuration>,
    options: Options,
    variable: Variable,
    value: Value,
    is_final: bool,

    step: Step,
    step_ends: Duration,
    /// When the last round of questions began.
    asked: Duration,
    round: Round,
    /// Members of this round that are asked only if need be.
    spare: Spare,
    attempt: u32,
    jitter: Jitter,

    base: Timestamp,
    hint: Timestamp,
    mark: Timestamp,
    known: Option<CertifiedEntry>,
    unchecked: Vec<(NodeId, CertifiedEntry)>,
    evidence: Evidence,
    /// Abandons that were passed on since the last attempt.
    relayed: Vec<Abandon>,
    /// Attempts of this writer that were abandoned by this write.
    given_up: Vec<EntryId>,

    obstacle: Obstacle,
    /// What each member said last when it refused, over all attempts. An attempt is over with the
    /// first few refusals, and those may all be lies.
    refused: Tally<Refusal>,
    elsewhere: Elsewhere,
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
        configurations: Arc<Configurations>,
        variable: Variable,
        value: Value,
        is_final: bool,
        options: Options,
    ) -> Self {
        let mut write = Self {
            jitter: Jitter::new(options.seed),
            configuration: Arc::clone(configurations.newest()),
            configurations,
            variable,
            value,
            is_final,
            step: Step::BackingOff,
            step_ends: now,
            asked: now,
            round: 0,
            spare: Spare::default(),
            attempt: 0,
            base: Timestamp::ZERO,
            hint: Timestamp::ZERO,
            mark: Timestamp::ZERO,
            known: None,
            unchecked: Vec::new(),
            evidence: Evidence::default(),
            relayed: Vec::new(),
            given_up: Vec::new(),
            obstacle: Obstacle::None,
            refused: Tally::default(),
            elsewhere: Elsewhere::default(),
            culprits: BTreeMap::new(),
            actions: VecDeque::new(),
            result: None,
            options,
        };
        for attempt in std::mem::take(&mut write.options.leftovers) {
            write.abandon(attempt);
        }
        match write.options.last {
            Some(last) => write.skip_time(last),
            None => write.ask_time(now),
        }
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
            _ => {
                let ends = self.step_ends.min(self.options.deadline);
                Some(self.spare_due().map_or(ends, |due| due.min(ends)))
            }
        }
    }

    /// The result, once there is one.
    #[must_use]
    pub fn result(&self) -> Option<&Result<Written, ClientError>> {
        self.result.as_ref()
    }

    /// Gives the result away.
    ///
    /// # Errors
    /// What went wrong; [`Problem::Unfinished`] if it is not over yet.
    pub fn into_result(self) -> Result<Written, ClientError> {
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
        if round != self.round || !self.configuration.has_member(from) {
            return;
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
        match &mut self.step {
            Step::Timestamps(_) => self.take_time(now, from, outcome, keys),
            Step::Signing(_) => self.take_share(now, from, outcome, keys),
            Step::Storing(..) => self.take_acknowledgement(from, outcome, keys),
            Step::BackingOff => self.take_abandons(from, outcome, keys),
            Step::Reserving | Step::Recording(_) | Step::Finished => {}
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
        if !matches!(self.step, Step::Recording(_)) {
            return;
        }
        // Every path below sets the next step. The entry may be large, so it is not copied.
        match (std::mem::replace(&mut self.step, Step::Finished), recorded) {
            (Step::Recording(certified), Ok(())) => self.store(now, certified),
            (_, Err(reason)) => self.fail(Problem::Own(reason)),
            _ => {}
        }
    }

    /// Learns that [`Action::Fetch`] is done, well or not.
    pub fn handle_fetched(&mut self, keys: &dyn Verify) {
        for (from, entry) in std::mem::take(&mut self.unchecked) {
            match verify_certified(&entry, &self.configurations, keys) {
                Ok(()) => self.known = Some(newer(self.known.take(), entry)),
                // Who sent it may be slow to show the certificate: that is no crime.
                Err(invalid) if invalid.missing_certificate().is_some() => {}
                Err(_) => self.blame(&from, Fault::BadEntry),
            }
        }
        if matches!(self.step, Step::BackingOff)
            && let Some(problem) = self.surely_forbidden()
        {
            self.fail(problem);
        }
    }

    /// Learns what [`Action::Refresh`] came to. Under a new configuration an attempt whose shares
    /// are not complete begins anew; an entry that is certified is stored at the new members.
    pub fn handle_configurations(&mut self, now: Duration, known: Arc<Configurations>) {
        self.elsewhere.refreshing = false;
        if known.newest().number() <= self.configuration.number() {
            self.fail_elsewhere();
            return;
        }
        self.configuration = Arc::clone(known.newest());
        self.configurations = known;
        self.elsewhere = Elsewhere::default();
        match &self.step {
            Step::Signing(signing) => {
                let attempt = signing.attempt.clone();
                self.abandon(attempt);
                self.ask_time(now);
            }
            Step::Timestamps(_) | Step::BackingOff => self.ask_time(now),
            Step::Storing(certified, _) => {
                let certified = certified.clone();
                self.store(now, certified);
            }
            Step::Reserving | Step::Recording(_) | Step::Finished => {}
        }
    }

    /// Nobody could say how one gets to the configuration that the members have.
    fn fail_elsewhere(&mut self) {
        if matches!(self.step, Step::BackingOff)
            && let Some(problem) = self.other_configuration()
        {
            self.fail(problem);
        }
    }

    /// To be called when the time of [`Write::wake_at`] has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.spare_due().is_some_and(|due| now >= due) {
            self.ask_spare();
        }
        if now >= self.step_ends {
            let asked = self.authority();
            match &mut self.step {
                Step::Timestamps(ask) => ask.lose_silent(&asked),
                Step::Signing(signing) => signing.shares.lose_silent(&asked),
                _ => {}
            }
        }
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

    // ----- helpers -----

    fn next_round(&mut self, now: Duration) {
        self.round = self.round.saturating_add(1);
        self.asked = now;
        self.step_ends = now.saturating_add(self.options.round_timeout);
        self.spare = Spare::default();
    }

    /// Asks the signers; in a first attempt only as many as are needed, if they answer soon. What
    /// went wrong once is tried again with everybody.
    fn ask_signers(&mut self, now: Duration, request: Request) {
        let mut to = self.authority();
        if self.attempt == 1 {
            let (cliques, round) = (self.configuration.cliques(), self.options.round_timeout);
            self.spare = Spare::out_of(&mut to, &self.options.hedge, cliques, now, round);
        }
        self.send(to, request);
    }

    /// When those who were held back are to be asked.
    fn spare_due(&self) -> Option<Duration> {
        let asks = matches!(self.step, Step::Timestamps(_) | Step::Signing(_));
        asks.then(|| self.spare.due()).flatten()
    }

    /// Asks those who were held back.
    fn ask_spare(&mut self) {
        let spare = self.spare.take();
        match &self.step {
            Step::Timestamps(_) => self.send(spare, self.time_request()),
            Step::Signing(signing) => self.send(spare, self.sign_request(&signing.entry)),
            _ => {}
        }
    }

    /// Those who were asked cannot make a quorum by themselves any more.
    fn ask_spare_if_needed(&mut self) {
        let (cliques, spare) = (self.configuration.cliques(), self.spare.nodes());
        let needed = match &self.step {
            Step::Timestamps(ask) => ask.needs(spare, cliques),
            Step::Signing(signing) => signing.shares.needs(spare, cliques),
            _ => false,
        };
        if needed {
            self.ask_spare();
        }
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
