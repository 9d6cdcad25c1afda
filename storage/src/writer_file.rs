//! The file of a writer's log: appended to, read again, compacted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::WriterLogError;
use crate::census::Anchor;
use crate::disk::{Disk, DiskFile, OpenMode, replace_file};
use crate::writer_record::{Head, Index, Record, frame, unframe};

/// The log file as this process knows it. Every method is called under the lock of the home.
#[derive(Debug)]
pub(crate) struct WriterFile {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    anchor_path: PathBuf,
    /// The head of the file that was read last.
    head: Option<Head>,
    /// How far it was read, in bytes.
    offset: u64,
    /// How many of its records were read.
    records: u64,
    /// A note in the anchor that was synced by this process.
    anchored: Option<u64>,
    index: Index,
}

/// A log is not compacted before it is as large as this: 1 MiB is read in a few milliseconds.
const MIN_COMPACT_BYTES: u64 = 1024 * 1024;

const LOG: &str = "writer.log";
const ANCHOR: &str = "writer.anchor";

impl WriterFile {
    pub(crate) fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            anchor_path: folder.join(ANCHOR),
            head: None,
            offset: 0,
            records: 0,
            anchored: None,
            index: Index::default(),
        }
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Makes the log of a new home. The anchor comes first: a log without one is damaged, an
    /// anchor of zero without a log is a home that was not finished.
    pub(crate) fn create_if_missing(&self) -> Result<(), WriterLogError> {
        let exists = |path: &Path| self.disk.exists(path).map_err(|e| self.failed(&e));
        if exists(&self.log_path())? {
            return Ok(());
        }
        if !exists(&self.anchor_path)? {
            Anchor::create(&*self.disk, &self.anchor_path).map_err(|e| self.failed(&e))?;
        } else if self.open_anchor()?.1 > 0 {
            return Err(self.damaged("it is gone, and with it the timestamps that are used up"));
        }
        let head = Head { generation: 0, before: 0 };
        replace_file(&*self.disk, &self.log_path(), &head.encode())
            .and_then(|()| self.disk.sync_folder(&self.folder))
            .map_err(|e| self.failed(&e))
    }

    /// Reads what other processes wrote since the last time, and cuts off a torn tail.
    pub(crate) fn refresh(&mut self) -> Result<(), WriterLogError> {
        let file = self.open_log()?;
        let head = self.read_head(&*file)?;
        let is_new = self.head != Some(head);
        if is_new {
            (self.offset, self.records) = (Head::BYTES as u64, 0);
            self.index = Index::default();
            self.head = Some(head);
        }
        let length = file.length().map_err(|e| self.failed(&e))?;
        if length == self.offset && !is_new {
            return Ok(());
        }
        let tail = self.read_tail(&*file, length)?;
        let mut rest = tail.as_slice();
        while let Some((record, next)) = unframe(rest) {
            self.offset += (rest.len() - next.len()) as u64;
            self.records += 1;
            self.index.apply(record);
            rest = next;
        }
        let known = head.before.saturating_add(self.records);
        let noted = self.open_anchor()?.1;
        self.anchored = Some(noted);
        if known < noted {
            return Err(self.damaged("records that were on disk are missing"));
        }
        if !rest.is_empty() {
            file.set_len(self.offset).and_then(|()| file.sync()).map_err(|e| self.failed(&e))?;
        }
        Ok(())
    }

    /// Appends a record; durable on return.
    pub(crate) fn append_synced(&mut self, record: Record) -> Result<(), WriterLogError> {
        self.append_all_synced(vec![record])
    }

    /// Appends records and syncs them once. After a crash in between, the first few may be there.
    pub(crate) fn append_all_synced(&mut self, records: Vec<Record>) -> Result<(), WriterLogError> {
        if records.is_empty() {
            return Ok(());
        }
        self.append_all(records)?.sync().map_err(|e| self.failed(&e))?;
        let written = self.head.map_or(0, |head| head.before).saturating_add(self.records);
        let anchor = Anchor::open_again(&*self.disk, &self.anchor_path, self.anchored)
            .map_err(|e| self.damaged(&e.to_string()))?;
        anchor.note(written).map_err(|e| self.failed(&e))?;
        self.anchored = Some(written);
        self.compact_if_grown()
    }

    /// Appends a record; durable with the next one that is synced.
    pub(crate) fn append(&mut self, record: Record) -> Result<Box<dyn DiskFile>, WriterLogError> {
        self.append_all(vec![record])
    }

    /// Appends records, in one piece.
    pub(crate) fn append_all(
        &mut self,
        records: Vec<Record>,
    ) -> Result<Box<dyn DiskFile>, WriterLogError> {
        let bytes: Vec<u8> = records.iter().flat_map(frame).collect();
        let file = self.open_log()?;
        file.write_at(self.offset, &bytes).map_err(|e| self.failed(&e))?;
        self.offset += bytes.len() as u64;
        self.records += records.len() as u64;
        records.into_iter().for_each(|record| self.index.apply(record));
        Ok(file)
    }

    /// Replaces the file by a short one that says the same. Other processes notice the new
    /// generation at their next operation: every one opens the file by its name.
    fn compact_if_grown(&mut self) -> Result<(), WriterLogError> {
        if self.offset < MIN_COMPACT_BYTES {
            return Ok(());
        }
        let records = self.index.records();
        let body: Vec<u8> = records.iter().flat_map(frame).collect();
        if self.offset < 2 * body.len() as u64 {
            return Ok(());
        }
        let old = self.head.unwrap_or(Head { generation: 0, before: 0 });
        let count = records.len() as u64;
        let written = old.before.saturating_add(self.records);
        let head = Head { generation: old.generation + 1, before: written.saturating_sub(count) };
        replace_file(&*self.disk, &self.log_path(), &[head.encode(), body].concat())
            .and_then(|()| self.disk.sync_folder(&self.folder))
            .map_err(|e| self.failed(&e))?;
        // The next operation reads the new file from its start.
        self.head = None;
        Ok(())
    }

    fn read_head(&self, file: &dyn DiskFile) -> Result<Head, WriterLogError> {
        let mut bytes = [0; Head::BYTES];
        file.read_at(0, &mut bytes).map_err(|e| self.failed(&e))?;
        Head::decode(&bytes).ok_or_else(|| self.damaged("its head does not fit its checksum"))
    }

    fn read_tail(&self, file: &dyn DiskFile, length: u64) -> Result<Vec<u8>, WriterLogError> {
        let count = length
            .checked_sub(self.offset)
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| self.damaged("it became shorter"))?;
        let mut bytes = vec![0; count];
        let read = file.read_at(self.offset, &mut bytes).map_err(|e| self.failed(&e))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn open_log(&self) -> Result<Box<dyn DiskFile>, WriterLogError> {
        let path = self.log_path();
        if !self.disk.exists(&path).map_err(|e| self.failed(&e))? {
            return Err(self.damaged("it is gone"));
        }
        self.disk.open(&path, OpenMode::Write).map_err(|e| self.failed(&e))
    }

    fn open_anchor(&self) -> Result<(Anchor, u64), WriterLogError> {
        Anchor::open(&*self.disk, &self.anchor_path, true).map_err(|e| self.damaged(&e.to_string()))
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> WriterLogError {
        WriterLogError::Io { path: self.log_path(), reason: error.to_string() }
    }

    fn damaged(&self, reason: &str) -> WriterLogError {
        WriterLogError::Damaged { path: self.log_path(), reason: reason.to_owned() }
    }
}
