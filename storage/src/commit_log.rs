//! A write-ahead log: commits one behind the other, each synced once, until a backend has them.

use std::path::{Path, PathBuf};

use bftkv_protocol::StoreError;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::backend::{Change, corrupt, io_error};
use crate::disk::{Disk, DiskFile, OpenMode, read_all, replace_file};
use crate::journal;

/// The file of a log. Its frames begin at multiples of a sector, so that no write touches a sector
/// with a commit that was acknowledged.
#[derive(Debug)]
pub(crate) struct CommitLog {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    tags: Tags,
    /// How long the file may grow, in bytes.
    capacity: u64,
    /// Where this round of the log ends, somewhere in its second half. The nodes of a cluster do
    /// the same work: without chance they would all move on, and be silent, at the same moment.
    end: u64,
    /// Where the next frame begins.
    offset: u64,
    /// How long the file is.
    length: u64,
    /// The number of the next commit.
    sequence: u64,
    /// The frames that were found on opening, until they are written again. If the sync of one had
    /// failed, it can be read and is not on the disk, and no later sync brings it there.
    found: Vec<u8>,
}

/// One commit of a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) changes: Vec<Change>,
    /// With its padding, in bytes.
    length: u64,
}

/// Makes and checks the tags of frames with the log's own key.
///
/// What a frame holds may be a stranger's words, and a frame that is overwritten in part leaves
/// some of them at the start of a sector. Without the key nobody can choose words that would be
/// read there as a commit.
#[derive(Debug, Clone)]
struct Tags(Hmac<Sha256>);

const MAGIC: [u8; 4] = *b"bfl1";
const KEY_BYTES: usize = 32;
const HEAD_BYTES: usize = MAGIC.len() + KEY_BYTES + 4;
/// Magic, length of the body, sequence.
const FRAME_HEAD_BYTES: usize = MAGIC.len() + 4 + 8;
const TAG_BYTES: usize = 16;
const SECTOR_BYTES: u64 = 512;
/// The pages of a larger record cost the backend hardly more than the record itself.
const MAX_LOGGED_RECORD_BYTES: usize = 64 * 1024;
/// Many small records at once cost it a page each, and are worth writing twice: 256 puts together
/// are half a MiB.
const MAX_FRAME_BYTES: usize = 640 * 1024;
/// The longest body of a frame: the records and what their lengths take. A damaged length, or a stranger's
/// words at the start of many sectors, must not have the rest of the file read again for each of them.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The file grows by so much at once: a sync need not write its new length each time.
const GROWTH_BYTES: u64 = 128 * 1024;

impl CommitLog {
    /// Opens the log, or makes an empty one; gives the commits behind the one that the backend has.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a commit is missing that others followed, or the head is
    /// damaged.
    pub(crate) fn open(
        disk: &dyn Disk,
        path: &Path,
        capacity: u64,
        applied: u64,
    ) -> Result<(Self, Vec<Frame>), StoreError> {
        let failed = |e: std::io::Error| io_error(path.display(), &e);
        if !disk.exists(path).map_err(failed)? {
            create(disk, path)?;
        }
        let file = disk.open(path, OpenMode::Write).map_err(failed)?;
        let bytes = read_all(&*file).map_err(failed)?;
        let damaged = |reason: &str| corrupt(path.display().to_string(), reason);
        let tags = Tags::of_head(&bytes).ok_or_else(|| damaged("its head is damaged"))?;
        let frames = tags.frames_behind(&bytes, applied);
        let sequence = next(applied, &frames);
        if tags.all_frames(&bytes).any(|frame| frame.sequence >= sequence) {
            return Err(damaged("a commit is missing that others followed"));
        }
        let used = frames.iter().map(|frame| frame.length).sum::<u64>();
        let found = from(&bytes, SECTOR_BYTES).unwrap_or_default();
        let found = found.get(..usize::try_from(used).unwrap_or(usize::MAX)).unwrap_or_default();
        let log = Self {
            file,
            path: path.to_owned(),
            end: tags.end_of_round(capacity, applied),
            tags,
            capacity,
            offset: SECTOR_BYTES.saturating_add(used),
            length: bytes.len() as u64,
            sequence,
            found: found.to_vec(),
        };
        Ok((log, frames))
    }

    /// The number of the last commit.
    pub(crate) fn last(&self) -> u64 {
        self.sequence.saturating_sub(1)
    }

    /// Counts a commit that goes to the backend at once.
    pub(crate) fn skip(&mut self) {
        self.sequence = self.sequence.saturating_add(1);
    }

