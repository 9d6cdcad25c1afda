//! The head of a variable: all that a signer must not forget, in one small record.

use bftkv_protocol::{CertifiedEntry, Marks, StoreError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::backend::corrupt;
use crate::record;

/// The signer's memory of a variable, and which version of it is the newest.
///
/// All heads are read and counted before the first signature. So what a signer decides by is known
/// to be right while the check of the whole store still runs: an entry that is not the one which
/// the head names, or is missing, is damage and never an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) marks: Marks,
    pub(crate) newest: Option<Newest>,
}

/// The certified entry with the largest timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Newest {
    pub(crate) timestamp: Timestamp,
    /// Of its record.
    pub(crate) fingerprint: u64,
}

impl Newest {
    /// The entry that this record under this key holds.
    pub(crate) fn of(
        key: &[u8],
        record: &[u8],
        entry: &CertifiedEntry,
    ) -> Result<Self, StoreError> {
        let damaged = || corrupt(record::name(key), "the checksum does not fit");
        let fingerprint = record::fingerprint(key, record).ok_or_else(damaged)?;
        Ok(Self { timestamp: entry.timestamp(), fingerprint })
    }
}

/// What a commit does to a head.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadChange {
    pub(crate) marks: Option<Marks>,
    pub(crate) newest: Option<Newest>,
}

impl HeadChange {
    /// Adds a stored entry. One with the same timestamp takes the place of the one before.
    pub(crate) fn add(&mut self, stored: Newest) {
        if self.newest.is_none_or(|newest| newest.timestamp <= stored.timestamp) {
            self.newest = Some(stored);
        }
    }

    /// Adds a later change.
    pub(crate) fn merge(&mut self, later: Self) {
        self.marks = later.marks.or(self.marks.take());
        later.newest.into_iter().for_each(|newest| self.add(newest));
    }

    /// Changes a head.
    pub(crate) fn apply(self, head: &mut Head) {
        if let Some(marks) = self.marks {
            head.marks = marks;
        }
        if let Some(stored) = self.newest
            && head.newest.is_none_or(|newest| newest.timestamp <= stored.timestamp)
        {
            head.newest = Some(stored);
        }
    }
}
