//! What a quorum's answers to a read agree on.

use std::collections::{BTreeMap, BTreeSet};

use crate::{CertifiedEntry, EntryHash, NodeId, Tally, Timestamp};

/// What one member says that it holds.
pub(super) type Held = Option<Shown>;

/// An entry, or only which one it is.
#[derive(Debug, Clone)]
pub(super) enum Shown {
    Whole(EntryHash, Box<CertifiedEntry>),
    Digest(Timestamp, EntryHash),
}

impl Shown {
    pub(super) fn whole(entry: Box<CertifiedEntry>) -> Self {
        Self::Whole(entry.hash(), entry)
    }

    fn copy(&self) -> Option<&CertifiedEntry> {
        match self {
            Self::Whole(_, entry) => Some(entry),
            Self::Digest(..) => None,
        }
    }

    fn name(&self) -> (Timestamp, EntryHash) {
        match self {
            Self::Whole(hash, entry) => (entry.timestamp(), *hash),
            Self::Digest(timestamp, hash) => (*timestamp, *hash),
        }
    }
}

/// The answers that agree on one signed entry.
pub(super) struct Candidate<'a> {
    pub(super) timestamp: Timestamp,
    pub(super) hash: EntryHash,
    pub(super) holders: BTreeSet<NodeId>,
    /// What those of them have shown who did not only name it.
    pub(super) copies: Vec<(&'a NodeId, &'a CertifiedEntry)>,
}

impl Candidate<'_> {
    /// Who has shown the entry.
    pub(super) fn showers(&self) -> BTreeSet<NodeId> {
        self.copies.iter().map(|(node, _)| (*node).clone()).collect()
    }
}

/// Groups the answers by signed entry, the largest timestamp first.
pub(super) fn newest_first(answers: &Tally<Held>) -> Vec<Candidate<'_>> {
    let mut by_name: BTreeMap<(Timestamp, EntryHash), Candidate<'_>> = BTreeMap::new();
    for (node, held) in answers.iter() {
        let Some(shown) = held else { continue };
        let (timestamp, hash) = shown.name();
        let candidate = by_name.entry((timestamp, hash)).or_insert_with(|| Candidate {
            timestamp,
            hash,
            holders: BTreeSet::new(),
            copies: Vec::new(),
        });
        candidate.holders.insert(node.clone());
        candidate.copies.extend(shown.copy().map(|entry| (node, entry)));
    }
    by_name.into_values().rev().collect()
}

/// Whether anybody has shown a whole entry.
pub(super) fn has_copy(answers: &Tally<Held>) -> bool {
    answers.iter().any(|(_, held)| held.as_ref().is_some_and(|shown| shown.copy().is_some()))
}
