//! The order of the values of one variable.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The paper's t: a counter for each variable, without a clock. 0 means "nothing yet" and no entry
/// carries it; 2^64-1 is refused, so that nobody can close a variable by a huge timestamp.
///
/// Differs: the text marks write-once values by t = 2^64-1. We use the `Final` mark of an entry: a
/// half-done write-once would otherwise block the variable for ever.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);
    /// The greatest timestamp that an entry may carry: 2^64-2.
    pub const MAX: Self = Self(u64::MAX - 1);

    /// A timestamp from its number.
    #[must_use]
    pub const fn new(t: u64) -> Self {
        Self(t)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether an entry may carry it: not 0 and not 2^64-1.
    #[must_use]
    pub fn is_usable(self) -> bool {
        self > Self::ZERO && self <= Self::MAX
    }

    /// This timestamp plus `steps`, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, steps: u64) -> Self {
        Self(self.0.saturating_add(steps)).min(Self::MAX)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
