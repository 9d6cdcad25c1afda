//! All heads in a few bytes each, in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// Which record each head has, as it was counted after opening and changed since.
///
/// Every head that is read is compared with it. So a signer is never told a wrong memory, or none,
/// whatever happens to the files while they are open: a damaged page hides what it leads to, and
/// damaged lists of free pages let a sound head be overwritten. It takes 16 bytes for each
/// variable, and about twice as much for one that is new since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    /// Names cannot be chosen so that two of them have one hash.
    hasher: RandomState,
    /// Hash of the key, and fingerprint; in order once [`HeadIndex::finish`] was called.
    counted: Vec<(u64, u64)>,
    added: HashMap<u64, u64>,
    /// Of a commit that failed: it may be there or not.
    doubtful: HashMap<u64, u64>,
}

impl HeadIndex {
    /// Adds a head that was counted.
    pub(crate) fn count(&mut self, key: &[u8], fingerprint: u64) {
        self.counted.push((self.hasher.hash_one(key), fingerprint));
    }

    /// All were counted.
    pub(crate) fn finish(&mut self) {
        self.counted.shrink_to_fit();
        self.counted.sort_unstable();
    }

    /// Notes a head that was committed.
    pub(crate) fn change(&mut self, key: &[u8], fingerprint: u64) {
        let hash = self.hasher.hash_one(key);
        match self.place(hash).and_then(|place| self.counted.get_mut(place)) {
            Some(counted) => counted.1 = fingerprint,
            None => {
                self.added.insert(hash, fingerprint);
            }
        }
    }

    /// Notes a head whose commit failed: from now on both are right. Few, as no commit follows.
    pub(crate) fn doubt(&mut self, key: &[u8], fingerprint: u64) {
        self.doubtful.insert(self.hasher.hash_one(key), fingerprint);
    }

    /// Whether a head may have the record with this fingerprint, or none.
    pub(crate) fn allows(&self, key: &[u8], found: Option<u64>) -> bool {
        let hash = self.hasher.hash_one(key);
        found == self.find(hash)
            || found.is_some_and(|found| self.doubtful.get(&hash) == Some(&found))
    }

    /// The fingerprint of a head's record; `None` if there is no such head.
    fn find(&self, hash: u64) -> Option<u64> {
        match self.place(hash).and_then(|place| self.counted.get(place)) {
            Some((_, fingerprint)) => Some(*fingerprint),
            None => self.added.get(&hash).copied(),
        }
    }

    fn place(&self, hash: u64) -> Option<usize> {
        self.counted.binary_search_by_key(&hash, |(hash, _)| *hash).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_found_as_they_were_noted_last() {
        let mut index = HeadIndex::default();
        for n in 0..1000u64 {
            index.count(&n.to_be_bytes(), n);
        }
        index.finish();
        index.change(&7u64.to_be_bytes(), 70);
        index.change(&2000u64.to_be_bytes(), 1);
        index.doubt(&8u64.to_be_bytes(), 80);
        let allows = |n: u64, found| index.allows(&n.to_be_bytes(), found);
        assert!(allows(6, Some(6)) && allows(7, Some(70)) && allows(2000, Some(1)));
        assert!(allows(8, Some(8)) && allows(8, Some(80)) && allows(3000, None));
        assert!(!allows(7, Some(7)) && !allows(6, None) && !allows(6, Some(80)));
    }
}
