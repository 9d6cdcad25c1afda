//! When things happen that nobody decides while a run goes on.

use std::time::Duration;

use bftkv_protocol::NodeId;

use super::cluster::Cluster;
use super::fault::Fault;
use super::ground::Event;

/// How often each node asks for changes of members.
const LEARNS: usize = 6;

/// How far clocks may be off, in seconds.
const TEN_YEARS: u64 = 315_360_000;

impl Cluster {
    /// When people begin, power fails and links break.
    pub(super) fn plan_events(&mut self) {
        let ground = &mut self.ground;
        for process in self.processes.keys() {
            let start = ground.rng.millis(1, 150);
            ground.clock.at(start, Event::Begin { process: *process });
        }
        for traitor in 0..self.traitors.len() {
            let start = ground.rng.millis(1, 100);
            ground.clock.at(start, Event::Mischief { traitor });
        }
        for node in self.nodes.keys() {
            for percent in [40, 15] {
                if ground.rng.percent(percent) {
                    let (node, lasts) = (node.clone(), ground.rng.millis(1, 900));
                    let start = ground.rng.millis(0, 1500);
                    ground.clock.at(start, Event::Crash { node, lasts });
                }
            }
        }
        self.plan_splits();
        self.plan_clocks();
        self.plan_changes();
        self.plan_days();
    }

    /// A day or two pass while devices log in.
    fn plan_days(&mut self) {
        let ground = &mut self.ground;
        let days = if self.devices.is_empty() { 0 } else { ground.rng.below(3) };
        for _ in 0..days {
            let at = ground.rng.millis(0, 4_000);
            ground.clock.at(at, Event::DayPasses);
        }
    }

    /// When the operator acts, and nodes ask for changes that they missed.
    fn plan_changes(&mut self) {
        let ground = &mut self.ground;
        if !ground.faults.change_members() {
            return;
        }
        for number in 0..self.operators.len() {
            let start = ground.rng.millis(1, 800);
            ground.clock.at(start, Event::Operate { number });
        }
        for node in self.nodes.keys() {
            for _ in 0..LEARNS {
                let at = ground.rng.millis(500, 8_000);
                ground.clock.at(at, Event::Learn { node: node.clone() });
            }
        }
        let ground = &mut self.ground;
        if ground.rng.percent(40) {
            let nodes: Vec<NodeId> = self.nodes.keys().cloned().collect();
            let until = ground.rng.millis(500, 8_000);
            ground.deaf = ground.rng.pick(&nodes).map(|node| (node.clone(), until));
        }
        self.plan_schemes();
        self.plan_cuts();
    }

    /// Splits that are drawn or wanted.
    fn plan_splits(&mut self) {
        let ground = &mut self.ground;
        let drawn = ground.rng.pick(&Fault::SPLITS).copied().filter(|_| ground.rng.percent(35));
        let wanted = Fault::SPLITS.into_iter().filter(|split| ground.faults.include(*split));
        for how in wanted.chain(drawn).collect::<Vec<_>>() {
            let times = if how == Fault::Flapping { 6 } else { 1 };
            let mut start = ground.rng.millis(0, 1200);
            for _ in 0..times {
                let longest = if how == Fault::Flapping { 200 } else { 1500 };
                let lasts = ground.rng.millis(50, longest);
                ground.clock.at(start, Event::Split { how, lasts });
                start = start.saturating_add(lasts.saturating_mul(2));
            }
        }
    }

    /// Clocks of clients that are wrong, and jump.
    fn plan_clocks(&mut self) {
        let ground = &mut self.ground;
        if !ground.faults.include(Fault::Clocks) && !ground.rng.percent(15) {
            return;
        }
        for (id, process) in &mut self.processes {
            process.set_clock(Duration::from_secs(ground.rng.below(TEN_YEARS)));
            let at = ground.rng.millis(0, 2_000);
            ground.clock.at(at, Event::ClockJumps { process: *id });
        }
    }
}
