//! A bounded memory of trees whose root was verified, so that a batch is checked as one tree.
//!
//! Whoever checks 256 entries under one root one by one works out eight hashes for each, though the tree has 255
//! nodes above its leaves. Here the nodes that were worked out on the way to a verified root are kept. A path
//! that meets one of them and goes on exactly as the path before it leads to that root, and need not be
//! walked on.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use crate::batch_signature::Placed;
use crate::merkle::{Hash, Place};
use crate::{NodeId, Purpose, SignatureBytes, Verify, VerifyError};

/// Trees whose root was verified, so many at most; the one that was used longest ago goes first. A full batch
/// takes 17 KB and as much as its packet is long.
#[derive(Debug)]
pub struct TreeMemory {
    most: NonZeroUsize,
    /// By the end of their packets, which is as good as random where packets are honest. Two that end
    /// alike push each other out: that makes work, and nothing else.
    known: BTreeMap<Hash, Tree>,
    uses: u64,
}

/// Lends a memory to one after the other. Whoever shares it among threads locks it.
pub trait LendTrees {
    /// Lends it for this.
    fn lend<T>(&self, work: impl FnOnce(&mut TreeMemory) -> T) -> T;
}

/// What is known below one root.
#[derive(Debug)]
struct Tree {
    signer: NodeId,
    domain: Vec<u8>,
    realm: Vec<u8>,
    count: usize,
    packet: Vec<u8>,
    /// By [`Place::slot`].
    nodes: Vec<Option<Hash>>,
    /// When it was used last, counted in uses.
    used: u64,
}

/// How far a path had to be walked.
#[derive(Debug)]
struct Way {
    /// The nodes on it and beside it, from the leaf upwards.
    nodes: Vec<(Place, Hash)>,
    /// The root, unless a known node was met before.
    root: Option<Hash>,
}

/// What [`Verify::verify`] of `keys` says, with fewer hashes for many signatures under one root. `is_known` tells
/// whether the signer's certificate is still known.
///
/// The answer is the one that it is without a memory: nothing is kept but what leads to a root whose packet
/// was found good, and a path that differs anywhere from what is kept is walked to its end.
///
/// # Errors
/// As [`Verify::verify`].
pub fn verify_in_tree(
    trees: &impl LendTrees,
    keys: &dyn Verify,
    is_known: impl FnOnce(&NodeId) -> bool,
    (signer, purpose): (&NodeId, Purpose),
    message: &[u8],
    signature: &SignatureBytes,
) -> Result<(), VerifyError> {
    if !signature.is_batched() {
        return keys.verify_packet(signer, purpose, message, signature);
    }
    let bad = |reason: &str| VerifyError::Bad { signer: signer.clone(), reason: reason.to_owned() };
    let placed = Placed::of(signature, purpose, message).map_err(bad)?;
    let way = trees.lend(|trees| trees.way(signer, &placed)).ok_or_else(|| bad(WRONG_LENGTH))?;
    let Some(root) = way.root else {
        let forgotten = || VerifyError::UnknownCertificate(signer.clone());
        return is_known(signer).then_some(()).ok_or_else(forgotten);
    };
    let one = placed.detached(&root).map_err(bad)?;
    keys.verify_packet(signer, one.purpose, &one.message, &one.packet)?;
    trees.lend(|trees| trees.keep(signer, &placed, &way.nodes));
    Ok(())
}

const WRONG_LENGTH: &str = "its path has the wrong length";

impl TreeMemory {
    /// A memory of so many trees at most.
    #[must_use]
    pub fn new(most: NonZeroUsize) -> Self {
        Self { most, known: BTreeMap::new(), uses: 0 }
    }

    /// Walks until something known is met, or to the root. `None` if the path has not its length.
    fn way(&mut self, signer: &NodeId, placed: &Placed<'_>) -> Option<Way> {
        self.uses = self.uses.saturating_add(1);
        let tree =
            self.known.get_mut(&name(placed.packet)).filter(|tree| tree.is_of(signer, placed));
        let Some(tree) = tree else { return walk(placed, |_, _, _| false) };
        tree.used = self.uses;
        let way = walk(placed, |place, hash, rest| tree.leads_on(place, hash, rest))?;
        if way.root.is_none() {
            // They lead to the same root, which was verified.
            tree.keep(&way.nodes);
        }
        Some(way)
    }

    /// Keeps what led to a root that was verified.
    fn keep(&mut self, signer: &NodeId, placed: &Placed<'_>, nodes: &[(Place, Hash)]) {
        let name = name(placed.packet);
        let is_there = self.known.get(&name).is_some_and(|tree| tree.is_of(signer, placed));
        if !is_there {
            self.known.remove(&name);
            while self.known.len() >= self.most.get() {
                let oldest = self.known.iter().min_by_key(|(_, tree)| tree.used);
                let Some(oldest) = oldest.map(|(name, _)| *name) else { break };
                self.known.remove(&oldest);
            }
        }
        let used = self.uses;
        let tree = self.known.entry(name).or_insert_with(|| Tree::new(signer, placed, used));
        tree.keep(nodes);
    }
}

impl Tree {
    fn new(signer: &NodeId, placed: &Placed<'_>, used: u64) -> Self {
        Self {
            signer: signer.clone(),
            domain: placed.head.domain.to_vec(),
            realm: placed.head.realm.to_vec(),
            count: placed.count,
            packet: placed.packet.to_vec(),
            nodes: vec![None; placed.count.next_power_of_two().saturating_mul(2)],
            used,
        }
    }

