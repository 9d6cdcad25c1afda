//! Entries, marks and proofs as records in a backend.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use bftkv_protocol::{
    Batch, CertifiedEntry, EquivocationProof, Store, StoreError, Timestamp, Variable, VariableState,
};

use crate::backend::Backend;
use crate::census::Anchor;
use crate::check::ScrubStep;
use crate::disk::DiskLock;
use crate::inner::{Inner, behind};
use crate::key::{self, Key};
use crate::pending::{Pending, add_to, open_entry};
use crate::record;
use crate::{Opening, StoreIdentity};

/// A [`Store`] over any [`Backend`].
///
/// Every record carries a checksum over its key and value, and every commit a count of all
/// records: a damaged record is an error, never an answer, and a missing one is found by the
/// check that runs after opening. Commits wait for the part of it that a signature depends upon. If
/// it finds damage, the store takes no more commits, and answers only what cannot be wrong: an
/// entry that is asked for by its timestamp and is there.
#[derive(Debug)]
pub struct RecordStore {
    inner: Arc<Inner>,
    opening: Opening,
    checker: Option<JoinHandle<()>>,
    /// Released last: the fields are dropped in this order.
    _lock: Option<DiskLock>,
}

/// How many versions or proofs a listing takes from the backend at once.
const LIST_PAGE: usize = 256;

impl RecordStore {
    /// A store over `backend`, checked before this returns, with a cache of `cache_bytes`.
    ///
    /// For embedding and simulation; [`crate::open()`] is for folders.
    ///
    /// # Errors
    /// Those of [`Backend::begin`].
    pub fn over(backend: impl Backend + 'static, cache_bytes: usize) -> Result<Self, StoreError> {
        let opening = backend.begin()?;
        Ok(Self::start(Box::new(backend), None, cache_bytes, None, opening))
    }

    /// A store over `backend` whose anchor knows of `anchored` commits.
    pub(crate) fn start(
        backend: Box<dyn Backend>,
        anchor: Option<(Anchor, u64)>,
        cache_bytes: usize,
        lock: Option<DiskLock>,
        opening: Opening,
    ) -> Self {
        let (anchor, anchored) = anchor.map_or((None, 0), |(anchor, n)| (Some(anchor), n));
        let inner = Arc::new(Inner::new(backend, anchor, cache_bytes));
        let checker = inner.start_check(anchored);
        Self { inner, opening, checker, _lock: lock }
    }

    /// Which store this is. It is made at random with the store and never changes, and it is not
    /// the one of any other store: a node writes it down beside its signing key, and finds
    /// another one here when its store was lost and made anew.
    #[must_use]
    pub fn identity(&self) -> StoreIdentity {
        self.opening.identity
    }

