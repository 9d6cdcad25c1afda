//! The end of a run: after everything is healed, the true owner writes and reads, and every
//! quorum shows the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Action, Consistency, Hedge, Problem, Read, ReadOptions};
use bftkv_protocol::{
    Address, CertifiedEntry, NodeId, Request, Response, Slot, Store, Value, ValueDigest, Variable,
};

use super::cast::{address, probe_key};
use super::cluster::Cluster;
use super::device::{Device, Habits};
use super::ground::{Event, ProcessId};
use super::node::Node;
use super::process::{Process, Todo};
use crate::invariants::Observation;
use crate::oracle::{Kind, Outcome};

/// How long the owner tries first: enough for nine attempts against one who is silent.
const SHORT_PATIENCE: Duration = Duration::from_secs(6);

/// How long the owner tries when only the help of a traitor could make it succeed.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(1);

/// How long the owner tries at most, if nothing is in his way.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many days pass before the closing logins: more than attempts that were used.
const DAYS: u64 = 20;

const LIVENESS: &str = "after healing, the owner writes and everybody reads";
const AGREEMENT: &str = "two quorums read the same";
const LASTING: &str = "what was acknowledged or read is found in every quorum, old versions too";

/// How the closing write of one variable went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It was written, or is sealed.
    Good,
    /// An empty variable is blocked by attempts that nobody finishes or gives up.
    BlockedEmpty,
    /// The same of a variable that has an owner.
    BlockedOwned,
    /// The variable belongs to a traitor: nobody honest can write.
    Foreign,
    /// It should have gone well.
    Bad,
}

impl Cluster {
    /// The owner of the newest certified entry (or somebody new) writes, then somebody reads.
    pub(crate) fn close(&mut self, variable: &Variable) -> Closing {
        let newest = self.newest(variable);
        let owner = newest.as_ref().map(|entry| entry.entry().owner.clone());
        if owner == Some(address('m')) {
            self.closing_read(variable);
            return Closing::Foreign;
        }
        let is_empty = owner.is_none();
        let owner = owner.unwrap_or_else(|| address('z'));
        let result = self.closing_write(variable, owner, is_empty);
        self.closing_read(variable);
        result
    }

    fn closing_write(
        &mut self,
        variable: &Variable,
        mut owner: Address,
        is_empty: bool,
    ) -> Closing {
        let mut todo = Todo::Write { variable: variable.clone(), is_final: false };
        let mut last = Outcome::Unknown;
        for attempt in 0..5 {
            let patience = match attempt {
                0 if self.is_blocked(variable, &owner) => BLOCKED_PATIENCE,
                0..=2 => SHORT_PATIENCE,
                _ => PATIENCE,
            };
            last = self.closing_operation(owner.clone(), todo.clone(), attempt, patience);
            let problem = match &last {
                Outcome::Failed(problem) => problem,
                Outcome::Written(_) => break,
                // Signed at the very end of its time: the next try has more.
                _ => continue,
            };
            match &**problem {
                Problem::Sealed(_) => return Closing::Good,
                // An entry that a traitor kept to itself until now.
                Problem::NotOwner(entry) if entry.entry().owner == address('m') => {
                    return Closing::Foreign;
                }
                Problem::NotOwner(entry) => owner = entry.entry().owner.clone(),
                Problem::OutstandingFinal(slot) => {
                    let Some(value) = self.find_value(slot.value) else { break };
                    let variable = variable.clone();
                    todo = Todo::WriteThis { variable, value, is_final: true };
                }
                _ if self.is_blocked(variable, &owner) => break,
                _ => {}
            }
        }
        if matches!(last, Outcome::Written(_)) {
            Closing::Good
        } else if self.is_blocked(variable, &owner) {
            if is_empty { Closing::BlockedEmpty } else { Closing::BlockedOwned }
        } else {
            self.fail(LIVENESS, format!("{variable}: {last:?}"));
            Closing::Bad
        }
    }

