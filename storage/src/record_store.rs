//! Entries, marks and proofs as records in a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use bftkv_protocol::{
    Batch, CertifiedEntry, EquivocationProof, Store, StoreError, Timestamp, ValueDigest, Variable,
    VariableState, encode,
};

use crate::backend::{Backend, Change, Checked, Pair, corrupt};
use crate::cache::Cache;
use crate::census::{Anchor, Census};
use crate::disk::DiskLock;
use crate::group_commit::GroupCommit;
use crate::health::Health;
use crate::key::{self, Key};
use crate::pending::{Pending, add_to, open_entry, open_variable};
use crate::record;
use crate::{Opening, StoreIdentity};

/// A [`Store`] over any [`Backend`].
///
/// Every record carries a checksum over its key and value, and every commit a count of all
/// records: a damaged record is an error, never an answer, and a missing one is found by the
/// check that runs after opening. Commits wait for that check. If it finds damage, the store takes no more commits, and
/// answers only what cannot be wrong: an entry that is asked for by its timestamp and is there.
#[derive(Debug)]
pub struct RecordStore {
    inner: Arc<Inner>,
    opening: Opening,
    checker: Option<JoinHandle<()>>,
    /// Released last: the fields are dropped in this order.
    _lock: Option<DiskLock>,
}

#[derive(Debug)]
struct Inner {
    backend: Box<dyn Backend>,
    anchor: Option<Anchor>,
    ledger: Mutex<Ledger>,
    queue: GroupCommit<Pending>,
    cache: Cache,
    health: Health,
    is_closing: AtomicBool,
}

/// What the next commit builds upon.
#[derive(Debug, Default)]
struct Ledger {
    census: Census,
    next_proof: u64,
    /// Proofs that are kept already: a proof that is gossiped again is not stored again.
    proofs: BTreeSet<ValueDigest>,
}

/// How many bytes one sync carries at most: bounds memory and the time that a reader of the
/// plain-file backend waits. Single commits may be larger.
const MAX_GROUP_BYTES: usize = 16 * 1024 * 1024;

/// How many records a check takes at once, and after how many it looks whether to give up.
const CHECK_PAGE: usize = 4096;

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
        let inner = Arc::new(Inner {
            backend,
            anchor,
            ledger: Mutex::default(),
            queue: GroupCommit::new(MAX_GROUP_BYTES),
            cache: Cache::new(cache_bytes),
            health: Health::unchecked(),
            is_closing: AtomicBool::new(false),
        });
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

    /// Waits until the check after opening is done. A node waits before it signs for the first
    /// time; commits wait by themselves.
    ///
    /// # Errors
    /// What the check found, or [`StoreError::Stopped`] after a failed commit.
    pub fn wait_checked(&self) -> Result<(), StoreError> {
        self.inner.health.wait()
    }

    /// Checks the whole store again, and every record in it. Commits wait meanwhile; reads do not.
    ///
    /// # Errors
    /// What the check found; the store then takes no more commits.
    pub fn scrub(&self) -> Result<(), StoreError> {
        self.inner.health.begin_check();
        let outcome = self.inner.backend.check().and_then(|_| self.inner.count_all());
        self.inner.health.end_check(outcome);
        self.inner.health.wait()
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
            from = after(last);
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
        let (from, end) = (key::start_of(variable), key::end_of(variable));
        let pairs = self.inner.backend.scan(&from, &end, 2)?;
        let mut state = VariableState::default();
        let mut bytes = 0;
        for pair in &pairs {
            bytes += pair.1.len();
            match Key::decode(&pair.0) {
                Some(Key::Marks(_)) => state.marks = record::open(&pair.0, &pair.1)?,
                _ if state.latest.is_none() => state.latest = Some(open_entry(pair)?),
                _ => {}
            }
        }
        if let ([only], None) = (pairs.as_slice(), &state.latest) {
            // Marks may be so large that they came alone.
            let page = self.inner.backend.scan(&after(&only.0), &end, 1)?;
            state.latest = page.first().map(open_entry).transpose()?;
        }
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
        let end = key::end_of(variable);
        let mut found = Vec::new();
        while found.len() < limit {
            let page = (limit - found.len()).min(LIST_PAGE);
            let page = self.inner.backend.scan(&from, &end, page)?;
            let Some((last, _)) = page.last() else { break };
            from = after(last);
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
        self.inner.require_complete()?;
        let mut from = key::start_of_prefix(prefix).max(after.map(key::end_of).unwrap_or_default());
        let end = key::end_of_prefix(prefix);
        let mut found = Vec::new();
        while found.len() < limit {
            let pairs = self.inner.backend.scan(&from, &end, 2)?;
            let Some(first) = pairs.first() else { break };
            let variable = open_variable(first)?;
            from = key::end_of(&variable);
            if self.inner.has_entry(&variable, &pairs)? {
                found.push(variable);
            }
        }
        Ok(found)
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        self.inner.require_complete()?;
        let mut from = key::start_of_prefix(b"").max(after.map(key::end_of).unwrap_or_default());
        let end = key::end_of_prefix(b"");
        let mut found = Vec::new();
        while found.len() < limit {
            let pairs = self.inner.backend.scan(&from, &end, 1)?;
            let Some(first) = pairs.first() else { break };
            let variable = open_variable(first)?;
            from = key::end_of(&variable);
            found.push(variable);
        }
        Ok(found)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let pending = Pending::encode(batch)?;
        let bytes = pending.records.iter().map(|(key, value)| key.len() + value.len()).sum();
        self.inner.queue.submit(pending, bytes, |group| self.inner.commit_group(group))
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        self.inner.require_complete()?;
        let mut proofs = Vec::new();
        let mut from = key::PROOFS.0.to_vec();
        loop {
            let page = self.inner.backend.scan(&from, key::PROOFS.1, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(proofs) };
            from = after(last);
            for (key, record) in &page {
                proofs.push(record::open(key, record)?);
            }
        }
    }
}

