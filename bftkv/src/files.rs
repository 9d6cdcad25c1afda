//! Files of a home.

use std::io::Write as _;
use std::path::Path;

use crate::HomeError;

/// Writes a file as a whole: after a crash there is the old one or the new one, never a part. It
/// is readable by its owner alone, and synced with its folder on return.
///
/// # Errors
/// The disk's; the old file stays.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| HomeError::Io { path: path.to_owned(), error })
}
