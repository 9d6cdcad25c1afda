//! Members that are cut out, and entries that are certified again because they had signed them. The machine
//! is the real one (`client::Repair`); when it is begun is as in `bftkv`.

use std::collections::BTreeSet;
use std::time::Duration;

use bftkv_protocol::client::{Action, Lost, Repair, RepairOptions, Repaired, Round};
use bftkv_protocol::server::Standing;
use bftkv_protocol::{
    Backing, Batch, CertifiedEntry, EntryHash, NodeId, Response, Sign, Store, Variable,
};

use super::cluster::{Cluster, short};
use super::ground::{Caller, Event, Ground};
use super::node::Node;
use super::plant::Plant;

/// How long one entry may take, and one round of questions for it.
const ENTRY: Duration = Duration::from_secs(10);
const ROUND: Duration = Duration::from_millis(500);

/// The pause after each entry.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a node looks for such entries by itself.
const LOOKS: usize = 4;

/// How often everybody looks at the end until nothing must be left.
const ROUNDS: usize = 40;

/// More than any run has.
const MANY: usize = 10_000;

const REPAIRED: &str = "after healing, what has lost signers is certified again";

/// What a node has certified again.
#[derive(Debug, Default)]
pub(super) struct Repairing {
    machine: Option<Box<Repair>>,
    /// Counts the entries that were begun with.
    number: u64,
    wake: Option<Duration>,
    /// Entries that were never complete, and are on this disk only.
    alone: BTreeSet<EntryHash>,
    done: u64,
}

impl Repairing {
    /// Forgets what was under way.
    pub(super) fn stop(&mut self) {
        self.machine = None;
    }
}

impl Node {
    /// How many entries it had certified again.
    pub(crate) fn repaired(&self) -> u64 {
        self.repairing.done
    }

    /// Its operator cuts somebody out, durably.
    pub(crate) fn cut_by_command(&mut self, who: &NodeId) {
        if who != self.signer.id() {
            self.condemned.insert(who.clone());
            self.cut.insert(who.clone());
        }
    }

    /// What is on its disk and has lost signers.
    fn weak(&self) -> Vec<CertifiedEntry> {
        let known = self.membership.configurations();
        let versions = |variable: Variable| {
            let times = self.disk.versions(&variable, None, MANY).unwrap_or_default();
            let entries = times.into_iter().filter_map(|t| self.disk.version(&variable, t).ok()?);
            entries.collect::<Vec<_>>()
        };
        let all = self.disk.known(None, MANY).unwrap_or_default().into_iter().flat_map(versions);
        let is_weak = |entry: &CertifiedEntry| {
            Backing::of(entry, known, &self.cut) < Backing::Full
                && !self.repairing.alone.contains(&entry.hash())
        };
        all.filter(is_weak).collect()
    }

    /// Looks for an entry that has lost signers, and begins to have it certified again.
    pub(crate) fn begin_to_repair(&mut self, ground: &mut Ground) {
        let may = self.is_up() && !self.forgot && self.standing() == Standing::Serving;
        let is_lazy = ground.plant == Some(Plant::NeverRepairs);
        if !may || is_lazy || self.repairing.machine.is_some() {
            return;
        }
        let Some(entry) = ground.rng.pick(&self.weak()).cloned() else { return };
        let (me, now) = (short(self.signer.id()), ground.now());
        ground.trace.line(now, || format!("{me} repairs t={}", entry.timestamp()));
        let options = RepairOptions {
            cut: self.cut.clone(),
            deadline: now.saturating_add(ENTRY),
            round_timeout: ROUND,
        };
        let known = self.membership.configurations().clone();
        self.repairing.number = self.repairing.number.saturating_add(1);
        self.repairing.wake = None;
        self.repairing.machine = Some(Box::new(Repair::start(now, 0, known, entry, options)));
        self.pump_repair(ground);
    }

    /// A member has answered.
    pub(crate) fn repair_answered(
        &mut self,
        ground: &mut Ground,
        number: u64,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        if number == self.repairing.number
            && let Some(machine) = &mut self.repairing.machine
        {
            machine.handle_response(round, from, response, &ground.keys);
            self.pump_repair(ground);
        }
    }