impl Inner {
    /// Runs the check, in the background if the backend may serve meanwhile.
    fn start_check(self: &Arc<Self>, anchored: u64) -> Option<JoinHandle<()>> {
        let inner = Arc::clone(self);
        let check = move || {
            let outcome = inner.read_ledger(anchored).and_then(|()| inner.check_after_opening());
            inner.health.end_check(outcome);
        };
        if !self.backend.serves_while_checking() {
            check();
            return None;
        }
        match thread::Builder::new().name("storage-check".into()).spawn(check) {
            Ok(handle) => Some(handle),
            Err(e) => {
                self.health.end_check(Err(crate::backend::io_error("starting the check", &e)));
                None
            }
        }
    }

    /// Learns where the last commit left off.
    fn read_ledger(&self, anchored: u64) -> Result<(), StoreError> {
        let mut ledger = Ledger::default();
        let key = Key::Census.encode();
        if let Some(record) = self.backend.get(&key)? {
            ledger.census = record::open(&key, &record)?;
        }
        let commits = ledger.census.commits;
        if commits < anchored {
            let reason = format!(
                "the store fell back to commit {commits} although commit {anchored} was \
                 acknowledged; this node must not sign: salvage the store or make a new one"
            );
            return Err(corrupt("census", reason));
        }
        self.read_proofs(&mut ledger)?;
        *self.ledger() = ledger;
        Ok(())
    }

