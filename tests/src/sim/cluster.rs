//! The whole cluster and its loop: one event after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::Lost;
use bftkv_protocol::{
    Answer, Batch, CertifiedEntry, Configurations, NodeId, Outcome, RecordId, Request, Response,
    Sign, SignatureShare, Store, Timestamp, Variable,
};
use bftkv_roaming::Protected;

use super::Settings;
use super::cast::{Cast, LAST_PROBE};
use super::clock::Clock;
use super::device::{Device, OLD};
use super::fake_keys::{FakeKeys, FakeSigner};
use super::fault::Fault;
use super::ground::{Caller, Event, Ground, ProcessId};
use super::network::Network;
use super::node::Node;
use super::operator::Operator;
use super::process::Process;
use super::rng::Rng;
use super::schemers::Schemers;
use super::secrets::Secrets;
use super::shape::{Shape, node, traitors};
use super::trace::Trace;
use super::traitor::{Liar, Traitor};
use crate::adversary::{Adversary, ByzantineServer, Loot, any_server};
use crate::invariants::{Facts, Watch};
use crate::oracle::History;

/// A run that is not over by then does not end at all.
const LIMIT: Duration = Duration::from_secs(600);

/// A run with more events than this is stuck in a circle.
const MAX_EVENTS: u64 = 400_000;

/// The numbers of nodes that may become members.
const FIRST_GUEST: u8 = 30;
const GUESTS: u8 = 3;

/// Keys that belong to nobody, from this number on, behind those of the closing operations: more
/// than any quorum of the shapes.
const FIRST_SYBIL: u8 = LAST_PROBE + 1;
const SYBILS: u8 = 12;

/// All who play, and the ground on which they play.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) ground: Ground,
    pub(crate) variables: Vec<Variable>,
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) liars: BTreeMap<NodeId, Liar>,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    /// What some of the processes do with passwords.
    pub(crate) devices: BTreeMap<ProcessId, Device>,
    pub(crate) traitors: Vec<Traitor>,
    pub(super) helpers: Vec<FakeSigner>,
    /// How the Byzantine nodes behave, in turn; nothing here: by chance.
    behaviours: Vec<Adversary>,
    /// Who have members added and removed.
    pub(crate) operators: Vec<Operator>,
    pub(super) schemers: Schemers,
}

impl Cluster {
    /// Everything of this run, as the seed wants it.
    pub(crate) fn new(seed: u64, settings: &Settings) -> Self {
        let mut rng = Rng::new(seed);
        let drawn = rng.pick(&Shape::ALL).copied().unwrap_or(Shape::Alone(4));
        let configuration = settings.shape.unwrap_or(drawn).configuration();
        let forget = settings.faults.lose_disks();
        let more = if settings.over_budget { 2 } else { -isize::from(forget) };
        let (habits, behaviours): (Vec<Adversary>, Vec<Adversary>) =
            settings.adversaries.into_iter().flatten().partition(|a| a.is_writer());
        let false_nodes = traitors(&configuration, more, !behaviours.is_empty(), &mut rng);
        let guests = if settings.faults.change_members() { guests() } else { BTreeSet::new() };
        let everybody: BTreeSet<NodeId> = &configuration.everyone() | &guests;
        let mut keys = FakeKeys::new(rng.number(), everybody.clone());
        // Nothing is drawn for it, so the other runs are what they were before there was such a thing.
        let together = seed.is_multiple_of(5);
        let cast = match settings.passwords {
            true => Cast::with_passwords(&mut keys, &mut rng),
            false => Cast::choose(&mut keys, &habits, together, &mut rng),
        };
        let sybils = (0..SYBILS).map(|i| keys.signer(&node(FIRST_SYBIL.saturating_add(i))));
        let sybils = sybils.collect();
        let false_users = cast.traitors.iter().map(|t| t.signer.id().clone());
        let facts = Facts {
            configurations: BTreeMap::from([(configuration.digest(), Arc::clone(&configuration))]),
            nodes: everybody,
            traitors: false_nodes.iter().cloned().chain(false_users).collect(),
            users: cast.users.clone(),
            over_budget: settings.over_budget,
        };
        let nodes: Vec<NodeId> = facts.nodes.iter().cloned().collect();
        let configurations = Arc::new(Configurations::starting_with((*configuration).clone()));
        let ground = Ground {
            configuration,
            learned: Arc::clone(&configurations),
            configurations,
            distrusted: BTreeSet::new(),
            condemned: BTreeSet::new(),
            deaf: None,
            clock: Clock::new(),
            network: Network::weather(settings.faults, &nodes, &mut rng),
            keys,
            sybils,
            homes: BTreeMap::new(),
            loot: Loot::default(),
            history: History::default(),
            watch: Watch::new(facts),
            trace: Trace::new(settings.record),
            plant: settings.plant,
            faults: settings.faults,
            on_the_wire: rng.percent(6),
            together,
            together_counts: (0, 0),
            lanes: BTreeMap::new(),
            secrets: Secrets::default(),
            days: 0,
            hedges: seed % 3 == 1,
            large_values: seed % 6 == 1,
            remembers: seed % 4 == 1,
            disk_failures: if rng.percent(85) || forget { 0 } else { 3 },
            healed: false,
            rng,
        };
        Self::assemble(ground, cast, &false_nodes, behaviours)
    }

