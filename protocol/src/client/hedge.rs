//! Whom to ask first, and when to ask the others too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Group, NodeId};

/// Asks as many members first as make a quorum, and the others only if one of those is slow or
/// does not help. Jeffrey Dean and Luiz André Barroso, "The Tail at Scale" (2013): hedged requests.
///
/// Differs: the paper asks all members each time. What the others would answer is not used once
/// there is a quorum, and a third of the work of a phase goes into it. Nothing else changes: how
/// many answers are needed, and from whom they may come. The store phase goes to all.
#[derive(Debug, Clone, Default)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct Hedge {
    /// How long those who were asked first have before the others are asked too; at most half of
    /// a round. `None`: everybody is asked at once.
    pub after: Option<Duration>,
    /// Nodes that let others wait lately, and how often in a row: they are asked first only if there
    /// is no quorum without them, and who did so more often comes later. What nodes answer changes
    /// nothing here, only when: a member gains nothing by it but to be asked less.
    pub slow: BTreeMap<NodeId, u32>,
    /// Nodes that are asked at once whether or not they are needed: nobody waits for their answers,
    /// which count like any other if they come in time. So a slow node is heard when it has recovered.
    pub also: BTreeSet<NodeId>,
    /// With which member of each group to begin: another one for each operation, so that all get
    /// their part of the work, and no liar stays unheard.
    pub turn: usize,
}

impl Hedge {
    /// Holds back those of `asked` without whom there is still a quorum of every group.
    fn hold_back<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a Group>,
        asked: &BTreeSet<NodeId>,
    ) -> BTreeSet<NodeId> {
        if self.after.is_none() {
            return BTreeSet::new();
        }
        let mut first = BTreeSet::new();
        for group in groups {
            let mut members = self.in_order(group, asked);
            members.sort_by_key(|id| !first.contains(*id));
            first.extend(members.into_iter().take(group.thresholds().q()).cloned());
        }
        asked.difference(&first).filter(|id| !self.also.contains(*id)).cloned().collect()
    }

    /// Whom of these to ask if one is enough.
    pub(super) fn quickest(&self, group: &Group, among: &BTreeSet<NodeId>) -> Option<NodeId> {
        self.in_order(group, among).first().map(|id| (*id).clone())
    }

    /// How long to wait for whoever was asked first in a round that takes so long; `None`: not at all.
    pub(super) fn patience(&self, round: Duration) -> Option<Duration> {
        let at_most = round.checked_div(2).unwrap_or_default();
        self.after.map(|after| after.min(at_most))
    }

    /// Those of the group's members, whoever let others wait least often first. Among equals the turn
    /// decides.
    fn in_order<'a>(&self, group: &'a Group, among: &BTreeSet<NodeId>) -> Vec<&'a NodeId> {
        let mut members: Vec<&NodeId> = group.members().collect();
        let turn = self.turn.checked_rem(members.len()).unwrap_or_default();
        members.rotate_left(turn);
        members.retain(|id| among.contains(*id));
        members.sort_by_key(|id| self.slow.get(*id).copied().unwrap_or_default());
        members
    }
}

/// Members that have not been asked yet in this round.
#[derive(Debug, Default)]
pub(super) struct Spare {
    nodes: BTreeSet<NodeId>,
    due: Option<Duration>,
}