    /// The owner opens what is there with its password, from a new device, when all attempts have come back.
    pub(crate) fn close_passwords(&mut self) {
        self.ground.days = self.ground.days.saturating_add(DAYS);
        let owner = address('a');
        for (number, variable) in (2000..).zip(self.variables.clone()) {
            let key = probe_key(&owner);
            let mut process = self.probe(&owner, number, "opener", PATIENCE);
            let mut device = Device::new(key, variable, Habits::Closing, &mut self.ground.rng);
            device.turn(&mut process, &mut self.ground);
            self.devices.insert(number, device);
            self.processes.insert(number, process);
            self.play();
        }
    }

    /// Whether attempts on the disks of honest nodes leave no quorum for any value of this owner,
    /// if the traitors are silent.
    fn is_blocked(&self, variable: &Variable, owner: &Address) -> bool {
        let slots: BTreeMap<&NodeId, Vec<Slot>> = self
            .nodes
            .iter()
            .filter_map(|(id, node)| Some((id, node.disk().load(variable).ok()?.marks.slots)))
            .collect();
        let finals = slots.values().flatten().filter(|slot| slot.is_final).map(|s| Some(s.value));
        let candidates: BTreeSet<Option<ValueDigest>> = finals.chain([None]).collect();
        candidates.iter().all(|candidate| {
            let is_free = |held: &Vec<Slot>| {
                held.len() < Slot::MAX_PER_OWNER
                    && held.iter().all(|slot| {
                        slot.owner == *owner && (!slot.is_final || Some(slot.value) == *candidate)
                    })
            };
            let free = slots.iter().filter(|(_, held)| is_free(held)).map(|(id, _)| *id);
            let free: BTreeSet<NodeId> = free.cloned().collect();
            let cliques = self.ground.configuration.cliques();
            cliques.iter().any(|clique| clique.count(&free) < clique.thresholds().q())
        })
    }

    fn fail(&mut self, invariant: &'static str, detail: String) {
        self.ground.watch.fail(self.ground.clock.now(), invariant, detail);
    }

    pub(super) fn newest(&self, variable: &Variable) -> Option<CertifiedEntry> {
        let newest = &self.ground.configuration;
        let members = self.nodes.iter().filter(|(id, _)| newest.has_member(id));
        let states = members.filter_map(|(_, node)| node.disk().load(variable).ok());
        states.filter_map(|state| state.latest).max_by_key(CertifiedEntry::timestamp)
    }

    fn closing_read(&mut self, variable: &Variable) {
        let variable = variable.clone();
        let todo = Todo::Read { variable, consistency: Consistency::Linearizable, proof: false };
        let outcome = self.closing_operation(address('r'), todo, 9, PATIENCE);
        if !matches!(outcome, Outcome::Found(_)) {
            self.fail(LIVENESS, format!("the closing read: {outcome:?}"));
        }
    }

    /// Runs one operation of a new device to its end.
    fn closing_operation(
        &mut self,
        owner: Address,
        todo: Todo,
        number: u32,
        patience: Duration,
    ) -> Outcome {
        let id: ProcessId = number.saturating_add(1000);
        let name = format!("probe{}", self.ground.history.operations().count());
        let process = self.probe(&owner, id, &name, patience).with_plan([todo]);
        self.processes.insert(id, process);
        self.ground.clock.after(Duration::from_millis(1), Event::Begin { process: id });
        self.play();
        let last = self.ground.history.operations().filter(|op| op.process == name).last();
        last.map_or(Outcome::Unknown, |op| op.outcome.clone())
    }

    /// A new device of this owner, with a key that everybody knows.
    fn probe(&mut self, owner: &Address, id: ProcessId, name: &str, patience: Duration) -> Process {
        let key = probe_key(owner);
        self.ground.keys.certify(&key, owner);
        self.ground.watch.facts_mut().users.insert(key.clone(), owner.clone());
        let known: BTreeSet<NodeId> = self.ground.watch.facts().users.keys().cloned().collect();
        Process::new(id, name, self.ground.keys.signer(&key), owner.clone())
            .with_patience(patience)
            .knowing(known)
    }

    /// The value that somebody tried to write, by its digest.
    fn find_value(&self, digest: ValueDigest) -> Option<Value> {
        let honest = self.ground.history.operations().filter_map(|op| match &op.kind {
            Kind::Write { value, .. } => Some(value.clone()),
            _ => None,
        });
        let others = self.traitors.iter().flat_map(|t| &t.attempts).map(|a| a.entry.value.clone());
        honest.chain(others).find(|value| value.digest() == digest)
    }

