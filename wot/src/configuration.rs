//! The groups of a realm, from the trust graph (rule R1).

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{Configuration, ConfigurationError, Group, NodeId, Realm};

use crate::clique::{CliqueError, CliqueSearch, quorum_cliques};
use crate::graph::TrustGraph;

/// How a configuration is derived, and what is pinned by lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationOptions {
    /// The number of the configuration.
    pub number: u64,
    /// The paper's L, see [`CliqueSearch::distance`].
    pub distance: usize,
    /// If not empty: exactly these nodes are the authority, and nothing is searched. Those that
    /// all certify each other form one clique; two cliques in the list must not be linked.
    ///
    /// Paper: "the client can choose which cliques are trustworthy".
    pub authority: Vec<NodeId>,
    /// If not empty: exactly these nodes are the store group, whoever certified them.
    pub store: Vec<NodeId>,
    /// Permits cliques below four nodes, which tolerate no fault.
    pub allow_small: bool,
    /// How many elementary steps the search may take.
    pub budget: u64,
}

impl Default for ConfigurationOptions {
    fn default() -> Self {
        Self {
            number: 1,
            distance: CliqueSearch::DISTANCE,
            authority: Vec::new(),
            store: Vec::new(),
            allow_small: false,
            budget: CliqueSearch::BUDGET,
        }
    }
}

/// There is no such configuration. The caller's or the graph's fault; retry when more
/// certificates are known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeriveError {
    /// The cliques were not found.
    #[error(transparent)]
    Clique(#[from] CliqueError),
    /// The groups are not fit.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A pinned certificate is not known here, or is not a node.
    #[error("{0} is pinned but is not known here as a node: import its certificate or join first")]
    UnknownNode(NodeId),
    /// Two pinned authority nodes belong to one clique but do not certify each other.
    #[error("the pinned nodes are no clique: {from} has not certified {to} (or no longer does)")]
    NotMutual {
        /// Who should certify.
        from: NodeId,
        /// Whom.
        to: NodeId,
    },
}

/// Derives the configuration that `start` sees.
///
/// The store group is made of the nodes outside the cliques that more than b members of a clique
/// certify, or of the cliques' members if there are none. Users never enter a group.
///
/// # Errors
/// [`DeriveError`].
pub fn derive_configuration(
    graph: &TrustGraph,
    start: &NodeId,
    realm: Realm,
    options: &ConfigurationOptions,
) -> Result<Configuration, DeriveError> {
    let cliques = authority(graph, start, options)?;
    let store = store_group(graph, &cliques, &options.store)?;
    Ok(Configuration::new(realm, options.number, cliques, store, options.allow_small)?)
}

/// The authority cliques, best first.
pub(crate) fn authority(
    graph: &TrustGraph,
    start: &NodeId,
    options: &ConfigurationOptions,
) -> Result<Vec<Group>, DeriveError> {
    if !options.authority.is_empty() {
        return pinned_cliques(graph, &options.authority);
    }
    let min_size = if options.allow_small { 1 } else { Configuration::MIN_CLIQUE };
    let search = CliqueSearch {
        distance: options.distance,
        budget: options.budget,
        min_size,
        ..CliqueSearch::default()
    };
    let mut found = quorum_cliques(graph, start, &search)?.cliques;
    // A lone node is a clique only when there is nothing larger: with small groups allowed, every
    // node that certifies nobody back would otherwise be an authority of its own.
    if found.first().is_some_and(|best| best.group.len() > 1) {
        found.retain(|clique| clique.group.len() > 1);
    }
    Ok(found.into_iter().map(|clique| clique.group).collect())
}

/// The pinned nodes, put together by who certifies whom; each part must be complete.
fn pinned_cliques(graph: &TrustGraph, pinned: &[NodeId]) -> Result<Vec<Group>, DeriveError> {
    let mut open: BTreeSet<NodeId> = pinned.iter().cloned().collect();
    known_nodes(graph, &open)?;
    let mut cliques = Vec::new();
    while let Some(first) = open.pop_first() {
        let mut members = BTreeSet::from([first.clone()]);
        let mut queue = vec![first];
        while let Some(node) = queue.pop() {
            let linked = open.iter().filter(|other| mutual(graph, &node, other)).cloned();
            let linked: Vec<NodeId> = linked.collect();
            linked.iter().for_each(|other| {
                open.remove(other);
            });
            members.extend(linked.iter().cloned());
            queue.extend(linked);
        }
        // A node without any link was not meant to be a clique of its own.
        let alone = members.len() == 1 && pinned.len() > 1;
        let expected = if alone { pinned.iter().cloned().collect() } else { members.clone() };
        check_complete(graph, &expected)?;
        cliques.push(Group::new(members));
    }
    Ok(cliques)
}

/// A signer need not know the certificates of the store group, which it never asks anything; but
/// what it knows must be a node.
fn known_to_be_nodes(graph: &TrustGraph, ids: &BTreeSet<NodeId>) -> Result<(), DeriveError> {
    let is_user = |id: &&NodeId| graph.vertex(id).is_some_and(|vertex| !vertex.is_node);
    match ids.iter().find(is_user) {
        Some(user) => Err(DeriveError::UnknownNode(user.clone())),
        None => Ok(()),
    }
}

fn known_nodes(graph: &TrustGraph, ids: &BTreeSet<NodeId>) -> Result<(), DeriveError> {
    let known = |id: &&NodeId| graph.vertex(id).is_some_and(|vertex| vertex.is_node);
    match ids.iter().find(|id| !known(id)) {
        Some(unknown) => Err(DeriveError::UnknownNode(unknown.clone())),
        None => Ok(()),
    }
}

