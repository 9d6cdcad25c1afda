//! A backend behind a write-ahead log: a commit costs one write and one sync.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bftkv_protocol::StoreError;

use crate::backend::{Backend, Change, Checking, MAX_SCAN_BYTES, Pair, corrupt};
use crate::commit_log::{CommitLog, is_large};
use crate::disk::Disk;
use crate::key::Key;
use crate::record;

/// Commits go to the log and into memory; when the log is full they go to the backend together,
/// with the number of the last one. After a crash the log is read into memory again.
#[derive(Debug)]
pub(crate) struct LoggedBackend<B: Backend> {
    backend: B,
    log: Mutex<CommitLog>,
    /// What the log has and the backend may not: keys with their values, `None` where removed.
    recent: RwLock<BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    /// Whether a commit was made since this was opened: else there is nothing that the next
    /// opening would not find as well, and the files are left alone.
    has_committed: AtomicBool,
    is_sealed: AtomicBool,
    /// Whether the backend's files were seen to be damaged.
    is_damaged: AtomicBool,
}

impl<B: Backend> LoggedBackend<B> {
    /// Opens the log of a backend, or makes it.
    ///
    /// # Errors
    /// Those of reading both; [`StoreError::Corrupt`] when they do not fit together.
    pub(crate) fn open(
        backend: B,
        disk: &dyn Disk,
        path: &Path,
        capacity: u64,
    ) -> Result<Self, StoreError> {
        let key = Key::Logged.encode();
        let applied = backend.get(&key)?.map(|record| record::open(&key, &record)).transpose()?;
        let (log, frames) = CommitLog::open(disk, path, capacity, applied.unwrap_or(0))?;
        let changes = frames.into_iter().flat_map(|frame| frame.changes);
        let recent = changes.map(|Change { key, value }| (key, value)).collect();
        Ok(Self {
            backend,
            log: Mutex::new(log),
            recent: RwLock::new(recent),
            has_committed: AtomicBool::new(false),
            is_sealed: AtomicBool::new(false),
            is_damaged: AtomicBool::new(false),
        })
    }

    /// Gives everything to the backend, with `more`, and begins the log anew.
    fn move_on(&self, log: &mut CommitLog, more: Vec<Change>) -> Result<(), StoreError> {
        let mut changes = self.recent().clone();
        changes.extend(more.into_iter().map(|Change { key, value }| (key, value)));
        let key = Key::Logged.encode();
        let last = record::seal(&key, &log.last())?;
        changes.insert(key, Some(last));
        let changes = changes.into_iter().map(|(key, value)| Change { key, value });
        self.backend.commit(changes.collect())?;
        // Only now: a reader finds each pair in one of the two.
        self.recent.write().unwrap_or_else(PoisonError::into_inner).clear();
        log.rewind();
        Ok(())
    }

    fn commit_now(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut log = self.log();
        let mut frame = log.frame(&changes);
        if frame.is_none() && !is_large(&changes) && !self.recent().is_empty() {
            self.move_on(&mut log, Vec::new())?;
            frame = log.frame(&changes);
        }
        let Some(frame) = frame else {
            log.skip();
            return self.move_on(&mut log, changes);
        };
        log.append(&frame)?;
        let changes = changes.into_iter().map(|Change { key, value }| (key, value));
        self.recent.write().unwrap_or_else(PoisonError::into_inner).extend(changes);
        Ok(())
    }

    /// Moves on if anything was committed here.
    fn settle(&self) -> Result<(), StoreError> {
        if self.is_sealed.load(Ordering::SeqCst) || !self.has_committed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut log = self.log();
        if self.recent().is_empty() {
            return Ok(());
        }
        self.move_on(&mut log, Vec::new())
    }

    /// After a failed commit nobody knows what is on disk: it is left as it is.
    fn or_seal<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|_| self.seal())
    }

    /// After a failed read the caller opens the files again; damage stops no commit here.
    fn note_read<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|error| {
            let failed = matches!(error, StoreError::Io(_));
            let flag = if failed { &self.is_sealed } else { &self.is_damaged };
            flag.store(true, Ordering::SeqCst);
        })
    }

    /// A page of the backend. Where its files are damaged the keys may be any.
    fn page(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let page = self.backend.scan(from, end, limit)?;
        let keys = || page.iter().map(|(key, _)| key.as_slice());
        let is_in = keys().all(|key| from <= key && key < end);
        if is_in && keys().zip(keys().skip(1)).all(|(a, b)| a < b) {
            return Ok(page);
        }
        Err(corrupt("the store's tree", "its keys are not in order"))
    }

    fn log(&self) -> MutexGuard<'_, CommitLog> {
        // A panic while it was held ended all commits.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> RwLockReadGuard<'_, BTreeMap<Vec<u8>, Option<Vec<u8>>>> {
        self.recent.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Backend for LoggedBackend<B> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.recent().get(key) {
            return Ok(value.clone());
        }
        // What was moved on meanwhile is there.
        self.note_read(self.backend.get(key))
    }

    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if from >= end || limit == 0 {
            return Ok(Vec::new());
        }
        // Held to the end, so that the answer is of one moment.
        let recent = self.recent();
        let mut from = from.to_vec();
        loop {
            let page = self.note_read(self.page(&from, end, limit))?;
            // Behind the last of a page there may be more, of which nothing is known yet.
            let known = page.last().map(|(last, _)| last.clone());
            let until = known.as_deref().map_or(Bound::Excluded(end), Bound::Included);
            let changes = recent.range::<[u8], _>((Bound::Included(from.as_slice()), until));
            let merged = merge(page, changes, limit);
            match known {
                Some(last) if merged.is_empty() => {
                    from = last;
                    from.push(0);
                }
                _ => return Ok(merged),
            }
        }
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.has_committed.store(true, Ordering::SeqCst);
        self.or_seal(self.commit_now(changes))
    }

    fn begin_check(&self) -> Result<Checking<'_>, StoreError> {
        self.or_seal(self.settle())?;
        let rest = self.note_read(self.backend.begin_check())?;
        Ok(Box::new(move || self.note_read(rest())))
    }

    fn serves_while_checking(&self) -> bool {
        self.backend.serves_while_checking()
    }

    fn seal(&self) {
        self.is_sealed.store(true, Ordering::SeqCst);
        self.backend.seal();
    }
}

