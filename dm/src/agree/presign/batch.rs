//! The batch that is being made.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bftkv_threshold::ecdsa::{Presign, PresignDealt, PresignProven, PresignShared};

use super::pool::Pool;
use super::sealing::Sealing;
use super::values::Shape;
use crate::agree::council::Dm;

/// What a member with a P-256 key has beside the others.
#[derive(Debug)]
pub(in crate::agree) struct Presigning {
    pub(super) sealing: Arc<dyn Sealing>,
    pub(super) shape: Shape,
    pub(super) pool: Pool,
    pub(super) batch: Batch,
    /// The first batch for this key. Whatever comes late of one below is for another.
    pub(super) since: u32,
    /// How many batches failed since one was made.
    pub(super) failures: u32,
    /// How often each DM was silent, or was part of a quarrel; halved by each batch that is made.
    pub(super) absent: BTreeMap<Dm, u32>,
}

impl Presigning {
    pub(super) fn new(sealing: Arc<dyn Sealing>, shape: Shape, number: u32) -> Self {
        Self {
            sealing,
            shape,
            pool: Pool::default(),
            batch: Batch::new(number),
            since: number,
            failures: 0,
            absent: BTreeMap::new(),
        }
    }

    /// What another key can use of it, and the number of its last batch.
    pub(in crate::agree) fn into_sealing(self) -> (Arc<dyn Sealing>, u32) {
        (self.sealing, self.batch.number)
    }

    /// Goes on to this batch. What was made for the one before is gone.
    pub(super) fn enter(&mut self, number: u32) {
        self.batch = Batch::new(number);
        self.pool.forget(number);
    }

    pub(super) fn note_absent(&mut self, dm: Dm) {
        let count = self.absent.entry(dm).or_default();
        *count = count.saturating_add(1);
    }

    /// A batch was made: what was long ago counts less.
    pub(super) fn note_success(&mut self) {
        self.failures = 0;
        self.absent.values_mut().for_each(|count| *count /= 2);
        self.absent.retain(|_, count| *count > 0);
    }
}

/// One batch, as we see it.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u32,
    pub(super) part: Part,
    /// We have begun with it, whatever became of that.
    pub(super) is_begun: bool,
    /// Enough have begun it.
    pub(super) is_on: bool,
    /// When to go on to the next.
    pub(super) deadline: Option<u64>,
    /// As its leader: when there were commitments of enough DMs.
    pub(super) enough_at: Option<u64>,
    /// When it was last asked for what may have been missed.
    pub(super) asked: u64,
    /// How often.
    pub(super) asks: u32,
}

impl Batch {
    fn new(number: u32) -> Self {
        let part = Part::Out;
        Self {
            number,
            part,
            is_begun: false,
            is_on: false,
            deadline: None,
            enough_at: None,
            asked: 0,
            asks: 0,
        }
    }
}

/// How far our part is. Secret, and in memory only.
pub(super) enum Part {
    /// We do not take part, or not any more.
    Out,
    /// It is with a job.
    Away,
    Began(Presign),
    Shared(PresignShared),
    Proven(PresignProven),
    Dealt(PresignDealt),
    Finished,
}

impl Part {
    /// It may yet be finished.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Self::Out | Self::Began(_) | Self::Finished)
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "Out",
            Self::Away => "Away",
            Self::Began(_) => "Began",
            Self::Shared(_) => "Shared",
            Self::Proven(_) => "Proven",
            Self::Dealt(_) => "Dealt",
            Self::Finished => "Finished",
        })
    }
}
