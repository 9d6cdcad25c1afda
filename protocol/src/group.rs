//! Groups of nodes and their arithmetic (rule R1).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{NodeId, Progress};

/// The numbers of a group of n nodes. Paper: §2.1, §5.
///
/// Differs: the text asks for 2f+1 acknowledgements of n = 4b+1 nodes; two such sets share one
/// node, which may be the Byzantine one. These are dissemination quorums (Malkhi and Reiter,
/// section 4): entries carry their proof, so n = 3b+1 is enough and q is the same for signatures,
/// acknowledgements and answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thresholds {
    n: usize,
}

impl Thresholds {
    /// The numbers for a group of `n` nodes.
    #[must_use]
    pub const fn of(n: usize) -> Self {
        Self { n }
    }

    /// n: the members, cut-out ones included.
    #[must_use]
    pub const fn n(self) -> usize {
        self.n
    }

    /// b = floor((n-1)/3): how many members may be Byzantine.
    ///
    /// Theorem: 3b < n, and b is the largest such number. So q <= n-b (see [`Self::q`]): b dead
    /// nodes never stop a quorum.
    #[must_use]
    pub const fn b(self) -> usize {
        self.n.saturating_sub(1) / 3
    }

    /// q = ceil((n+b+1)/2): how many members make a quorum.
    ///
    /// Theorem: two quorums share at least 2q-n >= b+1 members, so at least one honest one. And
    /// q > b + (n-b)/2, the paper's m: a dishonest writer cannot get two quorums of signatures.
    #[must_use]
    pub const fn q(self) -> usize {
        self.n.saturating_add(self.b()).saturating_add(1).div_ceil(2)
    }

    /// b+1: among so many members at least one is honest.
    #[must_use]
    pub const fn one_honest(self) -> usize {
        self.b().saturating_add(1)
    }
}

/// A group of distinct nodes, by full fingerprint: an authority clique or the store group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    members: BTreeSet<NodeId>,
}

impl Group {
    /// The greatest number of members: a quorum of 256 is as far as signatures in every entry go.
    pub const MAX_MEMBERS: usize = 256;

    /// A group of these nodes.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self { members: members.into_iter().collect() }
    }

    /// The members, in ascending order.
    pub fn members(&self) -> impl Iterator<Item = &NodeId> {
        self.members.iter()
    }

    /// Whether the node is a member.
    #[must_use]
    pub fn contains(&self, node: &NodeId) -> bool {
        self.members.contains(node)
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is nobody in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// n, b and q.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::of(self.members.len())
    }

    /// How many distinct members are among these nodes.
    #[must_use]
    pub fn count<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeId>) -> usize {
        nodes.into_iter().filter(|id| self.contains(id)).collect::<BTreeSet<_>>().len()
    }

    /// Whether `wanted` members can still be reached, given who answered well and who is lost.
    /// A node in both counts as lost: it answered, and then was found lying.
    #[must_use]
    pub fn progress(
        &self,
        wanted: usize,
        good: &BTreeSet<NodeId>,
        lost: &BTreeSet<NodeId>,
    ) -> Progress {
        let good = self.count(good.difference(lost));
        let lost = self.count(lost);
        if good >= wanted {
            Progress::Reached
        } else if self.len().saturating_sub(lost) < wanted {
            Progress::Unreachable
        } else {
            Progress::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_sizes() {
        let table = [(1, 0, 1), (4, 1, 3), (5, 1, 4), (7, 2, 5), (9, 2, 6), (10, 3, 7), (13, 4, 9)];
        for (n, b, q) in table {
            let thresholds = Thresholds::of(n);
            assert_eq!((thresholds.b(), thresholds.q()), (b, q), "n = {n}");
        }
    }

    #[test]
    fn theorems_hold_for_every_size_to_100() {
        for n in 1..=100 {
            let (b, q) = (Thresholds::of(n).b(), Thresholds::of(n).q());
            assert!(3 * b < n, "b is tolerable at n = {n}");
            assert!(3 * (b + 1) >= n, "b is the largest at n = {n}");
            assert!(q <= n - b, "b dead nodes never stop a quorum at n = {n}");
            assert!(2 * q > n + b, "two quorums share b+1 at n = {n}");
            // A dishonest writer splits the honest n-b in two halves and gets b votes in both.
            assert!(q > b + (n - b) / 2, "no two quorums of signatures at n = {n}");
            assert!(2 * (q - 1) <= n + b, "q is the smallest such number at n = {n}");
        }
    }
}
