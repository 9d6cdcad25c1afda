//! Tests of the clique search, with made-up graphs and a brute-force judge.

use proptest::prelude::*;

use super::*;
use crate::graph::Vertex;

fn id(n: usize) -> NodeId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
    NodeId::from_bytes(&bytes).unwrap()
}

fn nodes(n: usize) -> TrustGraph {
    let mut graph = TrustGraph::new();
    for i in 0..n {
        graph.add_vertex(id(i), Vertex { is_node: true, ..Vertex::default() });
    }
    graph
}

fn both(graph: &mut TrustGraph, a: usize, b: usize) {
    graph.add_edge(&id(a), &id(b));
    graph.add_edge(&id(b), &id(a));
}

fn all_with_all(graph: &mut TrustGraph, members: &[usize]) {
    for a in members {
        for b in members {
            graph.add_edge(&id(*a), &id(*b));
        }
    }
}

fn group(members: impl IntoIterator<Item = usize>) -> Group {
    Group::new(members.into_iter().map(id))
}

fn find(graph: &TrustGraph, start: usize) -> Vec<Group> {
    let found = quorum_cliques(graph, &id(start), &CliqueSearch::default()).unwrap();
    found.cliques.into_iter().map(|clique| clique.group).collect()
}

#[test]
fn a_clique_is_found_from_inside_and_from_outside() {
    let mut graph = nodes(6);
    all_with_all(&mut graph, &[0, 1, 2, 3]);
    graph.add_edge(&id(5), &id(2));
    assert_eq!(find(&graph, 0), [group(0..4)]);
    assert_eq!(find(&graph, 5), [group(0..4)], "distance 1 from the outside");
    assert_eq!(find(&graph, 4), [], "4 certifies nobody");
    let member = maximal_clique(&graph, &id(3), &CliqueSearch::default()).unwrap().unwrap();
    assert_eq!((member.group, member.trusted_directly), (group(0..4), 4));
}

#[test]
fn one_missing_direction_keeps_a_node_out() {
    let mut graph = nodes(5);
    all_with_all(&mut graph, &[0, 1, 2, 3]);
    (0..4).for_each(|n| graph.add_edge(&id(4), &id(n)));
    (0..3).for_each(|n| graph.add_edge(&id(n), &id(4)));
    assert_eq!(find(&graph, 0), [group(0..4)]);
    graph.add_edge(&id(3), &id(4));
    assert_eq!(find(&graph, 0), [group(0..5)]);
}

#[test]
fn users_never_enter_a_clique() {
    let mut graph = nodes(5);
    graph.add_vertex(id(4), Vertex { is_node: false, ..Vertex::default() });
    all_with_all(&mut graph, &[0, 1, 2, 3, 4]);
    assert_eq!(find(&graph, 0), [group(0..4)]);
    assert_eq!(find(&graph, 4), [group(0..4)], "a user can be the start");
}

#[test]
fn the_distance_bounds_the_view() {
    let mut graph = nodes(9);
    all_with_all(&mut graph, &[0, 1, 2, 3]);
    all_with_all(&mut graph, &[4, 5, 6, 7]);
    graph.add_edge(&id(8), &id(0));
    graph.add_edge(&id(0), &id(4));
    assert_eq!(find(&graph, 8), [group(0..4)]);
    let far = CliqueSearch { distance: 3, ..CliqueSearch::default() };
    let found = quorum_cliques(&graph, &id(8), &far).unwrap().cliques;
    assert_eq!(found.len(), 2);
}

#[test]
fn nobody_is_in_two_cliques() {
    // A traitor (3) in an honest clique makes a larger clique of made-up nodes.
    let mut graph = nodes(20);
    all_with_all(&mut graph, &[0, 1, 2, 3]);
    let made_up: Vec<usize> = (3..20).collect();
    all_with_all(&mut graph, &made_up);
    assert_eq!(find(&graph, 0), [group(0..4)], "the start trusts the honest ones directly");
    assert_eq!(find(&graph, 3), [group(3..20)], "from the traitor's own view, it is the other");
}

#[test]
fn a_rest_that_is_not_maximal_is_no_clique() {
    // {0..6} and {0..3, 7, 8, 9, 10}: what is left of the second is not a maximal clique.
    let mut graph = nodes(11);
    all_with_all(&mut graph, &[0, 1, 2, 3, 4, 5, 6]);
    all_with_all(&mut graph, &[0, 7, 8, 9, 10]);
    assert_eq!(find(&graph, 1), [group(0..7)]);
}

#[test]
fn equal_cliques_are_ranked_by_fingerprint() {
    let mut graph = nodes(8);
    all_with_all(&mut graph, &[0, 1, 2, 3, 4]);
    all_with_all(&mut graph, &[0, 1, 2, 3, 5]);
    assert_eq!(find(&graph, 0), [group(0..5)]);
}

