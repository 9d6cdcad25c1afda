//! The trust graph G.

use std::collections::BTreeMap;

use bftkv_protocol::{Address, NodeId};
use petgraph::Direction;
use petgraph::graphmap::DiGraphMap;

/// The index of a vertex. Small, so that a graph of 100,000 vertices is searched quickly.
pub(crate) type Index = u32;

/// What is known of a vertex besides its certifications.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vertex {
    /// The real name in the user ID, for people.
    pub name: String,
    /// The URL of a node, or a user's e-mail address.
    pub address: Option<Address>,
    /// Whether it is a node: only nodes enter cliques and groups (rule R1).
    pub is_node: bool,
}

/// Who certified whom: vertices are certificates by full fingerprint, and an edge a -> b says
/// that a's key has certified a user ID of b. Whoever adds an edge has verified it.
///
/// Paper: §3.1, G = (V, E).
#[derive(Debug, Clone, Default)]
pub struct TrustGraph {
    ids: Vec<NodeId>,
    vertices: Vec<Vertex>,
    indices: BTreeMap<NodeId, Index>,
    edges: DiGraphMap<Index, ()>,
}

impl TrustGraph {
    /// A graph without vertices.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a certificate, or replaces what is known of it.
    pub fn add_vertex(&mut self, id: NodeId, vertex: Vertex) {
        let known = self.indices.get(&id).and_then(|index| place(*index));
        if let Some(slot) = known.and_then(|place| self.vertices.get_mut(place)) {
            *slot = vertex;
        } else if let Ok(index) = Index::try_from(self.ids.len()) {
            self.indices.insert(id.clone(), index);
            self.ids.push(id);
            self.vertices.push(vertex);
            self.edges.add_node(index);
        }
    }

    /// Notes that `from` has certified `to`. Edges to oneself and of unknown vertices are ignored.
    pub fn add_edge(&mut self, from: &NodeId, to: &NodeId) {
        if let (Some(a), Some(b)) = (self.index(from), self.index(to))
            && a != b
        {
            self.edges.add_edge(a, b, ());
        }
    }

    /// Whether `from` has certified `to`.
    #[must_use]
    pub fn certifies(&self, from: &NodeId, to: &NodeId) -> bool {
        match (self.index(from), self.index(to)) {
            (Some(a), Some(b)) => self.edges.contains_edge(a, b),
            _ => false,
        }
    }

    /// What is known of a certificate.
    #[must_use]
    pub fn vertex(&self, id: &NodeId) -> Option<&Vertex> {
        self.vertices.get(place(self.index(id)?)?)
    }

    /// All certificates, in the order in which they were added.
    pub fn vertices(&self) -> impl Iterator<Item = (&NodeId, &Vertex)> {
        self.ids.iter().zip(&self.vertices)
    }

    /// All nodes: the vertices with a URL.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.vertices().filter(|(_, vertex)| vertex.is_node).map(|(id, _)| id)
    }

    /// Whom `from` has certified.
    pub fn certified_by(&self, from: &NodeId) -> impl Iterator<Item = &NodeId> {
        self.index(from).into_iter().flat_map(|index| self.out(index)).filter_map(|v| self.id(v))
    }

    /// Who has certified `to`.
    pub fn certifiers_of(&self, to: &NodeId) -> impl Iterator<Item = &NodeId> {
        self.index(to)
            .into_iter()
            .flat_map(|index| self.edges.neighbors_directed(index, Direction::Incoming))
            .filter_map(|v| self.id(v))
    }

    /// How many certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no certificates.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn index(&self, id: &NodeId) -> Option<Index> {
        self.indices.get(id).copied()
    }

    pub(crate) fn id(&self, index: Index) -> Option<&NodeId> {
        self.ids.get(place(index)?)
    }

    pub(crate) fn is_node(&self, index: Index) -> bool {
        place(index).and_then(|at| self.vertices.get(at)).is_some_and(|vertex| vertex.is_node)
    }

    pub(crate) fn out(&self, index: Index) -> impl Iterator<Item = Index> {
        self.edges.neighbors_directed(index, Direction::Outgoing)
    }

    /// Nodes with which the vertex is in mutual certification, ascending.
    pub(crate) fn mutual_nodes(&self, index: Index) -> Vec<Index> {
        let mut mutual: Vec<Index> = self
            .out(index)
            .filter(|other| self.is_node(*other) && self.edges.contains_edge(*other, index))
            .collect();
        mutual.sort_unstable();
        mutual
    }
}

fn place(index: Index) -> Option<usize> {
    usize::try_from(index).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes(&[n; 20]).unwrap()
    }

    #[test]
    fn edges_have_a_direction_and_need_known_vertices() {
        let mut graph = TrustGraph::new();
        graph.add_vertex(id(1), Vertex { is_node: true, ..Vertex::default() });
        graph.add_vertex(id(2), Vertex::default());
        graph.add_edge(&id(1), &id(2));
        graph.add_edge(&id(2), &id(9));
        graph.add_edge(&id(2), &id(2));
        assert!(graph.certifies(&id(1), &id(2)) && !graph.certifies(&id(2), &id(1)));
        assert_eq!(graph.certified_by(&id(2)).count(), 0);
        assert_eq!(graph.certifiers_of(&id(2)).collect::<Vec<_>>(), [&id(1)]);
        assert_eq!(graph.nodes().collect::<Vec<_>>(), [&id(1)]);
    }
}
