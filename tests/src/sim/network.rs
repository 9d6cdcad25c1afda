//! Messages between parties: late, lost, twice, out of order, cut off.

use std::collections::BTreeSet;
use std::time::Duration;

use bftkv_protocol::NodeId;

use super::rng::Rng;

/// The weather of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Network {
    /// Percent of messages that never arrive.
    pub(crate) loss: u64,
    /// Percent of messages that arrive twice.
    pub(crate) twice: u64,
    /// Percent of messages that take long.
    pub(crate) slow: u64,
    /// Directed links that carry nothing now.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// When the copies of a message arrive: none, one or two of them.
    pub(crate) fn arrivals(&self, from: &NodeId, to: &NodeId, rng: &mut Rng) -> Vec<Duration> {
        if rng.percent(self.loss) || self.is_cut(from, to) {
            return Vec::new();
        }
        let copies = if rng.percent(self.twice) { 2 } else { 1 };
        (0..copies).map(|_| self.delay(rng)).collect()
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        if rng.percent(self.slow) { rng.millis(20, 400) } else { rng.millis(1, 20) }
    }

    fn is_cut(&self, from: &NodeId, to: &NodeId) -> bool {
        !self.cut.is_empty() && self.cut.contains(&(from.clone(), to.clone()))
    }

    /// Splits the parties in two; `both_ways`, or only from the first to the second part.
    pub(crate) fn split(&mut self, parties: &[NodeId], both_ways: bool, rng: &mut Rng) {
        let (here, there): (Vec<&NodeId>, Vec<&NodeId>) =
            parties.iter().partition(|_| rng.percent(50));
        for a in &here {
            for b in &there {
                self.cut.insert(((*a).clone(), (*b).clone()));
                if both_ways {
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