    /// Time has passed.
    pub(crate) fn repair_on(&mut self, ground: &mut Ground, number: u64) {
        if number == self.repairing.number
            && let Some(machine) = &mut self.repairing.machine
        {
            machine.handle_timeout(ground.now());
            self.pump_repair(ground);
        }
    }

    fn pump_repair(&mut self, ground: &mut Ground) {
        let Some(mut machine) = self.repairing.machine.take() else { return };
        let (me, number) = (self.signer.id().clone(), self.repairing.number);
        while let Some(action) = machine.poll() {
            match action {
                Action::Send { round, to, request } => {
                    for node in to {
                        let caller = Caller::Repair { node: me.clone(), number, round };
                        ground.request(&me, &node, caller, &request);
                    }
                }
                Action::Accuse(proof) => {
                    let batch = Batch { proofs: vec![proof.clone()], ..Batch::default() };
                    // Committing into memory does not fail.
                    let _ = self.disk.commit(batch);
                    self.cut_out(ground, &proof);
                }
                _ => {}
            }
        }
        match machine.result() {
            Some(Ok(Repaired::Again(_))) => {
                self.repairing.done = self.repairing.done.saturating_add(1);
            }
            Some(Ok(_)) => drop(self.repairing.alone.insert(machine.entry().hash())),
            // It is tried again when the node looks the next time.
            Some(Err(_)) => return,
            None => {
                let wake = machine.wake_at();
                if let Some(at) = wake.filter(|_| wake != self.repairing.wake) {
                    ground.clock.at(at, Event::RepairOn { node: me, number });
                    self.repairing.wake = wake;
                }
                self.repairing.machine = Some(machine);
                return;
            }
        }
        // If its own disk did not take it, the node waits.
        if !self.weak().iter().any(|entry| entry.hash() == machine.entry().hash()) {
            ground.clock.after(PAUSE, Event::Repair { node: me });
        }
    }
}

impl Cluster {
    /// When operators cut liars out, and when nodes look for entries.
    pub(super) fn plan_cuts(&mut self) {
        if !self.ground.faults.cut_out() {
            return;
        }
        let liars: Vec<NodeId> = self.liars.keys().cloned().collect();
        for liar in liars {
            if self.ground.rng.percent(35) {
                self.ground.condemn(&liar, 6_000);
            }
        }
        for node in self.nodes.keys() {
            for _ in 0..LOOKS {
                let at = self.ground.rng.millis(500, 12_000);
                self.ground.clock.at(at, Event::Repair { node: node.clone() });
            }
        }
    }

    pub(super) fn cut_by_command(&mut self, by: &NodeId, who: &NodeId) {
        if let Some(node) = self.nodes.get_mut(by) {
            node.cut_by_command(who);
        }
    }

    /// After everything is healed, everybody has heard who was cut out, and everything that has lost
    /// signers is certified again.
    pub(crate) fn finish_repairs(&mut self) {
        if !self.ground.faults.cut_out() {
            return;
        }
        for who in self.ground.condemned.clone() {
            self.nodes.values_mut().for_each(|node| node.cut_by_command(&who));
        }
        for _ in 0..ROUNDS {
            for node in self.nodes.values_mut() {
                node.begin_to_repair(&mut self.ground);
            }
            self.play();
            if self.first_weak().is_none() {
                return;
            }
        }
        if let Some(detail) = self.first_weak() {
            self.ground.watch.fail(self.ground.clock.now(), REPAIRED, detail);
        }
    }

    fn first_weak(&self) -> Option<String> {
        let newest = &self.ground.configuration;
        let members = self.nodes.iter().filter(|(id, _)| newest.has_member(id));
        members
            .flat_map(|(id, node)| node.weak().into_iter().map(move |entry| (id, entry)))
            .next()
            .map(|(id, entry)| {
                format!("{} t={} at {}", entry.variable(), entry.timestamp(), short(id))
            })
    }
}
