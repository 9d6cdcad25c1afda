//! A client process: the real state machines behind a driver that does what it is told, on a
//! machine that may crash at any step.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Action, Consistency, Fault, Lost, Problem, Round};
use bftkv_protocol::{
    Address, Answer, Configurations, EquivocationProof, NodeId, Request, Response, Sign, Timestamp,
    Value, Variable,
};

use super::fake_keys::FakeSigner;
use super::ground::{Caller, Event, Ground, HomeWork, OpId, ProcessId};
use super::machine::Machine;
use super::plant::Plant;
use super::together::Together;
use crate::invariants::Observation;
use crate::oracle::{Operation, Outcome};

/// How long one round of questions may take.
pub(super) const ROUND: Duration = Duration::from_millis(500);

/// What a client is to do next.
#[derive(Debug, Clone)]
pub(crate) enum Todo {
    /// Writes a value that nobody has written before.
    Write {
        variable: Variable,
        is_final: bool,
    },
    /// Writes this value.
    WriteThis {
        variable: Variable,
        value: Value,
        is_final: bool,
    },
    Read {
        variable: Variable,
        consistency: Consistency,
        proof: bool,
    },
    /// Reads the version that this client saw last.
    ReadAgain {
        variable: Variable,
    },
    List {
        variable: Variable,
    },
}

/// A client process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(super) id: ProcessId,
    pub(super) name: String,
    pub(super) signer: FakeSigner,
    pub(super) owner: Address,
    /// Counts restarts.
    pub(super) incarnation: u64,
    up: bool,
    /// Crashes at dangerous steps: percent.
    crashes: u64,
    patience: Duration,
    /// How far its clock is ahead of the true time.
    ahead: Duration,
    /// Several in one place are writes that share their messages.
    plan: VecDeque<Vec<Todo>>,
    running: Option<Running>,
    /// Writes that are under way together.
    pub(super) together: Option<Together>,
    pub(super) known: BTreeSet<NodeId>,
    pub(super) cut: BTreeSet<NodeId>,
    pub(super) values: u64,
    pub(super) last_seen: BTreeMap<Variable, Timestamp>,
    /// Its own entries that a quorum stores.
    pub(super) own: BTreeMap<Variable, Timestamp>,
    /// The configurations that it knows; nothing yet: those with which the run begins.
    configurations: Option<Arc<Configurations>>,
    /// How its last operation ended, until somebody asks.
    last: Option<Outcome>,
    /// A planted bug believes the largest of these.
    largest_time: Timestamp,
}

#[derive(Debug)]
struct Running {
    op: OpId,
    machine: Machine,
    wake: Option<Duration>,
}

/// Whether the process goes on after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Lives,
    Dies,
}

impl Process {
    pub(crate) fn new(id: ProcessId, name: &str, signer: FakeSigner, owner: Address) -> Self {
        Self {
            id,
            name: name.to_owned(),
            signer,
            owner,
            incarnation: 0,
            up: true,
            crashes: 0,
            patience: Duration::from_secs(8),
            ahead: Duration::ZERO,
            plan: VecDeque::new(),
            running: None,
            together: None,
            known: BTreeSet::new(),
            cut: BTreeSet::new(),
            values: 0,
            last_seen: BTreeMap::new(),
            own: BTreeMap::new(),
            configurations: None,
            last: None,
            largest_time: Timestamp::ZERO,
        }
    }

    pub(crate) fn with_plan(mut self, plan: impl IntoIterator<Item = Todo>) -> Self {
        self.plan = plan.into_iter().map(|todo| vec![todo]).collect();
        self
    }

    pub(crate) fn with_crashes(mut self, percent: u64) -> Self {
        self.crashes = percent;
        self
    }

    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The certificates that it knows from the beginning.
    pub(crate) fn knowing(mut self, known: BTreeSet<NodeId>) -> Self {
        self.known = known;
        self
    }

    /// Its clock is so far ahead.
    pub(crate) fn set_clock(&mut self, ahead: Duration) {
        self.ahead = ahead;
    }

    /// Its clock jumps ahead, as after a sleep. It never goes back: machines are given monotonic
    /// time.
    pub(crate) fn clock_jumps(&mut self, ground: &mut Ground) {
        self.ahead = self.ahead.saturating_add(ground.rng.millis(0, 2_000));
        if let Some(op) = self.running.as_ref().map(|running| running.op) {
            self.wake(ground, op);
        }
    }

    /// How far its clock is ahead of the true time.
    pub(super) fn ahead(&self) -> Duration {
        self.ahead
    }

    /// What it knows of configurations. It learns of a successor when a node names one.
    pub(super) fn configurations(&mut self, ground: &Ground) -> Arc<Configurations> {
        Arc::clone(self.configurations.get_or_insert_with(|| Arc::clone(&ground.learned)))
    }

