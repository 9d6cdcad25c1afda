//! redb's view of a file: ours, so that tests can fail it, a failure seals it, and a check sees it
//! as it was at one moment.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::disk::DiskFile;
use crate::overlay::OverlayFile;

/// A file on a [`crate::Disk`]. The folder's lock keeps other processes out, so it has none.
#[derive(Debug)]
pub(crate) struct RedbFile {
    file: Box<dyn DiskFile>,
    controls: Arc<Controls>,
}

/// What the owner of a [`RedbFile`] keeps of it.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    is_sealed: AtomicBool,
    is_closed: AtomicBool,
    snapshot: Mutex<Option<Arc<OverlayFile>>>,
    snapshot_ended: Condvar,
}

/// How many changed pages a snapshot keeps in memory; writers wait from then on until it ends.
/// They take 16 MiB: a node's memory stays small, and hundreds of commits go on meanwhile.
const MAX_SNAPSHOT_PAGES: usize = 4096;

impl Controls {
    /// From now on the file is changed no more.
    pub(crate) fn seal(&self) {
        self.is_sealed.store(true, Ordering::SeqCst);
    }

    /// From now on the file is not even read: what it holds is another handle's.
    pub(crate) fn close(&self) {
        self.seal();
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// The file as it is now, whatever is written to it from now on. `file` is the same file.
    pub(crate) fn snapshot(self: &Arc<Self>, file: Box<dyn DiskFile>) -> io::Result<Snapshot> {
        let overlay = Arc::new(OverlayFile::new(file)?);
        *self.lock() = Some(Arc::clone(&overlay));
        Ok(Snapshot { overlay, controls: Arc::clone(self) })
    }

    /// Keeps what is about to be overwritten.
    fn preserve(&self, offset: u64, length: usize) -> io::Result<()> {
        let mut snapshot = self.lock();
        while let Some(overlay) = &*snapshot {
            if overlay.preserve(offset, length)? < MAX_SNAPSHOT_PAGES {
                break;
            }
            snapshot = self.wait(snapshot);
        }
        Ok(())
    }

    /// Waits until nobody needs the file as it was.
    fn wait_for_end(&self) {
        let mut snapshot = self.lock();
        while snapshot.is_some() {
            snapshot = self.wait(snapshot);
        }
    }

    fn wait<'a>(
        &self,
        snapshot: MutexGuard<'a, Option<Arc<OverlayFile>>>,
    ) -> MutexGuard<'a, Option<Arc<OverlayFile>>> {
        self.snapshot_ended.wait(snapshot).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<OverlayFile>>> {
        // It is replaced as a whole.
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Snapshot {
    overlay: Arc<OverlayFile>,
    controls: Arc<Controls>,
}

impl Snapshot {
    /// The file as it was, for a second handle whose writes stay in memory.
    pub(crate) fn file(&self) -> RedbFile {
        RedbFile::new(Box::new(Arc::clone(&self.overlay)), Arc::default())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        *self.controls.lock() = None;
        self.controls.snapshot_ended.notify_all();
    }
}

impl RedbFile {
    pub(crate) fn new(file: Box<dyn DiskFile>, controls: Arc<Controls>) -> Self {
        Self { file, controls }
    }

    fn require_unsealed(&self) -> io::Result<()> {
        if self.controls.is_sealed.load(Ordering::SeqCst) {
            return Err(io::Error::other("stopped after an earlier failure"));
        }
        Ok(())
    }
}

impl StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.controls.is_closed.load(Ordering::SeqCst) {
            return Err(io::Error::other("closed"));
        }
        read_exact_at(&*self.file, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.require_unsealed()?;
        if len < self.file.length()? {
            self.controls.wait_for_end();
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.require_unsealed().and_then(|()| self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.require_unsealed()?;
        self.controls.preserve(offset, data.len())?;
        self.file.write_at(offset, data)
    }
}

fn read_exact_at(file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, out)? == out.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
