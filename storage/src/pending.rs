//! Batches as records, and records as what they hold.

use std::collections::BTreeMap;

use bftkv_protocol::{Batch, CertifiedEntry, EquivocationProof, StoreError, Variable, Vault};

use crate::backend::{Pair, corrupt};
use crate::head::{Head, HeadChange, Newest};
use crate::key::Key;
use crate::record;

/// One caller's commit, encoded.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// The entries.
    pub(crate) records: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) heads: BTreeMap<Variable, HeadChange>,
    pub(crate) proofs: Vec<EquivocationProof>,
    pub(crate) vaults: BTreeMap<Variable, Vault>,
    /// How much is to be written, in bytes.
    pub(crate) bytes: usize,
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
            let head = pending.heads.entry(entry.variable().clone()).or_default();
            head.add(Newest::of(&key, &record, entry)?);
            pending.bytes += key.len() + record.len();
            pending.records.insert(key, record);
        }
        for (variable, marks) in batch.marks {
            // Only for its limits: the rest of the head is known when it is written.
            let newest = Some(Newest { timestamp: marks.seen, fingerprint: u64::MAX });
            let head = Head { marks, newest };
            let record = record::seal(&[], &head)?;
            if record::open::<Head>(&[], &record).is_err() {
                let reason = format!("marks of {variable} above the limits; nothing was written");
                return Err(StoreError::Io(reason));
            }
            pending.bytes += record.len();
            pending.heads.entry(variable).or_default().marks = Some(head.marks);
        }
        for (variable, vault) in batch.vaults {
            pending.bytes += vault.as_bytes().len();
            pending.vaults.insert(variable, vault);
        }
        Ok(pending)
    }

    /// Adds a later commit: where both change one record, the later one counts.
    pub(crate) fn merge(&mut self, later: Self) {
        self.records.extend(later.records);
        for (variable, change) in later.heads {
            self.heads.entry(variable).or_default().merge(change);
        }
        self.proofs.extend(later.proofs);
        self.vaults.extend(later.vaults);
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
