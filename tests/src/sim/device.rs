//! A device whose owner uses a password: what `bftkv` does with the machines of `bftkv_roaming`,
//! one deed after the other. Reads and writes are those of its process.

use std::collections::{BTreeMap, VecDeque};

use bftkv_protocol::client::{Consistency, Lost};
use bftkv_protocol::{
    CertifiedEntry, Group, LoginPurpose, NodeId, RecordId, Request, Response, RoamingRequest,
    Variable,
};
use bftkv_roaming::client::{Dealing, Dealt, Failure, LoggedIn, Login, LoginOptions, Problem};
use bftkv_roaming::{Blinded, Keys, Plan, Protected, Record, Rule, Stretching};

use super::ground::{Caller, Event, Ground, PasswordWork};
use super::password_work::{DealingWork, LoginWork, Sealing, Worker};
use super::plant::Plant;
use super::process::{Process, ROUND, Todo};
use super::rng::Rng;
use super::secrets::{Secret, Secrets};
use crate::invariants::Observation;
use crate::oracle::Outcome;

/// `docs/roaming.md`: whatever devices do at once, what is certified can be opened.
const OPENS: &str = "what is newest is opened by its password, if all its shares were dealt";
const RIGHT: &str = "the right password is never said to be wrong, and opens what was put";
const WRONG: &str = "a wrong password opens nothing";
/// `docs/roaming.md`, change of password.
pub(super) const OLD: &str = "an old password opens nothing after it was changed";

/// How many guesses one asks for at once who tries no key.
const GUESSES: u32 = 4;

/// Numbers of passwords that nobody has.
const GUESSED: u32 = 1000;

/// One thing that a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Put,
    Get,
    Change,
    /// Tries a wrong password.
    Wrong,
    /// Tries the password that it has changed, on the value that had it.
    Old,
    /// Has many guesses evaluated.
    Flood,
}

/// What a device is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Habits {
    Owner,
    Guesser,
    /// Opens what is there at the end.
    Closing,
}

impl Habits {
    /// What it does. Argon2id takes 20 ms, so it is not much.
    pub(super) fn plan(self, rng: &mut Rng) -> Vec<Deed> {
        use Deed::{Change, Flood, Get, Old, Put, Wrong};
        match self {
            // All of them change it at once, again and again.
            Self::Owner if rng.percent(40) => vec![Put, Change, Change, Change],
            Self::Owner => {
                let second = rng.pick(&[Put, Get, Change, Change]).copied().unwrap_or(Get);
                let third = rng.pick(&[Put, Get, Change, Wrong]).copied().unwrap_or(Get);
                let first = if rng.percent(80) { Put } else { Change };
                vec![first, second, Old, third, Old]
            }
            Self::Guesser => vec![Flood, Flood, Wrong, Flood, Flood, Flood, Flood],
            Self::Closing => vec![Get],
        }
    }
}

/// How deeds ended, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) opened: u64,
    pub(crate) changed: u64,
    pub(crate) guessed: u64,
    pub(crate) degraded: u64,
}

impl Tally {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            opened: self.opened.saturating_add(other.opened),
            changed: self.changed.saturating_add(other.changed),
            guessed: self.guessed.saturating_add(other.guessed),
            degraded: self.degraded.saturating_add(other.degraded),
        }
    }
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    me: NodeId,
    variable: Variable,
    plan: VecDeque<Deed>,
    step: Step,
    /// Of its process, as it was when it last looked.
    incarnation: u64,
    works: BTreeMap<u64, Work>,
    numbers: u64,
    /// The value whose password it changed last.
    old: Option<CertifiedEntry>,
    /// The record that an old password has opened.
    opened_old: Option<RecordId>,
    is_closing: bool,
    tally: Tally,
}

/// What it waits for.
#[derive(Debug)]
enum Step {
    Idle,
    /// Its process reads.
    Reading(Deed),
    /// A login, or shares that are dealt.
    Working,
    /// Its process writes, with a new password in the place of that of this value.
    Writing(Option<CertifiedEntry>),
}

#[derive(Debug)]
enum Work {
    Login(Box<LoginWork>, Deed),
    Dealing(Box<DealingWork>),
}