impl Spare {
    /// Takes out of `asked` those who are not needed at first. They are to be asked when the hedge
    /// says, at the latest after half of a `round` that begins `now`.
    pub(super) fn out_of<'a>(
        asked: &mut BTreeSet<NodeId>,
        hedge: &Hedge,
        groups: impl IntoIterator<Item = &'a Group>,
        now: Duration,
        round: Duration,
    ) -> Self {
        let nodes = hedge.hold_back(groups, asked);
        asked.retain(|id| !nodes.contains(id));
        let after = hedge.patience(round).filter(|_| !nodes.is_empty());
        Self { nodes, due: after.map(|after| now.saturating_add(after)) }
    }

    pub(super) fn nodes(&self) -> &BTreeSet<NodeId> {
        &self.nodes
    }

    /// When they are to be asked, if there are any.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Gives them away, to be asked now.
    pub(super) fn take(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(self).nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes(&[number; 20]).unwrap()
    }

    fn group(numbers: std::ops::Range<u8>) -> Group {
        Group::new(numbers.map(id))
    }

    fn hedge(slow: &[u8]) -> Hedge {
        let slow = slow.iter().map(|number| (id(*number), 1)).collect();
        Hedge { after: Some(Duration::ZERO), slow, ..Hedge::default() }
    }

    #[test]
    fn a_quorum_of_every_group_is_asked_first_and_no_one_more_than_needed_in_one_group() {
        for n in 1..40 {
            let (one, other) = (group(0..n), group(n / 2..n / 2 + n));
            let alone: BTreeSet<NodeId> = one.members().cloned().collect();
            let first = alone.len() - hedge(&[]).hold_back([&one], &alone).len();
            assert_eq!(first, one.thresholds().q(), "n = {n}");

            let both: BTreeSet<NodeId> = alone.iter().chain(other.members()).cloned().collect();
            let spare = hedge(&[]).hold_back([&one, &other], &both);
            let first: BTreeSet<NodeId> = both.difference(&spare).cloned().collect();
            for group in [&one, &other] {
                assert!(group.count(&first) >= group.thresholds().q(), "n = {n}");
            }
        }
    }

    #[test]
    fn slow_nodes_are_held_back_if_there_is_a_quorum_without_them() {
        let four = group(0..4);
        let all: BTreeSet<NodeId> = four.members().cloned().collect();
        for turn in 0..8 {
            let spare = Hedge { turn, ..hedge(&[2]) }.hold_back([&four], &all);
            assert_eq!(spare, BTreeSet::from([id(2)]));
            let spare = Hedge { turn, ..hedge(&[2, 3]) }.hold_back([&four], &all);
            assert!(spare.len() == 1 && spare.is_subset(&[id(2), id(3)].into()), "{spare:?}");
        }
    }

    #[test]
    fn who_was_slow_more_often_comes_last() {
        let four = group(0..4);
        let all: BTreeSet<NodeId> = four.members().cloned().collect();
        for turn in 0..8 {
            let slow = BTreeMap::from([(id(1), 2), (id(2), 1)]);
            let spare = Hedge { turn, slow, ..hedge(&[]) }.hold_back([&four], &all);
            assert_eq!(spare, BTreeSet::from([id(1)]));
        }
    }

    #[test]
    fn who_is_asked_too_takes_nobody_s_place() {
        for n in 1..40 {
            let group = group(0..n);
            let all: BTreeSet<NodeId> = group.members().cloned().collect();
            for slow in 0..n {
                let without = hedge(&[slow]);
                let first = |hedge: &Hedge| -> BTreeSet<NodeId> {
                    all.difference(&hedge.hold_back([&group], &all)).cloned().collect()
                };
                let with = Hedge { also: BTreeSet::from([id(slow)]), ..without.clone() };
                let mut wanted = first(&without);
                wanted.insert(id(slow));
                assert_eq!(first(&with), wanted, "n = {n}");
            }
        }
    }

    #[test]
    fn who_is_held_back_takes_turns() {
        let four = group(0..4);
        let all: BTreeSet<NodeId> = four.members().cloned().collect();
        let spare: BTreeSet<NodeId> =
            (4..8).flat_map(|turn| Hedge { turn, ..hedge(&[]) }.hold_back([&four], &all)).collect();
        assert_eq!(spare, all);
    }

    #[test]
    fn members_that_are_not_asked_at_all_leave_nobody_to_hold_back() {
        let four = group(0..4);
        let without_one: BTreeSet<NodeId> = four.members().skip(1).cloned().collect();
        let spare = hedge(&[]).hold_back([&four], &without_one);
        assert!(spare.is_empty());
        let all: BTreeSet<NodeId> = four.members().cloned().collect();
        assert!(Hedge::default().hold_back([&four], &all).is_empty());
    }
}
