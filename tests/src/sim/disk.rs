//! A disk: what was synced survives a crash, and nothing else is sure to.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bftkv_protocol::server::{Loaded, Ticket};
use bftkv_protocol::{
    Batch, CertifiedEntry, EquivocationProof, Marks, Store, StoreAge, StoreError, Timestamp,
    Variable, VariableState, Vault,
};

use super::plant::Plant;
use super::rng::Rng;

/// One node's disk.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    synced: Mutex<Synced>,
    /// Batches on their way.
    writing: BTreeMap<Ticket, Batch>,
    /// After a failed write nothing is written until the store is opened again.
    stopped: bool,
    /// A planted bug.
    flaw: Option<Plant>,
}

/// Everything that was synced, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Synced {
    variables: BTreeMap<Variable, Kept>,
    proofs: Vec<EquivocationProof>,
    vaults: BTreeMap<Variable, Vault>,
    /// Entries stored since somebody asked.
    new: Vec<CertifiedEntry>,
    age: StoreAge,
}

#[derive(Debug, Clone, Default)]
struct Kept {
    versions: BTreeMap<Timestamp, CertifiedEntry>,
    /// What was stored last: only a planted bug looks at it.
    last: Option<CertifiedEntry>,
    marks: Marks,
}

impl Disk {
    /// A disk with a planted bug, or without.
    pub(crate) fn with_flaw(flaw: Option<Plant>) -> Self {
        Self { flaw, ..Self::default() }
    }

    /// Begins to write.
    pub(crate) fn begin(&mut self, ticket: Ticket, batch: Batch) {
        self.writing.insert(ticket, batch);
    }

    /// The write is through, or it failed and may or may not be on the disk.
    pub(crate) fn end(
        &mut self,
        ticket: Ticket,
        fails: bool,
        rng: &mut Rng,
    ) -> Result<(), StoreError> {
        let Some(batch) = self.writing.remove(&ticket) else { return Err(StoreError::Stopped) };
        if self.stopped {
            return Err(StoreError::Stopped);
        }
        if fails {
            self.stopped = true;
            if rng.percent(50) {
                self.commit(batch)?;
            }
            return Err(StoreError::Io("the disk failed".to_owned()));
        }
        self.commit(batch)
    }

    /// Power is lost: each batch on its way is on the disk, or it is not.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        for batch in std::mem::take(&mut self.writing).into_values() {
            if !self.stopped && rng.percent(50) {
                // Committing into memory does not fail.
                let _ = self.commit(batch);
            }
        }
        self.stopped = false;
    }

    /// Everything on its way is lost, as on a disk that lies about syncing.
    pub(crate) fn lose_writes(&mut self) {
        self.writing.clear();
        self.stopped = false;
    }

    /// A copy, as a backup makes it.
    pub(crate) fn copy(&self) -> Synced {
        self.lock().clone()
    }

    /// Another disk is put in: an old copy, or a new one.
    pub(crate) fn replace(&mut self, by: Synced) {
        *self.lock() = by;
        self.writing.clear();
        self.stopped = false;
    }

    /// A planted bug: the signer's memory is gone.
    pub(crate) fn forget_marks(&mut self) {
        for kept in self.lock().variables.values_mut() {
            kept.marks = Marks::default();
        }
    }

    pub(crate) fn loaded(
        &self,
        variable: &Variable,
        version: Option<Timestamp>,
    ) -> Result<Loaded, StoreError> {
        let state = self.load(variable)?;
        let version = match version {
            Some(t) => self.version(variable, t)?,
            None => None,
        };
        Ok(Loaded { state, version })
    }

    /// Whether it waits for a restart after a failure.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The entries that reached the disk since the last call.
    pub(crate) fn newly_stored(&self) -> Vec<CertifiedEntry> {
        std::mem::take(&mut self.lock().new)
    }

    fn lock(&self) -> MutexGuard<'_, Synced> {
        self.synced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Disk {
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        let synced = self.lock();
        let Some(kept) = synced.variables.get(variable) else {
            return Ok(VariableState::default());
        };
        let newest = kept.versions.last_key_value().map(|(_, entry)| entry.clone());
        let is_flawed = self.flaw == Some(Plant::LastStoredIsLatest);
        let latest = if is_flawed { kept.last.clone() } else { newest };
        Ok(VariableState { latest, marks: kept.marks.clone() })
    }

    fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError> {
        let synced = self.lock();
        Ok(synced.variables.get(variable).and_then(|kept| kept.versions.get(&timestamp)).cloned())
    }

    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        let synced = self.lock();
        let all = synced.variables.get(variable).into_iter().flat_map(|k| k.versions.keys().rev());
        let wanted = all.filter(|t| below.is_none_or(|below| **t < below));
        Ok(wanted.take(limit).copied().collect())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        let synced = self.lock();
        let entries = synced.variables.iter().filter(|(_, kept)| !kept.versions.is_empty());
        let names = entries.map(|(name, _)| name);
        let wanted = names
            .filter(|name| name.as_bytes().starts_with(prefix) && after.is_none_or(|a| *name > a));
        Ok(wanted.take(limit).cloned().collect())
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        let synced = self.lock();
        let wanted = synced.variables.keys().filter(|name| after.is_none_or(|a| *name > a));
        Ok(wanted.take(limit).cloned().collect())
    }

    fn age(&self) -> Result<StoreAge, StoreError> {
        Ok(self.lock().age)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut guard = self.lock();
        let synced = &mut *guard;
        synced.age.commits = synced.age.commits.saturating_add(1);
        for entry in batch.entries {
            let kept = synced.variables.entry(entry.variable().clone()).or_default();
            if self.flaw == Some(Plant::DropHistory) {
                kept.versions.retain(|t, _| *t > entry.timestamp());
            }
            // The same entry with another S takes the place of the old copy: the rules say which is
            // better.
            let stored = kept.versions.get(&entry.timestamp());
            if stored.is_none_or(|stored| stored.hash() == entry.hash()) {
                kept.versions.insert(entry.timestamp(), entry.clone());
            }
            kept.last = Some(entry.clone());
            synced.new.push(entry);
        }
        for (variable, marks) in batch.marks {
            synced.variables.entry(variable).or_default().marks = marks;
        }
        synced.proofs.extend(batch.proofs);
        synced.vaults.extend(batch.vaults);
        Ok(())
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        Ok(self.lock().proofs.clone())
    }

    fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError> {
        Ok(self.lock().vaults.get(variable).cloned())
    }
}
