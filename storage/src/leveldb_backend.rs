//! LevelDB by `rusty-leveldb`, owned by one thread.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
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
    let opening = contain(|| DB::open(path, options(Arc::clone(&disk), cache_bytes)));
    let mut db = match opening {
        Some(Ok(db)) => db,
        Some(Err(status)) => {
            let _ = opened.send(Err(error(path, &status)));
            return;
        }
        // The sender is dropped, and so the caller learns of it.
        None => return,
    };
    let _ = opened.send(Ok(()));
    for request in inbox {
        let outcome = contain(|| serve(&mut db, path, request));
        if outcome != Some(Ok(())) {
            fall_back_to_reading(&mut db, path, &disk, cache_bytes);
        }
    }
    // Closing is an operation of the crate, too.
    contain(|| drop(db));
}

/// The crate panics on some kinds of damage. `None`: it did.
fn contain<T>(operation: impl FnOnce() -> T) -> Option<T> {
    // What a panic leaves half done is the crate's memory, which is then given up.
    catch_unwind(AssertUnwindSafe(operation)).ok()
}

/// Serves a request.
///
/// # Errors
/// When a commit failed: what the database then has in memory is not what is on disk.
fn serve(db: &mut DB, path: &Path, request: Request) -> Result<(), ()> {
    match request {
        Request::Scan { from, end, limit, reply } => {
            let _ = reply.send(scan(db, &from, &end, limit).map_err(|e| error(path, &e)));
            Ok(())
        }
        Request::Commit { changes, reply } => {
            let outcome = commit(db, &changes).map_err(|e| error(path, &e));
            let is_done = outcome.is_ok();
            let _ = reply.send(outcome);
            if is_done { Ok(()) } else { Err(()) }
        }
    }
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

/// After a failed commit the crate may have lost a whole memtable from memory. What is on disk is
/// recovered as after a crash, with all changes in memory, and served.
fn fall_back_to_reading(db: &mut DB, path: &Path, disk: &Arc<dyn Disk>, cache_bytes: usize) {
    let overlay = Arc::new(OverlayDisk::new(Arc::clone(disk)));
    if let Some(Ok(readable)) = contain(|| DB::open(path, options(overlay, cache_bytes))) {
        let broken = mem::replace(db, readable);
        contain(|| drop(broken));
    }
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

fn options(disk: Arc<dyn Disk>, cache_bytes: usize) -> Options {
    Options {
        env: Rc::new(Box::new(SyncingEnv::new(disk))),
        // The crate's own log file would be unsynced noise.
        log: Some(Rc::new(RefCell::new(rusty_leveldb::infolog::Logger(Box::new(io::sink()))))),
        block_cache_capacity_bytes: cache_bytes,
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
