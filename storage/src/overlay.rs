//! A disk whose changes stay in memory: for reading a store that must not be changed any more.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, DiskLock, OpenMode};

/// Reads from a disk and keeps every change in memory.
///
/// After a failed write the libraries below us are of no more use, not even for reading. Opened
/// anew over an overlay they recover as after a crash, and what is on disk stays as it is.
#[derive(Debug)]
pub(crate) struct OverlayDisk {
    disk: Arc<dyn Disk>,
    /// Files that were opened or made; `None` were removed.
    files: Mutex<BTreeMap<PathBuf, Option<Arc<OverlayFile>>>>,
}

impl OverlayDisk {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<OverlayFile>>>> {
        // Entries are replaced as a whole.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &Path) -> io::Result<Option<Arc<OverlayFile>>> {
        if let Some(known) = self.files().get(path) {
            return Ok(known.clone());
        }
        if !self.disk.exists(path)? {
            return Ok(None);
        }
        let file = Arc::new(OverlayFile::new(self.disk.open(path, OpenMode::Read)?)?);
        self.files().insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(Some(file))
    }
}

impl Disk for OverlayDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = match (self.find(path)?, mode) {
            (Some(file), OpenMode::Read | OpenMode::Write) => file,
            (None, OpenMode::Read) => return Err(io::ErrorKind::NotFound.into()),
            (_, OpenMode::Write | OpenMode::Truncate) => {
                let file = Arc::new(OverlayFile::empty());
                self.files().insert(path.to_owned(), Some(Arc::clone(&file)));
                file
            }
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?.ok_or(io::ErrorKind::NotFound)?;
        let mut files = self.files();
        files.insert(from.to_owned(), None);
        files.insert(to.to_owned(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().insert(path.to_owned(), None);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files();
        let mut names = self.disk.list(folder)?;
        names.retain(|name| !files.contains_key(&folder.join(name)));
        let ours =
            files.iter().filter(|(path, file)| file.is_some() && path.parent() == Some(folder));
        names.extend(ours.filter_map(|(path, _)| path.file_name().map(PathBuf::from)));
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let known = self.files().get(path).map(Option::is_some);
        known.map_or_else(|| self.disk.exists(path), Ok)
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        // A store that is read again has its folders.
        if self.disk.exists(path)? { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<DiskLock>> {
        Ok(Some(DiskLock::none()))
    }
}

/// Reads from a file and keeps what is written in memory.
#[derive(Debug)]
pub(crate) struct OverlayFile {
    file: Option<Box<dyn DiskFile>>,
    overlay: Mutex<Overlay>,
}

const PAGE_BYTES: u64 = 4096;

#[derive(Debug, Default)]
struct Overlay {
    length: u64,
    pages: BTreeMap<u64, Vec<u8>>,
}

const EMPTY_PAGE: [u8; 4096] = [0; 4096];

impl OverlayFile {
    /// Whoever changes the file meanwhile calls [`OverlayFile::preserve`] before.
    pub(crate) fn new(file: Box<dyn DiskFile>) -> io::Result<Self> {
        let overlay = Overlay { length: file.length()?, pages: BTreeMap::new() };
        Ok(Self { file: Some(file), overlay: Mutex::new(overlay) })
    }

    fn empty() -> Self {
        Self { file: None, overlay: Mutex::default() }
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        // Pages are replaced as a whole.
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn original(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.as_ref().map_or(Ok(0), |file| file.read_at(offset, buffer))
    }

    /// Keeps these bytes as they are, before somebody else changes the file. Gives how many pages
    /// are kept by now.
    pub(crate) fn preserve(&self, offset: u64, length: usize) -> io::Result<usize> {
        let mut overlay = self.overlay();
        let end = (offset + length as u64).min(overlay.length);
        for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            if let Entry::Vacant(place) = overlay.pages.entry(page) {
                place.insert(self.original_page(page)?);
            }
        }
        Ok(overlay.pages.len())
    }

    /// A page as it is in the file; zeros behind its end.
    fn original_page(&self, page: u64) -> io::Result<Vec<u8>> {
        let mut bytes = EMPTY_PAGE.to_vec();
        self.original(page * PAGE_BYTES, &mut bytes)?;
        Ok(bytes)
    }
}

impl DiskFile for Arc<OverlayFile> {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.as_ref().read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.as_ref().write_at(offset, bytes)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.as_ref().set_len(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.as_ref().length()
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for OverlayFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.length()?.saturating_sub(offset);
        let count = usize::try_from(available).map_or(buffer.len(), |n| n.min(buffer.len()));
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        let read = self.original(offset, buffer)?;
        buffer.get_mut(read..).unwrap_or_default().fill(0);
        let end = offset + count as u64;
        let overlay = self.overlay();
        for (page, bytes) in overlay.pages.range(offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES)) {
            copy_common(bytes, page * PAGE_BYTES, buffer, offset);
        }
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        // Held all the time: the file must not be changed between a page's being read and kept.
        let mut overlay = self.overlay();
        for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES) {
            let known = overlay.pages.remove(&page);
            let mut changed = known.map_or_else(|| self.original_page(page), Ok)?;
            copy_common(bytes, offset, &mut changed, page * PAGE_BYTES);
            overlay.pages.insert(page, changed);
        }
        overlay.length = overlay.length.max(end);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut overlay = self.overlay();
        overlay.length = length;
        overlay.pages.retain(|page, _| page * PAGE_BYTES < length);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.overlay().length)
    }

    fn sync(&self) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{RealDisk, read_file};

    #[test]
    fn an_overlay_reads_back_what_was_written_and_leaves_the_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let disk = OverlayDisk::new(Arc::new(RealDisk));
        let file = disk.open(&path, OpenMode::Write).unwrap();
        file.write_at(4000, &[1; 5000]).unwrap();
        file.write_at(12_000, &[2; 10]).unwrap();
        let expected: Vec<u8> =
            [vec![7; 4000], vec![1; 5000], vec![7; 1000], vec![0; 2000], vec![2; 10]].concat();
        assert!(read_file(&disk, &path).unwrap() == expected);
        assert_eq!(file.read_at(12_000, &mut [0; 11]).unwrap(), 10);
        assert_eq!(std::fs::read(&path).unwrap(), [7; 10_000]);
    }

    #[test]
    fn names_change_in_memory_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a"), "a").unwrap();
        std::fs::write(path("b"), "b").unwrap();
        let disk = OverlayDisk::new(Arc::new(RealDisk));
        disk.rename(&path("a"), &path("c")).unwrap();
        disk.remove(&path("b")).unwrap();
        disk.open(&path("d"), OpenMode::Truncate).unwrap().write_at(0, b"d").unwrap();
        let mut names = disk.list(folder.path()).unwrap();
        names.sort();
        assert_eq!(names, [PathBuf::from("c"), PathBuf::from("d")]);
        assert_eq!(read_file(&disk, &path("c")).unwrap(), b"a");
        assert!(!disk.exists(&path("a")).unwrap() && disk.exists(&path("d")).unwrap());
        assert!(disk.open(&path("b"), OpenMode::Read).is_err());
        assert!(path("a").exists() && path("b").exists() && !path("d").exists());
    }
}