    /// The frame of the next commit, if the log has room for it, and it is so small that it is
    /// worth writing twice.
    pub(crate) fn frame(&self, changes: &[Change]) -> Option<Vec<u8>> {
        if is_large(changes) {
            return None;
        }
        let frame = self.tags.encode(self.sequence, changes)?;
        let end = self.offset.checked_add(frame.len() as u64)?;
        (end <= self.end).then_some(frame)
    }

    /// Writes and syncs a frame.
    ///
    /// # Errors
    /// [`StoreError::Io`]; whether the commit is in the log is then not known.
    pub(crate) fn append(&mut self, frame: &[u8]) -> Result<(), StoreError> {
        let end = self.offset.saturating_add(frame.len() as u64);
        self.write(frame, end).map_err(|e| io_error(self.path.display(), &e))?;
        self.offset = end;
        self.skip();
        Ok(())
    }

    fn write(&mut self, frame: &[u8], end: u64) -> std::io::Result<()> {
        if end > self.length {
            let missing = end.saturating_sub(self.length).max(GROWTH_BYTES);
            let grown = self.length.saturating_add(missing).min(self.capacity.max(end));
            let zeros = grown.saturating_sub(self.length);
            let zeros = usize::try_from(zeros).map_err(std::io::Error::other)?;
            self.file.write_at(self.length, &vec![0; zeros])?;
            self.length = grown;
        }
        if !self.found.is_empty() {
            self.file.write_at(SECTOR_BYTES, &self.found)?;
        }
        self.file.write_at(self.offset, frame)?;
        self.file.sync()?;
        self.found = Vec::new();
        Ok(())
    }

    /// The backend has everything: the next frame goes to the start. What lies there has numbers
    /// that the backend knows, so nothing need be erased.
    pub(crate) fn rewind(&mut self) {
        self.offset = SECTOR_BYTES;
        self.found = Vec::new();
        self.end = self.tags.end_of_round(self.capacity, self.last());
    }
}

/// Whether a commit is so large that it is not worth writing twice.
pub(crate) fn is_large(changes: &[Change]) -> bool {
    let length = |change: &Change| {
        change.key.len().saturating_add(change.value.as_ref().map_or(0, Vec::len))
    };
    let has_large = changes.iter().any(|change| length(change) > MAX_LOGGED_RECORD_BYTES);
    has_large || changes.iter().map(length).sum::<usize>() > MAX_FRAME_BYTES
}

/// Hands over the changes of every frame that is intact, wherever it lies, for salvage.
pub(crate) fn each_change(
    disk: &dyn Disk,
    path: &Path,
    each: impl FnMut(Change) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |e: std::io::Error| io_error(path.display(), &e);
    if !disk.exists(path).map_err(failed)? {
        return Ok(());
    }
    let file = disk.open(path, OpenMode::Read).map_err(failed)?;
    let bytes = read_all(&*file).map_err(failed)?;
    let Some(tags) = Tags::of_head(&bytes) else { return Ok(()) };
    tags.all_frames(&bytes).flat_map(|frame| frame.changes).try_for_each(each)
}

/// The number behind the last frame.
fn next(applied: u64, frames: &[Frame]) -> u64 {
    frames.last().map_or(applied, |frame| frame.sequence).saturating_add(1)
}

/// Makes an empty log with a new key; durable on return.
fn create(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    let mut head = MAGIC.to_vec();
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key)
        .map_err(|e| StoreError::Io(format!("{}: no random numbers: {e}", path.display())))?;
    head.extend_from_slice(&key);
    let checksum = crc32fast::hash(&head);
    head.extend_from_slice(&checksum.to_le_bytes());
    replace_file(disk, path, &head)
        .and_then(|()| disk.sync_folder(path.parent().unwrap_or(path)))
        .map_err(|e| io_error(path.display(), &e))
}

