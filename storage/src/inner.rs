//! How a record store reads and commits.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bftkv_protocol::{
    Batch, CertifiedEntry, EquivocationProof, StoreError, Timestamp, Variable, VariableState, Vault,
};

use crate::backend::{Backend, Change, corrupt};
use crate::cache::Cache;
use crate::census::Anchor;
use crate::group_commit::GroupCommit;
use crate::head::{Head, HeadChange, Newest};
use crate::head_index::HeadIndex;
use crate::health::Health;
use crate::key::{self, Key};
use crate::ledger::Ledger;
use crate::pending::{Pending, open_entry};
use crate::record;

/// What the threads of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) anchor: Option<Anchor>,
    ledger: Mutex<Ledger>,
    pub(crate) queue: GroupCommit<Pending>,
    pub(crate) cache: Cache,
    pub(crate) health: Health,
    /// There from the check after opening on.
    index: RwLock<Option<HeadIndex>>,
    pub(crate) is_closing: AtomicBool,
}

/// How many bytes one sync carries at most: bounds memory and the time that a reader of the
/// plain-file backend waits. Single commits may be larger.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

/// How many records a listing takes from the backend at once.
const LIST_PAGE: usize = 256;

impl Inner {
    pub(crate) fn new(
        backend: Box<dyn Backend>,
        anchor: Option<Anchor>,
        cache_bytes: usize,
    ) -> Self {
        Self {
            backend,
            anchor,
            ledger: Mutex::default(),
            queue: GroupCommit::new(MAX_GROUP_BYTES),
            cache: Cache::new(cache_bytes),
            health: Health::unchecked(),
            index: RwLock::default(),
            is_closing: AtomicBool::new(false),
        }
    }

    /// The state of a variable, with about how many bytes it is long.
    pub(crate) fn read(&self, variable: &Variable) -> Result<(VariableState, usize), StoreError> {
        match self.read_once(variable) {
            Err(StoreError::Corrupt { .. }) => {
                // A commit may have come between two reads: once more, while none can.
                let _quiet = self.ledger();
                self.read_once(variable)
            }
            other => other,
        }
    }

    fn read_once(&self, variable: &Variable) -> Result<(VariableState, usize), StoreError> {
        let Some((head, bytes)) = self.head(variable)? else { return Ok(Default::default()) };
        let mut state = VariableState { latest: None, marks: head.marks };
        let Some(newest) = head.newest else { return Ok((state, bytes)) };
        let key = Key::Version(variable.clone(), newest.timestamp).encode();
        let gone = || corrupt(record::name(&key), "it is missing, although its head names it");
        let pair = (key.clone(), self.backend.get(&key)?.ok_or_else(gone)?);
        let entry = open_entry(&pair)?;
        if Newest::of(&pair.0, &pair.1, &entry)? != newest {
            return Err(corrupt(record::name(&key), "it is not the entry that its head names"));
        }
        state.latest = Some(entry);
        Ok((state, bytes + pair.1.len()))
    }

    /// The head of a variable, with its length.
    fn head(&self, variable: &Variable) -> Result<Option<(Head, usize)>, StoreError> {
        let key = Key::Head(variable.clone()).encode();
        let record = self.head_record(&key)?;
        record.map(|record| Ok((record::open(&key, &record)?, record.len()))).transpose()
    }

    /// Whether no entry that is kept has so large a timestamp.
    fn is_newer(&self, variable: &Variable, timestamp: Timestamp) -> Result<bool, StoreError> {
        let newest = self.head(variable)?.and_then(|(head, _)| head.newest);
        Ok(newest.is_none_or(|newest| newest.timestamp < timestamp))
    }

