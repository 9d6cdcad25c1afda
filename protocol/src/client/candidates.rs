//! What a quorum's answers to a read agree on.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CertifiedEntry, EntryHash, NodeId, Tally};

/// What one member says that it holds.
pub(super) type Held = Option<(EntryHash, Box<CertifiedEntry>)>;

/// The answers that agree on one signed entry.
pub(super) struct Candidate<'a> {
    pub(super) hash: EntryHash,
    pub(super) first: &'a CertifiedEntry,
    pub(super) holders: BTreeSet<NodeId>,
    pub(super) copies: Vec<&'a CertifiedEntry>,
}

/// Groups the answers by signed entry, the largest timestamp first.
pub(super) fn newest_first(answers: &Tally<Held>) -> Vec<Candidate<'_>> {
    let mut by_hash: BTreeMap<EntryHash, Candidate<'_>> = BTreeMap::new();
    for (node, held) in answers.iter() {
        let Some((hash, entry)) = held else { continue };
        let candidate = by_hash.entry(*hash).or_insert_with(|| Candidate {
            hash: *hash,
            first: entry,
            holders: BTreeSet::new(),
            copies: Vec::new(),
        });
        candidate.holders.insert(node.clone());
        candidate.copies.push(entry);
    }
    let mut candidates: Vec<Candidate<'_>> = by_hash.into_values().collect();
    candidates.sort_by_key(|c| std::cmp::Reverse((c.first.timestamp(), c.hash)));
    candidates
}
