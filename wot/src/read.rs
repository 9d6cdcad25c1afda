//! Certificates from files and folders.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::record::split;
use crate::{CertificateError, CertificateRecord, ReadError};

/// The greatest file that is read: a GnuPG export of tens of thousands of certificates.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The greatest number of files that are read from a folder.
pub const MAX_FILES: usize = 10_000;
/// The file name endings that mean certificates.
pub const ENDINGS: [&str; 4] = ["pgp", "asc", "gpg", "cert"];

/// What was found in a file or folder.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Found {
    /// The certificates, in order; one may come several times.
    pub certificates: Vec<CertificateRecord>,
    /// What could not be kept, and why: a bad certificate does not hide the others.
    pub refused: Vec<ReadError>,
}

/// Reads a keyring from memory: binary or armored, one certificate or many (what `gpg --export`
/// prints). Secret keys are read as their certificates.
///
/// # Errors
/// When it is no keyring at all.
pub fn read_certificates(
    bytes: &[u8],
) -> Result<Vec<Result<CertificateRecord, CertificateError>>, CertificateError> {
    split(bytes)
}

/// Reads a keyring file.
///
/// # Errors
/// [`ReadError`], when nothing in it can be read.
pub fn read_file(path: &Path) -> Result<Found, ReadError> {
    let bytes = read_limited(path)?;
    let refuse = |source| ReadError::Certificate { path: path.to_owned(), source };
    let mut found = Found::default();
    for one in split(&bytes).map_err(refuse)? {
        match one {
            Ok(record) => found.certificates.push(record),
            Err(error) => found.refused.push(refuse(error)),
        }
    }
    Ok(found)
}

/// Reads all files of a folder whose names end as in [`ENDINGS`], in the order of their names.
/// Folders in it are not entered.
///
/// # Errors
/// [`ReadError::Io`], when the folder cannot be read. Bad files are listed in what was found.
pub fn read_folder(folder: &Path) -> Result<Found, ReadError> {
    let mut found = Found::default();
    for path in files_of(folder)? {
        match read_file(&path) {
            Ok(mut more) => {
                found.certificates.append(&mut more.certificates);
                found.refused.append(&mut more.refused);
            }
            Err(error) => found.refused.push(error),
        }
    }
    Ok(found)
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let io = |source| ReadError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        if ending.is_some_and(|ending| ENDINGS.contains(&ending)) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    paths.truncate(MAX_FILES);
    Ok(paths)
}

/// Reads at most [`MAX_FILE_BYTES`], whatever the file says of its length.
pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    let mut limited = file.take(MAX_FILE_BYTES.saturating_add(1));
    limited.read_to_end(&mut bytes).map_err(io)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE_BYTES) {
        return Ok(bytes);
    }
    Err(ReadError::TooLarge { path: path.to_owned(), max: MAX_FILE_BYTES })
}