    /// Reads from one quorum after the other: what one shows, the next ones show too, or
    /// something newer that a traitor had kept to itself.
    pub(crate) fn compare_quorums(&mut self, variable: &Variable) {
        let members: Vec<NodeId> = self.ground.configuration.store().members().cloned().collect();
        let q = self.ground.configuration.store().thresholds().q();
        let mut last: Option<CertifiedEntry> = None;
        for quorum in subsets(&members, q) {
            let Some(entry) = self.read_from(&quorum, variable) else { continue };
            let t = |e: &Option<CertifiedEntry>| e.as_ref().map(CertifiedEntry::timestamp);
            let hash = |e: &Option<CertifiedEntry>| e.as_ref().map(CertifiedEntry::hash);
            let same = hash(&entry) == hash(&last);
            if t(&entry) < t(&last) || (t(&entry) == t(&last) && !same) {
                let detail = format!("{variable}: {:?} and then {:?}", t(&last), t(&entry));
                self.fail(AGREEMENT, detail);
            }
            last = entry;
        }
    }

    /// Whether every quorum of the store group has an honest member with each version that was
    /// acknowledged or read, however old.
    pub(crate) fn find_old_versions(&mut self) {
        let store = self.ground.configuration.store();
        let hidden = store.len().saturating_sub(store.thresholds().q());
        let lost = self.ground.history.operations().filter_map(|op| op.lasting()).find(|entry| {
            let has = |node: &Node| {
                let version = node.disk().version(entry.variable(), entry.timestamp());
                version.is_ok_and(|found| found.is_some_and(|found| found.hash() == entry.hash()))
            };
            let holders: BTreeSet<&NodeId> =
                self.nodes.iter().filter(|(_, node)| has(node)).map(|(id, _)| id).collect();
            store.count(holders) <= hidden
        });
        if let Some(entry) = lost {
            let detail = format!("{} t={}", entry.variable(), entry.timestamp());
            self.fail(LASTING, detail);
        }
    }

    /// Reads from exactly these nodes; `None` if a liar among them kept the read from ending.
    fn read_from(
        &mut self,
        quorum: &[NodeId],
        variable: &Variable,
    ) -> Option<Option<CertifiedEntry>> {
        let now = self.ground.now();
        let options = ReadOptions {
            at: None,
            consistency: Consistency::Linearizable,
            proof: false,
            cut: BTreeSet::new(),
            hedge: Hedge::default(),
            whole: Hedge::default(),
            deadline: now.saturating_add(PATIENCE),
            round_timeout: PATIENCE,
        };
        let digest = self.ground.configuration.digest();
        let known = Arc::clone(&self.ground.configurations);
        let mut read = Read::start(now, known, variable.clone(), options);
        while let Some(action) = read.poll() {
            match action {
                Action::Send { round, to, request } => {
                    let is_read = matches!(*request, Request::Read { .. });
                    for node in to.iter().filter(|id| !is_read || quorum.contains(id)) {
                        let looked = self.look(node, &request, variable);
                        let Some(outcome) = looked else { continue };
                        let response = Response { configuration: digest, outcome };
                        read.handle_response(now, round, node, Ok(response), &self.ground.keys);
                    }
                }
                Action::Fetch(_) => {
                    let everyone = self.ground.configuration.everyone();
                    read.handle_fetched(now, &everyone, &self.ground.keys);
                }
                _ => {}
            }
        }
        let found = read.result()?.as_ref().ok()?;
        for (who, fault) in &found.culprits {
            self.ground.observe(&Observation::Blamed { by: "a quorum", who, fault: *fault });
        }
        Some(found.entry.clone())
    }
}

/// All subsets of this size.
fn subsets(all: &[NodeId], size: usize) -> Vec<Vec<NodeId>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let Some((first, rest)) = all.split_first() else { return Vec::new() };
    let mut with = subsets(rest, size.saturating_sub(1));
    with.iter_mut().for_each(|subset| subset.push(first.clone()));
    with.extend(subsets(rest, size));
    with
}