    /// The record of a head; an error if it is not the one that was counted or committed.
    fn head_record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.backend.get(key)?;
        if let Some(index) = &*self.index() {
            let found = record.as_ref().and_then(|record| record::fingerprint(key, record));
            if !index.allows(key, found) {
                return Err(corrupt(record::name(key), "it is not the one that was committed"));
            }
        }
        Ok(record)
    }

    /// The variables behind `after` whose names begin with `prefix` and whose heads are wanted.
    pub(crate) fn names(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
        is_wanted: impl Fn(&Head) -> bool,
    ) -> Result<Vec<Variable>, StoreError> {
        self.require_checked()?;
        let mut from =
            key::start_of_heads(prefix).max(after.map(key::after_head).unwrap_or_default());
        let end = key::end_of_heads(prefix);
        let mut found = Vec::new();
        while found.len() < limit {
            let page = self.backend.scan(&from, &end, LIST_PAGE.min(limit))?;
            let Some((last, _)) = page.last() else { break };
            from = behind(last);
            for (key, record) in &page {
                let Some(Key::Head(variable)) = Key::decode(key) else { continue };
                if is_wanted(&record::open(key, record)?) {
                    found.push(variable);
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Commits a group.
    pub(crate) fn commit_group(&self, group: Vec<Pending>) -> Result<(), StoreError> {
        self.health.begin_commit()?;
        let mut all = Pending::default();
        group.into_iter().for_each(|pending| all.merge(pending));
        // A panic counts as a failed commit.
        let mut end = EndOfCommit { health: &self.health, succeeded: false };
        let variables: Vec<Variable> = all.heads.keys().cloned().collect();
        self.cache.begin_commit(variables.iter());
        let outcome = self.write(all);
        self.cache.end_commit(variables.iter());
        end.succeeded = outcome.is_ok();
        outcome
    }

    fn write(&self, all: Pending) -> Result<(), StoreError> {
        let mut ledger = self.ledger();
        let mut changes = Vec::with_capacity(all.records.len() + all.heads.len() + 1);
        for (key, record) in all.records {
            let old = self.backend.get(&key)?;
            if old.as_ref() != Some(&record) {
                changes.push(ledger.replace(key, old.as_deref(), record)?);
            }
        }
        for (variable, change) in all.heads {
            changes.extend(self.change_head(&mut ledger, variable, change)?);
        }
        for (variable, vault) in all.vaults {
            let key = Key::Vault(variable).encode();
            let old = self.head_record(&key)?;
            let record = record::seal(&key, &vault)?;
            if old.as_ref() != Some(&record) {
                changes.push(ledger.replace(key, old.as_deref(), record)?);
            }
        }
        for proof in all.proofs {
            if ledger.is_new_proof(&proof) {
                let key = Key::Proof(ledger.next_proof).encode();
                ledger.next_proof = ledger.next_proof.saturating_add(1);
                let record = record::seal(&key, &proof)?;
                changes.push(ledger.replace(key, None, record)?);
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        self.write_changes(&mut ledger, changes)
    }

    fn change_head(
        &self,
        ledger: &mut Ledger,
        variable: Variable,
        change: HeadChange,
    ) -> Result<Option<Change>, StoreError> {
        let key = Key::Head(variable).encode();
        let old = self.head_record(&key)?;
        let mut head: Head =
            old.as_ref().map_or_else(|| Ok(Head::default()), |old| record::open(&key, old))?;
        change.apply(&mut head);
        let record = record::seal(&key, &head)?;
        if old.as_ref() == Some(&record) {
            return Ok(None);
        }
        ledger.replace(key, old.as_deref(), record).map(Some)
    }

    fn write_changes(
        &self,
        ledger: &mut Ledger,
        mut changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        ledger.census.commits += 1;
        let key = Key::Census.encode();
        let value = Some(record::seal(&key, &ledger.census)?);
        changes.push(Change { key, value });
        let heads = self.fingerprints_of_heads(&changes);
        let outcome = self.backend.commit(changes);
        if let Some(index) = &mut *self.index_mut() {
            let note = if outcome.is_ok() { HeadIndex::change } else { HeadIndex::doubt };
            heads.iter().for_each(|(key, fingerprint)| note(index, key, *fingerprint));
        }
        outcome?;
        self.anchor.as_ref().map_or(Ok(()), |anchor| anchor.note(ledger.census.commits))
    }

    /// What the index needs to know of a commit.
    fn fingerprints_of_heads(&self, changes: &[Change]) -> Vec<(Vec<u8>, u64)> {
        if self.index().is_none() {
            return Vec::new();
        }
        let heads = changes.iter().filter(|change| key::is_head(&change.key));
        heads
            .filter_map(|Change { key, value }| {
                Some((key.clone(), record::fingerprint(key, value.as_deref()?)?))
            })
            .collect()
    }

    /// Whether a list can be said to be whole: only a check of the whole store tells.
    fn require_checked(&self) -> Result<(), StoreError> {
        self.health.damage_of_first_check().map_or(Ok(()), Err)
    }

    /// Whether what is not found can be said to be absent.
    pub(crate) fn require_complete(&self) -> Result<(), StoreError> {
        self.health.damage().map_or(Ok(()), Err)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic while the ledger was held ended all commits (see `EndOfCommit`).
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self) -> RwLockReadGuard<'_, Option<HeadIndex>> {
        // Its entries are replaced as a whole.
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn index_mut(&self) -> RwLockWriteGuard<'_, Option<HeadIndex>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operations of a store, as [`bftkv_protocol::Store`] describes them.
impl Inner {
    pub(crate) fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        let ticket = match self.cache.find(variable) {
            Ok(state) => return Ok(state),
            Err(ticket) => ticket,
        };
        self.require_complete()?;
        let (state, bytes) = self.read(variable)?;
        self.cache.fill(ticket, variable, &state, bytes);
        Ok(state)
    }

    pub(crate) fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError> {
        let key = Key::Version(variable.clone(), timestamp).encode();
        match self.backend.get(&key)? {
            Some(record) => open_entry(&(key, record)).map(Some),
            None if self.is_newer(variable, timestamp)? => self.require_complete().map(|()| None),
            None => self.require_checked().map(|()| None),
        }
    }

    pub(crate) fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.require_checked()?;
        let mut from = match below.map(|t| t.get().checked_sub(1)) {
            None => key::start_of_versions(variable),
            Some(None) => return Ok(Vec::new()),
            Some(Some(newest)) => Key::Version(variable.clone(), Timestamp::new(newest)).encode(),
        };
        let end = key::end_of_versions(variable);
        let mut found = Vec::new();
        while found.len() < limit {
            let page = (limit - found.len()).min(LIST_PAGE);
            let page = self.backend.scan(&from, &end, page)?;
            let Some((last, _)) = page.last() else { break };
            from = behind(last);
            for pair in &page {
                found.push(open_entry(pair)?.timestamp());
            }
        }
        Ok(found)
    }

    pub(crate) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        self.names(prefix, after, limit, |head| head.newest.is_some())
    }

    pub(crate) fn known(
        &self,
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        self.names(&[], after, limit, |_| true)
    }

    pub(crate) fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let pending = Pending::encode(batch)?;
        let bytes = pending.bytes;
        self.queue.submit(pending, bytes, |group| self.commit_group(group))
    }

    pub(crate) fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError> {
        self.require_complete()?;
        let key = Key::Vault(variable.clone()).encode();
        self.head_record(&key)?.map(|record| record::open(&key, &record)).transpose()
    }

    pub(crate) fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        self.require_complete()?;
        let mut proofs = Vec::new();
        let mut from = key::PROOFS.0.to_vec();
        loop {
            let page = self.backend.scan(&from, key::PROOFS.1, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(proofs) };
            from = behind(last);
            for (key, record) in &page {
                proofs.push(record::open(key, record)?);
            }
        }
    }
}

/// Tells the health of the store how a commit ended, also when it ends by a panic.
#[derive(Debug)]
struct EndOfCommit<'a> {
    health: &'a Health,
    succeeded: bool,
}

impl Drop for EndOfCommit<'_> {
    fn drop(&mut self) {
        self.health.end_commit(self.succeeded);
    }
}

/// The smallest key behind `key`.
pub(crate) fn behind(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
