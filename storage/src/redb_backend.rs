//! The default backend: redb, one file, copy-on-write, synced on commit.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bftkv_protocol::StoreError;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, StorageError,
    TableDefinition, TableError,
};

use crate::backend::{Backend, Change, Page, Pair, corrupt};
use crate::disk::{Disk, OpenMode};
use crate::redb_file::{OverlayFile, RedbFile};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// The cache of the second handle that checks the file.
const CHECK_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A store in one redb file.
pub(crate) struct RedbBackend {
    database: Database,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl RedbBackend {
    /// Opens or makes the file. After a crash redb walks the whole file and goes back to the last
    /// complete commit.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let is_new = !disk.exists(path).map_err(|e| failed(path, &e))?;
        let file = disk.open(path, OpenMode::Write).map_err(|e| failed(path, &e))?;
        if is_new {
            let folder = path.parent().unwrap_or(path);
            disk.sync_folder(folder).map_err(|e| failed(path, &e))?;
        }
        let database = Builder::new()
            .set_cache_size(cache_bytes)
            .create_with_backend(RedbFile(file))
            .map_err(|e| open_error(path, e))?;
        let backend = Self { database, disk, path: path.to_owned() };
        backend.make_table()?;
        Ok(backend)
    }

    /// Makes the table of a new file, so that reads need not care.
    fn make_table(&self) -> Result<(), StoreError> {
        match self.read()?.open_table(RECORDS) {
            Err(TableError::TableDoesNotExist(_)) => self.commit(Vec::new()),
            other => other.map(drop).map_err(|e| self.error(e)),
        }
    }

    fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.database.begin_read().map_err(|e| self.error(e))
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Corrupted(reason) => corrupt(self.path.display().to_string(), reason),
            other => failed(&self.path, &other),
        }
    }

    /// The whole file's checksums, through a second handle whose writes stay in memory: redb
    /// checks a file only while nobody reads, and this way nobody has to wait.
    fn check_through_second_handle(&self) -> Result<(), StoreError> {
        let file =
            self.disk.open(&self.path, OpenMode::Read).map_err(|e| failed(&self.path, &e))?;
        let walked = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&walked);
        let mut second = Builder::new()
            .set_cache_size(CHECK_CACHE_BYTES)
            .set_repair_callback(move |_| note.store(true, Ordering::Relaxed))
            .create_with_backend(OverlayFile::new(file))
            .map_err(|e| open_error(&self.path, e))?;
        // Opening walked the file already if no allocator state was saved since the last commit.
        if !walked.load(Ordering::Relaxed) {
            let is_sound = second.check_integrity().map_err(|e| open_error(&self.path, e))?;
            if !is_sound {
                return Err(self.damaged());
            }
        }
        // A walk that met damage goes back to the commit before; that one differs.
        let census = crate::key::Key::Census.encode();
        if get(&second.begin_read().map_err(|e| self.error(e))?, &census)
            .map_err(|e| self.error(e))?
            == self.get(&census)?
        {
            Ok(())
        } else {
            Err(self.damaged())
        }
    }

    fn damaged(&self) -> StoreError {
        corrupt(self.path.display().to_string(), "the file's own checksums do not fit")
    }
}

impl Backend for RedbBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.read()?, key).map_err(|e| self.error(e))
    }

    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if from >= end {
            return Ok(Vec::new());
        }
        let table = self.read()?.open_table(RECORDS).map_err(|e| self.error(e))?;
        let mut page = Page::new(limit);
        if page.is_full() {
            return Ok(page.into_pairs());
        }
        for pair in table.range::<&[u8]>(from..end).map_err(|e| self.error(e))? {
            let (key, value) = pair.map_err(|e| self.error(e))?;
            page.push(key.value().to_vec(), value.value().to_vec());
            if page.is_full() {
                break;
            }
        }
        Ok(page.into_pairs())
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write().map_err(|e| self.error(e))?;
        transaction.set_durability(Durability::Immediate).map_err(|e| self.error(e))?;
        {
            let mut table = transaction.open_table(RECORDS).map_err(|e| self.error(e))?;
            for Change { key, value } in &changes {
                let old = match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice()),
                    None => table.remove(key.as_slice()),
                };
                old.map(drop).map_err(|e| self.error(e))?;
            }
        }
        transaction.commit().map_err(|e| self.error(e))
    }

    fn check(&self) -> Result<(), StoreError> {
        self.check_through_second_handle()
    }

    fn serves_while_checking(&self) -> bool {
        true
    }
}

impl fmt::Debug for RedbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedbBackend({})", self.path.display())
    }
}

fn get(transaction: &ReadTransaction, key: &[u8]) -> Result<Option<Vec<u8>>, redb::Error> {
    let table = transaction.open_table(RECORDS)?;
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

fn failed(path: &Path, error: &dyn fmt::Display) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        DatabaseError::Storage(StorageError::Io(e)) => failed(path, &e),
        other => corrupt(path.display().to_string(), other.to_string()),
    }
}
