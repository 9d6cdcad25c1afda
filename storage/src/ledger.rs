//! What the next commit builds upon.

use std::collections::BTreeSet;

use bftkv_protocol::{EquivocationProof, StoreError, ValueDigest, encode};

use crate::backend::{Change, corrupt};
use crate::census::Census;
use crate::record;

/// Where the last commit left off.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) census: Census,
    pub(crate) next_proof: u64,
    /// Proofs that are kept already: a proof that is gossiped again is not stored again.
    pub(crate) proofs: BTreeSet<ValueDigest>,
    /// The scrub that is under way.
    pub(crate) pass: Option<Pass>,
}

/// A scrub: how far it has come, and what it has counted.
///
/// Commits that change what it has passed already are counted in, so that at its end it agrees
/// with the census, whatever was committed meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Records with a smaller key were counted.
    pub(crate) reached: Vec<u8>,
    pub(crate) found: Census,
    pub(crate) has_damage: bool,
}

impl Ledger {
    /// Counts a record in the place of the one that was there.
    pub(crate) fn replace(
        &mut self,
        key: Vec<u8>,
        old: Option<&[u8]>,
        new: Vec<u8>,
    ) -> Result<Change, StoreError> {
        let fingerprint = |record: &[u8]| {
            let damaged = || corrupt(record::name(&key), "the checksum does not fit");
            record::fingerprint(&key, record).ok_or_else(damaged)
        };
        let old = old.map(fingerprint).transpose()?;
        let added = fingerprint(&new)?;
        let passed = self.pass.as_mut().filter(|pass| key < pass.reached);
        for census in passed.map(|pass| &mut pass.found).into_iter().chain([&mut self.census]) {
            old.iter().for_each(|removed| census.remove(&key, *removed));
            census.add(&key, added);
        }
        Ok(Change { key, value: Some(new) })
    }

    /// Whether a proof is new; it is known from now on.
    pub(crate) fn is_new_proof(&mut self, proof: &EquivocationProof) -> bool {
        self.proofs.insert(ValueDigest::of(&encode(proof)))
    }
}
