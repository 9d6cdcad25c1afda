//! Graphs of up to ten vertices, against a judge that tries every subset.

use std::cmp::Reverse;

use bftkv_protocol::{Group, NodeId, Realm};
use bftkv_wot::{
    CliqueSearch, ConfigurationOptions, TrustGraph, Vertex, derive_configuration, graph_report,
    quorum_cliques,
};

use super::input::Input;

fn id(n: usize) -> NodeId {
    NodeId::from_bytes(&[u8::try_from(n).unwrap(); 20]).unwrap()
}

/// The graph, as the judge sees it.
struct Plain {
    count: usize,
    is_node: Vec<bool>,
    edges: Vec<Vec<bool>>,
}

impl Plain {
    fn read(input: &mut Input<'_>) -> Self {
        let count = 1 + input.below(10);
        let users = input.short();
        let is_node = (0..count).map(|n| users & (1 << n) == 0).collect();
        let mut edges = vec![vec![false; count]; count];
        for (from, row) in edges.iter_mut().enumerate() {
            let bits = input.short();
            row.iter_mut().enumerate().for_each(|(to, edge)| {
                *edge = from != to && bits & (1 << to) != 0;
            });
        }
        // Otherwise hardly any graph has a clique.
        if input.flag() {
            let rows = edges.clone();
            for (from, row) in rows.iter().enumerate() {
                (0..count).filter(|to| row[*to]).for_each(|to| edges[to][from] = true);
            }
        }
        Self { count, is_node, edges }
    }

    fn graph(&self) -> TrustGraph {
        let mut graph = TrustGraph::new();
        for (n, is_node) in self.is_node.iter().enumerate() {
            graph.add_vertex(id(n), Vertex { is_node: *is_node, ..Vertex::default() });
        }
        for (from, row) in self.edges.iter().enumerate() {
            row.iter().enumerate().filter(|(_, edge)| **edge).for_each(|(to, _)| {
                graph.add_edge(&id(from), &id(to));
            });
        }
        graph
    }

    fn is_complete(&self, members: &[usize]) -> bool {
        let mutual = |a: usize, b: usize| a == b || (self.edges[a][b] && self.edges[b][a]);
        members.iter().all(|a| self.is_node[*a] && members.iter().all(|b| mutual(*a, *b)))
    }

    fn maximal_cliques(&self) -> Vec<Vec<usize>> {
        let members =
            |set: u32| -> Vec<usize> { (0..self.count).filter(|v| set & (1 << v) != 0).collect() };
        let is_complete = |set: u32| self.is_complete(&members(set));
        let is_maximal = |set: &u32| {
            let larger = (0..self.count).filter(|v| set & (1 << v) == 0).map(|v| set | (1 << v));
            !larger.into_iter().any(is_complete)
        };
        let sets = (1u32..1 << self.count).filter(|set| is_complete(*set)).filter(is_maximal);
        sets.map(members).collect()
    }

    /// The rule of `quorum_cliques`, written down naively.
    fn expected(&self, start: usize, search: &CliqueSearch) -> Vec<Group> {
        let distances = self.distances(start);
        let near = |v: &usize| distances[*v].is_some_and(|d| d <= 1);
        let seed = |v: &usize| distances[*v].is_some_and(|d| d < search.distance);
        let mut candidates = self.maximal_cliques();
        candidates.retain(|c| c.len() >= search.min_size.max(1) && c.iter().any(seed));
        candidates.sort_by_key(|c| {
            let trusted = c.iter().filter(|v| near(v)).count();
            (Reverse((trusted, c.len())), c.clone())
        });
        let mut taken: Vec<Vec<usize>> = Vec::new();
        for clique in candidates {
            let is_apart = taken.iter().flatten().all(|v| !clique.contains(v));
            if is_apart && taken.len() < search.max_cliques {
                taken.push(clique);
            }
        }
        taken.into_iter().map(|c| Group::new(c.into_iter().map(id))).collect()
    }

    fn distances(&self, start: usize) -> Vec<Option<usize>> {
        let mut distances = vec![None; self.count];
        distances[start] = Some(0);
        for step in 0..self.count {
            let reached: Vec<usize> =
                (0..self.count).filter(|v| distances[*v] == Some(step)).collect();
            let edge = |to: usize| reached.iter().any(|from| self.edges[*from][to]);
            for (to, distance) in distances.iter_mut().enumerate() {
                if distance.is_none() && edge(to) {
                    *distance = Some(step + 1);
                }
            }
        }
        distances
    }
}

/// The search finds what the judge finds; what is built on it does not fail.
pub(super) fn clique(data: &[u8]) {
    let mut input = Input::new(data);
    let plain = Plain::read(&mut input);
    let graph = plain.graph();
    let start = input.below(plain.count);
    let search = CliqueSearch {
        distance: input.below(4),
        min_size: input.below(6),
        max_cliques: input.below(5),
        ..CliqueSearch::default()
    };
    let found = quorum_cliques(&graph, &id(start), &search).unwrap();
    let found: Vec<Group> = found.cliques.into_iter().map(|clique| clique.group).collect();
    assert_eq!(found, plain.expected(start, &search), "start {start}, {search:?}");
    derive(&plain, &graph, start, &mut input);
}

/// A configuration that is derived consists of nodes in disjoint cliques.
fn derive(plain: &Plain, graph: &TrustGraph, start: usize, input: &mut Input<'_>) {
    let pinned = |mask: usize| (0..plain.count).filter(|v| mask & (1 << v) != 0).map(id).collect();
    let options = ConfigurationOptions {
        allow_small: input.flag(),
        authority: pinned(input.short()),
        store: pinned(input.short()),
        ..ConfigurationOptions::default()
    };
    let realm = Realm::new("fuzz").unwrap();
    let _ = graph_report(graph, &id(start), realm.clone(), &options);
    let Ok(configuration) = derive_configuration(graph, &id(start), realm, &options) else {
        return;
    };
    let members = |group: &Group| -> Vec<usize> {
        group.members().map(|m| usize::from(m.as_bytes()[0])).collect()
    };
    let cliques: Vec<Vec<usize>> = configuration.cliques().iter().map(members).collect();
    assert!(cliques.iter().all(|clique| plain.is_complete(clique)));
    assert!(members(configuration.store()).iter().all(|v| plain.is_node[*v]), "a user stores");
    let mut all: Vec<usize> = cliques.concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), cliques.concat().len(), "a node is in two cliques");
}
