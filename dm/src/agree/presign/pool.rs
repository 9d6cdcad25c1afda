//! What a DM has to sign with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bftkv_threshold::ecdsa::Presignatures;
use bftkv_threshold::{Error, Nonces};

use super::range::{Mark, Range};

/// Presignatures by batch. Secret, and in memory only: a restart forgets them.
#[derive(Default)]
pub(in crate::agree) struct Pool {
    /// Ours.
    held: BTreeMap<u32, Presignatures>,
    /// The public parts that are certified, of all batches, also of those that we do not hold.
    public: BTreeMap<u32, Vec<Vec<u8>>>,
    /// The end of the highest certified session that we heard of.
    pub(super) spent: Mark,
    /// The lowest batch that it uses. What lies below is of no more use.
    pub(super) floor: u32,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("spent", &self.spent).finish_non_exhaustive()
    }
}

impl Pool {
    /// How many batches below the newest one that is held without being certified is dropped.
    const PATIENCE: u32 = 64;

    pub(super) fn hold(&mut self, batch: u32, presignatures: Presignatures) {
        if batch >= self.floor {
            self.held.insert(batch, presignatures);
        }
    }

    /// The public parts of what we hold of a batch, if it is whole.
    pub(super) fn held_public(&self, batch: u32) -> Option<Vec<Vec<u8>>> {
        let held = self.held.get(&batch)?;
        (held.next() == 0).then(|| held.public())
    }

    /// These are certified. Whether that is news.
    pub(super) fn certify(&mut self, batch: u32, public: Vec<Vec<u8>>) -> bool {
        batch >= self.floor && self.public.insert(batch, public).is_none()
    }

    pub(super) fn is_certified(&self, batch: u32) -> bool {
        self.public.contains_key(&batch)
    }

    /// How many presignatures the certified batches have.
    pub(super) fn sizes(&self) -> BTreeMap<u32, u16> {
        let size = |parts: &Vec<Vec<u8>>| u16::try_from(parts.len()).unwrap_or(u16::MAX);
        self.public.iter().map(|(batch, parts)| (*batch, size(parts))).collect()
    }

    /// The batches from there on that we can sign with.
    pub(super) fn batches(&self, from: Mark) -> BTreeSet<u32> {
        let held = self.held.range(from.batch..).map(|(batch, _)| *batch);
        held.filter(|batch| self.is_certified(*batch)).collect()
    }

    /// Those that we hold and that are not certified.
    pub(super) fn unsure(&self) -> Vec<u32> {
        self.held.keys().copied().filter(|batch| !self.is_certified(*batch)).collect()
    }

    /// How many presignatures from there on we can sign with.
    pub(super) fn usable(&self, from: Mark) -> usize {
        let left = |batch: u32| {
            let all = self.public.get(&batch).map_or(0, Vec::len);
            let below = if batch == from.batch { usize::from(from.index) } else { 0 };
            all.saturating_sub(below)
        };
        self.batches(from).into_iter().map(left).sum()
    }

    /// A session was certified: what lies below it is of no more use.
    pub(super) fn spend(&mut self, ranges: &[Range]) {
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return };
        if last.end() > self.spent {
            self.spent = last.end();
            self.floor = first.batch;
            self.held.retain(|batch, _| *batch >= first.batch);
            self.public.retain(|batch, _| *batch >= first.batch);
        }
    }

    /// Whatever was held long ago and never certified.
    pub(super) fn forget(&mut self, newest: u32) {
        let public = &self.public;
        let is_sure = |batch: &u32| public.contains_key(batch);
        let floor = newest.saturating_sub(Self::PATIENCE);
        self.held.retain(|batch, _| *batch >= floor || is_sure(batch));
    }

    /// The commitments of a session that uses these.
    pub(super) fn commitments(&self, ranges: &[Range]) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for range in ranges {
            let (first, end) = (usize::from(range.first), usize::from(range.end().index));
            let parts = self.public.get(&range.batch)?.get(first..end)?;
            parts.iter().for_each(|part| all.extend_from_slice(part));
        }
        Some(all)
    }

    /// Takes these out, and with them all below them in their batches. Nobody ever goes back.
    ///
    /// # Errors
    /// We do not have all of them; then those that we have are gone.
    pub(super) fn take(&mut self, ranges: &[Range]) -> Result<Nonces, Error> {
        let mut parts = Vec::new();
        for range in ranges {
            let held = self.held.get_mut(&range.batch).ok_or(Error::OtherNonces)?;
            let (first, count) = (usize::from(range.first), usize::from(range.count));
            let (nonces, _) = held.take(first, count)?;
            parts.push(nonces);
            if held.left() == 0 {
                self.held.remove(&range.batch);
            }
        }
        Nonces::join(parts)
    }
}