impl Tags {
    /// With the key in a log's head. `None`: it is damaged.
    fn of_head(bytes: &[u8]) -> Option<Self> {
        let head = bytes.first_chunk::<HEAD_BYTES>()?;
        let (body, checksum) = head.split_last_chunk::<4>()?;
        let key = body.strip_prefix(&MAGIC)?;
        if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
            return None;
        }
        Hmac::new_from_slice(key).ok().map(Self)
    }

    /// A commit as a frame, padded to whole sectors. `None`: it is too long for one.
    fn encode(&self, sequence: u64, changes: &[Change]) -> Option<Vec<u8>> {
        let body = journal::encode_changes(changes);
        if body.len() > MAX_BODY_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(body.len().checked_add(1024)?);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&u32::try_from(body.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&sequence.to_le_bytes());
        bytes.extend_from_slice(&body);
        let tag = self.tag(&bytes);
        bytes.extend_from_slice(&tag);
        bytes.resize(bytes.len().checked_next_multiple_of(usize::try_from(SECTOR_BYTES).ok()?)?, 0);
        Some(bytes)
    }

    /// Reads the frame at the start of `bytes`. `None`: there is none, or it is damaged.
    fn decode(&self, bytes: &[u8]) -> Option<Frame> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, _) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        if length > MAX_BODY_BYTES {
            return None;
        }
        let (signed, rest) = bytes.split_at_checked(length.checked_add(FRAME_HEAD_BYTES)?)?;
        if self.tag(signed) != *rest.first_chunk::<TAG_BYTES>()? {
            return None;
        }
        let changes = journal::decode_changes(signed.get(FRAME_HEAD_BYTES..)?)?;
        let sequence = u64::from_le_bytes(*sequence);
        let length = signed.len().checked_add(TAG_BYTES)? as u64;
        Some(Frame { sequence, changes, length: length.checked_next_multiple_of(SECTOR_BYTES)? })
    }

    /// Where a round ends that begins behind a commit: by chance, from half of the capacity on.
    fn end_of_round(&self, capacity: u64, sequence: u64) -> u64 {
        let tag = self.tag(&sequence.to_le_bytes());
        let chance = u64::from_le_bytes(tag.first_chunk().copied().unwrap_or_default());
        let half = capacity / 2;
        capacity.saturating_sub(chance.checked_rem(half).unwrap_or(0))
    }

    fn tag(&self, bytes: &[u8]) -> [u8; TAG_BYTES] {
        let whole = self.0.clone().chain_update(bytes).finalize().into_bytes();
        whole.first_chunk().copied().unwrap_or_default()
    }

    /// The frames from the start on, as long as their numbers follow each other.
    fn frames_behind(&self, bytes: &[u8], applied: u64) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        let mut offset = SECTOR_BYTES;
        while let Some(frame) = from(bytes, offset).and_then(|bytes| self.decode(bytes)) {
            if frame.sequence != next(applied, &frames) {
                break;
            }
            offset = offset.saturating_add(frame.length);
            frames.push(frame);
        }
        frames
    }

    /// Every intact frame, also those that were left behind.
    fn all_frames<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Frame> + 'a {
        let sectors = 1..(bytes.len() as u64).div_ceil(SECTOR_BYTES);
        sectors.filter_map(|n| self.decode(from(bytes, n.saturating_mul(SECTOR_BYTES))?))
    }
}

