//! Counting answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::NodeId;

/// Answers collected, by node: one node never counts twice, and its first answer stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<T> {
    answers: BTreeMap<NodeId, T>,
}

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self { answers: BTreeMap::new() }
    }
}

impl<T> Tally<T> {
    /// Notes the node's answer. A second answer of the same node is ignored.
    pub fn note(&mut self, node: NodeId, answer: T) {
        self.answers.entry(node).or_insert(answer);
    }

    /// Takes a node's answer back.
    pub fn remove(&mut self, node: &NodeId) {
        self.answers.remove(node);
    }

    /// The answers, in ascending order of node.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &T)> {
        self.answers.iter()
    }

    /// Who answered.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.answers.keys().cloned().collect()
    }

    /// The node's answer.
    #[must_use]
    pub fn answer_of(&self, node: &NodeId) -> Option<&T> {
        self.answers.get(node)
    }

    /// Whether the node has answered.
    #[must_use]
    pub fn has(&self, node: &NodeId) -> bool {
        self.answers.contains_key(node)
    }

    /// How many nodes answered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether nobody answered yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_counts_once() {
        let mut tally = Tally::default();
        let node = NodeId::from_bytes(&[1; 20]).unwrap();
        tally.note(node.clone(), 1);
        tally.note(node.clone(), 2);
        assert_eq!((tally.len(), tally.answer_of(&node)), (1, Some(&1)));
    }
}
