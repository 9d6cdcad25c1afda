//! redb's view of a file: ours, so that tests can fail it and a failure seals it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use crate::disk::DiskFile;

/// A file on a [`crate::Disk`]. The folder's lock keeps other processes out, so it has none.
#[derive(Debug)]
pub(crate) struct RedbFile {
    file: Box<dyn DiskFile>,
    is_sealed: Arc<AtomicBool>,
}

impl RedbFile {
    /// A file that is changed no more once `is_sealed` is set.
    pub(crate) fn new(file: Box<dyn DiskFile>, is_sealed: Arc<AtomicBool>) -> Self {
        Self { file, is_sealed }
    }

    fn require_unsealed(&self) -> io::Result<()> {
        if self.is_sealed.load(Ordering::SeqCst) {
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
        read_exact_at(&*self.file, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.require_unsealed().and_then(|()| self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.require_unsealed().and_then(|()| self.file.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.require_unsealed().and_then(|()| self.file.write_at(offset, data))
    }
}

fn read_exact_at(file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, out)? == out.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