fn from(bytes: &[u8], offset: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(offset).ok()?..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn change(n: u8, length: usize) -> Vec<Change> {
        vec![Change { key: vec![n], value: Some(vec![n; length]) }]
    }

    fn open(path: &Path, applied: u64) -> Result<(CommitLog, Vec<u64>), StoreError> {
        let (log, frames) = CommitLog::open(&RealDisk, path, 1 << 20, applied)?;
        Ok((log, frames.iter().map(|frame| frame.sequence).collect()))
    }

    /// A log with five commits, each of two sectors.
    fn five(path: &Path) -> CommitLog {
        let (mut log, _) = open(path, 0).unwrap();
        for n in 1..=5 {
            let frame = log.frame(&change(n, 600)).unwrap();
            assert_eq!(frame.len(), 1024);
            log.append(&frame).unwrap();
        }
        log
    }

    fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
        RealDisk.open(path, OpenMode::Write).unwrap().write_at(offset, bytes).unwrap();
    }

    #[test]
    fn what_the_backend_has_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(five(&path).last(), 5);
        assert_eq!(open(&path, 0).unwrap().1, [1, 2, 3, 4, 5]);
        // It moved on with all five, and a crash came before the next commit.
        let (mut log, frames) = open(&path, 5).unwrap();
        assert!(frames.is_empty());
        let frame = log.frame(&change(6, 10)).unwrap();
        log.append(&frame).unwrap();
        assert_eq!(open(&path, 5).unwrap().1, [6]);
        // The backend lost what it had.
        assert!(matches!(open(&path, 3), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn a_torn_end_is_left_out_and_a_hole_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        five(&path);
        overwrite(&path, 512 + 4 * 1024 + 100, b"torn");
        let (mut log, frames) = open(&path, 0).unwrap();
        assert_eq!(frames, [1, 2, 3, 4]);
        let frame = log.frame(&change(9, 600)).unwrap();
        log.append(&frame).unwrap();
        assert_eq!(open(&path, 0).unwrap().1, [1, 2, 3, 4, 5]);
        overwrite(&path, 512 + 2 * 1024 + 100, b"torn");
        assert!(matches!(open(&path, 0), Err(StoreError::Corrupt { .. })));
        overwrite(&path, 10, b"key");
        assert!(matches!(open(&path, 0), Err(StoreError::Corrupt { .. })));
    }

    #[test]
    fn every_changed_bit_of_a_frame_is_noticed() {
        let tags = Tags(Hmac::new_from_slice(b"key").unwrap());
        let frame = tags.encode(7, &change(1, 20)).unwrap();
        assert_eq!(tags.decode(&frame).map(|frame| frame.sequence), Some(7));
        let end = frame.iter().rposition(|byte| *byte != 0).unwrap();
        for bit in 0..8 * end {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(tags.decode(&changed), None, "bit {bit}");
        }
    }

    #[test]
    fn a_length_beyond_every_frame_is_damage() {
        let tags = Tags(Hmac::new_from_slice(b"key").unwrap());
        let room = MAX_BODY_BYTES - journal::encode_changes(&change(1, 0)).len();
        let largest = tags.encode(7, &change(1, room)).unwrap();
        assert_eq!(tags.decode(&largest).map(|frame| frame.sequence), Some(7));
        assert_eq!(tags.encode(7, &change(1, room + 1)), None);
        // With a good tag over all of it, so that nothing but the length is wrong.
        let length = u32::try_from(MAX_BODY_BYTES + 1).unwrap();
        let head = [&MAGIC[..], &length.to_le_bytes(), &7_u64.to_le_bytes()].concat();
        let body = journal::encode_changes(&change(1, room + 1));
        let mut longer = [head, body].concat();
        let tag = tags.tag(&longer);
        longer.extend_from_slice(&tag);
        assert_eq!(tags.decode(&longer), None);
    }

    /// Somebody puts a value that looks like a commit, where one that is overwritten would end.
    #[test]
    fn words_of_a_stranger_are_never_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, _) = open(&path, 0).unwrap();
        let stranger = Tags(Hmac::new_from_slice(b"another").unwrap());
        let forge = |tags: &Tags| {
            let forged = tags.encode(3, &change(66, 10)).unwrap();
            let padding = 512 - FRAME_HEAD_BYTES - 1 - 8 - 1 - 8;
            let value = [vec![0; padding], forged].concat();
            vec![Change { key: vec![1], value: Some(value) }]
        };
        for (tags, is_read) in [(stranger, false), (log.tags.clone(), true)] {
            let frame = log.frame(&forge(&tags)).unwrap();
            overwrite(&path, 512, &frame);
            log.rewind();
            log.sequence = 2;
            let short = log.frame(&change(2, 10)).unwrap();
            log.append(&short).unwrap();
            let found = open(&path, 1).unwrap().1;
            assert_eq!(found.contains(&3), is_read, "the place is the right one");
        }
    }

    #[test]
    fn what_is_large_goes_to_the_backend_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = CommitLog::open(&RealDisk, &folder.path().join("log"), 1 << 22, 0).unwrap();
        assert!(log.frame(&change(1, MAX_LOGGED_RECORD_BYTES - 1)).is_some());
        assert!(log.frame(&change(1, MAX_LOGGED_RECORD_BYTES)).is_none());
        let many = |n| vec![change(1, 1023).remove(0); n];
        assert!(log.frame(&many(MAX_FRAME_BYTES / 1024)).is_some());
        assert!(log.frame(&many(MAX_FRAME_BYTES / 1024 + 1)).is_none());
    }

    #[test]
    fn a_full_log_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (mut log, _) = CommitLog::open(&RealDisk, &path, 4096, 0).unwrap();
        let ends: std::collections::BTreeSet<u64> =
            (0..100).map(|n| log.tags.end_of_round(4096, n)).collect();
        assert!(ends.len() > 50 && ends.iter().all(|end| (2048..=4096).contains(end)));
        let mut count = 0;
        while let Some(frame) = log.frame(&change(1, 600)) {
            log.append(&frame).unwrap();
            count += 1;
        }
        assert!((1..=3).contains(&count), "{count}");
        assert!(RealDisk.open(&path, OpenMode::Read).unwrap().length().unwrap() <= 4096);
    }
}