    fn read_proofs(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        let mut from = key::PROOFS.0.to_vec();
        loop {
            let page = self.backend.scan(&from, key::PROOFS.1, LIST_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = after(last);
            for (key, record) in &page {
                let proof: EquivocationProof = record::open(key, record)?;
                ledger.proofs.insert(digest_of(&proof));
                if let Some(Key::Proof(number)) = Key::decode(key) {
                    ledger.next_proof = number.saturating_add(1);
                }
            }
        }
    }

    /// Makes sure that nothing is missing. Each record's checksum is looked at when it is read.
    fn check_after_opening(&self) -> Result<(), StoreError> {
        match self.backend.check()? {
            Checked::Completeness => Ok(()),
            Checked::Nothing => self.count_all(),
        }
    }

    /// Reads every record and compares all with the census.
    fn count_all(&self) -> Result<(), StoreError> {
        let mut found = Census::default();
        let mut from = Vec::new();
        while !self.is_closing.load(Ordering::Relaxed) {
            let page = self.backend.scan(&from, key::END, CHECK_PAGE)?;
            let Some((last, _)) = page.last() else {
                return self.ledger().census.check(&found);
            };
            from = after(last);
            for (key, record) in &page {
                let damaged = || corrupt(record::name(key), "the checksum does not fit");
                let fingerprint = record::fingerprint(key, record).ok_or_else(damaged)?;
                match Key::decode(key) {
                    Some(Key::Census) => {}
                    Some(_) => found.add(fingerprint),
                    None => return Err(corrupt(record::name(key), "it is no key of ours")),
                }
            }
        }
        Err(StoreError::Stopped)
    }

    fn commit_group(&self, group: Vec<Pending>) -> Result<(), StoreError> {
        self.health.begin_commit()?;
        let mut all = Pending::default();
        group.into_iter().for_each(|pending| all.merge(pending));
        // A panic counts as a failed commit.
        let mut end = EndOfCommit { health: &self.health, succeeded: false };
        self.cache.begin_commit(all.variables.iter());
        let variables = std::mem::take(&mut all.variables);
        let outcome = self.write(all);
        self.cache.end_commit(variables.iter());
        end.succeeded = outcome.is_ok();
        outcome
    }

    fn write(&self, mut all: Pending) -> Result<(), StoreError> {
        let mut ledger = self.ledger();
        for proof in std::mem::take(&mut all.proofs) {
            if ledger.proofs.insert(digest_of(&proof)) {
                let key = Key::Proof(ledger.next_proof).encode();
                ledger.next_proof = ledger.next_proof.saturating_add(1);
                let record = record::seal(&key, &proof)?;
                all.records.insert(key, record);
            }
        }
        let mut changes = self.count(&mut ledger.census, all.records)?;
        if changes.is_empty() {
            return Ok(());
        }
        ledger.census.commits += 1;
        let key = Key::Census.encode();
        let value = Some(record::seal(&key, &ledger.census)?);
        changes.push(Change { key, value });
        self.backend.commit(changes)?;
        self.anchor.as_ref().map_or(Ok(()), |anchor| anchor.note(ledger.census.commits))
    }

    /// Brings the census up to date; leaves out what is on disk already.
    fn count(
        &self,
        census: &mut Census,
        records: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::with_capacity(records.len() + 1);
        for (key, record) in records {
            let damaged = || corrupt(record::name(&key), "the checksum does not fit");
            let old = self.backend.get(&key)?;
            if old.as_ref() == Some(&record) {
                continue;
            }
            if let Some(old) = old {
                census.remove(record::fingerprint(&key, &old).ok_or_else(damaged)?);
            }
            census.add(record::fingerprint(&key, &record).ok_or_else(damaged)?);
            changes.push(Change { key, value: Some(record) });
        }
        Ok(changes)
    }

    /// Whether what is not found can be said to be absent.
    fn require_complete(&self) -> Result<(), StoreError> {
        self.health.damage().map_or(Ok(()), Err)
    }

    /// Whether a variable has a certified entry; `pairs` are the first two records from its start.
    fn has_entry(&self, variable: &Variable, pairs: &[Pair]) -> Result<bool, StoreError> {
        let is_entry = |pair: &Pair| match Key::decode(&pair.0) {
            Some(Key::Version(name, _)) if name == *variable => open_entry(pair).map(|_| true),
            _ => Ok(false),
        };
        match pairs {
            [only] if !is_entry(only)? => {
                let (from, end) = (key::start_of_versions(variable), key::end_of(variable));
                let page = self.backend.scan(&from, &end, 1)?;
                page.first().map_or(Ok(false), is_entry)
            }
            [first, second, ..] => Ok(is_entry(first)? || is_entry(second)?),
            _ => Ok(!pairs.is_empty()),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A panic while the ledger was held ended all commits (see `EndOfCommit`).
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
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

fn digest_of(proof: &EquivocationProof) -> ValueDigest {
    ValueDigest::of(&encode(proof))
}

/// The smallest key behind `key`.
fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}
