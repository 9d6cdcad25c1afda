//! Quorum arithmetic: the table in `testdata/quorum.txt`, and properties of any group.

use std::collections::BTreeSet;

use bftkv_protocol::{
    Configuration, ConfigurationError, Group, NodeId, Progress, Tally, Thresholds,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use crate::fixtures::{node, nodes, realm};

const TABLE: &str = include_str!("../../testdata/quorum.txt");

fn rows(kind: &str) -> Vec<Vec<&'static str>> {
    let rows = TABLE.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.first() == Some(&kind)).collect()
}

fn number(word: &str) -> u8 {
    word.parse().unwrap()
}

fn group(n: u8) -> Group {
    Group::new(nodes(0..n))
}

#[test]
fn sizes_of_the_table() {
    for row in rows("size") {
        let [n, b, q, one_honest]: [usize; 4] = row[1..]
            .iter()
            .map(|word| word.parse().unwrap())
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let found = Thresholds::of(n);
        assert_eq!((found.b(), found.q(), found.one_honest()), (b, q, one_honest), "n = {n}");
    }
    assert_eq!(rows("size").len(), 18);
}

/// The last `both` of the good ones are lost too; `lost` others are lost only.
#[test]
fn progress_of_the_table() {
    for row in rows("progress") {
        let [n, good, lost, both] = [1, 2, 3, 4].map(|at| number(row[at]));
        let group = group(n);
        let answered = nodes(0..good);
        let gone = nodes(good - both..good + lost);
        let progress = group.progress(group.thresholds().q(), &answered, &gone);
        assert_eq!(format!("{progress:?}").to_lowercase(), row[5], "{row:?}");
    }
    assert_eq!(rows("progress").len(), 19);
}

/// Intersections by brute force: every pair of quorums of small groups.
#[test]
fn any_two_quorums_share_an_honest_node() {
    for n in 1..=10_u32 {
        let thresholds = Thresholds::of(usize::try_from(n).unwrap());
        let quorums: Vec<u32> =
            (0..1 << n).filter(|set: &u32| set.count_ones() as usize == thresholds.q()).collect();
        let smallest = quorums
            .iter()
            .flat_map(|a| quorums.iter().map(move |b| (a & b).count_ones() as usize))
            .min();
        assert!(smallest.unwrap() >= thresholds.one_honest(), "n = {n}");
    }
}

/// One member more or less: a quorum before and one after share an honest node, as rule R1 says of
/// one step, and two steps do not.
#[test]
fn one_step_keeps_quorums_intersecting_and_two_do_not() {
    let shares = |n: usize, steps: usize| {
        let (old, new) = (Thresholds::of(n), Thresholds::of(n + steps));
        let common = (old.q() + new.q()).saturating_sub(n + steps);
        // A common node is a member of both groups, so at most so many are Byzantine.
        common > old.b().min(new.b())
    };
    assert!((4..=100).all(|n| shares(n, 1)));
    assert!((4..=100).any(|n| !shares(n, 2)));
}

#[test]
fn groups_that_no_deployment_should_run_are_refused() {
    let make = |cliques: Vec<Group>, store: Group, small| {
        Configuration::new(realm(), 1, cliques, store, small).map(|c| c.cliques().len())
    };
    let many = |count: u16| {
        Group::new(
            (0..count)
                .map(|n| NodeId::from_bytes(&[&[9; 18][..], &n.to_be_bytes()].concat()).unwrap()),
        )
    };
    let apart = |at: u8| Group::new(nodes(at * 4..at * 4 + 4));
    assert_eq!(make(vec![], group(4), false), Err(ConfigurationError::NoClique));
    assert_eq!(make(vec![group(3)], group(4), false), Err(ConfigurationError::TooSmall(3)));
    assert_eq!(make(vec![group(3)], group(4), true), Ok(1));
    assert_eq!(make(vec![group(0)], group(4), true), Err(ConfigurationError::TooSmall(0)));
    assert_eq!(make(vec![group(4)], group(0), false), Err(ConfigurationError::NoStore));
    assert_eq!(make(vec![many(256)], many(256), false), Ok(1));
    assert_eq!(make(vec![many(257)], group(4), false), Err(ConfigurationError::TooLarge));
    assert_eq!(make(vec![group(4)], many(257), false), Err(ConfigurationError::TooLarge));
    assert_eq!(make((0..4).map(apart).collect(), group(4), false), Ok(4));
    assert_eq!(
        make((0..5).map(apart).collect(), group(4), false),
        Err(ConfigurationError::TooLarge)
    );
    let overlap = vec![group(4), Group::new(nodes(3..8))];
    assert_eq!(make(overlap, group(4), false), Err(ConfigurationError::Overlap(node(3))));
}

