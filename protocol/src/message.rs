//! Requests and answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bytes::{Bytes32, hex};
use crate::hash::digest;
use crate::limited::{self, MAX_CERTIFICATES, MAX_LIST};
use crate::many::{MAX_PARTS, Part, PartOutcome};
use crate::{
    Abandon, Announcement, CertificateBytes, CertifiedEntry, Change, CollectiveSignature,
    ConfigurationDigest, EntryHash, EquivocationProof, Lineage, Marks, NodeId, Refusal,
    RoamingAnswer, RoamingRequest, SignatureBytes, SignatureShare, SignedChange, SignedEntry,
    SignedTime, Timestamp, Variable,
};

digest!(
    /// A random number used once.
    Nonce
);

/// What a sign or abandon request shows to a member that lags behind (rule R3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// The latest certified entry of the variable that the writer knows; it is stored first.
    pub latest: Option<Box<CertifiedEntry>>,
    /// b+1 signed time answers; the smallest of b+1 distinct members' counts.
    #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
    pub times: Vec<SignedTime>,
}

/// A value of at most so many bytes is sent whole where a digest was asked for: that costs hardly more,
/// and saves a second question.
pub const SMALL_VALUE_BYTES: usize = 4 * 1024;

/// So many parts of [`Request::Many`] count as one request where requests are counted.
const PARTS_OF_WEIGHT_ONE: usize = 16;

/// What a client asks of a server. Paper: §4.1, §4.2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// "join": hands over one's own certificate; the answer has those that the peer knows.
    Join {
        /// The sender's certificate.
        certificate: CertificateBytes,
    },
    /// Hands over somebody's certificate, so that an entry of his can be checked.
    Introduce {
        /// The certificate.
        certificate: CertificateBytes,
    },
    /// Asks for certificates by fingerprint.
    Certificates {
        /// The fingerprints.
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
        ids: Vec<NodeId>,
    },
    /// "get time". Paper: §4.1 write, step 1.
    Time {
        /// x.
        variable: Variable,
        /// Whether the answer shall be signed and carry the latest certified entry in full.
        evidence: bool,
    },
    /// "echo request": asks for a share. Paper: §4.1 write, step 2.
    Sign {
        /// <x,t,v,s_C>.
        entry: SignedEntry,
        /// What proves the timestamp to a lagging member.
        evidence: Evidence,
    },
    /// "write" and "write back". Paper: §4.1 write, step 3; read, write back.
    Store {
        /// <x,t,v,s_C,S>.
        entry: CertifiedEntry,
    },
    /// "read". Paper: §4.1 read.
    Read {
        /// x.
        variable: Variable,
        /// Exactly this version instead of the newest.
        at: Option<Timestamp>,
    },
    /// Lists versions of a variable, newest first.
    Versions {
        /// x.
        variable: Variable,
        /// Only versions below this timestamp.
        below: Option<Timestamp>,
        /// At most so many; the server has a limit of its own.
        limit: u16,
    },
    /// Gives up an attempt.
    Abandon {
        /// The signed word of the writer.
        abandon: Abandon,
        /// What proves the timestamp to a lagging member.
        evidence: Evidence,
    },
    /// Asks for the abandon messages that are kept for a variable.
    Abandoned {
        /// x.
        variable: Variable,
    },
    /// Tells of an equivocation.
    Accuse(Box<EquivocationProof>),
    /// Asks for the proofs of equivocation that are kept, in ascending order of the guilty.
    Revocations {
        /// Only proofs against certificates behind this one.
        after: Option<NodeId>,
    },
    /// A member that lost its memory asks for what others remember, variable by variable in
    /// ascending order. Members only.
    Recall {
        /// Only variables behind this one.
        after: Option<Variable>,
        /// At most so many; the server has limits of its own.
        limit: u16,
    },
    /// Asks for the changes of members above a configuration's number.
    Configurations {
        /// The number of the newest configuration that the asker knows; 0 for all.
        above: u64,
    },
    /// Asks a member for its vote for a change of members.
    Propose {
        /// The configuration that is to be changed.
        predecessor: ConfigurationDigest,
        /// The change.
        change: Change,
        /// Whether the vote is wanted, which binds the member; otherwise only whether it would
        /// give it.
        binding: bool,
    },
    /// Tells of a change of members that has its votes.
    Change(Box<SignedChange>),
    /// Tells from which memory the sender speaks.
    Announce(Box<Announcement>),
    /// A member that lost its memory, or takes over the state, asks which certified versions others
    /// hold, old ones too, variable by variable in ascending order and newest first. Members only.
    RecallVersions {
        /// Only versions behind this one.
        after: Option<VersionId>,
        /// At most so many; the server has a limit of its own.
        limit: u16,
    },
    /// The same member asks for versions that were named to it. Members only.
    RecallEntries {
        /// Which; the server has a limit of its own.
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
        versions: Vec<VersionId>,
    },
    /// Asks a member to store an entry and to vouch for it (docs/adr/0015).
    Vouch {
        /// <x,t,v,s_C,S>.
        entry: Box<CertifiedEntry>,
        /// Vouches of other members, for one that lacks the entry and does not take it otherwise.
        vouches: CollectiveSignature,
    },
    /// Asks how far the node has come with certifying entries again.
    Repair {
        /// Whether it shall look at once for what is left.
        begin: bool,
    },
    /// About a password.
    Roaming(RoamingRequest),
    /// Many requests at once, each on its own.
    Many(#[serde(deserialize_with = "limited::list::<_, _, MAX_PARTS>")] Vec<Part>),
    /// As read, but of an entry with a large value only the name is wanted (docs/adr/0020).
    Digest {
        /// x.
        variable: Variable,
        /// Exactly this version instead of the newest.
        at: Option<Timestamp>,
    },
}

