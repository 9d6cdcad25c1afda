//! Where a process can be made to die: at each change of its disk, around each commit, before and
//! after each message.
//!
//! Nothing of this is in the program: the disk, the store, the transport and the handler are traits,
//! and these stand in front of the real ones.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bftkv::protocol::{
    Answer, Batch, CertifiedEntry, EquivocationProof, NodeId, Outcome, Request, Response, Store,
    StoreAge, StoreError, Timestamp, Variable, VariableState, Vault,
};
use bftkv::storage::{Disk, DiskFile, DiskLock, OpenMode, RealDisk};
use bftkv::transport::{Answers, AskOptions, BoxFuture, Handler, HttpTransport, Peer, Transport};

/// Every place where a node can be made to die.
pub(crate) const OF_NODES: [&str; 20] = [
    "write-before",
    "write-after",
    "sync-before",
    "sync-after",
    "rename-before",
    "rename-after",
    "remove-before",
    "remove-after",
    "slot-before",
    "slot-after",
    "entry-before",
    "entry-after",
    "time-before",
    "time-after",
    "sign-before",
    "sign-after",
    "store-before",
    "store-after",
    "read-before",
    "read-after",
];

/// Every place where a writer can be made to die.
pub(crate) const OF_WRITERS: [&str; 10] = [
    "write-before",
    "write-after",
    "sync-before",
    "sync-after",
    "time-before",
    "time-after",
    "sign-before",
    "sign-after",
    "store-before",
    "store-after",
];

/// The place, and how often it is passed before.
#[derive(Debug)]
struct Point {
    name: String,
    left: AtomicU64,
}

/// Where this process dies. A clone is the same.
#[derive(Debug, Clone)]
pub(crate) struct Points(Arc<Option<Point>>);

impl Points {
    /// `name/count`, or nowhere.
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let point = text.and_then(|text| text.split_once('/')).map(|(name, count)| Point {
            name: name.to_owned(),
            left: AtomicU64::new(count.parse().unwrap()),
        });
        Self(Arc::new(point))
    }

    /// Dies here if it is the place and the time. Nothing is flushed and nobody is told: for the
    /// disk and for the others it is a kill.
    fn pass(&self, what: &str, when: &str) {
        if let Some(point) = &*self.0
            && point.name.strip_prefix(what) == Some(when)
            && point.left.fetch_sub(1, Ordering::SeqCst) == 0
        {
            std::process::abort();
        }
    }

    fn around<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        self.pass(what, "-before");
        let result = work();
        self.pass(what, "-after");
        result
    }
}

/// The real file system.
#[derive(Debug)]
pub(crate) struct DeadlyDisk(pub(crate) Points);

#[derive(Debug)]
struct DeadlyFile(Box<dyn DiskFile>, Points);

impl DiskFile for DeadlyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.around("write", || self.0.write_at(offset, bytes))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.1.around("write", || self.0.set_len(length))
    }

    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn sync(&self) -> io::Result<()> {
        self.1.around("sync", || self.0.sync())
    }
}

impl Disk for DeadlyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(DeadlyFile(RealDisk.open(path, mode)?, self.0.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.around("rename", || RealDisk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.around("remove", || RealDisk.remove(path))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(folder)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.around("sync", || RealDisk.sync_folder(folder))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        RealDisk.lock(path)
    }
}

/// A node's store. A batch with an entry is a store phase, one without is a slot.
pub(crate) struct DeadlyStore(pub(crate) Arc<dyn Store>, pub(crate) Points);

impl Store for DeadlyStore {
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError> {
        self.0.load(variable)
    }

    fn version(&self, x: &Variable, t: Timestamp) -> Result<Option<CertifiedEntry>, StoreError> {
        self.0.version(x, t)
    }

    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError> {
        self.0.versions(variable, below, limit)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError> {
        self.0.scan(prefix, after, limit)
    }

    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError> {
        self.0.known(after, limit)
    }

    fn age(&self) -> Result<StoreAge, StoreError> {
        self.0.age()
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let what = if batch.entries.is_empty() { "slot" } else { "entry" };
        self.1.around(what, || self.0.commit(batch))
    }

    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError> {
        self.0.proofs()
    }

    fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError> {
        self.0.vault(variable)
    }
}

/// A node's handler. Every share that is about to leave is written down, so that the one who judges
/// sees what this node signed in all its lives.
pub(crate) struct DeadlyHandler {
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) points: Points,
    pub(crate) shares: PathBuf,
}

impl Handler for DeadlyHandler {
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        let command = request.command();
        let asked = match &request {
            Request::Sign { entry, .. } => Some((entry.id(), entry.hash())),
            _ => None,
        };
        Box::pin(async move {
            self.points.pass(command, "-before");
            let response = self.handler.handle(sender, request).await;
            if let (Some((id, hash)), Outcome::Ok(Answer::Share(_))) = (asked, &response.outcome) {
                let line = format!("{} {} {hash}\n", id.variable, id.timestamp);
                let mut file = std::fs::File::options();
                let file = file.create(true).append(true).open(&self.shares);
                file.unwrap().write_all(line.as_bytes()).unwrap();
            }
            self.points.pass(command, "-after");
            response
        })
    }

    fn is_member(&self, sender: &NodeId) -> bool {
        self.handler.is_member(sender)
    }
}

/// A writer's way to the nodes. "After" is when the questions are on their way.
pub(crate) struct DeadlyTransport(pub(crate) HttpTransport, pub(crate) Points);

impl Transport for DeadlyTransport {
    fn id(&self) -> &NodeId {
        self.0.id()
    }

    fn ask(&self, to: Vec<Peer>, request: Request, options: AskOptions) -> Answers {
        let command = request.command();
        let points = self.1.clone();
        self.1.pass(command, "-before");
        let answers = self.0.ask(to, request, options);
        // A moment later, when some have received it and some have not.
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            points.pass(command, "-after");
        });
        answers
    }
}

/// Where the process of this home listens.
pub(crate) fn listen_address(home: &bftkv::Home) -> SocketAddr {
    home.config().node.listen.unwrap()
}
