//! Which presignatures.

use crate::agree::codec::{Malformed, Reader, Writer};

/// The place of a presignature among all: batches count up, and so do those in one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
#[allow(clippy::exhaustive_structs, reason = "a pair")]
pub struct Mark {
    /// The number of the batch.
    pub batch: u32,
    /// Which of that batch.
    pub index: u16,
}

impl Mark {
    pub(super) fn write(self, out: &mut Writer) {
        out.u32(self.batch).u16(self.index);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { batch: from.u32()?, index: from.u16()? })
    }
}

/// Some presignatures of one batch, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::exhaustive_structs, reason = "what stands in the bytes")]
pub struct Range {
    /// The number of the batch.
    pub batch: u32,
    /// The first one.
    pub first: u16,
    /// How many.
    pub count: u16,
}

impl Range {
    /// The first one.
    #[must_use]
    pub fn start(&self) -> Mark {
        Mark { batch: self.batch, index: self.first }
    }

    /// The one after the last.
    #[must_use]
    pub fn end(&self) -> Mark {
        Mark { batch: self.batch, index: self.first.saturating_add(self.count) }
    }

    pub(in crate::agree) fn write(&self, out: &mut Writer) {
        self.start().write(out);
        out.u16(self.count);
    }

    pub(in crate::agree) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let Mark { batch, index: first } = Mark::read(from)?;
        let count = from.u16()?;
        if count == 0 || first.checked_add(count).is_none() {
            return Err(from.malformed());
        }
        Ok(Self { batch, first, count })
    }

    /// How many there are in all of these.
    pub(in crate::agree) fn total(ranges: &[Self]) -> usize {
        ranges.iter().map(|range| usize::from(range.count)).sum()
    }
}