    fn assemble(
        mut ground: Ground,
        cast: Cast,
        false_nodes: &BTreeSet<NodeId>,
        behaviours: Vec<Adversary>,
    ) -> Self {
        let everyone = ground.configuration.everyone();
        let (mut nodes, mut liars) = (BTreeMap::new(), BTreeMap::new());
        for id in everyone {
            let signer = ground.keys.signer(&id);
            if false_nodes.contains(&id) {
                let chosen = chosen(&behaviours, liars.len());
                let behaviour = chosen.unwrap_or_else(|| any_server(&mut ground.rng));
                liars.insert(id, Liar::new(signer, behaviour));
            } else {
                nodes.insert(id, Node::new(signer, &ground));
            }
        }
        for id in guests().into_iter().filter(|_| ground.faults.change_members()) {
            let guest = Node::new(ground.keys.signer(&id), &ground).guest();
            nodes.insert(id, guest);
        }
        let count = if ground.faults.compete() { 2 } else { 1 };
        let operators = (0..count).map(|_| Operator::new(&mut ground)).collect();
        let helpers = false_nodes.iter().map(|id| ground.keys.signer(id)).collect();
        let processes = cast.processes.into_iter().map(|p| (p.id(), p)).collect();
        let (variables, traitors) = (cast.variables, cast.traitors);
        let mut cluster = Self {
            ground,
            variables,
            nodes,
            liars,
            processes,
            devices: cast.devices,
            traitors,
            helpers,
            behaviours,
            operators,
            schemers: Schemers::default(),
        };
        cluster.plan_events();
        cluster
    }

