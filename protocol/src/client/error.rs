//! How an operation can fail, and whose fault it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Address, CertifiedEntry, ConfigurationDigest, NodeId, Slot, Timestamp};

/// What a node did wrong. Silence and stale answers are no crime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It sent a share that is not its valid signature over the entry.
    #[error("sent an invalid signature share")]
    BadShare,
    /// It sent a time answer whose signature is not valid.
    #[error("sent an invalid time answer")]
    BadTime,
    /// It sent an entry that is not certified, or is of another variable.
    #[error("sent an entry that is not certified for this variable")]
    BadEntry,
    /// It gave an answer that does not fit the question, or could not be authenticated.
    #[error("sent an answer that does not fit the question")]
    BadAnswer,
    /// It claimed to remember an attempt that its writer did not sign.
    #[error("claimed to remember what nobody signed")]
    BadMemory,
    /// It signed two different entries for one timestamp.
    #[error("signed two entries for one timestamp")]
    Equivocation,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Somebody else owns the variable; the entry proves it. Use another variable.
    #[error("not the owner: the variable belongs to {}", .0.entry().owner)]
    NotOwner(Box<CertifiedEntry>),
    /// The variable is sealed by a write-once value; the entry proves it.
    #[error("sealed: the variable holds a write-once value (timestamp {})", .0.timestamp())]
    Sealed(Box<CertifiedEntry>),
    /// An earlier write-once attempt with another value is outstanding. Write that value once
    /// more to finish it.
    #[error(
        "a write-once attempt with another value (SHA-256 {}) is outstanding at timestamp {}: \
         write that value once more to finish it",
        .0.value,
        .0.timestamp
    )]
    OutstandingFinal(Box<Slot>),
    /// Too few members of the clique have certified the user ID. Have more of them certify it.
    #[error(
        "no quorum certificate: {owner} must be certified by more than b members of the clique \
         ({} said that it is not)",
        .by.len()
    )]
    NoQuorumCertificate {
        /// The address that was claimed.
        owner: Address,
        /// Who said so.
        by: BTreeSet<NodeId>,
    },
    /// More than b members say that this client's request itself is wrong.
    #[error("refused with code {code}: {reason}")]
    Refused {
        /// The refusal's code.
        code: u16,
        /// The refusal in words.
        reason: String,
    },
    /// Other writers of the variable stood in the way until the deadline. Nothing was written; try
    /// again.
    #[error("other writers stood in the way until the deadline; nothing was written, try again")]
    Contention,
    /// Attempts of another owner are outstanding on an empty variable and are neither finished nor
    /// given up. Nothing was written.
    #[error(
        "an unfinished attempt of {owner} blocks the variable; nothing was written: \
         try later, or ask an operator to clear it"
    )]
    Blocked {
        /// Whose attempt.
        owner: Address,
    },
    /// Too few nodes answered before the deadline. Nothing was written; try again when they are
    /// back.
    #[error("only {have} of the {need} nodes needed to {phase} answered before the deadline{}", names(.missing))]
    Unreachable {
        /// What was to be done.
        phase: Phase,
        /// How many answered.
        have: usize,
        /// How many are needed.
        need: usize,
        /// Who did not.
        missing: BTreeSet<NodeId>,
    },
    /// The value has all its signatures, but too few nodes confirmed storing it before the
    /// deadline. It may be read from now on, or not.
    #[error(
        "unknown outcome: the value is signed (timestamp {timestamp}), but only {have} of {need} \
         nodes confirmed storing it{}; read the variable to see, or write again",
        names(.missing)
    )]
    Unknown {
        /// t of the entry.
        timestamp: Timestamp,
        /// How many confirmed, in the group that lacks most.
        have: usize,
        /// How many are needed.
        need: usize,
        /// Who did not.
        missing: BTreeSet<NodeId>,
    },
    /// The nodes have another configuration. Join again.
    #[error(
        "the nodes have configuration {theirs}: join again (`bftkv graph` shows the difference)"
    )]
    OtherConfiguration {
        /// Theirs.
        theirs: ConfigurationDigest,
    },
    /// The operation was given up before it was over. The caller's doing.
    #[error("the operation was given up before it was over")]
    Unfinished,
    /// The own key or home failed.
    #[error("own key or home: {0}")]
    Own(String),
}

/// What a quorum was needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Phase {
    /// To choose a timestamp.
    #[error("choose a timestamp")]
    Time,
    /// To sign.
    #[error("sign")]
    Sign,
    /// To read.
    #[error("read")]
    Read,
    /// To confirm that what was read will not be forgotten.
    #[error("confirm what was read")]
    WriteBack,
    /// To certify again what has lost its signers.
    #[error("certify again what has lost its signers")]
    Certify,
}

fn names(missing: &BTreeSet<NodeId>) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let list: Vec<String> = missing.iter().take(8).map(ToString::to_string).collect();
    let more = if missing.len() > list.len() { ", ..." } else { "" };
    format!(" (missing: {}{more})", list.join(", "))
}

/// An operation that failed, and every node that was found lying on the way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ClientError {
    /// What went wrong.
    pub problem: Problem,
    /// Who lied, and how. They need not have caused the problem.
    pub culprits: BTreeMap<NodeId, Fault>,
}

impl ClientError {
    pub(super) fn unfinished() -> Self {
        Self { problem: Problem::Unfinished, culprits: BTreeMap::new() }
    }
}
