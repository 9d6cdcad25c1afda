//! What stands in a writer's log, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{EntryId, MAX_MESSAGE_BYTES, Timestamp, Variable, decode, encode};
use serde::{Deserialize, Serialize};

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// A process began to use the log, under this number.
    Session(u64),
    /// The largest timestamp that was ever reserved for a variable; written when the log is
    /// compacted.
    Mark(Variable, Timestamp),
    /// An attempt was signed, in this session.
    Reserved(EntryId, u64),
    /// The attempt has S.
    Assembled(EntryId),
    /// The attempt is given up, and may never have S.
    Abandoned(EntryId),
    /// Nothing is left to do for the attempt.
    Settled(EntryId),
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Reserved,
    Assembled,
    Abandoned,
}

/// An attempt that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) stage: Stage,
    /// The process that made it.
    pub(crate) session: u64,
}

/// What all records together say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) marks: BTreeMap<Variable, Timestamp>,
    pub(crate) attempts: BTreeMap<EntryId, Attempt>,
    pub(crate) last_session: u64,
}

impl Index {
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Session(number) => self.last_session = self.last_session.max(number),
            Record::Mark(variable, timestamp) => self.raise(variable, timestamp),
            Record::Reserved(attempt, session) => {
                self.raise(attempt.variable.clone(), attempt.timestamp);
                self.attempts.insert(attempt, Attempt { stage: Stage::Reserved, session });
            }
            Record::Assembled(attempt) => self.advance(&attempt, Stage::Assembled),
            Record::Abandoned(attempt) => self.advance(&attempt, Stage::Abandoned),
            Record::Settled(attempt) => {
                self.attempts.remove(&attempt);
            }
        }
    }

    /// The largest timestamp ever reserved for a variable.
    pub(crate) fn mark(&self, variable: &Variable) -> Timestamp {
        self.marks.get(variable).copied().unwrap_or_default()
    }

    /// The sessions that left something open.
    pub(crate) fn open_sessions(&self) -> BTreeSet<u64> {
        self.attempts.values().map(|attempt| attempt.session).collect()
    }

    /// The fewest records that say the same.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Session(self.last_session)];
        records.extend(self.marks.iter().map(|(x, t)| Record::Mark(x.clone(), *t)));
        for (id, attempt) in &self.attempts {
            records.push(Record::Reserved(id.clone(), attempt.session));
            match attempt.stage {
                Stage::Reserved => {}
                Stage::Assembled => records.push(Record::Assembled(id.clone())),
                Stage::Abandoned => records.push(Record::Abandoned(id.clone())),
            }
        }
        records
    }

    fn raise(&mut self, variable: Variable, timestamp: Timestamp) {
        let mark = self.marks.entry(variable).or_default();
        *mark = timestamp.max(*mark);
    }

    fn advance(&mut self, attempt: &EntryId, stage: Stage) {
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.stage = stage;
        }
    }
}

/// The length and the checksum before each record, in bytes.
const FRAME_BYTES: usize = 8;

/// A record as it stands in the file: length, CRC-32 of length and record, record.
pub(crate) fn frame(record: &Record) -> Vec<u8> {
    let body = encode(record);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = length.to_vec();
    bytes.extend_from_slice(&checksum(&length, &body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

/// Reads the first record; gives it with what follows. `None`: there is no whole one.
pub(crate) fn unframe(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_BYTES>()?;
    let (length, sum) = head.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if count > MAX_MESSAGE_BYTES {
        return None;
    }
    let (body, rest) = rest.split_at_checked(count)?;
    if checksum(length, body).to_le_bytes() != *sum {
        return None;
    }
    decode(body).ok().map(|record| (record, rest))
}

fn checksum(length: &[u8; 4], body: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(length);
    hash.update(body);
    hash.finalize()
}

/// The head of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Counts the compactions: a file with another number is another file.
    pub(crate) generation: u64,
    /// How many records were written before the ones in this file.
    pub(crate) before: u64,
}

const MAGIC: [u8; 4] = *b"bfw1";

impl Head {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.generation.to_le_bytes());
        bytes.extend_from_slice(&self.before.to_le_bytes());
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `None`: this is no head, or a damaged one.
    pub(crate) fn decode(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk::<8>()?;
        let (before, _) = rest.split_first_chunk::<8>()?;
        let generation = u64::from_le_bytes(*generation);
        let head = Self { generation, before: u64::from_le_bytes(*before) };
        (head.encode() == bytes).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::EntryHash;

    use super::*;

    fn attempt(t: u64) -> EntryId {
        EntryId {
            variable: Variable::new(*b"x").unwrap(),
            timestamp: Timestamp::new(t),
            hash: EntryHash::from_bytes([7; 32]),
        }
    }

    #[test]
    fn any_flipped_bit_of_a_frame_or_head_is_noticed() {
        let whole = frame(&Record::Reserved(attempt(7), 3));
        assert_eq!(unframe(&whole), Some((Record::Reserved(attempt(7), 3), &[][..])));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unframe(&damaged), None);
        }
        let head = Head { generation: 1, before: 2 };
        let bytes: [u8; Head::BYTES] = head.encode().try_into().unwrap();
        assert_eq!(Head::decode(&bytes), Some(head));
        for bit in 0..Head::BYTES * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(&damaged), None);
        }
    }

    #[test]
    fn compacted_records_say_the_same() {
        let mut index = Index::default();
        for record in [
            Record::Session(4),
            Record::Reserved(attempt(3), 4),
            Record::Reserved(attempt(9), 4),
            Record::Reserved(attempt(5), 2),
            Record::Assembled(attempt(5)),
            Record::Abandoned(attempt(3)),
            Record::Settled(attempt(9)),
        ] {
            index.apply(record);
        }
        assert_eq!(index.mark(&attempt(1).variable), Timestamp::new(9));
        let mut again = Index::default();
        index.records().into_iter().for_each(|record| again.apply(record));
        assert_eq!(index, again);
    }
}
