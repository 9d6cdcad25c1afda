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