fn check_complete(graph: &TrustGraph, members: &BTreeSet<NodeId>) -> Result<(), DeriveError> {
    for from in members {
        if let Some(to) = members.iter().find(|to| *to != from && !graph.certifies(from, to)) {
            return Err(DeriveError::NotMutual { from: from.clone(), to: to.clone() });
        }
    }
    Ok(())
}

fn mutual(graph: &TrustGraph, a: &NodeId, b: &NodeId) -> bool {
    graph.certifies(a, b) && graph.certifies(b, a)
}

/// The store group of rule R1.
pub(crate) fn store_group(
    graph: &TrustGraph,
    cliques: &[Group],
    pinned: &[NodeId],
) -> Result<Group, DeriveError> {
    if !pinned.is_empty() {
        let pinned: BTreeSet<NodeId> = pinned.iter().cloned().collect();
        known_to_be_nodes(graph, &pinned)?;
        return Ok(Group::new(pinned));
    }
    let mut stores = BTreeSet::new();
    for clique in cliques {
        stores.extend(vouched_for(graph, clique));
    }
    let members: BTreeSet<NodeId> = cliques.iter().flat_map(Group::members).cloned().collect();
    stores.retain(|node| !members.contains(node));
    Ok(Group::new(if stores.is_empty() { members } else { stores }))
}

/// Nodes that more than b members of the clique certify: at least one honest member did.
fn vouched_for(graph: &TrustGraph, clique: &Group) -> Vec<NodeId> {
    let mut count: BTreeMap<&NodeId, usize> = BTreeMap::new();
    for target in clique.members().flat_map(|member| graph.certified_by(member)) {
        let votes = count.entry(target).or_default();
        *votes = votes.saturating_add(1);
    }
    let enough = clique.thresholds().one_honest();
    count
        .into_iter()
        .filter(|(id, votes)| *votes >= enough && graph.vertex(id).is_some_and(|v| v.is_node))
        .map(|(id, _)| id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Vertex;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes(&[n; 20]).unwrap()
    }

    /// Nodes 0..7 are a clique (b = 2); 7.. are nodes outside; 20 is a user.
    fn graph() -> TrustGraph {
        let mut graph = TrustGraph::new();
        (0..10)
            .for_each(|n| graph.add_vertex(id(n), Vertex { is_node: true, ..Vertex::default() }));
        graph.add_vertex(id(20), Vertex::default());
        for a in 0..7 {
            (0..7).for_each(|b| graph.add_edge(&id(a), &id(b)));
            graph.add_edge(&id(a), &id(20));
        }
        graph
    }

    fn derive(graph: &TrustGraph, options: &ConfigurationOptions) -> Configuration {
        derive_configuration(graph, &id(0), Realm::new("r").unwrap(), options).unwrap()
    }

    #[test]
    fn store_nodes_need_more_than_b_members() {
        let mut graph = graph();
        (0..2).for_each(|member| graph.add_edge(&id(member), &id(8)));
        let options = ConfigurationOptions::default();
        let alone = derive(&graph, &options);
        assert!(alone.store_is_authority(), "two of the members may be Byzantine");
        (0..3).for_each(|member| graph.add_edge(&id(member), &id(9)));
        assert_eq!(derive(&graph, &options).store(), &Group::new([id(9)]));
    }

    #[test]
    fn a_pinned_store_group_may_hold_anybody_who_is_a_node() {
        let graph = graph();
        let with = |store| ConfigurationOptions { store, ..ConfigurationOptions::default() };
        let pinned = derive(&graph, &with(vec![id(7), id(0)]));
        assert_eq!(pinned.store(), &Group::new([id(0), id(7)]));
        let user =
            derive_configuration(&graph, &id(0), Realm::new("r").unwrap(), &with(vec![id(20)]));
        assert_eq!(user, Err(DeriveError::UnknownNode(id(20))));
    }

    #[test]
    fn small_cliques_need_leave() {
        let mut graph = TrustGraph::new();
        (0..3).for_each(|n| graph.add_vertex(id(n), Vertex { is_node: true, ..Vertex::default() }));
        let mut both = |a, b| {
            graph.add_edge(&id(a), &id(b));
            graph.add_edge(&id(b), &id(a));
        };
        both(0, 1);
        both(1, 2);
        both(0, 2);
        let realm = || Realm::new("r").unwrap();
        let strict = ConfigurationOptions::default();
        let refused = derive_configuration(&graph, &id(0), realm(), &strict);
        assert_eq!(refused, Err(ConfigurationError::NoClique.into()));
        let lenient = ConfigurationOptions { allow_small: true, ..strict };
        assert_eq!(derive(&graph, &lenient).cliques(), [Group::new([id(0), id(1), id(2)])]);
    }

    #[test]
    fn two_linked_cliques_must_both_sign() {
        let mut graph = TrustGraph::new();
        (0..8).for_each(|n| graph.add_vertex(id(n), Vertex { is_node: true, ..Vertex::default() }));
        for group in [0..4, 4..8] {
            for a in group.clone() {
                group.clone().for_each(|b| graph.add_edge(&id(a), &id(b)));
            }
        }
        graph.add_edge(&id(0), &id(4));
        let derived = derive(&graph, &ConfigurationOptions::default());
        assert_eq!(derived.cliques().len(), 2);
        assert_eq!(derived.store().len(), 8, "nobody outside: the members of both");
        let authority = (0..8).map(id).collect();
        let pinned = ConfigurationOptions { authority, ..ConfigurationOptions::default() };
        assert_eq!(derive(&graph, &pinned), derived);
    }
}
