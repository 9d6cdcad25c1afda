//! A store in memory that never fails.

#![allow(
    clippy::disallowed_types,
    reason = "a store must be one that threads could share; the core itself has none"
)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bftkv_protocol::{
    Batch, CertifiedEntry, EquivocationProof, Marks, Store, StoreAge, StoreError, Timestamp,
    Variable, VariableState, Vault,
};

/// What it holds of one variable.
#[derive(Debug, Clone, Default)]
struct Kept {
    versions: BTreeMap<Timestamp, CertifiedEntry>,
    marks: Marks,
    vault: Option<Vault>,
}

/// A store in memory.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<BTreeMap<Variable, Kept>>);

impl Shelf {
    pub(crate) fn with(entries: impl IntoIterator<Item = CertifiedEntry>) -> Self {
        let shelf = Self::default();
        shelf.commit(Batch { entries: entries.into_iter().collect(), ..Batch::default() }).unwrap();
        shelf
    }

    pub(crate) fn set_marks(&self, variable: &Variable, marks: Marks) {
        self.all().entry(variable.clone()).or_default().marks = marks;
    }

    pub(crate) fn len(&self) -> usize {
        self.all().values().map(|kept| kept.versions.len()).sum()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Variable, Kept>> {
        self.0.lock().unwrap()
    }
}

impl Store for Shelf {
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        let kept = self.all().get(variable).cloned().unwrap_or_default();
        let latest = kept.versions.into_values().next_back();
        Ok(VariableState { latest, marks: kept.marks })
    }

    fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError> {
        Ok(self.all().get(variable).and_then(|kept| kept.versions.get(&timestamp)).cloned())
    }

    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let all = self.all();
        let times = all.get(variable).into_iter().flat_map(|kept| kept.versions.keys().rev());
        Ok(times.filter(|t| below.is_none_or(|b| **t < b)).take(limit).copied().collect())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        let all = self.all();
        let full = all.iter().filter(|(_, kept)| !kept.versions.is_empty()).map(|(name, _)| name);
        let wanted = full.filter(|name| name.as_bytes().starts_with(prefix));
        Ok(wanted.filter(|n| after.is_none_or(|a| *n > a)).take(limit).cloned().collect())
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        let all = self.all();
        Ok(all.keys().filter(|n| after.is_none_or(|a| *n > a)).take(limit).cloned().collect())
    }

    fn age(&self) -> Result<StoreAge, StoreError> {
        Ok(StoreAge::default())
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut all = self.all();
        for entry in batch.entries {
            let kept = all.entry(entry.variable().clone()).or_default();
            kept.versions.insert(entry.timestamp(), entry);
        }
        for (variable, marks) in batch.marks {
            all.entry(variable).or_default().marks = marks;
        }
        for (variable, vault) in batch.vaults {
            all.entry(variable).or_default().vault = Some(vault);
        }
        Ok(())
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        Ok(Vec::new())
    }

    fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError> {
        Ok(self.all().get(variable).and_then(|kept| kept.vault.clone()))
    }
}
