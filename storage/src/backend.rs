//! What the record store needs from an ordered key-value store.

use std::fmt;

use bftkv_protocol::StoreError;

use crate::Opening;

/// One key with its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// One change: the key gets the value, or loses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Vec<u8>,
    /// The new value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// How many bytes of values one scan hands over before it stops early, at least one pair apart:
/// bounds the memory of a scan over large values.
pub(crate) const MAX_SCAN_BYTES: usize = 4 * 1024 * 1024;

/// An ordered key-value store. Keys and values are opaque bytes, keys in byte order.
///
/// It knows nothing of entries: `RecordStore` puts checksums into the values and calls
/// [`Backend::commit`] from one thread at a time. Calls block.
///
/// There is no backward scan: versions are keyed newest first (see `docs/storage.md`).
pub trait Backend: fmt::Debug + Send + Sync {
    /// Counts an opening, for a backend that lives outside of a folder. By default each one is of
    /// a new store.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    fn begin(&self) -> Result<Opening, StoreError> {
        Opening::of_new_store()
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`]: the world's fault or a damaged file.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut end = key.to_vec();
        end.push(0);
        Ok(self.scan(key, &end, 1)?.pop().map(|(_, value)| value))
    }

    /// The pairs with `from <= key < end` in ascending order, at most `limit`; fewer also when
    /// the values grow past a few MiB, but none only if there are none. All of one answer is of
    /// one moment.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;

    /// Makes all changes durable, atomically. Each key comes once.
    ///
    /// # Errors
    /// [`StoreError`]; the outcome is then unknown until the store is opened again, and the
    /// caller commits no more. Reads go on.
    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError>;

    /// Begins a check of the files as far as the backend can by itself, and gives the rest of it,
    /// which takes long. The caller sees to it that no commit runs during this call; while the
    /// rest runs, reads and commits may.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], or [`StoreError::Io`] if the check could not be made; both also
    /// from the rest of the check.
    fn begin_check(&self) -> Result<Checking<'_>, StoreError> {
        Ok(Box::new(|| Ok(Checked::Nothing)))
    }

    /// Whether reads may be served while the check runs: only where the backend's own checksums
    /// make a wrong answer unlikely.
    fn serves_while_checking(&self) -> bool {
        false
    }

    /// Another handle takes the files over: from now on this one changes nothing on disk, not
    /// even when it is closed. Reads may go on.
    fn seal(&self) {}
}

/// The rest of a check of a backend's files.
pub type Checking<'a> = Box<dyn FnOnce() -> Result<Checked, StoreError> + Send + 'a>;

/// What a backend's own check vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checked {
    /// Nothing: all records must be read and counted.
    Nothing,
    /// That the pairs are exactly those of the last commit, so that nothing is missing.
    Completeness,
}

/// Collects pairs up to a limit of number and bytes.
#[derive(Debug)]
pub(crate) struct Page {
    pairs: Vec<Pair>,
    limit: usize,
    bytes: usize,
}

impl Page {
    pub(crate) fn new(limit: usize) -> Self {
        Self { pairs: Vec::new(), limit, bytes: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.pairs.len() >= self.limit || self.bytes >= MAX_SCAN_BYTES
    }

    pub(crate) fn push(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += value.len();
        self.pairs.push((key, value));
    }

    pub(crate) fn into_pairs(self) -> Vec<Pair> {
        self.pairs
    }
}

/// An error of the operating system, with what was being done.
pub(crate) fn io_error(doing: impl fmt::Display, error: &std::io::Error) -> StoreError {
    StoreError::Io(format!("{doing}: {error}"))
}

/// A damaged record or file.
pub(crate) fn corrupt(record: impl Into<String>, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { record: record.into(), reason: reason.into() }
}
