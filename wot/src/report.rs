//! The trust graph explained to people.

use std::fmt::Write;

use bftkv_protocol::{Configuration, Group, NodeId, Realm};

use crate::clique::{CliqueSearch, quorum_cliques};
use crate::configuration::{ConfigurationOptions, DeriveError, derive_configuration};
use crate::graph::TrustGraph;

/// How many nodes outside the cliques are explained: more than anybody reads.
pub const MAX_OUTSIDERS: usize = 1000;

/// Who is in which group, and why others are not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GraphReport {
    /// The configuration, or why there is none. n, b and q are those of its groups.
    pub configuration: Result<Configuration, DeriveError>,
    /// The clique with which outsiders are compared: the best one, even if it is too small.
    pub nearest: Option<Group>,
    /// Nodes outside the nearest clique that have something to do with it.
    pub outsiders: Vec<Outsider>,
}

/// A node that is not in the clique.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outsider {
    /// The node.
    pub node: NodeId,
    /// Whether it is in the store group or another clique.
    pub has_part: bool,
    /// The certifications that it would take to let it in, as (who should certify, whom).
    pub missing: Vec<(NodeId, NodeId)>,
}

/// Explains what `start` sees.
#[must_use]
pub fn graph_report(
    graph: &TrustGraph,
    start: &NodeId,
    realm: Realm,
    options: &ConfigurationOptions,
) -> GraphReport {
    let configuration = derive_configuration(graph, start, realm, options);
    let nearest = nearest(graph, start, options, configuration.as_ref().ok());
    let outsiders = match &nearest {
        Some(clique) => outsiders(graph, clique, configuration.as_ref().ok()),
        None => Vec::new(),
    };
    GraphReport { configuration, nearest, outsiders }
}

fn nearest(
    graph: &TrustGraph,
    start: &NodeId,
    options: &ConfigurationOptions,
    configuration: Option<&Configuration>,
) -> Option<Group> {
    if let Some(best) = configuration.and_then(|c| c.cliques().iter().max_by_key(|c| c.len())) {
        return Some(best.clone());
    }
    let search = CliqueSearch {
        distance: options.distance,
        budget: options.budget,
        min_size: 1,
        max_cliques: 1,
    };
    let found = quorum_cliques(graph, start, &search).ok()?;
    found.cliques.into_iter().next().map(|clique| clique.group)
}

fn outsiders(
    graph: &TrustGraph,
    clique: &Group,
    configuration: Option<&Configuration>,
) -> Vec<Outsider> {
    let outside = graph.nodes().filter(|node| !clique.contains(node));
    let related = outside.filter(|node| {
        clique.members().any(|m| graph.certifies(m, node) || graph.certifies(node, m))
    });
    let explain = |node: &NodeId| Outsider {
        node: node.clone(),
        has_part: configuration.is_some_and(|c| c.has_member(node)),
        missing: missing(graph, clique, node),
    };
    related.take(MAX_OUTSIDERS).map(explain).collect()
}

/// Certifications that `node` lacks, in both directions.
fn missing(graph: &TrustGraph, clique: &Group, node: &NodeId) -> Vec<(NodeId, NodeId)> {
    let lacking = |from: &NodeId, to: &NodeId| {
        (!graph.certifies(from, to)).then(|| (from.clone(), to.clone()))
    };
    clique.members().flat_map(|m| [lacking(m, node), lacking(node, m)]).flatten().collect()
}

/// The graph in the language of Graphviz: cliques as boxes, the store group in blue, mutual
/// certifications as thick lines without arrows. Users are left out unless `with_users`.
#[must_use]
pub fn to_dot(
    graph: &TrustGraph,
    configuration: Option<&Configuration>,
    with_users: bool,
) -> String {
    let mut dot = String::from("digraph trust {\n  node [shape=ellipse];\n");
    let shown = |id: &NodeId| with_users || graph.vertex(id).is_some_and(|v| v.is_node);
    for (id, vertex) in graph.vertices().filter(|(id, _)| shown(id)) {
        let store = configuration.is_some_and(|c| c.store().contains(id));
        let colour = if store { ", color=blue" } else { "" };
        let address = vertex.address.as_ref().map_or("", |address| address.as_str());
        let label = format!("{}\\n{}", escape(&vertex.name), escape(address));
        // Writing to a string cannot fail.
        let _ = writeln!(dot, "  \"{id}\" [label=\"{label}\"{colour}];");
    }
    for (number, clique) in configuration.iter().flat_map(|c| c.cliques()).enumerate() {
        let members: String = clique.members().map(|id| format!("\"{id}\"; ")).collect();
        let _ = writeln!(dot, "  subgraph cluster_{number} {{ label=\"clique\"; {members}}}");
    }
    for (from, _) in graph.vertices().filter(|(id, _)| shown(id)) {
        for to in graph.certified_by(from).filter(|to| shown(to)) {
            if !graph.certifies(to, from) {
                let _ = writeln!(dot, "  \"{from}\" -> \"{to}\";");
            } else if from < to {
                let _ = writeln!(dot, "  \"{from}\" -> \"{to}\" [dir=none, penwidth=2];");
            }
        }
    }
    dot.push_str("}\n");
    dot
}

/// Names come from others: nothing in them may end the label.
fn escape(text: &str) -> String {
    text.chars().flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{key, keyring_of};
    use bftkv_protocol::Sign;

    #[test]
    fn it_says_who_is_missing_and_why() {
        let (ring, own) = (keyring_of("gnupg-ed25519/n1"), key("gnupg-ed25519/n1"));
        let (graph, realm) = (ring.graph(), Realm::new("r").unwrap());
        let report = graph_report(&graph, own.id(), realm, &ConfigurationOptions::default());
        let clique = report.nearest.clone().unwrap();
        assert_eq!((clique.len(), report.outsiders.len()), (7, 4));
        let n6 = ring.find("http://127.0.0.1:5706").unwrap();
        let n7 = ring.find("http://127.0.0.1:5707").unwrap();
        for outsider in &report.outsiders {
            let expected: std::collections::BTreeSet<_> =
                [(n6.clone(), outsider.node.clone()), (n7.clone(), outsider.node.clone())].into();
            assert!(outsider.has_part, "the store group");
            let missing = outsider.missing.iter().cloned().collect();
            let s1 = ring.find("http://127.0.0.1:5601").unwrap();
            if outsider.node == s1 {
                assert_eq!(expected, missing, "n6 and n7 have not certified s1");
            }
        }
    }

    #[test]
    fn without_a_configuration_the_nearest_group_is_explained() {
        let (ring, own) = (keyring_of("gnupg-rsa2048/u01"), key("gnupg-rsa2048/u01"));
        let realm = Realm::new("r").unwrap();
        let options = ConfigurationOptions::default();
        let report = graph_report(&ring.graph(), own.id(), realm, &options);
        assert!(report.configuration.is_err());
        assert_eq!(report.nearest.map(|clique| clique.len()), Some(3));
    }

    #[test]
    fn labels_cannot_be_escaped_from() {
        let mut graph = TrustGraph::new();
        let id = NodeId::from_bytes(&[1; 20]).unwrap();
        let name = "\"]; evil [label=\"".to_owned();
        graph.add_vertex(id, crate::Vertex { name, address: None, is_node: true });
        let dot = to_dot(&graph, None, false);
        assert!(dot.contains(r#"label="\"]; evil [label=\"\n""#), "{dot}");
    }
}
