//! Kinds of faults: a seed draws some of them; one that is wanted can be named.

/// What goes wrong in a run, besides crashes of nodes and clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// Two parts of the parties do not hear each other.
    Halves,
    /// One part does not hear the other.
    OneWay,
    /// One node neither hears nor is heard.
    IsolateOne,
    /// Two parts hear each other only through one node that hears both.
    Bridge,
    /// Two parts lose and find each other again and again.
    Flapping,
    /// 30 % of all messages are lost.
    Loss,
    /// 50 % of all messages come twice.
    Duplicates,
    /// 5 % of all messages come with a changed byte.
    Corruption,
    /// A fifth of all messages takes up to ten seconds.
    LongDelays,
    /// One node takes its time for everything, up to ten seconds.
    SlowNode,
    /// The clocks of clients differ by up to ten years, and jump.
    Clocks,
    /// Nodes lose their disks, or get old copies of them back. There is one Byzantine node less
    /// in each group: a node that forgot counts as one of the b.
    LostDisk,
    /// Members come and go, one at a time, while others read and write.
    Membership,
    /// The same with two operators who know nothing of each other, and with liars who propose
    /// changes, vote for everything and tell of changes that have no votes.
    Rivals,
    /// The same as `membership`, and members are cut out: liars by command or on proof, and those that
    /// were removed. The others certify again what they had signed. At the end the keys of those who were
    /// removed and cut are in the hands of the liars.
    CutOut,
    /// `membership` and `lost-disk` together.
    MovingDisks,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Halves,
        Self::OneWay,
        Self::IsolateOne,
        Self::Bridge,
        Self::Flapping,
        Self::Loss,
        Self::Duplicates,
        Self::Corruption,
        Self::LongDelays,
        Self::SlowNode,
        Self::Clocks,
        Self::LostDisk,
        Self::Membership,
        Self::Rivals,
        Self::CutOut,
        Self::MovingDisks,
    ];

    /// Those that cut links.
    pub(crate) const SPLITS: [Self; 5] =
        [Self::Halves, Self::OneWay, Self::IsolateOne, Self::Bridge, Self::Flapping];

    /// How commands call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Halves => "halves",
            Self::OneWay => "one-way",
            Self::IsolateOne => "isolate-one",
            Self::Bridge => "bridge",
            Self::Flapping => "flapping",
            Self::Loss => "loss",
            Self::Duplicates => "duplicates",
            Self::Corruption => "corruption",
            Self::LongDelays => "long-delays",
            Self::SlowNode => "slow-node",
            Self::Clocks => "clocks",
            Self::LostDisk => "lost-disk",
            Self::Membership => "membership",
            Self::Rivals => "rivals",
            Self::CutOut => "cut-out",
            Self::MovingDisks => "moving-disks",
        }
    }

    /// The fault of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

/// Which faults a run must have, besides those that its seed draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums, reason = "callers choose one, all or none")]
pub enum Faults {
    /// What the seed draws.
    #[default]
    Drawn,
    /// This one as well.
    With(Fault),
    /// All of them at once.
    All,
}

impl Faults {
    /// Whether nodes lose their disks. Only by name: with all faults at once, the Byzantine nodes
    /// are the full number.
    pub(crate) fn lose_disks(self) -> bool {
        matches!(self, Self::With(Fault::LostDisk | Fault::MovingDisks))
    }

    /// Whether members come and go. Only by name, as it makes another world: with guests, and with
    /// clients and nodes that know different configurations.
    pub(crate) fn change_members(self) -> bool {
        use Fault::{CutOut, Membership, MovingDisks, Rivals};
        matches!(self, Self::With(Membership | Rivals | CutOut | MovingDisks))
    }

    /// Whether two operators propose changes, and liars as well.
    pub(crate) fn compete(self) -> bool {
        self == Self::With(Fault::Rivals)
    }

    /// Whether members are cut out, and entries certified again.
    pub(crate) fn cut_out(self) -> bool {
        self == Self::With(Fault::CutOut)
    }

    /// Whether the run must have this one.
    pub(crate) fn include(self, fault: Fault) -> bool {
        match self {
            Self::Drawn => false,
            Self::With(wanted) => wanted == fault,
            Self::All => true,
        }
    }
}
