//! LevelDB by `rusty-leveldb`, owned by one thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use bftkv_protocol::StoreError;
use rusty_leveldb::{DB, LdbIterator, Options, Status, StatusCode, WriteBatch};

use crate::backend::{Backend, Change, Page, Pair, corrupt, io_error};
use crate::disk::Disk;
use crate::leveldb_env::SyncingEnv;
use crate::overlay::OverlayDisk;

/// A store in a LevelDB folder.
///
/// The crate's database is not `Sync`, so one thread owns it and serves requests in order.
#[derive(Debug)]
pub(crate) struct LevelDbBackend {
    /// `None` only while it is being dropped.
    requests: Option<SyncSender<Request>>,
    owner: Option<JoinHandle<()>>,
    path: PathBuf,
}

enum Request {
    Scan { from: Vec<u8>, end: Vec<u8>, limit: usize, reply: Sender<Reply<Vec<Pair>>> },
    Commit { changes: Vec<Change>, reply: Sender<Reply<()>> },
}

type Reply<T> = Result<T, StoreError>;

/// How many requests may wait for the owner: more callers than a node has threads.
const QUEUE: usize = 64;

impl LevelDbBackend {
    /// Opens or makes the folder.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<Self, StoreError> {
        let (requests, inbox) = sync_channel(QUEUE);
        let (opened, outcome) = channel();
        let folder = path.to_owned();
        let owner = thread::Builder::new()
            .name("leveldb".into())
            .spawn(move || own(disk, &folder, cache_bytes, &opened, &inbox))
            .map_err(|e| io_error("starting the LevelDB thread", &e))?;
        let backend = Self { requests: Some(requests), owner: Some(owner), path: path.to_owned() };
        outcome.recv().unwrap_or_else(|_| Err(backend.gone()))?;
        Ok(backend)
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<Reply<T>>) -> Request) -> Reply<T> {
        let (reply, answer) = channel();
        let requests = self.requests.as_ref().ok_or_else(|| self.gone())?;
        requests.send(request(reply)).map_err(|_| self.gone())?;
        answer.recv().unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> StoreError {
        corrupt(self.path.display().to_string(), "LevelDB panicked over its contents")
    }
}

impl Drop for LevelDbBackend {
    fn drop(&mut self) {
        // The owner ends when nobody can ask any more; then its files are closed.
        self.requests = None;
        if let Some(owner) = self.owner.take() {
            let _ = owner.join();
        }
    }
}

impl Backend for LevelDbBackend {
    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let (from, end) = (from.to_vec(), end.to_vec());
        self.ask(|reply| Request::Scan { from, end, limit, reply })
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.ask(|reply| Request::Commit { changes, reply })
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scan { limit, .. } => write!(f, "Scan(at most {limit})"),
            Self::Commit { changes, .. } => write!(f, "Commit({} changes)", changes.len()),
        }
    }
}

/// The life of the owner thread.
fn own(
    disk: Arc<dyn Disk>,
    path: &Path,
    cache_bytes: usize,
    opened: &Sender<Reply<()>>,
    inbox: &Receiver<Request>,
) {
    let mut current = match OpenDb::open(path, Arc::clone(&disk), cache_bytes) {
        Some(Ok(db)) => Some(db),
        Some(Err(error)) => {
            let _ = opened.send(Err(error));
            return;
        }
        // The sender is dropped, and so the caller learns of it.
        None => return,
    };
    let _ = opened.send(Ok(()));
    for request in inbox {
        // After a failure: what is on disk is recovered as after a crash, with all changes in
        // memory, and served. Until that succeeds nothing is.
        let readable = || -> Arc<dyn Disk> { Arc::new(OverlayDisk::new(Arc::clone(&disk))) };
        let mut db = current
            .take()
            .or_else(|| OpenDb::open(path, readable(), cache_bytes).and_then(Result::ok));
        match &mut db {
            Some(open) => {
                if contain(|| open.serve(path, request)) != Some(Ok(())) {
                    // The crate may have lost a whole memtable from memory.
                    contain(|| drop(db.take()));
                }
            }
            None => request.refuse(path),
        }
        current = db;
    }
    // Closing is an operation of the crate, too.
    contain(|| drop(current));
}

/// An open database.
struct OpenDb {
    db: DB,
    failed_reads: Arc<AtomicU64>,
}

