//! Plain files: one file for each record, for looking inside.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bftkv_protocol::{StoreError, ValueDigest};

use crate::backend::{Backend, Change, Checked, Checking, Page, Pair, corrupt, io_error};
use crate::disk::{Disk, TEMPORARY, read_file, replace_file};
use crate::journal;

/// A store of one file per record.
///
/// A commit first goes, whole, into a journal that is synced; then file by file to its place. So
/// it is atomic: a journal that is found on opening is played again.
#[derive(Debug)]
pub(crate) struct FilesBackend {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The keys that have a file.
    keys: BTreeSet<Vec<u8>>,
    /// A commit on its way from the journal to the files: readers see it already.
    pending: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// The first file that could not be understood on opening.
    damaged: Option<PathBuf>,
}

const JOURNAL: &str = "journal";

impl FilesBackend {
    /// Opens or makes the folder, finishes a commit that a crash interrupted, and lists the keys.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Self, StoreError> {
        disk.create_folder(folder).map_err(|e| io_error(folder.display(), &e))?;
        let backend = Self { disk, folder: folder.to_owned(), state: RwLock::default() };
        backend.list()?;
        backend.replay()?;
        Ok(backend)
    }

    fn list(&self) -> Result<(), StoreError> {
        let mut state = State::default();
        let names = self.disk.list(&self.folder).map_err(|e| self.error(&e))?;
        for name in names {
            let path = self.folder.join(&name);
            if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                self.disk.remove(&path).map_err(|e| self.error(&e))?;
            } else if name != Path::new(JOURNAL) {
                let bytes = read_file(&*self.disk, &path).map_err(|e| self.error(&e))?;
                match split(&bytes).filter(|(key, _)| Path::new(&file_name(key)) == name) {
                    Some((key, _)) => {
                        state.keys.insert(key.to_vec());
                    }
                    None => state.damaged = Some(path),
                }
            }
        }
        *self.write_state() = state;
        Ok(())
    }

    fn replay(&self) -> Result<(), StoreError> {
        let path = self.folder.join(JOURNAL);
        if !self.disk.exists(&path).map_err(|e| self.error(&e))? {
            return Ok(());
        }
        let bytes = read_file(&*self.disk, &path).map_err(|e| self.error(&e))?;
        let changes = journal::decode(&bytes).ok_or_else(|| {
            corrupt(path.display().to_string(), "the journal does not fit its checksum")
        })?;
        self.apply(changes)
    }

    /// Brings a commit that is in the journal to its files.
    fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        {
            let mut state = self.write_state();
            state.pending = changes.into_iter().map(|c| (c.key, c.value)).collect();
        }
        {
            let state = self.read_state();
            for (key, value) in &state.pending {
                self.apply_one(key, value.as_deref()).map_err(|e| self.error(&e))?;
            }
        }
        self.disk.sync_folder(&self.folder).map_err(|e| self.error(&e))?;
        let mut state = self.write_state();
        for (key, value) in std::mem::take(&mut state.pending) {
            match value {
                Some(_) => state.keys.insert(key),
                None => state.keys.remove(&key),
            };
        }
        drop(state);
        self.disk.remove(&self.folder.join(JOURNAL)).map_err(|e| self.error(&e))
    }

    fn apply_one(&self, key: &[u8], value: Option<&[u8]>) -> std::io::Result<()> {
        let path = self.folder.join(file_name(key));
        match value {
            Some(value) => replace_file(&*self.disk, &path, &join(key, value)),
            None if self.disk.exists(&path)? => self.disk.remove(&path),
            None => Ok(()),
        }
    }

    fn read_value(&self, key: &[u8]) -> Result<Vec<u8>, StoreError> {
        let path = self.folder.join(file_name(key));
        let bytes = read_file(&*self.disk, &path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => corrupt(path.display().to_string(), "the file is gone"),
            _ => self.error(&e),
        })?;
        match split(&bytes) {
            Some((found, value)) if found == key => Ok(value.to_vec()),
            _ => Err(corrupt(path.display().to_string(), "the file holds another key")),
        }
    }

    fn error(&self, error: &std::io::Error) -> StoreError {
        io_error(self.folder.display(), error)
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for FilesBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.read_state();
        match state.pending.get(key) {
            Some(value) => Ok(value.clone()),
            None if state.keys.contains(key) => self.read_value(key).map(Some),
            None => Ok(None),
        }
    }

    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let mut page = Page::new(limit);
        if from >= end {
            return Ok(Vec::new());
        }
        let bounds = (Bound::Included(from), Bound::Excluded(end));
        let state = self.read_state();
        let mut keys = state.keys.range::<[u8], _>(bounds).peekable();
        let mut pending = state.pending.range::<[u8], _>(bounds).peekable();
        while !page.is_full() {
            let is_pending = match (keys.peek(), pending.peek()) {
                (None, None) => break,
                (Some(key), Some((other, _))) => key >= other,
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            if !is_pending {
                if let Some(key) = keys.next() {
                    page.push(key.clone(), self.read_value(key)?);
                }
            } else if let Some((key, value)) = pending.next() {
                keys.next_if_eq(&key);
                if let Some(value) = value {
                    page.push(key.clone(), value.clone());
                }
            }
        }
        Ok(page.into_pairs())
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let path = self.folder.join(JOURNAL);
        replace_file(&*self.disk, &path, &journal::encode(&changes))
            .and_then(|()| self.disk.sync_folder(&self.folder))
            .map_err(|e| self.error(&e))?;
        self.apply(changes)
    }

    fn begin_check(&self) -> Result<Checking<'_>, StoreError> {
        match &self.read_state().damaged {
            Some(path) => Err(corrupt(path.display().to_string(), "no key fits this file")),
            None => Ok(Box::new(|| Ok(Checked::Nothing))),
        }
    }
}

/// The longest readable part of a file name: with the digest it stays below the 255 bytes that
/// file systems allow.
const MAX_READABLE: usize = 160;

/// How much of the key's SHA-256 makes the name unique, in bytes.
const DIGEST_BYTES: usize = 16;

/// A name that shows the key as far as it is printable, and is the key's own by a digest. It has
/// only `a-z 0-9 - _ % .`, so no key can reach outside of the folder, and file systems that take
/// upper and lower case for the same keep them apart.
fn file_name(key: &[u8]) -> String {
    let mut name = String::new();
    for byte in key {
        if name.len() >= MAX_READABLE {
            break;
        }
        // Writing to a string cannot fail.
        let _ = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => write!(name, "{}", char::from(*byte)),
            _ => write!(name, "%{byte:02x}"),
        };
    }
    name.push('.');
    for byte in ValueDigest::of(key).as_bytes().iter().take(DIGEST_BYTES) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// A file: the length of the key, the key, the value.
fn join(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + key.len() + value.len());
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_cannot_leave_the_folder() {
        let long = vec![0; 2100];
        for key in [b"v../../etc/passwd\0\x01".as_slice(), b"v\n\0\xff", b"V", b"", &long] {
            let name = file_name(key);
            assert!(name.len() < 255 - TEMPORARY.len(), "{name}");
            assert!(!name.contains('/') && !name.starts_with('.') || key.is_empty(), "{name}");
            assert!(!name.chars().any(|c| c.is_ascii_uppercase() || c.is_control()), "{name}");
        }
        assert_ne!(file_name(b"a"), file_name(b"A"));
    }
}
