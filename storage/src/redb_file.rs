//! redb's view of a file: ours, so that tests can fail it, and one whose writes stay in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::disk::DiskFile;

/// A file on a [`crate::Disk`]. The folder's lock keeps other processes out, so it has none.
#[derive(Debug)]
pub(crate) struct RedbFile(pub(crate) Box<dyn DiskFile>);

impl StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        read_exact_at(&*self.0, offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}

/// Reads from a file and keeps what is written in memory.
#[derive(Debug)]
pub(crate) struct OverlayFile {
    file: Box<dyn DiskFile>,
    overlay: Mutex<Overlay>,
}

#[derive(Debug, Default)]
struct Overlay {
    /// The length, once it was set or written past.
    length: Option<u64>,
    pages: BTreeMap<u64, Vec<u8>>,
}

const PAGE_BYTES: u64 = 4096;
const EMPTY_PAGE: [u8; 4096] = [0; 4096];

impl OverlayFile {
    pub(crate) fn new(file: Box<dyn DiskFile>) -> Self {
        Self { file, overlay: Mutex::default() }
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        // Pages are replaced as a whole.
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A page as it is in the file; zeros behind its end.
    fn original(&self, page: u64) -> io::Result<Vec<u8>> {
        let mut bytes = EMPTY_PAGE.to_vec();
        self.file.read_at(page * PAGE_BYTES, &mut bytes)?;
        Ok(bytes)
    }
}

impl StorageBackend for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        let length = self.overlay().length;
        length.map_or_else(|| self.file.length(), Ok)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_at(offset, out)?;
        let overlay = self.overlay();
        for (page, bytes) in overlay.pages.range(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)) {
            copy_common(bytes, page * PAGE_BYTES, out, offset);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut overlay = self.overlay();
        overlay.length = Some(len);
        overlay.pages.retain(|page, _| page * PAGE_BYTES < len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let known = self.overlay().pages.get(&page).cloned();
            let mut bytes = known.map_or_else(|| self.original(page), Ok)?;
            copy_common(data, offset, &mut bytes, page * PAGE_BYTES);
            self.overlay().pages.insert(page, bytes);
        }
        let length = self.len()?.max(end);
        self.overlay().length = Some(length);
        Ok(())
    }
}

/// Copies the bytes that two runs at two positions of one file have in common.
fn copy_common(source: &[u8], source_at: u64, target: &mut [u8], target_at: u64) {
    let skip = |from: u64, to: u64| usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    let source = source.get(skip(source_at, target_at)..).unwrap_or_default();
    let target = target.get_mut(skip(target_at, source_at)..).unwrap_or_default();
    target.iter_mut().zip(source).for_each(|(to, from)| *to = *from);
}

fn read_exact_at(file: &dyn DiskFile, offset: u64, out: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, out)? == out.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, OpenMode, RealDisk};

    #[test]
    fn an_overlay_reads_back_what_was_written_and_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let overlay = OverlayFile::new(RealDisk.open(&path, OpenMode::Read).unwrap());
        overlay.write(4000, &[1; 5000]).unwrap();
        overlay.write(12_000, &[2; 10]).unwrap();
        let mut out = vec![0; 12_010];
        overlay.read(0, &mut out).unwrap();
        let expected: Vec<u8> =
            [vec![7; 4000], vec![1; 5000], vec![7; 1000], vec![0; 2000], vec![2; 10]].concat();
        assert!(out == expected);
        assert!(overlay.read(12_000, &mut [0; 11]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), [7; 10_000]);
    }
}