impl OpenDb {
    /// `None`: the crate panicked.
    fn open(path: &Path, disk: Arc<dyn Disk>, cache_bytes: usize) -> Option<Reply<Self>> {
        let env = SyncingEnv::new(disk);
        let failed_reads = env.failed_reads();
        let opened = contain(|| DB::open(path, options(env, cache_bytes)))?;
        Some(match opened {
            Ok(_) if failed_reads.load(Ordering::SeqCst) > 0 => Err(unreadable(path)),
            Ok(db) => Ok(Self { db, failed_reads }),
            Err(status) => Err(error(path, &status)),
        })
    }

    /// Serves a request.
    ///
    /// # Errors
    /// When a commit failed: what the database then has in memory is not what is on disk.
    fn serve(&mut self, path: &Path, request: Request) -> Result<(), ()> {
        match request {
            Request::Scan { from, end, limit, reply } => {
                let before = self.failed_reads.load(Ordering::SeqCst);
                let mut found = scan(&mut self.db, &from, &end, limit).map_err(|e| error(path, &e));
                // The crate's iterators pass over what they cannot read.
                if self.failed_reads.load(Ordering::SeqCst) != before {
                    found = Err(unreadable(path));
                }
                let _ = reply.send(found);
                Ok(())
            }
            Request::Commit { changes, reply } => {
                let outcome = commit(&mut self.db, &changes).map_err(|e| error(path, &e));
                let is_done = outcome.is_ok();
                let _ = reply.send(outcome);
                if is_done { Ok(()) } else { Err(()) }
            }
        }
    }
}

impl Request {
    fn refuse(self, path: &Path) {
        let _ = match self {
            Self::Scan { reply, .. } => reply.send(Err(unreadable(path))).is_ok(),
            Self::Commit { reply, .. } => reply.send(Err(unreadable(path))).is_ok(),
        };
    }
}

fn unreadable(path: &Path) -> StoreError {
    StoreError::Io(format!("{}: a file cannot be read", path.display()))
}

/// The crate panics on some kinds of damage. `None`: it did.
fn contain<T>(operation: impl FnOnce() -> T) -> Option<T> {
    // What a panic leaves half done is the crate's memory, which is then given up.
    catch_unwind(AssertUnwindSafe(operation)).ok()
}

fn commit(db: &mut DB, changes: &[Change]) -> Result<(), Status> {
    let mut batch = WriteBatch::default();
    for Change { key, value } in changes {
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
    }
    db.write(batch, true)
}

/// Reads by iterator only: the crate's `get` answers "absent" when it meets a damaged block, and
/// its Bloom filters have no checksum. The iterator skips such a block too, but then the census
/// does not add up.
fn scan(db: &mut DB, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, Status> {
    let mut page = Page::new(limit);
    let mut iterator = db.new_iter()?;
    iterator.seek(from);
    while let Some((key, value)) = iterator.current().filter(|(key, _)| key[..] < *end) {
        if page.is_full() {
            break;
        }
        page.push(key.to_vec(), value.to_vec());
        if !iterator.advance() {
            break;
        }
    }
    Ok(page.into_pairs())
}

/// The memory for what is only in the log yet. Below the one, every few commits make a table;
/// above the other, making one holds up a commit for long.
const MIN_WRITE_BUFFER: usize = 64 * 1024;
const MAX_WRITE_BUFFER: usize = 4 * 1024 * 1024;

/// A few blocks: the crate panics over a cache of less than one.
const MIN_BLOCK_CACHE: usize = 16 * 1024;

fn options(env: SyncingEnv, cache_bytes: usize) -> Options {
    Options {
        env: Rc::new(Box::new(env)),
        // The crate's own log file would be unsynced noise.
        log: Some(Rc::new(RefCell::new(rusty_leveldb::infolog::Logger(Box::new(io::sink()))))),
        block_cache_capacity_bytes: cache_bytes.max(MIN_BLOCK_CACHE),
        write_buffer_size: (cache_bytes / 2).clamp(MIN_WRITE_BUFFER, MAX_WRITE_BUFFER),
        // Appending behind a torn tail would lose what is appended: replay stops at the tear.
        reuse_logs: false,
        reuse_manifest: false,
        ..Options::default()
    }
}

fn error(path: &Path, status: &Status) -> StoreError {
    match status.code {
        StatusCode::Corruption | StatusCode::CompressionError | StatusCode::InvalidData => {
            corrupt(path.display().to_string(), status.to_string())
        }
        _ => StoreError::Io(format!("{}: {status}", path.display())),
    }
}
