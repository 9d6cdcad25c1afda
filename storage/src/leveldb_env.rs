//! The file system as `rusty-leveldb` sees it: one that really syncs, and stops after a failure.
//!
//! By itself that crate never syncs: its writers' `flush` goes no further than the kernel. Here
//! `flush` is a sync, a new name and a rename sync the folder. And it goes on after a compaction
//! that failed, deleting the tables whose contents were not written anywhere; so after the first
//! failure this environment refuses every change, and what is on disk stays.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusty_leveldb::Result;
use rusty_leveldb::env::{Env, FileLock, Logger, RandomAccess};

use crate::disk::{Disk, DiskFile, OpenMode, read_file};

/// An environment over a [`Disk`]. The store's folder is locked already, so its locks are words.
#[derive(Debug, Clone)]
pub(crate) struct SyncingEnv {
    disk: Arc<dyn Disk>,
    is_broken: Arc<AtomicBool>,
    /// How many reads failed: the crate's iterators pass over what they cannot read.
    failed_reads: Arc<AtomicU64>,
    /// Tables made since the manifest was last synced. Deleting one means that a compaction
    /// failed.
    fresh: Rc<RefCell<BTreeSet<PathBuf>>>,
}

impl SyncingEnv {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        let failed_reads = Arc::default();
        Self { disk, is_broken: Arc::default(), failed_reads, fresh: Rc::default() }
    }

    /// Counts the reads that fail.
    pub(crate) fn failed_reads(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.failed_reads)
    }

    /// Runs a change, unless one failed before.
    fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(io::Error::other("stopped after an earlier failure"));
        }
        let outcome = change();
        if outcome.is_err() {
            self.is_broken.store(true, Ordering::SeqCst);
        }
        outcome
    }

    fn open_reader(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let opened = self.disk.open(path, OpenMode::Read);
        self.failed_reads.fetch_add(u64::from(opened.is_err()), Ordering::SeqCst);
        opened
    }

    fn open_writer(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn Write>> {
        self.change(|| {
            let file = self.disk.open(path, mode)?;
            let offset = file.length()?;
            self.disk.sync_folder(path.parent().unwrap_or(path))?;
            let is_manifest = has_prefix(path, "MANIFEST");
            if is_table(path) {
                self.fresh.borrow_mut().insert(path.to_owned());
            }
            let writer = Writer { env: self.clone(), file, offset, is_manifest };
            Ok(Box::new(writer) as Box<dyn Write>)
        })
    }
}

/// A file that is written from front to back.
#[derive(Debug)]
struct Writer {
    env: SyncingEnv,
    file: Box<dyn DiskFile>,
    offset: u64,
    is_manifest: bool,
}

impl Write for Writer {
    /// Writes everything: the crate takes a short write for a whole one.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.env.change(|| self.file.write_at(self.offset, bytes))?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.env.change(|| self.file.sync())?;
        if self.is_manifest {
            self.env.fresh.borrow_mut().clear();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Reader(Box<dyn DiskFile>, Arc<AtomicU64>);

impl RandomAccess for Reader {
    fn read_at(&self, offset: usize, buffer: &mut [u8]) -> Result<usize> {
        let read = self.0.read_at(offset as u64, buffer);
        self.1.fetch_add(u64::from(read.is_err()), Ordering::SeqCst);
        Ok(read?)
    }
}

impl Env for SyncingEnv {
    /// The whole file at once: the crate takes a short read for the end of the file. Logs and
    /// manifests are a few MiB at most.
    fn open_sequential_file(&self, path: &Path) -> Result<Box<dyn Read>> {
        Ok(Box::new(Cursor::new(read_file(&*self.disk, path)?)))
    }

    fn open_random_access_file(&self, path: &Path) -> Result<Box<dyn RandomAccess>> {
        let file = self.open_reader(path)?;
        // The crate subtracts the footer's length from the file's without looking, and panics
        // where not even its own clean-up survives.
        if file.length()? < FOOTER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the table is too short").into());
        }
        Ok(Box::new(Reader(file, Arc::clone(&self.failed_reads))))
    }

    fn open_writable_file(&self, path: &Path) -> Result<Box<dyn Write>> {
        Ok(self.open_writer(path, OpenMode::Truncate)?)
    }

    fn open_appendable_file(&self, path: &Path) -> Result<Box<dyn Write>> {
        Ok(self.open_writer(path, OpenMode::Write)?)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.disk.exists(path)?)
    }

    fn children(&self, path: &Path) -> Result<Vec<PathBuf>> {
        Ok(self.disk.list(path)?)
    }

    fn size_of(&self, path: &Path) -> Result<usize> {
        let length = self.open_reader(path)?.length()?;
        Ok(usize::try_from(length).map_err(io::Error::other)?)
    }

    fn delete(&self, path: &Path) -> Result<()> {
        Ok(self.change(|| {
            if self.fresh.borrow().contains(path) {
                return Err(io::Error::other("a compaction failed"));
            }
            self.disk.remove(path)
        })?)
    }

    fn mkdir(&self, path: &Path) -> Result<()> {
        Ok(self.change(|| self.disk.create_folder(path))?)
    }

    fn rmdir(&self, path: &Path) -> Result<()> {
        // The crate never asks for it, and a store never wants it.
        let reason = format!("refusing to remove {}", path.display());
        Err(io::Error::new(io::ErrorKind::Unsupported, reason).into())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        Ok(self.change(|| {
            self.disk.open(from, OpenMode::Write)?.sync()?;
            self.disk.rename(from, to)?;
            self.disk.sync_folder(to.parent().unwrap_or(to))
        })?)
    }

    fn lock(&self, path: &Path) -> Result<FileLock> {
        Ok(FileLock { id: path.display().to_string() })
    }

    fn unlock(&self, _: FileLock) -> Result<()> {
        Ok(())
    }

    fn new_logger(&self, _: &Path) -> Result<Logger> {
        Ok(Logger::new(Box::new(io::sink())))
    }

    fn micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    fn sleep_for(&self, micros: u32) {
        thread::sleep(Duration::from_micros(micros.into()));
    }
}

/// The length of a table's footer.
const FOOTER_BYTES: u64 = 48;

fn is_table(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "ldb" || extension == "sst")
}

fn has_prefix(path: &Path, prefix: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}
