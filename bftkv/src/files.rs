//! Files of a home.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::HomeError;

/// Writes a file as a whole: after a crash there is the old one or the new one, never a part. It
/// is readable by its owner alone, and synced with its folder on return.
///
/// # Errors
/// The disk's; the old file stays.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| HomeError::Io { path: path.to_owned(), error })
}

/// Keeps others out who lock the same folder, processes and threads, until it is dropped. Waits
/// for them.
///
/// # Errors
/// The folder cannot be opened, or its file system knows no locks.
pub(crate) fn lock(folder: &Path) -> Result<File, HomeError> {
    let lock = || File::open(folder).and_then(|file| file.lock().map(|()| file));
    lock().map_err(|error| HomeError::Io { path: folder.to_owned(), error })
}
