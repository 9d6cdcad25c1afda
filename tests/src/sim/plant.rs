//! Bugs put in on purpose, to see that the invariants find them.

use super::fault::{Fault, Faults};

/// One way to drive the state machines wrongly. None of them touches the rules themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Plant {
    /// A node's share leaves before its slot is on the disk, and a crash loses the slot.
    ShareBeforeSync,
    /// A node that restarts has forgotten its marks.
    ForgetMarks,
    /// A reader returns what it read without waiting for the write-back.
    NoWriteBack,
    /// The writer's home forgets which attempts had all their shares, and abandons them.
    AbandonAssembled,
    /// The writer's home keeps nothing over a crash.
    ForgetHome,
    /// Two processes of one home do not see each other's reservations.
    NoHomeLock,
    /// The writer believes the largest timestamp that any one node names.
    MaxTimestamp,
    /// Nodes give every claimed address its quorum certificate.
    BlindIdentities,
    /// Nodes answer that an entry is stored before it is, and a crash loses it.
    AcknowledgeBeforeSync,
    /// A node tells a sender that is not the writer that it is, and gives it the share.
    ShareForAnybody,
    /// Clients blame whoever is silent.
    BlameTheSilent,
    /// Disks keep the newest version only.
    DropHistory,
    /// Disks take what was stored last for the newest.
    LastStoredIsLatest,
    /// A member serves under a new configuration before it has taken over the state.
    ServeAtOnce,
    /// Who takes over or catches up reads the newest version back, and no older one.
    NewestOnly,
    /// A member that has stopped for a change answers under the old configuration until it serves
    /// under the new one.
    AnswersOn,
    /// A member votes for one successor, and then for another.
    VotesTwice,
    /// A member vouches for what it is shown without having it.
    VouchUnstored,
    /// Nobody has entries certified again.
    NeverRepairs,
    /// A password is evaluated before the attempt is on the disk, and a crash loses it.
    EvaluateBeforeSync,
    /// A node signs a value under a password without asking whether its share is here.
    SignWithoutShare,
    /// Shares of records that were replaced are neither erased nor refused.
    OldRecords,
    /// A node answers what came in one message in another order.
    MixesParts,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::ShareBeforeSync,
        Self::ForgetMarks,
        Self::NoWriteBack,
        Self::AbandonAssembled,
        Self::ForgetHome,
        Self::NoHomeLock,
        Self::MaxTimestamp,
        Self::BlindIdentities,
        Self::AcknowledgeBeforeSync,
        Self::ShareForAnybody,
        Self::BlameTheSilent,
        Self::DropHistory,
        Self::LastStoredIsLatest,
        Self::ServeAtOnce,
        Self::NewestOnly,
        Self::AnswersOn,
        Self::VotesTwice,
        Self::VouchUnstored,
        Self::NeverRepairs,
        Self::EvaluateBeforeSync,
        Self::SignWithoutShare,
        Self::OldRecords,
        Self::MixesParts,
    ];

    /// Whether it shows only where there are passwords.
    #[must_use]
    pub fn needs_passwords(self) -> bool {
        matches!(self, Self::EvaluateBeforeSync | Self::SignWithoutShare | Self::OldRecords)
    }

    /// The faults among which it shows.
    #[must_use]
    pub fn faults(self) -> Faults {
        match self {
            Self::ServeAtOnce | Self::NewestOnly | Self::AnswersOn => {
                Faults::With(Fault::Membership)
            }
            Self::VotesTwice => Faults::With(Fault::Rivals),
            Self::VouchUnstored | Self::NeverRepairs => Faults::With(Fault::CutOut),
            _ => Faults::Drawn,
        }
    }
}
