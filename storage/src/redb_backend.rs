//! The default backend: redb, one file, copy-on-write, synced on commit.

use std::fmt;
use std::io::ErrorKind;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bftkv_protocol::StoreError;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadOnlyTable, ReadableDatabase, StorageError,
    TableDefinition,
};

use crate::backend::{Backend, Change, Checked, Checking, Page, Pair, corrupt};
use crate::disk::{Disk, OpenMode, TEMPORARY};
use crate::key::Key;
use crate::overlay::OverlayFile;
use crate::redb_file::{Controls, RedbFile, Snapshot};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// The cache of the second handle that checks the file.
const CHECK_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A store in one redb file.
pub(crate) struct RedbBackend {
    /// Replaced, after a failed commit, by a handle that only reads.
    database: RwLock<Option<Arc<Database>>>,
    /// Seals the file after a failure: it is changed no more, not even when it is closed.
    controls: Arc<Controls>,
    /// Of the handle that only reads: when it is closed, another one may be at work on the file.
    fallback: Arc<Controls>,
    /// Whether redb walked the whole file on opening, as it does if a crash left no list of free
    /// pages: then the first check has nothing to add. A walk that met damage goes back to the
    /// commit before; that shows in the anchor.
    is_walked: Arc<AtomicBool>,
    /// Whether damage was met: redb may then panic when it is closed, and again while it unwinds,
    /// which ends the process.
    is_damaged: AtomicBool,
    cache_bytes: usize,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl RedbBackend {
    /// Opens or makes the file. After a crash redb goes back to the last complete commit.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        if !disk.exists(path).map_err(|e| failed(path, &e))? {
            make(&*disk, path)?;
        }
        let file = disk.open(path, OpenMode::Write).map_err(|e| failed(path, &e))?;
        let controls = Arc::new(Controls::default());
        let file = RedbFile::new(file, Arc::clone(&controls));
        let is_walked = Arc::new(AtomicBool::new(false));
        let open = || {
            let walked = Arc::clone(&is_walked);
            let mut builder = Builder::new();
            builder.set_cache_size(cache_bytes);
            builder.set_repair_callback(move |_| walked.store(true, Ordering::SeqCst));
            builder.create_with_backend(file)
        };
        let database = contain(path, || open().map_err(|e| open_error(path, e)))?;
        let database = RwLock::new(Some(Arc::new(database)));
        let fallback = Arc::default();
        Ok(Self {
            database,
            controls,
            fallback,
            is_walked,
            is_damaged: AtomicBool::new(false),
            cache_bytes,
            disk,
            path: path.to_owned(),
        })
    }

    fn database(&self) -> Result<Arc<Database>, redb::Error> {
        // The handle is replaced as a whole.
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or(redb::Error::DatabaseClosed)
    }

    fn read<T>(
        &self,
        read: impl Fn(&ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let read = || -> Result<T, redb::Error> {
            // Kept until the end: a transaction ends with its database.
            let database = self.database()?;
            read(&database.begin_read()?.open_table(RECORDS)?)
        };
        let read_on = || match read() {
            // One read failed; from then on redb answers nothing, although the rest may be sound.
            Err(redb::Error::PreviousIo) => {
                self.fall_back_to_reading();
                read()
            }
            other => other,
        };
        contain(&self.path, || read_on().map_err(|e| self.error(e))).inspect_err(|e| self.note(e))
    }

    fn note(&self, error: &StoreError) {
        if matches!(error, StoreError::Corrupt { .. }) {
            self.is_damaged.store(true, Ordering::SeqCst);
        }
    }

    fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let database = self.database()?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        // The list of free pages goes along with each commit. So after a crash the file is open at
        // once, instead of after a walk that takes seconds for a million entries.
        transaction.set_quick_repair(true);
        {
            let mut table = transaction.open_table(RECORDS)?;
            for Change { key, value } in changes {
                match value {
                    Some(value) => table.insert(key.as_slice(), value.as_slice())?,
                    None => table.remove(key.as_slice())?,
                };
            }
        }
        Ok(transaction.commit()?)
    }

    /// After an error redb reads no more. A second handle, whose writes stay in memory,
    /// finds the last complete commit as after a crash, and serves it.
    fn fall_back_to_reading(&self) {
        self.controls.seal();
        let open = || {
            let file = OverlayFile::new(self.disk.open(&self.path, OpenMode::Read).ok()?).ok()?;
            let file = RedbFile::new(Box::new(file), Arc::clone(&self.fallback));
            let mut builder = Builder::new();
            builder.set_cache_size(self.cache_bytes);
            let open = || builder.create_with_backend(file);
            contain(&self.path, || open().map_err(|e| open_error(&self.path, e))).ok()
        };
        if let Some(readable) = open() {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            *database = Some(Arc::new(readable));
        }
    }

    fn error(&self, error: impl Into<redb::Error>) -> StoreError {
        match error.into() {
            redb::Error::Corrupted(reason) => corrupt(self.path.display().to_string(), reason),
            // We make the one table there is, in one form.
            error @ (redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }) => {
                corrupt(self.path.display().to_string(), error.to_string())
            }
            other => failed(&self.path, &other),
        }
    }

    /// The whole file's checksums and lists of free pages, through a second handle on the file as
    /// it was: redb checks a file only while nobody uses it, and this way nobody has to wait.
    fn check_through_second_handle(
        &self,
        snapshot: &Snapshot,
        census: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let walked = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&walked);
        let second = Builder::new()
            .set_cache_size(CHECK_CACHE_BYTES)
            .set_repair_callback(move |_| note.store(true, Ordering::Relaxed))
            .create_with_backend(snapshot.file())
            .map_err(|e| open_error(&self.path, e))?;
        // Closed only if it is sound: over damage that may panic, and twice while it unwinds.
        let mut second = ManuallyDrop::new(second);
        // Opening walks the file if no allocator state was saved since the last commit.
        if !walked.load(Ordering::Relaxed)
            && !second.check_integrity().map_err(|e| open_error(&self.path, e))?
        {
            return Err(self.damaged());
        }
        // A walk that met damage goes back to the commit before; that one differs.
        let table = || -> Result<_, redb::Error> { Ok(second.begin_read()?.open_table(RECORDS)?) };
        let key = Key::Census.encode();
        let seen = table().and_then(|table| get(&table, &key)).map_err(|e| self.error(e))?;
        if seen != census {
            return Err(self.damaged());
        }
        drop(ManuallyDrop::into_inner(second));
        Ok(())
    }

    fn damaged(&self) -> StoreError {
        corrupt(self.path.display().to_string(), "the file's own checksums do not fit")
    }
}

