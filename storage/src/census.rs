//! A count of all records, so that a missing one is noticed.
//!
//! A checksum shows that a record is damaged; it cannot show that one is gone. So each commit
//! writes, in the same atomic batch, how many records there are and the sum of their
//! fingerprints, and the same of the heads alone, which a signer depends upon; and it notes the number of the commit in a small file outside of the backend,
//! the anchor, so that a backend that fell back to an older state is noticed too.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bftkv_protocol::StoreError;
use serde::{Deserialize, Serialize};

use crate::backend::{corrupt, io_error};
use crate::disk::{Disk, DiskFile, OpenMode, replace_file};
use crate::key;

/// What all records together must amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Census {
    /// How many commits there were.
    pub(crate) commits: u64,
    /// How many records there are, this one apart.
    pub(crate) records: u64,
    /// The sum of the records' fingerprints, modulo 2^64.
    pub(crate) sum: u64,
    /// How many of the records are heads.
    pub(crate) heads: u64,
    /// The sum of the heads' fingerprints, modulo 2^64.
    pub(crate) heads_sum: u64,
}

impl Census {
    /// Counts a record.
    pub(crate) fn add(&mut self, key: &[u8], fingerprint: u64) {
        self.records = self.records.saturating_add(1);
        self.sum = self.sum.wrapping_add(fingerprint);
        if key::is_head(key) {
            self.heads = self.heads.saturating_add(1);
            self.heads_sum = self.heads_sum.wrapping_add(fingerprint);
        }
    }

    /// Counts a record no more.
    pub(crate) fn remove(&mut self, key: &[u8], fingerprint: u64) {
        self.records = self.records.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(fingerprint);
        if key::is_head(key) {
            self.heads = self.heads.saturating_sub(1);
            self.heads_sum = self.heads_sum.wrapping_sub(fingerprint);
        }
    }

    /// Compares what the store says with what is there.
    pub(crate) fn check(&self, found: &Self) -> Result<(), StoreError> {
        self.check_heads(found)?;
        compare("records", (self.records, self.sum), (found.records, found.sum))
    }

    /// The same for the heads alone.
    pub(crate) fn check_heads(&self, found: &Self) -> Result<(), StoreError> {
        compare("heads", (self.heads, self.heads_sum), (found.heads, found.heads_sum))
    }
}

fn compare(what: &str, committed: (u64, u64), found: (u64, u64)) -> Result<(), StoreError> {
    if committed == found {
        return Ok(());
    }
    let reason = format!(
        "{} {what} were found where {} were committed, or others; salvage the store or fetch from \
         the other nodes",
        found.0, committed.0
    );
    Err(corrupt("census", reason))
}

/// The anchor: the number of the last commit, in two slots, so that a torn write leaves the other.
#[derive(Debug)]
pub(crate) struct Anchor {
    file: Box<dyn DiskFile>,
    /// Whether each note is synced. A backend that verifies its own files on opening needs no
    /// more than the lower bound that an unsynced note gives.
    synced: bool,
    /// A slot that holds a synced note; the next note goes to the other one.
    kept_slot: AtomicU64,
}

const SLOT_BYTES: u64 = 512;
const NOTE_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"bfa1";

impl Anchor {
    /// Makes the anchor of a new store; durable on return.
    pub(crate) fn create(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
        replace_file(disk, path, &note(0))
            .and_then(|()| disk.sync_folder(path.parent().unwrap_or(path)))
            .map_err(|e| io_error(path.display(), &e))
    }

    /// Opens the anchor; gives the number of the last commit that it knows. What was read is on
    /// disk on return: so the next note never goes over the only one that is.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        synced: bool,
    ) -> Result<(Self, u64), StoreError> {
        let (anchor, commits) = Self::look(disk, path, synced)?;
        anchor.file.sync().map_err(|e| io_error(path.display(), &e))?;
        Ok((anchor, commits))
    }

    /// The same for an anchor whose note of the commit `known` the caller has seen synced: while
    /// that is still the newest, there is nothing to sync.
    pub(crate) fn open_again(
        disk: &dyn Disk,
        path: &Path,
        known: Option<u64>,
    ) -> Result<Self, StoreError> {
        let (anchor, commits) = Self::look(disk, path, true)?;
        if known != Some(commits) {
            anchor.file.sync().map_err(|e| io_error(path.display(), &e))?;
        }
        Ok(anchor)
    }

    fn look(disk: &dyn Disk, path: &Path, synced: bool) -> Result<(Self, u64), StoreError> {
        let missing = || corrupt("anchor", format!("{} is missing or damaged", path.display()));
        if !disk.exists(path).map_err(|e| io_error(path.display(), &e))? {
            return Err(missing());
        }
        let file = disk.open(path, OpenMode::Write).map_err(|e| io_error(path.display(), &e))?;
        let mut newest = None;
        for slot in 0..2 {
            let mut bytes = [0; NOTE_BYTES];
            file.read_at(slot * SLOT_BYTES, &mut bytes)
                .map_err(|e| io_error(path.display(), &e))?;
            newest = newest.max(read_note(&bytes).map(|commits| (commits, slot)));
        }
        let (commits, slot) = newest.ok_or_else(missing)?;
        Ok((Self { file, synced, kept_slot: AtomicU64::new(slot) }, commits))
    }

    /// Notes that a commit is on disk.
    pub(crate) fn note(&self, commits: u64) -> Result<(), StoreError> {
        let write = || {
            let slot = 1 - self.kept_slot.load(Ordering::Relaxed);
            self.file.write_at(slot * SLOT_BYTES, &note(commits))?;
            if self.synced {
                self.file.sync()?;
                self.kept_slot.store(slot, Ordering::Relaxed);
            }
            Ok(())
        };
        write().map_err(|e| io_error("anchor", &e))
    }
}

fn note(commits: u64) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&commits.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

fn read_note(bytes: &[u8; NOTE_BYTES]) -> Option<u64> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    let (commits, _) = rest.split_first_chunk::<8>()?;
    let commits = u64::from_le_bytes(*commits);
    (note(commits) == bytes).then_some(commits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_torn_note_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchor");
        Anchor::create(&RealDisk, &path).unwrap();
        let (anchor, _) = Anchor::open(&RealDisk, &path, true).unwrap();
        (1..=6).for_each(|n| anchor.note(n).unwrap());
        let file = RealDisk.open(&path, OpenMode::Write).unwrap();
        file.write_at(5, b"torn").unwrap();
        assert_eq!(Anchor::open(&RealDisk, &path, true).unwrap().1, 5);
        file.write_at(SLOT_BYTES + 5, b"torn").unwrap();
        assert!(matches!(Anchor::open(&RealDisk, &path, true), Err(StoreError::Corrupt { .. })));
    }
}
