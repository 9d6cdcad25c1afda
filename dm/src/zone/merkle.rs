//! One hash over all sets of a zone.

use sha2::{Digest as _, Sha256};

use super::codec::Writer;
use super::{Key, RrSet, Zone};

/// What leaves, inner nodes and the root begin with, so that none can be taken for another
/// (second preimages; RFC 9162 section 2.1.1 has the same).
const LEAF: &[u8] = b"bftkv dm zone 1 set\0";
const NODE: &[u8] = b"bftkv dm zone 1 node\0";
const ROOT: &[u8] = b"bftkv dm zone 1 root\0";

/// The root of a Merkle tree over the sets of a zone in canonical order. Zones with the same root
/// are the same, TTLs and serial among it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneRoot([u8; 32]);

impl ZoneRoot {
    /// From its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Display for ZoneRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ZoneRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The hash of one set under its key: what is voted on where zones differ.
#[must_use]
pub fn set_hash(key: &Key, set: &RrSet) -> [u8; 32] {
    let mut out = Writer::default();
    out.key(key);
    out.set_head(set);
    hash(LEAF, &[&out.finish(), set.raw()])
}

fn hash(domain: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(domain);
    parts.iter().for_each(|part| hash.update(part));
    hash.finalize().into()
}

impl Zone {
    /// The Merkle root over the zone's sets, with apex and number of sets.
    #[must_use]
    pub fn root(&self) -> ZoneRoot {
        self.root_without(|_| false)
    }

    /// The same without some sets, as if they were not there.
    #[must_use]
    pub fn root_without(&self, left_out: impl Fn(&Key) -> bool) -> ZoneRoot {
        let sets = self.sets().iter().filter(|(key, _)| !left_out(key));
        let mut row: Vec<_> = sets.map(|(key, set)| set_hash(key, set)).collect();
        let count = u64::try_from(row.len()).unwrap_or(u64::MAX).to_be_bytes();
        while row.len() > 1 {
            row = row.chunks(2).map(parent).collect();
        }
        let top = row.first().copied().unwrap_or_default();
        ZoneRoot(hash(ROOT, &[self.apex().as_wire(), &count, &top]))
    }
}

/// A node over two; one without a neighbour goes up as it is. The number of leaves in the root
/// keeps that unambiguous.
fn parent(pair: &[[u8; 32]]) -> [u8; 32] {
    match pair {
        [left, right] => hash(NODE, &[left, right]),
        [alone, ..] => *alone,
        [] => [0; 32],
    }
}
