//! Who plays: users, their devices and plans, all by chance.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::client::Consistency;
use bftkv_protocol::{Address, NodeId, Variable};

use super::device::{Device, Habits};
use super::fake_keys::FakeKeys;
use super::ground::ProcessId;
use super::process::{Process, Todo};
use super::rng::Rng;
use super::shape::node;
use super::traitor::Traitor;
use crate::adversary::Adversary;

/// Numbers of the certificates of users.
const A1: u8 = 200;
const A2: u8 = 201;
const B1: u8 = 202;
const MALLORY: u8 = 203;
const STOLEN_DEVICE: u8 = 204;
const READER: u8 = 205;
const PROBE: u8 = 206;

/// The last key with which somebody closes a run: that of `z`.
pub(crate) const LAST_PROBE: u8 = PROBE + 25;

/// How often a Byzantine user acts.
const ACTS: u32 = 14;

/// How often one acts that has one habit only: more often than a slot limit allows.
const ACTS_OF_HABIT: u32 = 40;

/// The people of a run.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) variables: Vec<Variable>,
    pub(crate) processes: Vec<Process>,
    pub(crate) devices: BTreeMap<ProcessId, Device>,
    pub(crate) traitors: Vec<Traitor>,
    pub(crate) users: BTreeMap<NodeId, Address>,
}

/// The address of a user by the first letter of the names of its devices.
pub(crate) fn address(letter: char) -> Address {
    Address::new(format!("{letter}@example.org")).expect("a plain address is an address")
}

/// The certificate with which somebody with this address closes the run.
pub(crate) fn probe_key(owner: &Address) -> NodeId {
    let letter = owner.as_str().bytes().next().unwrap_or_default();
    node(PROBE.saturating_add(letter.saturating_sub(b'a')))
}

/// The devices and whose they are.
fn users() -> BTreeMap<NodeId, Address> {
    let all =
        [(A1, 'a'), (A2, 'a'), (B1, 'b'), (MALLORY, 'm'), (STOLEN_DEVICE, 'a'), (READER, 'r')];
    all.into_iter().map(|(number, letter)| (node(number), address(letter))).collect()
}

impl Cast {
    /// With `together` there are two variables, every second write, and every second read, is one of both
    /// of them at once, and more operations run at a time with the same key, as those of a busy client do.
    pub(crate) fn choose(
        keys: &mut FakeKeys,
        habits: &[Adversary],
        together: bool,
        rng: &mut Rng,
    ) -> Self {
        let users = users();
        users.iter().for_each(|(key, owner)| keys.certify(key, owner));
        let count = if rng.percent(75) && !together { 1 } else { 2 };
        let names = ["x", "y"].into_iter().take(count);
        let variables: Vec<Variable> =
            names.filter_map(|name| Variable::new(name.as_bytes()).ok()).collect();
        let traitors = Self::traitors(keys, habits, rng);
        let mut processes = Self::processes(keys, &variables, &users, rng);
        if together {
            processes.extend(Self::busy(keys, &variables, &users, rng));
            processes.iter_mut().for_each(|process| process.all_at_once(&variables));
        }
        Self { variables, processes, devices: BTreeMap::new(), traitors, users }
    }

    /// Three devices of one owner who use a password, two of them with one key or not; a stranger who
    /// guesses, and a reader.
    pub(crate) fn with_passwords(keys: &mut FakeKeys, rng: &mut Rng) -> Self {
        let users = users();
        users.iter().for_each(|(key, owner)| keys.certify(key, owner));
        let variables: Vec<Variable> = Variable::new(*b"x").into_iter().collect();
        let known: BTreeSet<NodeId> = users.keys().cloned().collect();
        let second = if rng.percent(40) { A1 } else { A2 };
        let crashes = rng.pick(&[0, 0, 4, 8]).copied().unwrap_or(0);
        let people = [
            ("D1", A1, 'a', Habits::Owner),
            ("D2", second, 'a', Habits::Owner),
            ("D3", STOLEN_DEVICE, 'a', Habits::Owner),
            ("G1", B1, 'b', Habits::Guesser),
        ];
        let (mut processes, mut devices) = (Vec::new(), BTreeMap::new());
        for (id, (name, key, letter, habits)) in (1..).zip(people) {
            let patience = rng.millis(3_000, 8_000);
            let process = Process::new(id, name, keys.signer(&node(key)), address(letter));
            let process = process.with_crashes(crashes).with_patience(patience);
            processes.push(process.knowing(known.clone()));
            if let Some(variable) = variables.first() {
                devices.insert(id, Device::new(node(key), variable.clone(), habits, rng));
            }
        }
        let reader = Process::new(11, "R1", keys.signer(&node(READER)), address('r'));
        processes.push(reader.with_plan(reader_plan(&variables, rng)).knowing(known));
        Self { variables, processes, devices, traitors: Vec::new(), users }
    }

