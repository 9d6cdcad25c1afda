//! Messages between parties: late, lost, twice, out of order, changed on the way, cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use bftkv_protocol::NodeId;

use super::fault::{Fault, Faults};
use super::rng::Rng;

/// The weather of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// Percent of messages that never arrive.
    loss: u64,
    /// Percent of messages that arrive twice.
    twice: u64,
    /// Percent of messages that take long.
    slow: u64,
    /// How long those take at most, in milliseconds.
    longest: u64,
    /// Percent of messages that arrive with a changed byte.
    pub(crate) corrupt: u64,
    /// A node to and from which everything takes long.
    snail: Option<NodeId>,
    /// Directed links that carry nothing now.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// What a seed draws, and what is wanted.
    pub(crate) fn weather(faults: Faults, nodes: &[NodeId], rng: &mut Rng) -> Self {
        let mut drawn = |all: &[u64]| rng.pick(all).copied().unwrap_or(0);
        let mut network = Self {
            loss: drawn(&[0, 0, 2, 10, 30]),
            slow: drawn(&[0, 5, 20]),
            twice: drawn(&[0, 0, 5, 50]),
            longest: drawn(&[400, 400, 400, 10_000]),
            corrupt: drawn(&[0, 0, 1, 5]),
            snail: None,
            cut: BTreeSet::new(),
        };
        if rng.percent(10) || faults.include(Fault::SlowNode) {
            network.snail = rng.pick(nodes).cloned();
        }
        if faults.include(Fault::Loss) {
            network.loss = 30;
        }
        if faults.include(Fault::Duplicates) {
            network.twice = 50;
        }
        if faults.include(Fault::Corruption) {
            network.corrupt = 5;
        }
        if faults.include(Fault::LongDelays) {
            (network.slow, network.longest) = (20, 10_000);
        }
        network
    }

    /// When the copies of a message arrive: none, one or two of them.
    pub(crate) fn arrivals(&self, from: &NodeId, to: &NodeId, rng: &mut Rng) -> Vec<Duration> {
        if rng.percent(self.loss) || self.is_cut(from, to) {
            return Vec::new();
        }
        let is_slow = [from, to].into_iter().any(|party| self.snail.as_ref() == Some(party));
        let copies = if rng.percent(self.twice) { 2 } else { 1 };
        (0..copies).map(|_| self.delay(is_slow, rng)).collect()
    }

    fn delay(&self, is_slow: bool, rng: &mut Rng) -> Duration {
        if is_slow {
            rng.millis(100, 10_000)
        } else if rng.percent(self.slow) {
            rng.millis(20, self.longest)
        } else {
            rng.millis(1, 20)
        }
    }

    fn is_cut(&self, from: &NodeId, to: &NodeId) -> bool {
        !self.cut.is_empty() && self.cut.contains(&(from.clone(), to.clone()))
    }

    /// Cuts links in one of the ways of [`Fault::SPLITS`].
    pub(crate) fn split(&mut self, how: Fault, nodes: &[NodeId], all: &[NodeId], rng: &mut Rng) {
        let lone = rng.pick(nodes).cloned();
        let is_lone = |id: &NodeId| lone.as_ref() == Some(id);
        let (here, there): (Vec<&NodeId>, Vec<&NodeId>) = match how {
            Fault::IsolateOne => all.iter().partition(|id| is_lone(id)),
            _ => all.iter().partition(|_| rng.percent(50)),
        };
        for a in &here {
            for b in &there {
                if how == Fault::Bridge && (is_lone(a) || is_lone(b)) {
                    continue;
                }
                self.cut.insert(((*a).clone(), (*b).clone()));
                if how != Fault::OneWay {
                    self.cut.insert(((*b).clone(), (*a).clone()));
                }
            }
        }
    }

    /// The links work again.
    pub(crate) fn join(&mut self) {
        self.cut.clear();
    }
}