/// Both in order, at most `limit` and about [`MAX_SCAN_BYTES`]; the changes count.
fn merge<'a>(
    page: Vec<Pair>,
    changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    limit: usize,
) -> Vec<Pair> {
    let mut merged: BTreeMap<Vec<u8>, Option<Vec<u8>>> =
        page.into_iter().map(|(key, value)| (key, Some(value))).collect();
    merged.extend(changes.map(|(key, value)| (key.clone(), value.clone())));
    let mut bytes = 0usize;
    let pairs = merged.into_iter().filter_map(|(key, value)| Some((key, value?)));
    pairs
        .take(limit)
        .take_while(|(_, value)| {
            let is_full = bytes >= MAX_SCAN_BYTES;
            bytes = bytes.saturating_add(value.len());
            !is_full
        })
        .collect()
}

/// Closing gives the backend everything, so that the next opening reads no log. If that fails the
/// log still has it. Files that are damaged are left alone: to write there could end the process, because
/// redb panics over some kinds of damage, and then once more when it drops what it had begun.
impl<B: Backend> Drop for LoggedBackend<B> {
    fn drop(&mut self) {
        if !self.is_damaged.load(Ordering::SeqCst) {
            let _ = self.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::disk::RealDisk;
    use crate::memory::MemoryBackend;

    #[derive(Debug, Clone)]
    enum Step {
        Commit(Vec<(u8, Option<usize>)>),
        Scan(u8, u8, usize),
        MoveOn,
        OpenAgain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let change = (0..20u8, proptest::option::weighted(0.7, 0..400usize));
        let step = prop_oneof![
            4 => vec(change, 1..5).prop_map(Step::Commit),
            4 => (0..20u8, 0..25u8, 1..6usize).prop_map(|(from, end, n)| Step::Scan(from, end, n)),
            1 => Just(Step::MoveOn),
            1 => Just(Step::OpenAgain),
        ];
        vec(step, 1..40)
    }

    /// All pairs of a range, by pages of `limit`.
    fn scan_all(store: &impl Backend, from: u8, end: u8, limit: usize) -> Vec<Pair> {
        let (mut from, mut found) = (vec![from], Vec::new());
        loop {
            let page = store.scan(&from, &[end], limit).unwrap();
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { return found };
            from = [last.as_slice(), &[0]].concat();
            found.extend(page);
        }
    }

    /// A tree that is damaged gives any keys in any order.
    #[derive(Debug)]
    struct Damaged(Vec<Vec<u8>>);

    impl Backend for Damaged {
        fn scan(&self, from: &[u8], _: &[u8], _: usize) -> Result<Vec<Pair>, StoreError> {
            // The log asks for its own record first.
            let is_scan = from != Key::Logged.encode();
            let keys = if is_scan { self.0.as_slice() } else { &[] };
            Ok(keys.iter().map(|key| (key.clone(), Vec::new())).collect())
        }

        fn commit(&self, _: Vec<Change>) -> Result<(), StoreError> {
            panic!("what is damaged is left alone when it is closed")
        }
    }

    #[test]
    fn keys_that_are_not_in_order_are_damage() {
        for keys in [&[9][..], &[0], &[3, 2], &[2, 2]] {
            let folder = tempfile::tempdir().unwrap();
            let backend = Damaged(keys.iter().map(|key| vec![*key]).collect());
            let path = folder.path().join("log");
            let store = LoggedBackend::open(backend, &RealDisk, &path, 8192).unwrap();
            store.commit(vec![Change { key: vec![2, 1], value: Some(vec![1]) }]).unwrap();
            let found = store.scan(&[1], &[5], 10);
            assert!(matches!(found, Err(StoreError::Corrupt { .. })), "{keys:?}: {found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn it_reads_like_a_map(steps in steps()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let backend = MemoryBackend::default();
            let open = || LoggedBackend::open(backend.clone(), &RealDisk, &path, 8192).unwrap();
            let mut store = open();
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Commit(changes) => {
                        let changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = changes
                            .into_iter()
                            .map(|(key, length)| (vec![key], length.map(|n| vec![key; n])))
                            .collect();
                        let pairs = changes.clone().into_iter();
                        store.commit(pairs.map(|(key, value)| Change { key, value }).collect())
                            .unwrap();
                        model.extend(changes);
                    }
                    Step::Scan(from, end, limit) => {
                        let found = scan_all(&store, from, end, limit);
                        let is_in = |key: &[u8]| *key >= [from][..] && *key < [end][..];
                        let expected = model.iter().filter(|(key, _)| is_in(key));
                        let expected: Vec<Pair> = expected
                            .filter_map(|(key, value)| Some((key.clone(), value.clone()?)))
                            .collect();
                        prop_assert_eq!(found, expected);
                    }
                    Step::MoveOn => drop(store.begin_check().unwrap()),
                    Step::OpenAgain => {
                        // As after a crash: nothing moves on when it is closed.
                        store.seal();
                        store = open();
                    }
                }
            }
            for (key, value) in &model {
                prop_assert_eq!(&store.get(key).unwrap(), value);
            }
        }
    }
}
