//! Where the files of a store are, to open them and to open them again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftkv_protocol::StoreError;

use crate::backend::{Backend, io_error};
use crate::census::Anchor;
use crate::disk::{Disk, OpenMode};
use crate::files_backend::FilesBackend;
use crate::inner::Inner;
use crate::leveldb_backend::LevelDbBackend;
use crate::logged_backend::LoggedBackend;
use crate::memory::MemoryBackend;
use crate::redb_backend::RedbBackend;
use crate::{StorageConfig, StorageKind};

/// A store's folder, locked and prepared.
#[derive(Debug)]
pub(crate) struct Source {
    config: StorageConfig,
    disk: Arc<dyn Disk>,
}

/// The name of the commit counter beside the backend.
pub(crate) const ANCHOR: &str = "anchor";

/// redb's file and the write-ahead log in front of it.
pub(crate) const REDB: &str = "data.redb";
pub(crate) const LOG: &str = "data.log";

const PROBE: &str = "probe.tmp";

/// How much must fit on the disk before a store goes on after a failure: room for opening it and
/// for some commits.
const PROBE_BYTES: usize = 1024 * 1024;

impl Source {
    pub(crate) fn new(config: StorageConfig, disk: Arc<dyn Disk>) -> Self {
        Self { config, disk }
    }

    /// Opens the files; tells how many commits the anchor knows.
    pub(crate) fn open(&self) -> Result<(Inner, u64), StoreError> {
        // redb walks its file after a crash and so finds damage by itself; LevelDB and plain
        // files rely on the anchor.
        let is_synced = self.config.kind != StorageKind::Redb;
        let (anchor, anchored) = Anchor::open(&*self.disk, &self.path(ANCHOR), is_synced)?;
        // Half of the cache is the backend's, half holds decoded entries.
        let half = self.config.cache_bytes / 2;
        let inner = Inner::new(self.open_backend(half)?, Some(anchor), half);
        Ok((inner, anchored))
    }

    /// How many commits the anchor knows of; `None` if it is damaged.
    pub(crate) fn anchored(&self) -> Option<u64> {
        Anchor::open(&*self.disk, &self.path(ANCHOR), false).ok().map(|(_, commits)| commits)
    }

    fn open_backend(&self, cache_bytes: usize) -> Result<Box<dyn Backend>, StoreError> {
        let disk = Arc::clone(&self.disk);
        Ok(match self.config.kind {
            StorageKind::Redb => {
                let backend = RedbBackend::open(Arc::clone(&disk), &self.path(REDB), cache_bytes)?;
                let log = self.path(LOG);
                Box::new(LoggedBackend::open(backend, &*disk, &log, self.config.log_bytes)?)
            }
            StorageKind::LevelDb => {
                Box::new(LevelDbBackend::open(disk, &self.path("leveldb"), cache_bytes)?)
            }
            StorageKind::Files => Box::new(FilesBackend::open(disk, &self.path("files"))?),
            StorageKind::Memory => Box::new(MemoryBackend::default()),
        })
    }

    /// Whether the disk can be written and synced, and has room.
    pub(crate) fn probe(&self) -> Result<(), StoreError> {
        let path = self.path(PROBE);
        let write = || -> std::io::Result<()> {
            let file = self.disk.open(&path, OpenMode::Truncate)?;
            file.write_at(0, &vec![0; PROBE_BYTES])?;
            file.sync()
        };
        let outcome = write();
        let removed = match self.disk.exists(&path) {
            Ok(true) => self.disk.remove(&path),
            other => other.map(|_| ()),
        };
        outcome.and(removed).map_err(|e| io_error(path.display(), &e))
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.config.path.join(name)
    }
}
