//! The distribution masters that act as one.

use std::fmt;

/// A distribution master, by its number from 1 to n: also its party number in the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dm(u8);

impl Dm {
    /// DM 1.
    pub(super) const FIRST: Self = Self(1);

    /// The DM with this number, which counts from 1.
    #[must_use]
    pub fn new(number: u8) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Dm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DM {}", self.0)
    }
}

impl fmt::Debug for Dm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How many DMs there are, and what follows from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Council {
    n: u8,
}

impl Council {
    /// The fewest DMs: with fewer no fault is tolerated.
    pub const MIN: u8 = 4;
    /// The most: as many as can hold shares of one key.
    pub const MAX: u8 = 20;

    /// A council of n DMs. `None` outside of [`Council::MIN`] to [`Council::MAX`].
    #[must_use]
    pub fn new(n: u8) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&n).then_some(Self { n })
    }

    /// n.
    #[must_use]
    pub fn size(self) -> usize {
        usize::from(self.n)
    }

    /// b = floor((n-1)/3): how many may be dead or lying. Rule R1 of the store.
    #[must_use]
    pub fn faults(self) -> usize {
        usize::from((self.n - 1) / 3)
    }

    /// q = ceil((n+b+1)/2): any two quorums share an honest DM. Rule R1 of the store.
    #[must_use]
    pub fn quorum(self) -> usize {
        (self.size() + self.faults() + 1).div_ceil(2)
    }

    /// All of them.
    pub fn everyone(self) -> impl Iterator<Item = Dm> {
        (1..=self.n).map(Dm)
    }

    /// Whether there is such a DM.
    #[must_use]
    pub fn contains(self, dm: Dm) -> bool {
        dm.0 <= self.n
    }

    /// Who proposes a serial: DM s mod n, counting from the first.
    #[must_use]
    pub fn proposer(self, serial: u32) -> Dm {
        let place = serial % u32::from(self.n);
        // Below n, which is at most 20.
        Dm(u8::try_from(place).unwrap_or(0) + 1)
    }
}