    /// How often the store was opened, this time included; synced to disk before the store is
    /// used. If a peer has seen a larger one, this is an old copy. An equal one tells nothing:
    /// a copy that was made while the store was open counts on from there as the store itself
    /// did, and only [`RecordStore::commits`] can tell them apart.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.opening.generation
    }

    /// Whether this opening made the store. After a crash the next opening says no, although
    /// nothing was ever stored: what a node decides by is [`RecordStore::identity`].
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.opening.is_new
    }

    /// How many commits the store has taken since it was made; meaningful once
    /// [`RecordStore::wait_checked`] has returned. It never goes back: if a peer has seen a larger
    /// one of the same identity, this is an old copy.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.inner.ledger().census.commits
    }

    /// Waits until all that a signature depends upon is checked: the signer's memory of every
    /// variable, and which entry is its newest. Commits wait for it by themselves.
    ///
    /// # Errors
    /// What the check found, or [`StoreError::Stopped`] after a failed commit.
    pub fn wait_ready(&self) -> Result<(), StoreError> {
        self.inner.health.wait_for_commits()
    }

    /// Waits until the check after opening is wholly done, the rest of the store included.
    ///
    /// # Errors
    /// As [`RecordStore::wait_ready`].
    pub fn wait_checked(&self) -> Result<(), StoreError> {
        self.inner.health.wait()
    }

    /// Checks the whole store again, and every record in it. Reads and commits go on meanwhile.
    ///
    /// # Errors
    /// What the check found; the store then takes no more commits.
    pub fn scrub(&self) -> Result<(), StoreError> {
        self.inner.scrub()
    }

    /// Checks the next `limit` records, and at the end of the store that none is missing; the step
    /// after the last one begins anew. The caller chooses the rate; commits wait for the length of
    /// a step. After damage the store takes no more commits, and further steps go on listing.
    ///
    /// # Errors
    /// Those of reading the files; [`StoreError::Corrupt`] when records are missing.
    pub fn scrub_some(&self, limit: usize) -> Result<ScrubStep, StoreError> {
        self.inner.scrub_some(limit)
    }

    /// Copies every intact record into `target`; gives the names of the damaged ones. For a store
    /// whose check failed; what is missing comes from the other nodes.
    ///
    /// # Errors
    /// Those of reading this store's files and of committing to `target`.
    pub fn salvage(&self, target: &Self) -> Result<Vec<String>, StoreError> {
        let mut damaged = Vec::new();
        let mut from = Vec::new();
        loop {
            let page = self.inner.backend.scan(&from, key::END, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(damaged) };
            from = behind(last);
            let mut batch = Batch::default();
            for pair in &page {
                if add_to(&mut batch, pair).is_err() {
                    damaged.push(record::name(&pair.0));
                }
            }
            target.commit(batch)?;
        }
    }
}

impl Drop for RecordStore {
    fn drop(&mut self) {
        self.inner.is_closing.store(true, Ordering::Relaxed);
        if let Some(checker) = self.checker.take() {
            // A check that panicked has nothing more to say.
            let _ = checker.join();
        }
    }
}

impl Store for RecordStore {
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        let ticket = match self.inner.cache.find(variable) {
            Ok(state) => return Ok(state),
            Err(ticket) => ticket,
        };
        self.inner.require_complete()?;
        let (state, bytes) = self.inner.read(variable)?;
        self.inner.cache.fill(ticket, variable, &state, bytes);
        Ok(state)
    }

    fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError> {
        let key = Key::Version(variable.clone(), timestamp).encode();
        match self.inner.backend.get(&key)? {
            Some(record) => open_entry(&(key, record)).map(Some),
            None => self.inner.require_complete().map(|()| None),
        }
    }

    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.inner.require_complete()?;
        let mut from = match below.map(|t| t.get().checked_sub(1)) {
            None => key::start_of_versions(variable),
            Some(None) => return Ok(Vec::new()),
            Some(Some(newest)) => Key::Version(variable.clone(), Timestamp::new(newest)).encode(),
        };
        let end = key::end_of_versions(variable);
        let mut found = Vec::new();
        while found.len() < limit {
            let page = (limit - found.len()).min(LIST_PAGE);
            let page = self.inner.backend.scan(&from, &end, page)?;
            let Some((last, _)) = page.last() else { break };
            from = behind(last);
            for pair in &page {
                found.push(open_entry(pair)?.timestamp());
            }
        }
        Ok(found)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        self.inner.names(prefix, after, limit, |head| head.newest.is_some())
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        self.inner.names(&[], after, limit, |_| true)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let pending = Pending::encode(batch)?;
        let bytes = pending.bytes;
        self.inner.queue.submit(pending, bytes, |group| self.inner.commit_group(group))
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        self.inner.require_complete()?;
        let mut proofs = Vec::new();
        let mut from = key::PROOFS.0.to_vec();
        loop {
            let page = self.inner.backend.scan(&from, key::PROOFS.1, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(proofs) };
            from = behind(last);
            for (key, record) in &page {
                proofs.push(record::open(key, record)?);
            }
        }
    }
}