/// The digest names who is in which group, and not in what order they were given.
#[test]
fn the_digest_names_the_groups() {
    let digest = |number, cliques: Vec<Group>, store| {
        Configuration::new(realm(), number, cliques, store, false).unwrap().digest()
    };
    let (a, b) = (group(4), Group::new(nodes(4..8)));
    let usual = digest(1, vec![a.clone(), b.clone()], a.clone());
    assert_eq!(usual, digest(1, vec![b.clone(), a.clone()], a.clone()));
    assert_ne!(usual, digest(2, vec![a.clone(), b.clone()], a.clone()));
    assert_ne!(usual, digest(1, vec![a.clone(), b.clone()], b.clone()));
    assert_ne!(usual, digest(1, vec![a.clone()], b));
    assert_ne!(usual, digest(1, vec![a.clone()], a));
}

fn some(below: u8) -> impl Strategy<Value = BTreeSet<NodeId>> {
    btree_set(0..below, 0..usize::from(below)).prop_map(nodes)
}

proptest! {
    /// Strangers never change progress, and once reached or lost it stays so.
    #[test]
    fn progress_goes_one_way(
        n in 1..20_u8,
        wanted in 1..20_usize,
        good in some(30),
        lost in some(30),
        more in some(30),
    ) {
        let group = group(n);
        let members = |set: &BTreeSet<NodeId>| set.iter().filter(|id| group.contains(id)).cloned().collect();
        let before = group.progress(wanted, &good, &lost);
        prop_assert_eq!(before, group.progress(wanted, &members(&good), &members(&lost)));
        let better = group.progress(wanted, &good.union(&more).cloned().collect(), &lost);
        let worse = group.progress(wanted, &good, &lost.union(&more).cloned().collect());
        match before {
            Progress::Reached => prop_assert_eq!(better, Progress::Reached),
            Progress::Unreachable => {
                prop_assert_eq!((better, worse), (Progress::Unreachable, Progress::Unreachable));
            }
            Progress::Pending => prop_assert_ne!(better, Progress::Unreachable),
        }
    }

    /// Reached means exactly so many good ones; unreachable, that all the others are too few.
    #[test]
    fn progress_counts_each_node_once(n in 1..20_u8, wanted in 1..20_usize, good in some(20), lost in some(20)) {
        let group = group(n);
        let sound = group.members().filter(|id| good.contains(*id) && !lost.contains(*id)).count();
        let possible = group.members().filter(|id| !lost.contains(*id)).count();
        let expected = match () {
            () if sound >= wanted => Progress::Reached,
            () if possible < wanted => Progress::Unreachable,
            () => Progress::Pending,
        };
        prop_assert_eq!(group.progress(wanted, &good, &lost), expected);
    }

    /// b dead or lying nodes never stop a quorum.
    #[test]
    fn b_faults_never_stop_a_quorum(n in 1..100_u8, skip in 0..100_u8) {
        let group = group(n);
        let b = u8::try_from(group.thresholds().b()).unwrap();
        let lost = nodes((0..b).map(|i| (i + skip % n) % n));
        let good = group.members().filter(|id| !lost.contains(*id)).cloned().collect();
        prop_assert_eq!(group.progress(group.thresholds().q(), &good, &lost), Progress::Reached);
    }

    #[test]
    fn the_first_answer_of_a_node_counts(answers in vec((0..6_u8, any::<u8>()), 0..40)) {
        let mut tally = Tally::default();
        answers.iter().for_each(|(from, answer)| tally.note(node(*from), *answer));
        let distinct: BTreeSet<u8> = answers.iter().map(|(from, _)| *from).collect();
        prop_assert_eq!(tally.len(), distinct.len());
        prop_assert_eq!(tally.nodes(), nodes(distinct.iter().copied()));
        for (from, answer) in tally.iter() {
            let first = answers.iter().find(|(id, _)| node(*id) == *from);
            prop_assert_eq!(first.map(|(_, answer)| answer), Some(answer));
        }
        prop_assert_eq!(tally.is_empty(), answers.is_empty());
    }

    #[test]
    fn a_group_counts_distinct_members(n in 1..10_u8, ids in vec(0..20_u8, 0..40)) {
        let given: Vec<NodeId> = ids.iter().map(|id| node(*id)).collect();
        let expected = ids.iter().filter(|id| **id < n).collect::<BTreeSet<_>>().len();
        prop_assert_eq!(group(n).count(&given), expected);
    }
}
