//! Opening a store by configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftkv_protocol::StoreError;

use crate::backend::io_error;
use crate::census::Anchor;
use crate::disk::{Disk, DiskLock, RealDisk, TEMPORARY, read_file, replace_file};
use crate::identity::Opening;
use crate::memory::MemoryBackend;
use crate::source::{ANCHOR, Source};
use crate::{RecordStore, StorageConfig, StorageKind};

/// A store could not be opened. Each says what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder that should hold the store's folder does not exist. The caller's to mend.
    #[error("{0}: no such folder; make it (`bftkv init`) or correct `path` in the configuration")]
    NoFolder(PathBuf),
    /// The disk cannot be written.
    #[error("{0}: the disk is read-only or not ours to write; remount it or correct its owner")]
    ReadOnly(PathBuf),
    /// The folder holds a store of another kind.
    #[error(
        "{path}: holds a store of kind `{found}`, the configuration says `{wanted}`; set `kind` \
         to `{found}` or choose another `path`"
    )]
    OtherKind {
        /// The folder.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The folder holds something that is no store.
    #[error("{0}: not empty and not a store; choose another `path`")]
    NotAStore(PathBuf),
    /// The store was written by a newer version.
    #[error("{0}: written by a newer version of bftkv; use that version")]
    Newer(PathBuf),
    /// Another process has the store open.
    #[error("{0}: another process has this store open; stop it first")]
    Locked(PathBuf),
    /// The backend could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store that a configuration describes, or makes it.
///
/// With `redb` the whole store is checked in the background: reads are served at once, commits
/// wait, and [`RecordStore::wait_checked`] tells the outcome. The other kinds are checked before
/// this returns. The folder stays locked against other processes until the store is dropped.
///
/// # Errors
/// [`OpenError`]: the caller's or the world's fault; its words say what to do.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// use bftkv_storage::{StorageConfig, open};
/// use bftkv_protocol::{Store, Variable};
///
/// let config = StorageConfig { path: folder.path().join("store"), ..StorageConfig::default() };
/// let store = open(&config)?;
/// let nothing = store.load(&Variable::new(*b"x")?)?;
/// assert!(nothing.latest.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn open(config: &StorageConfig) -> Result<Arc<RecordStore>, OpenError> {
    open_on(config, Arc::new(RealDisk))
}

/// Like [`open()`], on another file system: tests fail disks and cut their power this way.
///
/// # Errors
/// As [`open()`].
pub fn open_on(config: &StorageConfig, disk: Arc<dyn Disk>) -> Result<Arc<RecordStore>, OpenError> {
    if config.kind == StorageKind::Memory {
        let store = RecordStore::over(MemoryBackend::default(), config.cache_bytes)?;
        return Ok(Arc::new(store));
    }
    let (lock, is_new) = prepare(config, &*disk)?;
    let opening = Opening::begin(&*disk, &config.path.join(IDENTITY), is_new)?;
    let source = Source::new(config.clone(), disk);
    Ok(Arc::new(RecordStore::of_files(source, lock, opening)?))
}

const MARKER: &str = "kind";
const IDENTITY: &str = "identity";
const LOCK: &str = "lock";

/// The first word of the marker, and the version of the folder's layout.
const TITLE: &str = "bftkv-store";
const LAYOUT: &str = "1";

/// Locks the folder and sees to it that it is a store of the right kind; tells whether it was made
/// just now.
fn prepare(config: &StorageConfig, disk: &dyn Disk) -> Result<(DiskLock, bool), OpenError> {
    let path = &config.path;
    let failed = |e: std::io::Error| classify(path, &e);
    let parent = parent_of(path);
    if !disk.exists(parent).map_err(failed)? {
        return Err(OpenError::NoFolder(parent.to_owned()));
    }
    disk.create_folder(path).map_err(failed)?;
    let lock = disk.lock(&path.join(LOCK)).map_err(failed)?;
    let lock = lock.ok_or_else(|| OpenError::Locked(path.clone()))?;
    let marker = path.join(MARKER);
    let is_new = !disk.exists(&marker).map_err(failed)?;
    if !is_new {
        let bytes = read_file(disk, &marker).map_err(failed)?;
        check_marker(config, &bytes)?;
    } else {
        require_unused(path, disk)?;
        Anchor::create(disk, &path.join(ANCHOR))?;
        Opening::create(disk, &path.join(IDENTITY))?;
        let line = format!("{TITLE} {LAYOUT} {}\n", config.kind.name());
        replace_file(disk, &marker, line.as_bytes()).map_err(failed)?;
        disk.sync_folder(path).map_err(failed)?;
        disk.sync_folder(parent).map_err(failed)?;
    }
    Ok((lock, is_new))
}

fn check_marker(config: &StorageConfig, bytes: &[u8]) -> Result<(), OpenError> {
    let path = config.path.clone();
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [TITLE, LAYOUT, name] => match StorageKind::from_name(name) {
            Some(kind) if kind == config.kind => Ok(()),
            Some(kind) => {
                let (found, wanted) = (kind.name(), config.kind.name());
                Err(OpenError::OtherKind { path, found, wanted })
            }
            None => Err(OpenError::Newer(path)),
        },
        [TITLE, _, ..] => Err(OpenError::Newer(path)),
        _ => Err(OpenError::NotAStore(path)),
    }
}

/// A folder without a marker may hold only what a crash during its making left.
fn require_unused(path: &Path, disk: &dyn Disk) -> Result<(), OpenError> {
    let is_ours = |name: &PathBuf| {
        name == Path::new(LOCK)
            || name == Path::new(ANCHOR)
            || name == Path::new(IDENTITY)
            || name.extension().is_some_and(|extension| extension == TEMPORARY)
    };
    let names = disk.list(path).map_err(|e| classify(path, &e))?;
    if names.iter().all(is_ours) { Ok(()) } else { Err(OpenError::NotAStore(path.to_owned())) }
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn classify(path: &Path, error: &std::io::Error) -> OpenError {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        ReadOnlyFilesystem | PermissionDenied => OpenError::ReadOnly(path.to_owned()),
        NotFound => OpenError::NoFolder(path.to_owned()),
        NotADirectory => OpenError::NotAStore(path.to_owned()),
        _ => OpenError::Store(io_error(path.display(), error)),
    }
}