    /// Plays until nothing more happens.
    pub(crate) fn play(&mut self) {
        while let Some(event) = self.ground.clock.pop(LIMIT) {
            self.happen(event);
            if self.ground.trace.events() > MAX_EVENTS {
                self.ground.watch.fail(self.ground.clock.now(), "a run ends", String::new());
                return;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let ground = &mut self.ground;
        match event {
            Event::Request { to, sender, caller, request } => {
                self.deliver(to, sender, caller, *request);
            }
            Event::Response { from, caller, response } => self.answer(&from, caller, response),
            Event::Disk { node, epoch, ticket, work } => {
                ground.trace.event(ground.clock.now(), 3, node.as_bytes());
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.disk_done(ground, epoch, ticket, work);
                }
            }
            Event::Home { process, op, work } => {
                self.with_process(process, 4, |p, ground| p.home_done(ground, op, work));
            }
            Event::Fetched { process, op, ids, answered } => {
                self.with_process(process, 5, |p, ground| p.fetched(ground, op, &ids, &answered));
            }
            Event::Wake { process, op } => {
                self.with_process(process, 6, |p, ground| p.wake(ground, op));
            }
            Event::Begin { process } => {
                self.turn(process);
                self.with_process(process, 7, Process::begin);
            }
            Event::Restart { process } => {
                self.with_process(process, 8, Process::restart);
                self.turn(process);
            }
            Event::Crash { node, lasts } => self.crash(node, lasts),
            Event::Recover { node } => self.recover(&node),
            Event::CatchUp { node, reading } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.catch_up_on(ground, reading);
                }
            }
            Event::Learn { node } => {
                if let Some(node) = self.nodes.get(&node) {
                    node.learn(ground);
                }
            }
            Event::Operate { number } => self.operate(number),
            Event::Scheme => self.scheme(),
            Event::Condemn { by, who } => self.cut_by_command(&by, &who),
            Event::Repair { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.begin_to_repair(ground);
                }
            }
            Event::RepairOn { node, number } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.repair_on(ground, number);
                }
            }
            Event::Refreshed { process, op } => {
                self.with_process(process, 11, |p, ground| p.refreshed(ground, op));
            }
            Event::Split { how, lasts } => self.split(how, lasts),
            Event::ClockJumps { process } => {
                self.with_process(process, 10, Process::clock_jumps);
            }
            Event::Password { process, number, work } => {
                self.with_device(process, |device, process, ground| {
                    device.happen(process, ground, number, work);
                });
            }
            Event::Join => ground.network.join(),
            Event::Mischief { traitor } => self.mischief(traitor),
            other => self.happen_to_clients(other),
        }
    }

    /// What happens to requests that go together, and to passwords.
    fn happen_to_clients(&mut self, event: Event) {
        let ground = &mut self.ground;
        match event {
            Event::Together { process, number, work } => {
                self.with_process(process, 12, |p, ground| p.together_done(ground, number, work));
            }
            Event::Depart { client, message } => ground.depart(&client, message),
            Event::Late { client, message } => ground.is_late(&client, message),
            Event::DayPasses => ground.days = ground.days.saturating_add(1),
            _ => {}
        }
    }

    fn split(&mut self, how: Fault, lasts: Duration) {
        let ground = &mut self.ground;
        let nodes: Vec<NodeId> = ground.watch.facts().nodes.iter().cloned().collect();
        let users = ground.watch.facts().users.keys();
        let all: Vec<NodeId> = nodes.iter().chain(users).cloned().collect();
        ground.network.split(how, &nodes, &all, &mut ground.rng);
        ground.clock.after(lasts, Event::Join);
        ground.trace.line(ground.clock.now(), || format!("the network splits: {}", how.name()));
    }

    fn with_process(
        &mut self,
        id: ProcessId,
        kind: u64,
        act: impl FnOnce(&mut Process, &mut Ground),
    ) {
        self.ground.trace.event(self.ground.clock.now(), kind, &id.to_be_bytes());
        if let Some(process) = self.processes.get_mut(&id) {
            act(process, &mut self.ground);
        }
    }

    /// A device with passwords decides what its process does next.
    fn turn(&mut self, id: ProcessId) {
        self.with_device(id, Device::turn);
    }

    fn with_device(
        &mut self,
        id: ProcessId,
        act: impl FnOnce(&mut Device, &mut Process, &mut Ground),
    ) {
        let (Some(device), Some(process)) =
            (self.devices.get_mut(&id), self.processes.get_mut(&id))
        else {
            return;
        };
        act(device, process, &mut self.ground);
        let Some(record) = device.take_opened_old() else { return };
        let variable = device.variable().clone();
        let newest = self.newest(&variable).and_then(|entry| record_in(&entry));
        if newest != Some(record) {
            self.ground.watch.fail(self.ground.clock.now(), OLD, format!("{record:?}"));
        }
    }

    fn deliver(&mut self, to: NodeId, sender: NodeId, caller: Caller, request: Request) {
        let ground = &mut self.ground;
        let now = ground.clock.now();
        ground.trace.event(now, 1, to.as_bytes());
        ground
            .trace
            .line(now, || format!("{} -> {}: {}", short(&sender), short(&to), describe(&request)));
        if let Some(node) = self.nodes.get_mut(&to) {
            if node.is_up() {
                node.take(ground, caller, sender, request);
            } else if ground.rng.percent(50) {
                // The connection is refused: the client learns it at once.
                let delay = ground.rng.millis(1, 10);
                let event = Event::Response { from: to, caller, response: Err(Lost::Silent) };
                ground.clock.after(delay, event);
            }
        } else if let Some(liar) = self.liars.get_mut(&to) {
            liar.take(ground, caller, &sender, &request);
        }
    }

    fn answer(&mut self, from: &NodeId, caller: Caller, response: Result<Response, Lost>) {
        let ground = &mut self.ground;
        let now = ground.clock.now();
        ground.trace.event(now, 2, from.as_bytes());
        ground.trace.line(now, || format!("{} answers {}", short(from), reply(&response)));
        match caller {
            Caller::Nobody => {}
            Caller::Op { process, op, round } => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.take(ground, op, round, from, response);
                }
            }
            Caller::CatchUp { node, reading, round } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.recall(ground, reading, round, from, response);
                }
            }
            Caller::Learn { node } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.learned(ground, response);
                }
            }
            Caller::Operator { number } => {
                if let Some(operator) = self.operators.get_mut(number) {
                    operator.take(ground, from, response);
                }
            }
            Caller::Schemer => self.schemers.take(ground, from, response),
            Caller::Lane { client, message } => {
                for (caller, response) in ground.arrived(&client, message, response) {
                    self.answer(from, caller, response);
                }
            }
            Caller::Together { process, number, message } => {
                if let Some(process) = self.processes.get_mut(&process) {
                    process.take_together(ground, (number, message), from, response);
                }
            }
            Caller::Password { process, number, shows } => {
                self.with_device(process, |device, process, ground| {
                    device.take(process, ground, (number, shows), from, response);
                });
            }
            Caller::Repair { node, number, round } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.repair_answered(ground, number, round, from, response);
                }
            }
            Caller::Traitor => {
                if let Ok(Response { outcome: Ok(Answer::Share(share)), .. }) = response {
                    self.take_loot(&share);
                }
            }
        }
    }

    /// Traitors got a share. If it is one of an honest writer's attempt, and they have enough,
    /// they show the entry at once; their own attempts wait for a good moment.
    fn take_loot(&mut self, share: &SignatureShare) {
        let ground = &mut self.ground;
        let (configuration, keys) = (&ground.configuration, &ground.keys);
        let Some(signed) = ground.loot.note_share(share, configuration, keys) else { return };
        if !ground.watch.facts().is_honest(&signed.entry.writer) {
            return;
        }
        let Some(certified) = ground.loot.assemble(&signed, &self.helpers, configuration, keys)
        else {
            return;
        };
        let request = Request::Store { entry: certified };
        if let Some(thief) = self.helpers.first() {
            for node in ground.configuration.everyone() {
                ground.request(thief.id(), &node, Caller::Traitor, &request);
            }
        }
    }

    fn crash(&mut self, id: NodeId, lasts: Duration) {
        let ground = &mut self.ground;
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.is_up()) {
            node.crash(ground);
            ground.trace.line(ground.clock.now(), || format!("{} loses power", short(&id)));
            ground.clock.after(lasts, Event::Recover { node: id });
        }
    }

    fn recover(&mut self, id: &NodeId) {
        let forgetting = self.nodes.values().any(Node::has_forgotten);
        let ground = &mut self.ground;
        if let Some(node) = self.nodes.get_mut(id).filter(|node| !node.is_up()) {
            if ground.faults.lose_disks() && !forgetting && ground.rng.percent(60) {
                node.lose_disk(ground);
                ground.trace.line(ground.clock.now(), || format!("{} lost its disk", short(id)));
            }
            node.restart(ground);
            ground.trace.line(ground.clock.now(), || format!("{} is back", short(id)));
        }
    }

    fn mischief(&mut self, number: usize) {
        let Some(variable) = self.ground.rng.pick(&self.variables).cloned() else { return };
        let top = self.top(&variable);
        self.ground.trace.event(self.ground.clock.now(), 9, &[]);
        if let Some(traitor) = self.traitors.get_mut(number) {
            traitor.act(&mut self.ground, number, &variable, top, &self.helpers);
        }
    }

    /// The largest timestamp that an honest node has seen.
    pub(super) fn top(&self, variable: &Variable) -> Timestamp {
        let states = self.nodes.values().filter_map(|node| node.disk().load(variable).ok());
        states.map(|state| state.marks.seen).max().unwrap_or_default()
    }

    /// The network is good again, all honest nodes are up, and the traitors are silent or go on.
    pub(crate) fn heal(&mut self) {
        let ground = &mut self.ground;
        ground.healed = true;
        ground.network = Network::default();
        for node in self.nodes.values_mut() {
            if !node.is_up() {
                node.restart(ground);
            }
            node.restart_if_stopped(ground);
        }
        let silent = ground.rng.percent(50);
        for (number, liar) in self.liars.values_mut().enumerate() {
            if silent {
                liar.become_silent();
            } else if self.behaviours.is_empty() {
                liar.become_another(any_server(&mut ground.rng));
            } else if let Some(behaviour) = chosen(&self.behaviours, number) {
                liar.become_another(behaviour);
            }
        }
    }

    /// Lets nodes that forgot read the rest, now that everybody answers.
    pub(crate) fn finish_catching_up(&mut self) {
        if self.nodes.values().any(Node::has_forgotten) {
            self.play();
        }
        let newest = &self.ground.configuration;
        let mut members = self.nodes.iter().filter(|(id, _)| newest.has_member(id));
        if let Some((id, _)) = members.find(|(_, node)| node.has_forgotten()) {
            let now = self.ground.clock.now();
            self.ground.watch.fail(now, "who forgot catches up", short(id));
        }
    }

    /// What a node answers to a read or to a write-back, without network.
    pub(crate) fn look(
        &mut self,
        id: &NodeId,
        request: &Request,
        variable: &Variable,
    ) -> Option<Outcome> {
        if let Some(node) = self.nodes.get(id) {
            if let Request::Store { entry } = request {
                let batch = Batch { entries: vec![entry.clone()], ..Batch::default() };
                return node.disk().commit(batch).ok().map(|()| Ok(Answer::Done));
            }
            let state = node.disk().load(variable).ok()?;
            return Some(Ok(Answer::Entry(state.latest.map(Box::new))));
        }
        self.liars.get_mut(id)?.answer(&mut self.ground, request)
    }
}

