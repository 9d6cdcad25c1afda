//! Batches as records, and records as what they hold.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{Batch, CertifiedEntry, EquivocationProof, Marks, StoreError, Variable};

use crate::backend::{Pair, corrupt};
use crate::key::Key;
use crate::record;

/// One caller's commit, encoded.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) variables: BTreeSet<Variable>,
    pub(crate) proofs: Vec<EquivocationProof>,
}

impl Pending {
    pub(crate) fn encode(batch: Batch) -> Result<Self, StoreError> {
        for proof in &batch.proofs {
            // Only for its limit: the record's key is known when it is written.
            record::seal(&[], proof)?;
        }
        let mut pending = Self { proofs: batch.proofs, ..Self::default() };
        for entry in &batch.entries {
            let key = Key::Version(entry.variable().clone(), entry.timestamp()).encode();
            let record = record::seal(&key, entry)?;
            pending.records.insert(key, record);
            pending.variables.insert(entry.variable().clone());
        }
        for (variable, marks) in batch.marks {
            let key = Key::Marks(variable.clone()).encode();
            let record = record::seal(&key, &marks)?;
            pending.records.insert(key, record);
            pending.variables.insert(variable);
        }
        Ok(pending)
    }

    /// Adds a later commit: where both change one record, the later one counts.
    pub(crate) fn merge(&mut self, later: Self) {
        self.records.extend(later.records);
        self.variables.extend(later.variables);
        self.proofs.extend(later.proofs);
    }
}

/// The entry in a record that must be one, of the variable and timestamp that its key names.
pub(crate) fn open_entry((key, record): &Pair) -> Result<CertifiedEntry, StoreError> {
    let entry: CertifiedEntry = record::open(key, record)?;
    let place = Key::Version(entry.variable().clone(), entry.timestamp());
    if Key::decode(key) == Some(place) {
        Ok(entry)
    } else {
        Err(corrupt(record::name(key), "it holds an entry that belongs elsewhere"))
    }
}

/// The variable that a record belongs to; the record's checksum vouches for the key.
pub(crate) fn open_variable((key, record): &Pair) -> Result<Variable, StoreError> {
    if record::fingerprint(key, record).is_none() {
        return Err(corrupt(record::name(key), "the checksum does not fit"));
    }
    match Key::decode(key) {
        Some(Key::Marks(variable) | Key::Version(variable, _)) => Ok(variable),
        _ => Err(corrupt(record::name(key), "it is no key of a variable")),
    }
}

/// Puts what a record holds into a batch for another store.
pub(crate) fn add_to(batch: &mut Batch, pair: &Pair) -> Result<(), StoreError> {
    let (key, record) = pair;
    match Key::decode(key) {
        Some(Key::Census) => {}
        Some(Key::Marks(variable)) => {
            let marks: Marks = record::open(key, record)?;
            batch.marks.push((variable, marks));
        }
        Some(Key::Version(..)) => batch.entries.push(open_entry(pair)?),
        Some(Key::Proof(_)) => batch.proofs.push(record::open(key, record)?),
        None => return Err(corrupt(record::name(key), "it is no key of ours")),
    }
    Ok(())
}
