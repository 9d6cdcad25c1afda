//! A small file that is replaced as a whole: written beside, synced, renamed, with a checksum.

use std::path::PathBuf;

use bftkv_protocol::{ValueDigest, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{HomeError, files};

/// How many bytes of SHA-256 precede the content.
const CHECKSUM_BYTES: usize = 32;

/// A file that holds one value, or nothing yet. Without a path it lives in memory only, that is
/// nowhere: for tests and for programs that keep their state elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct RecordFile {
    path: Option<PathBuf>,
    magic: &'static [u8],
}

impl RecordFile {
    /// The file at this path; `magic` is its first line.
    pub(crate) fn new(path: Option<PathBuf>, magic: &'static [u8]) -> Self {
        Self { path, magic }
    }

    /// Whether there is one.
    pub(crate) fn exists(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.exists())
    }

    /// What it holds; `None` if there is no file.
    ///
    /// # Errors
    /// The disk's fault, or the file is damaged.
    pub(crate) fn read<T: DeserializeOwned + Serialize>(&self) -> Result<Option<T>, HomeError> {
        let Some(path) = &self.path else { return Ok(None) };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HomeError::Io { path: path.clone(), error }),
        };
        let content = self.content(&bytes).and_then(|content| decode(content).ok());
        content.map(Some).ok_or_else(|| HomeError::Damaged(path.clone()))
    }

    fn content<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (checksum, content) =
            bytes.strip_prefix(self.magic)?.split_at_checked(CHECKSUM_BYTES)?;
        (checksum == ValueDigest::of(content).as_bytes()).then_some(content)
    }

    /// Replaces what it holds. On return it is synced to disk.
    ///
    /// # Errors
    /// The disk's fault; the old content stays.
    pub(crate) fn write<T: Serialize>(&self, value: &T) -> Result<(), HomeError> {
        let Some(path) = &self.path else { return Ok(()) };
        let content = encode(value);
        let checksum = ValueDigest::of(&content);
        files::replace(path, &[self.magic, checksum.as_bytes(), &content].concat())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let file = RecordFile::new(Some(path.clone()), b"kind 1\n");
        assert_eq!(file.read::<String>().unwrap(), None);
        file.write(&"content".to_owned()).unwrap();
        assert_eq!(file.read::<String>().unwrap(), Some("content".to_owned()));
        let good = std::fs::read(&path).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(file.read::<String>(), Err(HomeError::Damaged(_))), "byte {place}");
        }
    }
}