    /// Whether what was signed by the packet is the same but for the root: then there is one root only.
    fn is_of(&self, signer: &NodeId, placed: &Placed<'_>) -> bool {
        self.count == placed.count
            && self.packet == placed.packet
            && self.signer == *signer
            && self.domain == placed.head.domain
            && self.realm == placed.head.realm
    }

    /// Whether the node is known, and the rest of the path is what stands beside the way from it to the root.
    fn leads_on(&self, place: Place, hash: &Hash, rest: &[Hash]) -> bool {
        if self.at(place) != Some(hash) {
            return false;
        }
        let mut place = place;
        for beside in rest {
            match place.beside() {
                Some(other) if self.at(other) == Some(beside) => place = place.parent(),
                _ => return false,
            }
        }
        place.is_root()
    }

    fn at(&self, place: Place) -> Option<&Hash> {
        self.nodes.get(place.slot(self.count))?.as_ref()
    }

    fn keep(&mut self, nodes: &[(Place, Hash)]) {
        for (place, hash) in nodes {
            if let Some(node) = self.nodes.get_mut(place.slot(self.count)) {
                *node = Some(*hash);
            }
        }
    }
}

/// Walks from the leaf upwards until `is_enough`. `None` if the path ends before the root or after it.
fn walk(placed: &Placed<'_>, is_enough: impl Fn(Place, &Hash, &[Hash]) -> bool) -> Option<Way> {
    let mut place = Place::of_leaf(placed.index, placed.count)?;
    let (mut hash, mut rest) = (placed.leaf, placed.path);
    // Most paths meet something known at once.
    let mut nodes = Vec::new();
    loop {
        if is_enough(place, &hash, rest) {
            return Some(Way { nodes, root: None });
        }
        nodes.push((place, hash));
        let Some((beside, after)) = rest.split_first() else {
            return place.is_root().then_some(Way { nodes, root: Some(hash) });
        };
        nodes.push((place.beside()?, *beside));
        (place, hash) = place.above(&hash, beside);
        rest = after;
    }
}

/// The end of a packet.
fn name(packet: &[u8]) -> Hash {
    packet.last_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::{leaf, root, tree};

    fn placed<'a>(index: usize, leaf: Hash, path: &'a [Hash], count: usize) -> Placed<'a> {
        let message = b"\0\0\0\0\0\0\0\x01d\0\0\0\0\0\0\0\x01r";
        let head = crate::canonical::Head::of(message).unwrap();
        Placed { head, leaf, index, count, path, packet: &[7; 40] }
    }

    #[test]
    fn a_walk_comes_to_the_root_and_every_node_has_a_slot_of_its_own() {
        for count in 1..=256_usize {
            let leaves: Vec<Hash> = (0..count).map(|n| leaf(&n.to_be_bytes())).collect();
            let (top, paths) = tree(&leaves);
            let mut slots: BTreeMap<usize, Hash> = BTreeMap::new();
            for (index, (leaf, path)) in leaves.iter().zip(&paths).enumerate() {
                let way = walk(&placed(index, *leaf, path, count), |_, _, _| false).unwrap();
                assert_eq!(way.root, Some(top), "{index} of {count}");
                for (place, hash) in way.nodes {
                    assert!(place.slot(count) < 2 * count.next_power_of_two());
                    let there = slots.entry(place.slot(count)).or_insert(hash);
                    assert_eq!(*there, hash, "{index} of {count}");
                }
                let longer = [path.as_slice(), &[top]].concat();
                for wrong in [&path[..path.len().saturating_sub(1)], &longer] {
                    let by_memory = walk(&placed(index, *leaf, wrong, count), |_, _, _| false);
                    let plain = root(*leaf, index, count, wrong);
                    assert_eq!(by_memory.and_then(|way| way.root), plain, "{index} of {count}");
                }
            }
            assert_eq!(slots.len(), 2 * count - 1, "a tree has one node less above its leaves");
        }
    }

    #[test]
    fn a_whole_batch_is_hashed_once() {
        let leaves: Vec<Hash> = (0..256_u32).map(|n| leaf(&n.to_be_bytes())).collect();
        let (_, paths) = tree(&leaves);
        let signer = NodeId::from_bytes(&[1; 20]).unwrap();
        let mut trees = TreeMemory::new(NonZeroUsize::MIN);
        let mut hashes = 0;
        for (index, (leaf, path)) in leaves.iter().zip(&paths).enumerate() {
            let placed = placed(index, *leaf, path, leaves.len());
            let way = trees.way(&signer, &placed).unwrap();
            // Of each two, one is on the way and one beside it; the root is alone.
            hashes += way.nodes.len() / 2;
            assert_eq!(way.root.is_some(), index == 0);
            if way.root.is_some() {
                trees.keep(&signer, &placed, &way.nodes);
            }
        }
        assert_eq!(hashes, 255);
    }

    #[test]
    fn there_are_never_more_trees_than_allowed() {
        let leaves: Vec<Hash> = (0..2_u32).map(|n| leaf(&n.to_be_bytes())).collect();
        let (_, paths) = tree(&leaves);
        let signer = NodeId::from_bytes(&[1; 20]).unwrap();
        let mut trees = TreeMemory::new(NonZeroUsize::new(3).unwrap());
        for number in 0..20_u8 {
            let packet = [number; 40];
            let placed = Placed { packet: &packet, ..placed(0, leaves[0], &paths[0], 2) };
            let way = trees.way(&signer, &placed).unwrap();
            assert!(way.root.is_some(), "nothing is known of another packet");
            trees.keep(&signer, &placed, &way.nodes);
            assert!(trees.known.len() <= 3);
            assert!(trees.way(&signer, &placed).unwrap().root.is_none(), "the newest stays");
        }
    }
}