    fn processes(
        keys: &FakeKeys,
        variables: &[Variable],
        users: &BTreeMap<NodeId, Address>,
        rng: &mut Rng,
    ) -> Vec<Process> {
        let (two_processes, finals) = (rng.percent(40), rng.percent(50));
        let crashes = rng.pick(&[0, 0, 4, 8]).copied().unwrap_or(0);
        let second = if two_processes { A1 } else { A2 };
        let writers = [("A1", A1, 'a', 3), ("A2", second, 'a', 3), ("B1", B1, 'b', 2)];
        let readers = [("R1", READER, 'r'), ("R2", READER, 'r')];
        let known: BTreeSet<NodeId> = users.keys().cloned().collect();
        let mut all = Vec::new();
        for (id, (name, key, letter, writes)) in (1..).zip(writers) {
            let plan = writer_plan(variables, writes, finals && letter == 'a', rng);
            let process = Process::new(id, name, keys.signer(&node(key)), address(letter));
            let known = if rng.percent(70) { known.clone() } else { BTreeSet::new() };
            let patience = rng.millis(2_000, 6_000);
            let process = process.with_plan(plan).with_crashes(crashes).with_patience(patience);
            all.push(process.knowing(known));
        }
        for (id, (name, key, letter)) in (11..).zip(readers) {
            let plan = reader_plan(variables, rng);
            let known = if rng.percent(50) { known.clone() } else { BTreeSet::new() };
            let process = Process::new(id, name, keys.signer(&node(key)), address(letter));
            all.push(process.with_plan(plan).knowing(known));
        }
        all
    }

    /// More of the first device's and of the reader's operations at once.
    fn busy(
        keys: &FakeKeys,
        variables: &[Variable],
        users: &BTreeMap<NodeId, Address>,
        rng: &mut Rng,
    ) -> Vec<Process> {
        let known: BTreeSet<NodeId> = users.keys().cloned().collect();
        let writers = [("A3", A1, 'a'), ("A4", A1, 'a')].map(|who| (who, true));
        let readers = ["R3", "R4", "R5", "R6"].map(|name| ((name, READER, 'r'), false));
        let mut all = Vec::new();
        for (id, ((name, key, letter), writes)) in (21..).zip(writers.into_iter().chain(readers)) {
            let plan = match writes {
                true => writer_plan(variables, 2, false, rng),
                false => reader_plan(variables, rng),
            };
            let process = Process::new(id, name, keys.signer(&node(key)), address(letter));
            all.push(process.with_plan(plan).knowing(known.clone()));
        }
        all
    }

    /// Byzantine users: by chance, or both of them if they have habits.
    fn traitors(keys: &FakeKeys, habits: &[Adversary], rng: &mut Rng) -> Vec<Traitor> {
        let both = [(MALLORY, 'm', 'a', 40), (STOLEN_DEVICE, 'a', 'b', 30)];
        let mut traitors = Vec::new();
        let mut habits = habits.iter().copied().cycle();
        for (key, own, victim, percent) in both {
            let habit = habits.next();
            if habit.is_some() || rng.percent(percent) {
                traitors.push(Traitor {
                    habit,
                    signer: keys.signer(&node(key)),
                    owner: address(own),
                    victim: address(victim),
                    acts: if habit.is_some() { ACTS_OF_HABIT } else { ACTS },
                    attempts: Vec::new(),
                });
            }
        }
        traitors
    }
}

fn writer_plan(variables: &[Variable], writes: u64, finals: bool, rng: &mut Rng) -> Vec<Todo> {
    let mut plan = Vec::new();
    for _ in 0..writes {
        let Some(variable) = rng.pick(variables).cloned() else { continue };
        let is_final = finals && rng.percent(25);
        plan.push(Todo::Write { variable: variable.clone(), is_final });
        if rng.percent(20) {
            plan.push(Todo::ReadAgain { variable });
        }
    }
    plan
}

fn reader_plan(variables: &[Variable], rng: &mut Rng) -> Vec<Todo> {
    let mut plan = Vec::new();
    for _ in 0..6 {
        let Some(variable) = rng.pick(variables).cloned() else { continue };
        let todo = match rng.below(10) {
            0 => Todo::ReadAgain { variable },
            1 => Todo::List { variable },
            2 => Todo::Read { variable, consistency: Consistency::Regular, proof: false },
            3 => Todo::Read { variable, consistency: Consistency::Linearizable, proof: true },
            _ => Todo::Read { variable, consistency: Consistency::Linearizable, proof: false },
        };
        plan.push(todo);
    }
    plan
}
