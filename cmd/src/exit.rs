//! Exit codes.

use std::process::ExitCode;

/// How the program ends. Scripts depend on the numbers: they are documented in `--help` and in the
/// README, and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked is done.
    Done,
    /// A failure that no other code fits.
    Failed,
    /// The arguments make no sense.
    Usage,
    /// The nodes refuse, and trying again does not help.
    Refused,
    /// There is no such variable or version.
    Absent,
    /// Too few nodes answered, or others were in the way: try again.
    TryAgain,
    /// Whether the value was written is not known.
    Unknown,
    /// A proof does not hold.
    InvalidProof,
}

/// The table for `--help`; a test compares it with [`Exit::number`].
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the message says why
  2  the arguments make no sense
  3  refused: not the owner, sealed, or no quorum certificate
  4  absent: never written (an empty value is not absent)
  5  too few nodes could be reached, or others were in the way: try again
  6  unknown: whether the value was written must be read
  7  a proof does not hold";

impl Exit {
    /// The number.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Absent => 4,
            Self::TryAgain => 5,
            Self::Unknown => 6,
            Self::InvalidProof => 7,
        }
    }

    /// One word for programs, in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::Absent => "absent",
            Self::TryAgain => "try-again",
            Self::Unknown => "unknown",
            Self::InvalidProof => "invalid-proof",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lists_every_code() {
        use Exit::*;
        let all = [Done, Failed, Usage, Refused, Absent, TryAgain, Unknown, InvalidProof];
        for (line, exit) in EXIT_CODES.lines().skip(1).zip(all) {
            assert!(line.starts_with(&format!("  {}  ", exit.number())), "{line}");
        }
        assert_eq!(EXIT_CODES.lines().count(), all.len() + 1);
    }
}
