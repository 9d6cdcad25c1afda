//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::agree::Hash;

/// Puts a file in place of another at once, on disk for sure.
///
/// # Errors
/// The disk's; the old file stays.
pub fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    replace_with(path, parts, OpenOptions::new().write(true).create(true).truncate(true))
}

/// The same for a file that its owner alone can read.
///
/// # Errors
/// As [`replace`].
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    replace_with(path, &[bytes], &options)
}

fn replace_with(path: &Path, parts: &[&[u8]], options: &OpenOptions) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // One that was left behind may be readable by others.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options.open(&new)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    rename(&new, path)
}

/// Gives a file that is on disk another's name; the name is on disk too when this returns.
pub(crate) fn rename(new: &Path, path: &Path) -> io::Result<()> {
    fs::rename(new, path)?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// As [`replace`], with a sum by which damage is seen.
pub(crate) fn keep(path: &Path, body: &[u8]) -> io::Result<()> {
    replace(path, &[body, &Hash::of(body).0])
}

/// What [`keep`] wrote; `None` if there is no file.
///
/// # Errors
/// It cannot be read, or is damaged.
pub(crate) fn kept(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (body, sum) = bytes.split_last_chunk::<32>().ok_or_else(|| damaged("damaged"))?;
    if Hash::of(body).0 != *sum {
        return Err(damaged("damaged"));
    }
    bytes.truncate(body.len());
    Ok(Some(bytes))
}

pub(crate) fn damaged(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_folder_is_one_in_the_current_folder() {
        // Cargo runs tests in the crate's folder.
        let name = Path::new("files-test.tmp");
        let replaced = replace(name, &[b"a", b"b"]);
        let there = fs::read(name);
        let _ = fs::remove_file(name);
        replaced.unwrap();
        assert_eq!(there.unwrap(), b"ab");
    }

    #[test]
    fn what_was_kept_comes_back_or_is_said_to_be_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        assert_eq!(kept(&path).unwrap(), None);
        keep(&path, b"body").unwrap();
        assert_eq!(kept(&path).unwrap().unwrap(), b"body");
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            fs::write(&path, &other).unwrap();
            assert!(kept(&path).is_err(), "{at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(kept(&path).is_err(), "{at}");
        }
    }
}