impl Request {
    /// How much a server has to do for it, in requests of ordinary size: many parts are less than
    /// as many requests, and not for nothing.
    #[must_use]
    pub fn weight(&self) -> u32 {
        let parts = if let Self::Many(parts) = self { parts.len() } else { 0 };
        u32::try_from(parts.div_ceil(PARTS_OF_WEIGHT_ONE)).unwrap_or(u32::MAX).max(1)
    }

    /// The command's name, as in the paper where it has one.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Self::Join { .. } => "join",
            Self::Introduce { .. } => "introduce",
            Self::Certificates { .. } => "certificates",
            Self::Time { .. } => "time",
            Self::Sign { .. } => "sign",
            Self::Store { .. } => "store",
            Self::Read { .. } => "read",
            Self::Versions { .. } => "versions",
            Self::Abandon { .. } => "abandon",
            Self::Abandoned { .. } => "abandoned",
            Self::Accuse(_) => "accuse",
            Self::Revocations { .. } => "revocations",
            Self::Recall { .. } => "recall",
            Self::Configurations { .. } => "configurations",
            Self::Propose { .. } => "propose",
            Self::Change(_) => "change",
            Self::Announce(_) => "announce",
            Self::RecallVersions { .. } => "recall versions",
            Self::RecallEntries { .. } => "recall entries",
            Self::Vouch { .. } => "vouch",
            Self::Repair { .. } => "repair",
            Self::Roaming(request) => request.command(),
            Self::Many(_) => "many",
            Self::Digest { .. } => "digest",
        }
    }
}

/// What a server answers when it does what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Answer {
    /// To join and certificates: certificates, those of members first.
    Certificates(
        #[serde(deserialize_with = "limited::list::<_, _, MAX_CERTIFICATES>")]
        Vec<CertificateBytes>,
    ),
    /// To time.
    Time {
        /// seen(x).
        seen: Timestamp,
        /// The latest certified entry, if evidence was asked for.
        latest: Option<Box<CertifiedEntry>>,
        /// The signature over the time statement, if evidence was asked for.
        signature: Option<SignatureBytes>,
    },
    /// To sign.
    Share(SignatureShare),
    /// To store, abandon, introduce, accuse and announce: done, and synced to disk.
    Done,
    /// To read, and to digest if the value is small: the entry, or that there is none.
    Entry(Option<Box<CertifiedEntry>>),
    /// To versions: timestamps, newest first.
    Versions(#[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")] Vec<Timestamp>),
    /// To abandoned.
    Abandons(#[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")] Vec<Abandon>),
    /// To revocations.
    Proofs {
        /// One for each of the guilty.
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
        proofs: Vec<EquivocationProof>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// To recall: the variables that follow, ascending.
    Recalled {
        /// What is remembered of each.
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
        variables: Vec<Recalled>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// To configurations.
    Configurations {
        /// Where the realm began, and the changes that were asked for.
        lineage: Box<Lineage>,
        /// The newest configuration that the node knows.
        newest: ConfigurationDigest,
        /// Whether the node is a member that has taken over the state and serves.
        serving: bool,
    },
    /// To propose: the member's signature over the change statement, or none where none was asked
    /// for.
    Vote(Option<SignatureShare>),
    /// To recall versions: the versions that follow, by variable ascending and newest first.
    RecalledVersions {
        /// Which the member holds.
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
        versions: Vec<VersionId>,
        /// Whether there are more behind the last one.
        more: bool,
    },
    /// To recall entries: those that were asked for, in the order of the question, from the first
    /// on as far as they fit.
    RecalledEntries(
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")] Vec<CertifiedEntry>,
    ),
    /// To vouch: the member's signature over the vouch statement. The entry is on its disk.
    Vouch(SignatureShare),
    /// To repair.
    Repair(RepairProgress),
    /// About a password.
    Roaming(RoamingAnswer),
    /// To many: the outcome of each part, in the order of the question, from the first on as far
    /// as they fit.
    Many(#[serde(deserialize_with = "limited::list::<_, _, MAX_PARTS>")] Vec<PartOutcome>),
    /// To digest, of an entry with a value of more than [`SMALL_VALUE_BYTES`]: which one it is.
    Digest {
        /// t.
        timestamp: Timestamp,
        /// The hash of the signed entry.
        hash: EntryHash,
    },
}

/// Names one version of a variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a name has these two parts")]
pub struct VersionId {
    /// x.
    pub variable: Variable,
    /// t.
    pub timestamp: Timestamp,
}

/// How far a node has come with certifying entries again whose signers were cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has a version of its own")]
pub struct RepairProgress {
    /// Whether everything that the node stores is backed by a quorum of signers that were not cut
    /// out, as far as it knows of cuts and members.
    pub done: bool,
    /// How many entries it has looked at in this round, old versions included.
    pub checked: u64,
    /// How many it has had certified again since it started.
    pub repaired: u64,
    /// How many of this round are left over because too few members answered. They are tried again.
    pub open: u64,
    /// How many of this round only this node has: old versions that newer members never got, or
    /// attempts that were never complete. They stay as they are, and readable.
    pub alone: u64,
}

/// What a member remembers of one variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recalled {
    /// x.
    pub variable: Variable,
    /// Its signer's memory.
    pub marks: Marks,
    /// The newest certified entry.
    pub latest: Option<Box<CertifiedEntry>>,
}

/// An answer or a refusal.
pub type Outcome = Result<Answer, Refusal>;

/// What a server sends back. An answer under another configuration than the asker's does not
/// count (rule R1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The configuration that the server has.
    pub configuration: ConfigurationDigest,
    /// The answer or the refusal.
    pub outcome: Outcome,
}
