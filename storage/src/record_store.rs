//! Entries, marks and proofs as records in a backend.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use bftkv_protocol::{
    Batch, CertifiedEntry, EquivocationProof, Store, StoreAge, StoreError, Timestamp, Variable,
    VariableState, Vault,
};

use crate::backend::Backend;
use crate::check::ScrubStep;
use crate::disk::DiskLock;
use crate::inner::Inner;
use crate::source::Source;
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
    /// Replaced as a whole when the files are opened again.
    inner: RwLock<Arc<Inner>>,
    opening: Opening,
    pub(crate) source: Option<Source>,
    checker: Mutex<Option<JoinHandle<()>>>,
    /// Released last: the fields are dropped in this order.
    _lock: Option<DiskLock>,
}

impl RecordStore {
    /// A store over `backend`, checked before this returns, with a cache of `cache_bytes`.
    ///
    /// For embedding and simulation; [`crate::open()`] is for folders.
    ///
    /// # Errors
    /// Those of [`Backend::begin`].
    pub fn over(backend: impl Backend + 'static, cache_bytes: usize) -> Result<Self, StoreError> {
        let opening = backend.begin()?;
        let inner = Arc::new(Inner::new(Box::new(backend), None, cache_bytes));
        Ok(Self::start(inner, 0, opening, None, None))
    }

    /// A store in files.
    pub(crate) fn of_files(
        source: Source,
        lock: DiskLock,
        opening: Opening,
    ) -> Result<Self, StoreError> {
        let (inner, anchored) = source.open()?;
        Ok(Self::start(Arc::new(inner), anchored, opening, Some(source), Some(lock)))
    }

    /// A store whose anchor knows of `anchored` commits.
    fn start(
        inner: Arc<Inner>,
        anchored: u64,
        opening: Opening,
        source: Option<Source>,
        lock: Option<DiskLock>,
    ) -> Self {
        let checker = Mutex::new(inner.start_check(anchored));
        Self { inner: RwLock::new(inner), opening, source, checker, _lock: lock }
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
        self.inner().ledger().census.commits
    }

    /// Waits until all that a signature depends upon is checked: the signer's memory of every
    /// variable, and which entry is its newest. Commits wait for it by themselves.
    ///
    /// # Errors
    /// What the check found, or [`StoreError::Stopped`] after a failed commit.
    pub fn wait_ready(&self) -> Result<(), StoreError> {
        self.inner().health.wait_for_commits()
    }

    /// Waits until the check after opening is wholly done, the rest of the store included.
    ///
    /// # Errors
    /// As [`RecordStore::wait_ready`].
    pub fn wait_checked(&self) -> Result<(), StoreError> {
        self.inner().health.wait()
    }

    /// Checks the whole store again, and every record in it. Reads and commits go on meanwhile.
    ///
    /// # Errors
    /// What the check found; the store then takes no more commits.
    pub fn scrub(&self) -> Result<(), StoreError> {
        self.inner().scrub()
    }

    /// Checks the next `limit` records, and at the end of the store that none is missing; the step
    /// after the last one begins anew. The caller chooses the rate; commits wait for the length of
    /// a step. After damage the store takes no more commits, and further steps go on listing.
    ///
    /// Reads as every read does: what the backend holds in memory is not read from the disk.
    /// [`RecordStore::scrub`] and [`RecordStore::scrub_by_itself`] look at the disk itself first.
    ///
    /// # Errors
    /// Those of reading the files; [`StoreError::Corrupt`] when records are missing.
    pub fn scrub_some(&self, limit: usize) -> Result<ScrubStep, StoreError> {
        self.with(|inner| inner.scrub_some(limit))
    }

    /// Goes on after a failed read, write or sync, once its cause is gone: opens the files again,
    /// as after a crash, and makes sure of all that a signature depends upon. Every commit that
    /// returned is there; the one that failed may be, as a whole, or not. Reads wait meanwhile.
    /// Without a failure there is nothing to do. A check after opening that could not read the
    /// files is made again, too.
    ///
    /// # Errors
    /// [`StoreError::Io`] while the cause lasts: retry later, reads go on as before.
    /// [`StoreError::Corrupt`] when the store is damaged: salvage it.
    pub fn resume(&self) -> Result<(), StoreError> {
        // One at a time.
        let mut checker = self.checker.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner().health.wait().or_else(|error| match error {
            StoreError::Stopped | StoreError::Io(_) => Ok(()),
            damage => Err(damage),
        })?;
        let Some(source) = self.source.as_ref().filter(|_| self.inner().health.can_resume()) else {
            return Ok(());
        };
        source.probe()?;
        let mut current = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        current.backend.seal();
        let (inner, anchored) = source.open()?;
        let inner = Arc::new(inner);
        let started = inner.start_check(anchored);
        let outcome = inner.health.wait_for_commits();
        if let Err(error @ StoreError::Io(_)) = outcome {
            started.into_iter().for_each(|check| drop(check.join()));
            return Err(error);
        }
        *checker = started;
        *current = inner;
        outcome
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        // It is replaced as a whole.
        Arc::clone(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs an operation; files are not opened again meanwhile. A failed read ends all commits.
    fn with<T>(
        &self,
        operation: impl FnOnce(&Inner) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        operation(&inner).inspect_err(|error| {
            if matches!(error, StoreError::Io(_)) {
                inner.health.stop();
            }
        })
    }
}

impl Drop for RecordStore {
    fn drop(&mut self) {
        self.inner().is_closing.store(true, Ordering::Relaxed);
        let checker = self.checker.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(checker) = checker {
            // A check that panicked has nothing more to say.
            let _ = checker.join();
        }
    }
}

impl Store for RecordStore {
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        self.with(|inner| inner.load(variable))
    }

    fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError> {
        self.with(|inner| inner.version(variable, timestamp))
    }

    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.with(|inner| inner.versions(variable, below, limit))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        self.with(|inner| inner.scan(prefix, after, limit))
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        self.with(|inner| inner.known(after, limit))
    }

    fn age(&self) -> Result<StoreAge, StoreError> {
        self.wait_ready()?;
        Ok(StoreAge {
            identity: *self.identity().as_bytes(),
            generation: self.generation(),
            commits: self.commits(),
        })
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        // A batch that is too large to be written stops nothing.
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.commit(batch)
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        self.with(Inner::proofs)
    }

    fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError> {
        self.with(|inner| inner.vault(variable))
    }
}