impl Device {
    pub(super) fn new(me: NodeId, variable: Variable, habits: Habits, rng: &mut Rng) -> Self {
        Self {
            me,
            variable,
            plan: habits.plan(rng).into(),
            step: Step::Idle,
            incarnation: 0,
            works: BTreeMap::new(),
            numbers: 0,
            old: None,
            opened_old: None,
            is_closing: habits == Habits::Closing,
            tally: Tally::default(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    pub(super) fn variable(&self) -> &Variable {
        &self.variable
    }

    /// The record that an old password has opened, since somebody asked.
    pub(super) fn take_opened_old(&mut self) -> Option<RecordId> {
        self.opened_old.take()
    }

    /// Decides what its process does next, if that has nothing to do.
    pub(crate) fn turn(&mut self, process: &mut Process, ground: &mut Ground) {
        self.notice_death(process);
        if !process.is_idle() || matches!(self.step, Step::Working) {
            return;
        }
        let last = process.take_last();
        match (std::mem::replace(&mut self.step, Step::Idle), last) {
            (Step::Reading(deed), Some(Outcome::Found(entry))) => {
                self.have_read(process, ground, deed, entry);
            }
            (Step::Writing(Some(old)), Some(Outcome::Written(_))) => {
                self.tally.changed = self.tally.changed.saturating_add(1);
                self.old = Some(old);
                self.next(process, ground);
            }
            _ => self.next(process, ground),
        }
    }

    /// An answer to a login or to shares has arrived.
    pub(crate) fn take(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        (number, shows): (u64, bool),
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        self.notice_death(process);
        let now = ground.now();
        let response = match (ground.plant, response) {
            (Some(Plant::BlameTheSilent), Err(_)) => Err(Lost::Lied),
            (_, response) => response,
        };
        match self.works.get_mut(&number) {
            Some(Work::Login(login, _)) => login.take(shows, from, response),
            Some(Work::Dealing(dealing)) => dealing.machine.handle_response(now, from, response),
            None => return,
        }
        self.pump(process, ground, number);
    }

    /// Something else has happened to one of them.
    pub(crate) fn happen(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        number: u64,
        work: PasswordWork,
    ) {
        self.notice_death(process);
        match self.works.get_mut(&number) {
            Some(Work::Login(login, _)) => login.happen(ground, work),
            Some(Work::Dealing(dealing)) => dealing.happen(ground),
            None => return,
        }
        self.pump(process, ground, number);
    }

    /// Nothing of this is in a home: who dies begins again.
    fn notice_death(&mut self, process: &Process) {
        if self.incarnation != process.incarnation() {
            self.incarnation = process.incarnation();
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.works.clear();
        self.step = Step::Idle;
    }

    fn next(&mut self, process: &mut Process, ground: &mut Ground) {
        let Some(deed) = self.plan.pop_front() else { return };
        match (deed, self.old.clone()) {
            (Deed::Old, Some(entry)) => self.have_read(process, ground, deed, Some(entry)),
            (Deed::Old, None) => self.pause(process, ground),
            _ => {
                let (variable, consistency) = (self.variable.clone(), Consistency::Linearizable);
                process.plan_next(Todo::Read { variable, consistency, proof: true });
                self.step = Step::Reading(deed);
                process.begin(ground);
            }
        }
    }

    /// Goes on a little later.
    fn pause(&mut self, process: &Process, ground: &mut Ground) {
        self.step = Step::Idle;
        let pause = ground.rng.millis(1, 60);
        ground.clock.after(pause, Event::Begin { process: process.id() });
    }

    fn have_read(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        deed: Deed,
        entry: Option<CertifiedEntry>,
    ) {
        let of = |entry: &CertifiedEntry| Protected::from_value(&entry.entry().value).ok();
        let protected = entry.as_ref().and_then(of);
        match (deed, protected, entry) {
            (Deed::Flood, Some(protected), _) => {
                self.flood(ground, protected.record());
                self.pause(process, ground);
            }
            (_, Some(protected), Some(entry)) => {
                self.log_in(process, ground, deed, protected, entry);
            }
            (Deed::Put, None, _) => {
                let (text, password) = (ground.secrets.fresh_text(), Secrets::first());
                self.enrol(process, ground, 1, (password, 1, text), None);
            }
            _ => self.pause(process, ground),
        }
    }

    fn flood(&self, ground: &mut Ground, record: &Record) {
        for _ in 0..GUESSES {
            let guess = GUESSED.saturating_add(u32::try_from(ground.rng.below(1000)).unwrap_or(0));
            let Ok(blinded) = Blinded::new(&Secrets::password(guess), &mut ground.rng) else {
                continue;
            };
            let request = Request::Roaming(RoamingRequest::Evaluate {
                variable: self.variable.clone(),
                record: record.id(),
                element: blinded.element(),
            });
            for node in record.nodes() {
                ground.request(&self.me, node, Caller::Nobody, &request);
            }
        }
    }

    fn log_in(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        deed: Deed,
        protected: Protected,
        entry: CertifiedEntry,
    ) {
        let record = protected.record().clone();
        let known = ground.secrets.of(&record).map(|secret| Secrets::password(secret.password));
        let password = match (deed, known) {
            (Deed::Wrong, _) | (_, None) => Secrets::wrong(),
            (_, Some(password)) => password,
        };
        let options = LoginOptions {
            requester: self.me.clone(),
            purpose: LoginPurpose::Open,
            round: ROUND,
            deadline: ground.now().saturating_add(process.patience()),
        };
        let now = ground.now();
        let Ok(machine) = Login::start(now, record, password, options, &mut ground.rng) else {
            return self.pause(process, ground);
        };
        let login = LoginWork::new(machine, entry, protected);
        self.begin(process, ground, Work::Login(Box::new(login), deed));
    }

    fn begin(&mut self, process: &mut Process, ground: &mut Ground, work: Work) {
        self.step = Step::Working;
        self.numbers = self.numbers.saturating_add(1);
        self.works.insert(self.numbers, work);
        self.pump(process, ground, self.numbers);
    }

    fn pump(&mut self, process: &mut Process, ground: &mut Ground, number: u64) {
        let Some(mut work) = self.works.remove(&number) else { return };
        let worker = Worker { process: process.id(), me: self.me.clone(), number };
        match &mut work {
            Work::Login(login, deed) => {
                let (result, deed) = (login.pump(ground, &worker), *deed);
                let (protected, entry) = (login.protected.clone(), login.entry.clone());
                // It shows servers in the background that the password was right.
                if !login.machine.is_over() {
                    self.works.insert(number, work);
                }
                if let Some(result) = result {
                    self.logged_in(process, ground, deed, (protected, entry), result);
                }
            }
            Work::Dealing(dealing) => {
                let dies = process.is_unlucky(ground);
                let most = if dies { ground.rng.index(4) } else { usize::MAX };
                let result = dealing.pump(ground, &worker, most);
                if dies {
                    self.forget();
                    return self.pause(process, ground);
                }
                match (result, work) {
                    (Some(result), Work::Dealing(dealing)) => {
                        self.dealt(process, ground, dealing.sealing, result);
                    }
                    (_, work) => {
                        self.works.insert(number, work);
                    }
                }
            }
        }
    }

    fn logged_in(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        deed: Deed,
        (protected, entry): (Protected, CertifiedEntry),
        result: Result<LoggedIn, Failure>,
    ) {
        let culprits = match &result {
            Ok(logged_in) => &logged_in.culprits,
            Err(failure) => &failure.culprits,
        };
        for (who, fault) in culprits {
            ground.observe(&Observation::Blamed { by: &process.name, who, fault: *fault });
        }
        let now = ground.now();
        let (name, ended) = (&process.name, result.as_ref().err().map(ToString::to_string));
        ground.trace.line(now, || format!("{name} logs in for {deed:?}: {ended:?}"));
        if matches!(deed, Deed::Wrong | Deed::Old) {
            self.tally.guessed = self.tally.guessed.saturating_add(1);
            match (&result, deed) {
                (Ok(_), Deed::Wrong) => ground.watch.fail(now, WRONG, format!("{entry:?}")),
                (Ok(_), _) => self.opened_old = Some(protected.record().id()),
                (Err(_), _) => {}
            }
            return self.pause(process, ground);
        }
        match result {
            Ok(logged_in) => self.open(process, ground, deed, &protected, entry, &logged_in),
            Err(failure) => {
                self.judge_failure(ground, &protected, &failure);
                self.pause(process, ground);
            }
        }
    }

    /// Whether a login with the right password may fail in this way.
    fn judge_failure(&self, ground: &mut Ground, protected: &Protected, failure: &Failure) {
        let (now, t) = (ground.now(), protected.record().epoch());
        if matches!(failure.problem, Problem::WrongPassword { .. }) {
            ground.watch.fail(now, RIGHT, format!("epoch {t}: {failure}"));
        }
        let secret = ground.secrets.of(protected.record());
        if self.is_closing && secret.is_some_and(|secret| secret.is_complete) {
            ground.watch.fail(now, OPENS, format!("epoch {t}: {failure}"));
        }
    }

    fn open(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        deed: Deed,
        protected: &Protected,
        entry: CertifiedEntry,
        logged_in: &LoggedIn,
    ) {
        let (now, record, keys) = (ground.now(), protected.record(), &logged_in.keys);
        let opened = protected.open(keys).ok();
        let put = ground.secrets.text(&entry.entry().value).map(<[u8]>::to_vec);
        let (Some(text), true) = (put.clone(), opened.as_ref().map(|text| text.to_vec()) == put)
        else {
            return ground.watch.fail(now, RIGHT, format!("t={}: other text", entry.timestamp()));
        };
        self.tally.opened = self.tally.opened.saturating_add(1);
        let password = ground.secrets.of(record).map_or(0, |secret| secret.password);
        let version = protected.version().saturating_add(1);
        let next = record.epoch().saturating_add(1);
        let owns = process.owner == entry.entry().owner;
        let is_due = record.is_degraded(logged_in.lacking.len())
            || servers(ground) != Group::new(record.nodes().iter().cloned());
        match deed {
            Deed::Get if is_due && owns => {
                self.enrol(process, ground, next, (password, version, text), None);
            }
            Deed::Put => {
                let text = ground.secrets.fresh_text();
                if is_due {
                    self.enrol(process, ground, next, (password, version, text), None);
                } else {
                    self.write(process, ground, (record, keys, version), &text, None);
                }
            }
            Deed::Change => {
                let password = ground.secrets.fresh();
                self.enrol(process, ground, next, (password, version, text), Some(entry));
            }
            _ => self.pause(process, ground),
        }
    }

    /// Makes a record and deals its shares.
    fn enrol(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        epoch: u64,
        (password, version, text): (u32, u64, Vec<u8>),
        replaces: Option<CertifiedEntry>,
    ) {
        let servers = servers(ground);
        let n = servers.len();
        let plan = Plan {
            realm: ground.configuration.realm().clone(),
            variable: self.variable.clone(),
            epoch,
            nodes: servers.members().cloned().collect(),
            rule: if ground.rng.percent(20) { Rule::Most } else { Rule::Majority },
            stretching: Stretching::LEAST,
        };
        let plan =
            if plan.rule.check(n).is_ok() { plan } else { Plan { rule: Rule::Majority, ..plan } };
        let deadline = ground.now().saturating_add(process.patience());
        let patience = ground.now().saturating_add(ROUND).min(deadline);
        let enrolled = Record::enrol(plan, &Secrets::password(password), &mut ground.rng);
        let enrolled = enrolled.expect("every shape makes a good plan");
        let machine = Dealing::start(&enrolled, patience, deadline).expect("a record is not long");
        let sealing = Sealing { enrolled, password, version, text, replaces };
        let dealing = DealingWork::new(machine, sealing);
        self.begin(process, ground, Work::Dealing(Box::new(dealing)));
    }

    fn dealt(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        sealing: Sealing,
        result: Result<Dealt, Failure>,
    ) {
        let (Ok(Dealt { culprits, .. }) | Err(Failure { culprits, .. })) = &result;
        for (who, fault) in culprits {
            ground.observe(&Observation::Blamed { by: &process.name, who, fault: *fault });
        }
        let (now, name) = (ground.now(), &process.name);
        ground.trace.line(now, || format!("{name} has dealt: {result:?}"));
        let Ok(dealt) = result else { return self.pause(process, ground) };
        if !dealt.is_complete {
            self.tally.degraded = self.tally.degraded.saturating_add(1);
        }
        let Sealing { enrolled, password, version, text, replaces } = sealing;
        let secret = Secret { password, is_complete: dealt.is_complete };
        ground.secrets.note_dealt(&enrolled.record, secret);
        let keys = (&enrolled.record, &enrolled.keys, version);
        self.write(process, ground, keys, &text, replaces);
    }

    fn write(
        &mut self,
        process: &mut Process,
        ground: &mut Ground,
        (record, keys, version): (&Record, &Keys, u64),
        text: &[u8],
        replaces: Option<CertifiedEntry>,
    ) {
        let sealed = Protected::seal(record, keys, version, text, &mut ground.rng);
        let value = sealed.and_then(|sealed| sealed.to_value()).expect("a short text fits");
        ground.secrets.note_sealed(&value, text);
        let variable = self.variable.clone();
        process.plan_next(Todo::WriteThis { variable, value, is_final: false });
        self.step = Step::Writing(replaces);
        process.begin(ground);
    }
}

/// The servers that would share a password's key now: the largest clique.
fn servers(ground: &Ground) -> Group {
    let cliques = ground.configuration.cliques();
    let largest = cliques.iter().rev().max_by_key(|clique| clique.len());
    largest.cloned().unwrap_or_else(|| Group::new([]))
}
