//! Merkle trees: many messages under one root. RFC 9162, section 2.1, with SHA-256.
//!
//! Leaves and inner nodes are hashed differently, so that a node is never taken for a leaf (a
//! second preimage). How many leaves there are stands beside the root in what is signed, so a
//! path has exactly one length, and a message exactly one path for each place that it has.

use crate::hash::sha256;
use crate::planted::{self, Bug};

/// The hash of a leaf, of an inner node, or of a whole tree.
pub(crate) type Hash = [u8; 32];

/// RFC 9162 section 2.1.1: the hash of a leaf.
pub(crate) fn leaf(message: &[u8]) -> Hash {
    if planted::is(Bug::LeavesLikeNodes) {
        sha256(&[&[1], message])
    } else {
        sha256(&[&[0], message])
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// RFC 9162 section 2.1.1: the root over these leaves, and for each leaf its path: the hashes
/// beside the way from it to the root, the lowest first.
pub(crate) fn tree(leaves: &[Hash]) -> (Hash, Vec<Vec<Hash>>) {
    if let [one] = leaves {
        return (*one, vec![Vec::new()]);
    }
    let Some((left, right)) = leaves.split_at_checked(split(leaves.len())) else {
        return (sha256(&[]), Vec::new());
    };
    if left.is_empty() || right.is_empty() {
        return (sha256(&[]), Vec::new());
    }
    let ((left_root, mut paths), (right_root, right_paths)) = (tree(left), tree(right));
    paths.iter_mut().for_each(|path| path.push(right_root));
    paths.extend(right_paths.into_iter().map(|mut path| {
        path.push(left_root);
        path
    }));
    (node(&left_root, &right_root), paths)
}

/// The largest power of two below `count`: so many leaves stand on the left.
fn split(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

/// How many hashes the path of leaf `index` of `count` has.
pub(crate) fn path_length(index: usize, count: usize) -> usize {
    let (mut index, mut count, mut length) = (index, count, 0_usize);
    while count > 1 {
        let left = split(count);
        (index, count) = if index < left {
            (index, left)
        } else {
            (index.saturating_sub(left), count.saturating_sub(left))
        };
        length = length.saturating_add(1);
    }
    length
}

/// RFC 9162 section 2.1.3.2: the root to which the path leads from leaf `index` of `count`. `None`
/// if the path has not the length that it must have, or there is no such leaf.
pub(crate) fn root(leaf: Hash, index: usize, count: usize, path: &[Hash]) -> Option<Hash> {
    if index >= count || path.len() != path_length(index, count) {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, count.saturating_sub(1), leaf);
    for beside in path {
        if at & 1 == 1 || at == last {
            hash = node(beside, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, beside);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    Some(hash)
}

/// A node of the tree over `count` leaves: how high it stands, and the how-manieth it is from the left. A node
/// without a sibling at its right is the one that stands higher: each has one place only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    height: u8,
    at: usize,
    last: usize,
}

impl Place {
    /// Where leaf `index` of `count` is; `None` if there is no such leaf.
    pub(crate) fn of_leaf(index: usize, count: usize) -> Option<Self> {
        let last = count.checked_sub(1).filter(|last| index <= *last)?;
        Some(Self { height: 0, at: index, last }.without_lone_parents())
    }

    fn without_lone_parents(mut self) -> Self {
        while self.at == self.last && self.at & 1 == 0 && self.at != 0 {
            self = self.half();
        }
        self
    }

    fn half(self) -> Self {
        Self { height: self.height.saturating_add(1), at: self.at >> 1, last: self.last >> 1 }
    }

    pub(crate) fn is_root(self) -> bool {
        self.last == 0
    }

    /// The node with which it has its parent; `None` for the root.
    pub(crate) fn beside(self) -> Option<Self> {
        (!self.is_root()).then_some(Self { at: self.at ^ 1, ..self })
    }

    /// The node above it and the one beside it, whose hash follows from theirs.
    pub(crate) fn above(self, hash: &Hash, beside: &Hash) -> (Self, Hash) {
        let above = if self.at & 1 == 1 { node(beside, hash) } else { node(hash, beside) };
        (self.half().without_lone_parents(), above)
    }

    /// Where it is in a list of all nodes over `count` leaves, which is twice as long as the next power of two: the
    /// root is the first, as in a heap.
    pub(crate) fn slot(self, count: usize) -> usize {
        let depth = count.next_power_of_two().ilog2().saturating_sub(u32::from(self.height));
        1_usize.checked_shl(depth).unwrap_or_default() | self.at
    }

    /// The node above it.
    pub(crate) fn parent(self) -> Self {
        self.half().without_lone_parents()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    #[test]
    fn every_path_leads_to_the_root_and_to_no_other_place() {
        for count in 1..=70 {
            let leaves = leaves(count);
            let (top, paths) = tree(&leaves);
            assert_eq!(paths.len(), count);
            for (index, (hash, path)) in leaves.iter().zip(&paths).enumerate() {
                assert_eq!(root(*hash, index, count, path), Some(top), "{index} of {count}");
                for other in (0..count + 2).filter(|other| *other != index) {
                    assert_ne!(root(*hash, other, count, path), Some(top), "{other} of {count}");
                }
            }
        }
    }

    #[test]
    fn a_changed_path_or_leaf_leads_elsewhere() {
        let leaves = leaves(11);
        let (top, paths) = tree(&leaves);
        for (index, path) in paths.iter().enumerate() {
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place][31] ^= 1;
                assert_ne!(root(leaves[index], index, 11, &changed), Some(top));
            }
            let shorter = &path[..path.len() - 1];
            assert_eq!(root(leaves[index], index, 11, shorter), None);
            let longer = [path.clone(), vec![top]].concat();
            assert_eq!(root(leaves[index], index, 11, &longer), None);
            assert_ne!(root(leaf(b"another"), index, 11, path), Some(top));
        }
    }

    #[test]
    fn an_inner_node_is_no_leaf() {
        let leaves = leaves(4);
        let (top, paths) = tree(&leaves);
        let inner = [leaves[0].as_slice(), leaves[1].as_slice()].concat();
        assert_ne!(root(leaf(&inner), 0, 2, &paths[0][1..]), Some(top));
    }

    /// From RFC 6962's well-known test tree (certificate-transparency, `merkletree` tests).
    #[test]
    fn the_known_root_of_eight_leaves() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len() / 2)
                .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
                .collect()
        };
        let inputs = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let leaves: Vec<Hash> = inputs.iter().map(|text| leaf(&hex(text))).collect();
        let expected = hex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
        assert_eq!(tree(&leaves).0.to_vec(), expected);
        let of_seven = hex("ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c");
        assert_eq!(tree(&leaves[..7]).0.to_vec(), of_seven);
    }
}