impl Backend for RedbBackend {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|table| get(table, key))
    }

    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        if from >= end || limit == 0 {
            return Ok(Vec::new());
        }
        self.read(|table| {
            let mut page = Page::new(limit);
            for pair in table.range::<&[u8]>(from..end)? {
                let (key, value) = pair?;
                page.push(key.value().to_vec(), value.value().to_vec());
                if page.is_full() {
                    break;
                }
            }
            Ok(page.into_pairs())
        })
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        contain(&self.path, || self.write(&changes).map_err(|e| self.error(e))).inspect_err(|e| {
            self.note(e);
            self.fall_back_to_reading();
        })
    }

    fn begin_check(&self) -> Result<Checking<'_>, StoreError> {
        if self.is_walked.swap(false, Ordering::SeqCst) {
            return Ok(Box::new(|| Ok(Checked::Completeness)));
        }
        let file =
            self.disk.open(&self.path, OpenMode::Read).map_err(|e| failed(&self.path, &e))?;
        let snapshot = self.controls.snapshot(file).map_err(|e| failed(&self.path, &e))?;
        let census = self.get(&Key::Census.encode())?;
        Ok(Box::new(move || {
            contain(&self.path, || self.check_through_second_handle(&snapshot, census))
                .inspect_err(|e| {
                    self.note(e);
                    self.controls.seal();
                })?;
            Ok(Checked::Completeness)
        }))
    }

    fn serves_while_checking(&self) -> bool {
        true
    }

    fn seal(&self) {
        self.controls.seal();
    }
}

impl Drop for RedbBackend {
    fn drop(&mut self) {
        self.fallback.close();
        let database = self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if self.is_damaged.load(Ordering::SeqCst) {
            // Not closed: what was committed is on disk, and the rest is no loss but its memory.
            return std::mem::forget(database);
        }
        // Closing writes, and may panic over damage as any other operation.
        let _ = contain(&self.path, || {
            drop(database);
            Ok(())
        });
    }
}

impl fmt::Debug for RedbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedbBackend({})", self.path.display())
    }
}

/// Makes a new file under another name first: redb does not open one that was cut off while it
/// was being made.
fn make(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let temporary = path.with_extension(TEMPORARY);
    let file = disk.open(&temporary, OpenMode::Truncate).map_err(|e| failed(path, &e))?;
    let database = Builder::new()
        .create_with_backend(RedbFile::new(file, Arc::default()))
        .map_err(|e| open_error(path, e))?;
    let make_table = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        Ok(transaction.commit()?)
    };
    make_table().map_err(|e| failed(path, &e))?;
    drop(database);
    disk.rename(&temporary, path)
        .and_then(|()| disk.sync_folder(path.parent().unwrap_or(path)))
        .map_err(|e| failed(path, &e))
}

fn get(
    table: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Vec<u8>>, redb::Error> {
    Ok(table.get(key)?.map(|value| value.value().to_vec()))
}

/// redb panics on some kinds of damage; to us they are damage like any other.
fn contain<T>(
    path: &Path,
    operation: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // What a panic leaves half done is inside of redb's handle, whose locks are then poisoned.
    let panicked = |_| corrupt(path.display().to_string(), "redb panicked over its contents");
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|panic| Err(panicked(panic)))
}

fn failed(path: &Path, error: &dyn fmt::Display) -> StoreError {
    StoreError::Io(format!("{}: {error}", path.display()))
}

fn open_error(path: &Path, error: DatabaseError) -> StoreError {
    match error {
        // What is there is read, and is no redb file, or not all of one.
        DatabaseError::Storage(StorageError::Io(e))
            if matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            corrupt(path.display().to_string(), e.to_string())
        }
        DatabaseError::Storage(StorageError::Io(e)) => failed(path, &e),
        other => corrupt(path.display().to_string(), other.to_string()),
    }
}