#[test]
fn a_tangle_ends_in_a_typed_error() {
    // Moon and Moser: 3^20 maximal cliques of 20 nodes, all with the same rank.
    let mut graph = nodes(60);
    for a in 0..60 {
        for b in 0..60 {
            if a / 3 != b / 3 {
                graph.add_edge(&id(a), &id(b));
            }
        }
    }
    let result = quorum_cliques(&graph, &id(0), &CliqueSearch::default());
    assert_eq!(result, Err(CliqueError::Budget { budget: CliqueSearch::BUDGET }));
}

#[test]
fn a_tangle_behind_a_traitor_does_not_hide_the_honest_clique() {
    let mut graph = nodes(64);
    all_with_all(&mut graph, &[0, 1, 2, 3]);
    for a in 3..64 {
        for b in 4..64 {
            if a == 3 || a / 3 != b / 3 {
                both(&mut graph, a, b);
            }
        }
    }
    let found = quorum_cliques(&graph, &id(0), &CliqueSearch::default()).unwrap();
    assert_eq!(found.cliques[0].group, group(0..4));
    assert!(found.steps < 100_000, "{} steps", found.steps);
}

#[test]
fn a_hundred_thousand_vertices_take_few_steps() {
    let mut graph = nodes(100_000);
    let members: Vec<usize> = (0..10).collect();
    all_with_all(&mut graph, &members);
    // The start certifies everybody, a traitor is mutual with everybody, and small groups abound.
    (1..100_000).for_each(|n| graph.add_edge(&id(0), &id(n)));
    (1..100_000).for_each(|n| both(&mut graph, 9, n));
    (10..99_990).step_by(3).for_each(|n| all_with_all(&mut graph, &[n, n + 1, n + 2]));
    let found = quorum_cliques(&graph, &id(0), &CliqueSearch::default()).unwrap();
    assert_eq!(found.cliques[0].group, group(0..10));
    assert!(found.steps < CliqueSearch::BUDGET / 2, "{} steps", found.steps);
}

#[test]
fn an_unknown_start_and_a_huge_clique_are_typed_errors() {
    let mut graph = nodes(300);
    let unknown = quorum_cliques(&graph, &id(301), &CliqueSearch::default());
    assert_eq!(unknown, Err(CliqueError::UnknownStart(id(301))));
    all_with_all(&mut graph, &(0..300).collect::<Vec<_>>());
    let huge = quorum_cliques(&graph, &id(0), &CliqueSearch::default());
    assert_eq!(huge, Err(CliqueError::TooLarge));
}

/// All maximal cliques of mutual nodes by trying every subset.
fn brute_force(graph: &TrustGraph, n: usize) -> Vec<Vec<usize>> {
    let mutual =
        |a: usize, b: usize| graph.certifies(&id(a), &id(b)) && graph.certifies(&id(b), &id(a));
    let complete = |set: u32| {
        let members: Vec<usize> = (0..n).filter(|v| set & (1 << v) != 0).collect();
        members.iter().all(|a| members.iter().all(|b| a == b || mutual(*a, *b)))
    };
    (1u32..1 << n)
        .filter(|set| complete(*set))
        .filter(|set| (0..n).all(|v| set & (1 << v) != 0 || !complete(set | (1 << v))))
        .map(|set| (0..n).filter(|v| set & (1 << v) != 0).collect())
        .collect()
}

/// The rule, written down naively.
fn expected(graph: &TrustGraph, n: usize, min_size: usize) -> Vec<Group> {
    let near = |v: usize| v == 0 || graph.certifies(&id(0), &id(v));
    let mut candidates: Vec<Vec<usize>> = brute_force(graph, n)
        .into_iter()
        .filter(|clique| clique.len() >= min_size && clique.iter().any(|v| near(*v)))
        .collect();
    candidates.sort_by_key(|clique| {
        let trusted = clique.iter().filter(|v| near(**v)).count();
        (std::cmp::Reverse((trusted, clique.len())), clique.clone())
    });
    let mut taken: Vec<Vec<usize>> = Vec::new();
    for clique in candidates {
        if taken.iter().flatten().all(|v| !clique.contains(v)) && taken.len() < 4 {
            taken.push(clique);
        }
    }
    taken.into_iter().map(group).collect()
}

proptest! {
    #[test]
    fn the_search_agrees_with_brute_force(
        edges in proptest::collection::vec((0usize..9, 0usize..9), 0..60),
        one_way in proptest::collection::vec((0usize..9, 0usize..9), 0..20),
        min_size in 1usize..5,
    ) {
        let mut graph = nodes(9);
        edges.iter().for_each(|(a, b)| both(&mut graph, *a, *b));
        one_way.iter().for_each(|(a, b)| graph.add_edge(&id(*a), &id(*b)));
        let search = CliqueSearch { min_size, ..CliqueSearch::default() };
        let found = quorum_cliques(&graph, &id(0), &search).unwrap();
        let found: Vec<Group> = found.cliques.into_iter().map(|clique| clique.group).collect();
        prop_assert_eq!(found, expected(&graph, 9, min_size));
    }
}
