//! Enough answers?

/// Whether a count was reached: one answer with three outcomes, never two booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(clippy::exhaustive_enums, reason = "these three are all there are")]
pub enum Progress {
    /// Not yet, but those who have not answered could still make it.
    Pending,
    /// Yes.
    Reached,
    /// Too many are lost: it cannot be reached any more.
    Unreachable,
}

impl Progress {
    /// Both must be reached; one that is unreachable makes the whole unreachable.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unreachable, _) | (_, Self::Unreachable) => Self::Unreachable,
            (Self::Reached, Self::Reached) => Self::Reached,
            _ => Self::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Progress::{self, Pending, Reached, Unreachable};

    #[test]
    fn one_lost_clique_loses_all() {
        let all = [Reached, Pending, Unreachable].into_iter().fold(Reached, Progress::and);
        assert_eq!(all, Unreachable);
        assert_eq!(Reached.and(Pending), Pending);
        assert_eq!(Reached.and(Reached), Reached);
    }
}