    /// It has asked the nodes for configurations. Mostly somebody honest has answered.
    pub(super) fn refreshed_configurations(&mut self, ground: &mut Ground) -> Arc<Configurations> {
        if ground.healed || ground.rng.percent(80) {
            self.configurations = Some(Arc::clone(&ground.learned));
        }
        self.configurations(ground)
    }

    /// What it has asked for has come.
    pub(crate) fn refreshed(&mut self, ground: &mut Ground, op: OpId) {
        let known = self.refreshed_configurations(ground);
        let now = self.now(ground);
        let Some(running) = self.running.as_mut().filter(|running| running.op == op) else {
            return;
        };
        running.machine.refreshed(now, &known);
        self.pump(ground);
    }

    /// What its clock shows.
    pub(super) fn now(&self, ground: &Ground) -> Duration {
        ground.now().saturating_add(self.ahead)
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn key(&self) -> &NodeId {
        self.signer.id()
    }

    /// Whether nothing keeps it from beginning something.
    pub(super) fn is_idle(&self) -> bool {
        self.up && !self.is_busy() && self.plan.is_empty()
    }

    fn is_busy(&self) -> bool {
        self.running.is_some() || self.together.is_some()
    }

    /// Whether this operation is under way.
    pub(super) fn runs(&self, op: OpId) -> bool {
        self.running.as_ref().is_some_and(|running| running.op == op)
    }

    pub(super) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Every second write of its plan, and every second read, becomes one of all of these.
    pub(super) fn all_at_once(&mut self, variables: &[Variable]) {
        let is_write = |todos: &&mut Vec<Todo>| {
            matches!(todos.as_slice(), [Todo::Write { is_final: false, .. }])
        };
        let write =
            |variable: &Variable| Todo::Write { variable: variable.clone(), is_final: false };
        for todos in self.plan.iter_mut().filter(is_write).step_by(2) {
            *todos = variables.iter().map(write).collect();
        }
        let is_read = |todos: &&mut Vec<Todo>| matches!(todos.as_slice(), [Todo::Read { .. }]);
        for todos in self.plan.iter_mut().filter(is_read).step_by(2) {
            let Some(Todo::Read { consistency, proof, .. }) = todos.pop() else { continue };
            let read =
                |variable: &Variable| Todo::Read { variable: variable.clone(), consistency, proof };
            *todos = variables.iter().map(read).collect();
        }
    }

    pub(super) fn plan_next(&mut self, todo: Todo) {
        self.plan.push_back(vec![todo]);
    }

    /// How its last operation ended.
    pub(super) fn take_last(&mut self) -> Option<Outcome> {
        self.last.take()
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Begins the next thing of the plan.
    pub(crate) fn begin(&mut self, ground: &mut Ground) {
        if !self.up || self.is_busy() {
            return;
        }
        let Some(mut todos) = self.plan.pop_front() else { return };
        // Some have heard whom operators cut out.
        if !ground.condemned.is_empty() && ground.rng.percent(50) {
            self.cut.extend(ground.condemned.iter().cloned());
        }
        if todos.len() > 1 {
            return self.begin_together(ground, todos);
        }
        let Some(todo) = todos.pop() else { return };
        let (op, machine) = self.start(ground, todo);
        self.running = Some(Running { op, machine, wake: None });
        self.pump(ground);
    }

    /// The machine for one thing to do, which is in the history from now on.
    pub(super) fn start(&mut self, ground: &mut Ground, todo: Todo) -> (OpId, Machine) {
        let started = ground.now();
        let deadline = started.saturating_add(self.patience);
        let by_its_clock = deadline.saturating_add(self.ahead);
        let (variable, kind, machine) = self.machine(ground, todo, by_its_clock);
        let op = ground.history.begin(Operation {
            process: self.name.clone(),
            variable,
            kind,
            started,
            ended: None,
            deadline,
            outcome: Outcome::Unknown,
            attempts: Vec::new(),
        });
        ground.trace.line(started, || format!("{} begins operation {op}", self.name));
        (op, machine)
    }

    /// An answer has arrived.
    pub(crate) fn take(
        &mut self,
        ground: &mut Ground,
        op: OpId,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        let response = self.tampered(ground, response);
        let now = self.now(ground);
        let keys = ground.keys.seen_by(&self.known);
        let Some(running) = self.running.as_mut().filter(|running| running.op == op) else {
            return;
        };
        running.machine.take(now, round, from, response, &keys);
        self.pump(ground);
    }

    /// Planted bugs of a client's driver.
    pub(super) fn tampered(
        &mut self,
        ground: &Ground,
        response: Result<Response, Lost>,
    ) -> Result<Response, Lost> {
        match (ground.plant, response) {
            (Some(Plant::BlameTheSilent), Err(_)) => Err(Lost::Lied),
            (Some(Plant::MaxTimestamp), Ok(mut response)) => {
                if let Ok(Answer::Time { seen, signature, .. }) = &mut response.outcome {
                    self.largest_time = self.largest_time.max(*seen);
                    *seen = self.largest_time;
                    *signature = None;
                }
                Ok(response)
            }
            (_, response) => response,
        }
    }

    /// The time that an operation waited for may have come.
    pub(crate) fn wake(&mut self, ground: &mut Ground, op: OpId) {
        let now = self.now(ground);
        let keys = ground.keys.seen_by(&self.known);
        let Some(running) = self.running.as_mut().filter(|running| running.op == op) else {
            return;
        };
        if running.machine.wake_at().is_some_and(|wake| wake <= now) {
            running.wake = None;
            running.machine.wake(now, &keys);
            self.pump(ground);
        }
    }

    /// These were asked for certificates: who is honest knows them.
    pub(super) fn learn_keys(&mut self, ground: &Ground, ids: &[NodeId], answered: &[NodeId]) {
        if answered.iter().any(|id| ground.watch.facts().is_honest(id)) {
            let users = &ground.watch.facts().users;
            self.known.extend(ids.iter().filter(|id| users.contains_key(*id)).cloned());
        }
    }

    /// The certificates were looked for.
    pub(crate) fn fetched(
        &mut self,
        ground: &mut Ground,
        op: OpId,
        ids: &[NodeId],
        answered: &[NodeId],
    ) {
        self.learn_keys(ground, ids, answered);
        let (now, keys) = (self.now(ground), ground.keys.seen_by(&self.known));
        let Some(running) = self.running.as_mut().filter(|running| running.op == op) else {
            return;
        };
        match &mut running.machine {
            Machine::Write(write) => write.handle_fetched(&keys),
            Machine::Read(read) => {
                read.handle_fetched(now, &answered.iter().cloned().collect(), &keys);
            }
            Machine::List(_) => {}
        }
        self.pump(ground);
    }

    /// The process starts again, with what is in its home.
    pub(crate) fn restart(&mut self, ground: &mut Ground) {
        self.up = true;
        self.begin(ground);
    }

    pub(super) fn machine_mut(&mut self) -> Option<&mut Machine> {
        self.running.as_mut().map(|running| &mut running.machine)
    }

    /// Does what the machine wants, until it wants nothing or the process dies.
    pub(super) fn pump(&mut self, ground: &mut Ground) {
        let Some(mut running) = self.running.take() else { return };
        while let Some(action) = running.machine.poll() {
            if action == Action::Refresh && ground.faults.change_members() {
                let (process, op, delay) = (self.id, running.op, ground.rng.millis(2, 60));
                ground.clock.after(delay, Event::Refreshed { process, op });
                continue;
            }
            if action == Action::Refresh {
                // Members do not change here: the digest of another configuration is a lie.
                running.machine.refreshed(self.now(ground), &ground.configurations);
                continue;
            }
            if self.act(ground, running.op, action) == Fate::Dies {
                self.die(ground, &[running.op]);
                return;
            }
        }
        if let Some((outcome, culprits)) = running.machine.result() {
            self.end(ground, running.op, outcome, &culprits);
            return;
        }
        let wake = running.machine.wake_at();
        if let Some(time) = wake.filter(|_| wake != running.wake) {
            let (process, op) = (self.id, running.op);
            let time = time.saturating_sub(self.ahead);
            ground.clock.at(time, Event::Wake { process, op });
            running.wake = wake;
        }
        self.running = Some(running);
    }

    pub(super) fn act(&mut self, ground: &mut Ground, op: OpId, action: Action) -> Fate {
        match action {
            Action::Send { round, to, request } => {
                let caller = Caller::Op { process: self.id, op, round };
                let dies = matches!(*request, Request::Store { .. }) && self.is_unlucky(ground);
                let to = if dies { self.some_of(ground, &to) } else { to.into_iter().collect() };
                self.send(ground, &to, &caller, &request);
                if dies { Fate::Dies } else { Fate::Lives }
            }
            Action::Post { to, request } => {
                let to: Vec<NodeId> = to.into_iter().collect();
                self.send(ground, &to, &Caller::Nobody, &request);
                Fate::Lives
            }
            Action::Reserve(entry) => self.ask_home(ground, op, HomeWork::Reserve(entry)),
            Action::RecordAssembled(attempt) => {
                self.ask_home(ground, op, HomeWork::Assembled(attempt))
            }
            Action::Settle(attempt) => {
                self.home(ground).settle(&attempt);
                Fate::Lives
            }
            Action::Abandon { to, attempt, evidence } => {
                self.abandon(ground, to, &attempt, evidence)
            }
            Action::Fetch(ids) => {
                self.fetch(ground, op, ids);
                Fate::Lives
            }
            Action::Accuse(proof) => {
                self.cut_out(ground, &proof);
                Fate::Lives
            }
            _ => Fate::Lives,
        }
    }

    pub(super) fn send(
        &self,
        ground: &mut Ground,
        to: &[NodeId],
        caller: &Caller,
        request: &Request,
    ) {
        if ground.send_in_lanes(self.key(), to, caller, request) {
            return;
        }
        for node in to {
            ground.request(self.key(), node, caller.clone(), request);
        }
    }

    /// Dying while sending: some messages have left.
    pub(super) fn some_of(&self, ground: &mut Ground, to: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let all: Vec<NodeId> = to.iter().cloned().collect();
        let count = ground.rng.index(all.len());
        ground.rng.sample(&all, count)
    }

    pub(super) fn is_unlucky(&self, ground: &mut Ground) -> bool {
        !ground.healed && ground.rng.percent(self.crashes)
    }

    /// Asks the nodes for certificates; some of them answer.
    fn fetch(&self, ground: &mut Ground, op: OpId, ids: BTreeSet<NodeId>) {
        let (at, answered) = self.fetched_by(ground);
        let (process, ids) = (self.id, ids.into_iter().collect());
        ground.clock.at(at, Event::Fetched { process, op, ids, answered });
    }

    /// Who answers, and when.
    pub(super) fn fetched_by(&self, ground: &mut Ground) -> (Duration, Vec<NodeId>) {
        let all: Vec<NodeId> = ground.configuration.everyone().into_iter().collect();
        let count = ground.rng.index(all.len().saturating_add(1));
        let answered = ground.rng.sample(&all, count);
        let delay = ground.rng.millis(2, 60);
        (ground.now().saturating_add(delay), answered)
    }

    fn cut_out(&mut self, ground: &mut Ground, proof: &EquivocationProof) {
        ground.observe(&Observation::Accused { by: self.signer.id(), guilty: proof.guilty() });
        self.cut.insert(proof.guilty().clone());
        let to: Vec<NodeId> = ground.configuration.everyone().into_iter().collect();
        let request = Request::Accuse(Box::new(proof.clone()));
        self.send(ground, &to, &Caller::Nobody, &request);
    }

    pub(super) fn end(
        &mut self,
        ground: &mut Ground,
        op: OpId,
        outcome: Outcome,
        culprits: &BTreeMap<NodeId, Fault>,
    ) {
        let now = ground.now();
        ground.trace.line(now, || format!("{} ends operation {op}: {outcome}", self.name));
        for (who, fault) in culprits {
            ground.observe(&Observation::Blamed { by: &self.name, who, fault: *fault });
        }
        if let Outcome::Written(entry) = &outcome {
            self.own.insert(entry.variable().clone(), entry.timestamp());
        }
        if let Outcome::Written(entry) | Outcome::Found(Some(entry)) = &outcome {
            self.last_seen.insert(entry.variable().clone(), entry.timestamp());
        }
        if matches!(&outcome, Outcome::Failed(why) if is_elsewhere(why)) {
            // What a client does before it tries again.
            self.configurations = Some(Arc::clone(&ground.learned));
        }
        self.last = Some(outcome.clone());
        ground.history.end(op, now, outcome);
        if let Some(operation) = ground.history.get(op).cloned() {
            let known = self.configurations(ground);
            let configuration = known.newest();
            ground.observe(&Observation::Ended { operation: &operation, configuration });
        }
        let pause = ground.rng.millis(1, 60);
        ground.clock.after(pause, Event::Begin { process: self.id });
    }

    /// The machine crashes. What it was doing may or may not have happened.
    pub(super) fn die(&mut self, ground: &mut Ground, ops: &[OpId]) {
        let now = ground.now();
        ground.trace.line(now, || format!("{} dies in operations {ops:?}", self.name));
        ops.iter().for_each(|op| ground.history.end(*op, now, Outcome::Unknown));
        self.up = false;
        self.last = None;
        self.own.clear();
        self.incarnation = self.incarnation.saturating_add(1);
        self.home(ground).lose_settled(self.id);
        if ground.plant == Some(Plant::ForgetHome) {
            self.home(ground).forget();
        }
        if ground.rng.percent(80) {
            let delay = ground.rng.millis(50, 400);
            ground.clock.after(delay, Event::Restart { process: self.id });
        }
    }
}

/// Whether nodes have another configuration.
fn is_elsewhere(why: &Problem) -> bool {
    matches!(why, Problem::OtherConfiguration { .. })
}