/// The password record in an entry.
pub(super) fn record_in(entry: &CertifiedEntry) -> Option<RecordId> {
    Some(Protected::from_value(&entry.entry().value).ok()?.record().id())
}

/// Nodes that may become members.
fn guests() -> BTreeSet<NodeId> {
    (0..GUESTS).map(|i| node(FIRST_GUEST.saturating_add(i))).collect()
}

/// The behaviour of the so-many-th Byzantine node.
fn chosen(behaviours: &[Adversary], number: usize) -> Option<Box<dyn ByzantineServer>> {
    let index = number.checked_rem(behaviours.len())?;
    behaviours.get(index).and_then(|behaviour| behaviour.server())
}

/// The number of a made-up certificate.
pub(crate) fn short(id: &NodeId) -> String {
    id.as_bytes().first().map_or_else(String::new, |number| format!("#{number}"))
}

fn describe(request: &Request) -> String {
    match request {
        Request::Sign { entry, .. } => format!("sign t={}", entry.entry.timestamp),
        Request::Store { entry } => format!("store t={}", entry.timestamp()),
        Request::Abandon { abandon, .. } => format!("abandon t={}", abandon.attempt.timestamp),
        Request::Propose { change, .. } => format!("{:?} {}?", change.kind, short(&change.member)),
        other => other.command().to_owned(),
    }
}

fn reply(response: &Result<Response, Lost>) -> String {
    match response {
        Err(lost) => format!("nothing ({lost:?})"),
        Ok(Response { outcome: Err(refusal), .. }) => format!("no: {refusal}"),
        Ok(Response { outcome: Ok(answer), .. }) => match answer {
            Answer::Time { seen, .. } => format!("time {seen}"),
            Answer::Share(share) => format!("share of {}", short(&share.signer)),
            Answer::Entry(Some(entry)) => format!("entry t={}", entry.timestamp()),
            Answer::Entry(None) => "absent".to_owned(),
            Answer::Digest { timestamp, .. } => format!("digest t={timestamp}"),
            _ => "done".to_owned(),
        },
    }
}
