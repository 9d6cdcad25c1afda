//! Which store this is, and how often it was opened.
//!
//! A signer's memory is part of its key. By the identity a node notices that its store is not the
//! one that belongs to its key; by the generation its peers notice that it is an old copy.

use std::fmt;
use std::path::Path;

use bftkv_protocol::StoreError;

use crate::backend::{corrupt, io_error};
use crate::disk::{Disk, DiskFile, OpenMode, replace_file};

/// The name of a store: 16 random bytes, made when the store is made and never changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreIdentity([u8; Self::BYTES]);

impl StoreIdentity {
    /// The length in bytes: no two stores ever get the same by chance.
    pub const BYTES: usize = 16;

    /// The identity with these bytes, for comparing with one that was written down.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    fn random() -> Result<Self, StoreError> {
        let mut bytes = [0; Self::BYTES];
        getrandom::fill(&mut bytes)
            .map_err(|e| StoreError::Io(format!("no random numbers from the system: {e}")))?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreIdentity({self})")
    }
}

/// One opening of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// Which store.
    pub identity: StoreIdentity,
    /// The how many-th opening; 1 is the first.
    pub generation: u64,
    /// Whether this opening made the store.
    pub is_new: bool,
}

impl Opening {
    /// The first opening of a new store.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system gives no random numbers.
    pub fn of_new_store() -> Result<Self, StoreError> {
        Ok(Self { identity: StoreIdentity::random()?, generation: 1, is_new: true })
    }

    /// The opening after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            identity: self.identity,
            generation: self.generation.saturating_add(1),
            is_new: false,
        }
    }

    /// Makes the file of a new store; durable on return.
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
        // Both slots get their room now, so that a full disk keeps nobody from opening a store.
        let slot = encode(&StoreIdentity::random()?, 0);
        let mut bytes = vec![0; usize::try_from(SLOT_BYTES).unwrap_or(0)];
        bytes.splice(..NOTE_BYTES, slot.iter().copied());
        let bytes = [&bytes[..], &slot].concat();
        replace_file(disk, path, &bytes)
            .and_then(|()| disk.sync_folder(path.parent().unwrap_or(path)))
            .map_err(|e| io_error(path.display(), &e))
    }

    /// Counts an opening; durable on return.
    pub(crate) fn begin(disk: &dyn Disk, path: &Path, is_new: bool) -> Result<Self, StoreError> {
        let failed = |e| io_error(path.display(), &e);
        if !disk.exists(path).map_err(failed)? {
            return Err(damaged(path));
        }
        let file = disk.open(path, OpenMode::Write).map_err(failed)?;
        let slots = [read(&*file, 0).map_err(failed)?, read(&*file, 1).map_err(failed)?];
        let newest = slots.iter().enumerate().filter_map(|(n, slot)| slot.map(|slot| (slot, n)));
        let ((generation, identity), slot) = newest.max().ok_or_else(|| damaged(path))?;
        let generation = generation.checked_add(1).ok_or_else(|| damaged(path))?;
        // The other slot, so that a torn write leaves the newest one.
        let offset = if slot == 0 { SLOT_BYTES } else { 0 };
        file.write_at(offset, &encode(&identity, generation))
            .and_then(|()| file.sync())
            .map_err(failed)?;
        Ok(Self { identity, generation, is_new })
    }
}

const SLOT_BYTES: u64 = 512;
const MAGIC: [u8; 4] = *b"bfi1";
const NOTE_BYTES: usize = 32;

fn damaged(path: &Path) -> StoreError {
    corrupt("identity", format!("{} is missing or damaged", path.display()))
}

fn read(file: &dyn DiskFile, slot: u64) -> std::io::Result<Option<(u64, StoreIdentity)>> {
    let mut bytes = [0; NOTE_BYTES];
    file.read_at(slot * SLOT_BYTES, &mut bytes)?;
    Ok(decode(&bytes))
}

fn encode(identity: &StoreIdentity, generation: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(identity.as_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; NOTE_BYTES]) -> Option<(u64, StoreIdentity)> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    let (identity, rest) = rest.split_first_chunk::<{ StoreIdentity::BYTES }>()?;
    let (generation, _) = rest.split_first_chunk::<8>()?;
    let (identity, generation) = (StoreIdentity(*identity), u64::from_le_bytes(*generation));
    (encode(&identity, generation) == bytes).then_some((generation, identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn each_opening_counts_and_keeps_the_identity() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Opening::create(&RealDisk, &path).unwrap();
        let first = Opening::begin(&RealDisk, &path, true).unwrap();
        for generation in 2..6 {
            let next = Opening::begin(&RealDisk, &path, false).unwrap();
            assert_eq!((next.generation, next.identity), (generation, first.identity));
        }
        let other = folder.path().join("other");
        Opening::create(&RealDisk, &other).unwrap();
        let other = Opening::begin(&RealDisk, &other, true).unwrap();
        assert_ne!(other.identity, first.identity);
    }

    #[test]
    fn a_torn_write_leaves_the_generation_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        Opening::create(&RealDisk, &path).unwrap();
        let opened = [1, 2, 3].map(|_| Opening::begin(&RealDisk, &path, false).unwrap());
        let file = RealDisk.open(&path, OpenMode::Write).unwrap();
        // The third opening wrote to the first slot.
        file.write_at(21, b"torn").unwrap();
        assert_eq!(Opening::begin(&RealDisk, &path, false).unwrap(), opened[2]);
        file.write_at(21, b"torn").unwrap();
        file.write_at(SLOT_BYTES + 21, b"torn").unwrap();
        let outcome = Opening::begin(&RealDisk, &path, false);
        assert!(matches!(outcome, Err(StoreError::Corrupt { .. })));
    }
}
