//! Numbered refusals (rule R9).

use serde::{Deserialize, Serialize};

use crate::limited::{self, MAX_LIST};
use crate::{
    Address, Announcement, CertifiedEntry, Change, ConfigurationDigest, EquivocationProof, NodeId,
    RoamingRefusal, Slot, Timestamp,
};

/// Why a server did not do what was asked. Refusals travel like answers, authenticated by the
/// node that was asked; [`Refusal::code`] is stable and documented in `docs/wire.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request does not decode or breaks a limit. The sender's fault.
    #[error("the request is malformed")]
    Malformed,
    /// The sender's certificate is not known here: join first.
    #[error("the sender's certificate is not known: join first")]
    UnknownSender,
    /// Too much to do; try again later.
    #[error("overloaded: try again later")]
    Busy,
    /// The disk failed or the node is catching up: it gives no promises now.
    #[error("the node's storage is not available")]
    StorageUnavailable,
    /// The entry is of another realm.
    #[error("this node serves another realm")]
    WrongRealm,
    /// The entry's collective signature names another configuration.
    #[error("this node has configuration {ours}: join again")]
    WrongConfiguration {
        /// The configuration that the node has.
        ours: ConfigurationDigest,
    },
    /// This node has no part in what was asked (a store node asked to sign).
    #[error("this node has no part in it")]
    NotMember,
    /// The certificate of a writer is not known here: introduce it.
    #[error("the certificate {0} is not known here")]
    UnknownWriter(NodeId),
    /// The writer's signature is not valid.
    #[error("the writer's signature is not valid")]
    BadWriterSignature,
    /// Too few members of the clique have certified the writer's user ID.
    #[error("{owner} has no quorum certificate: more than b members of the clique must certify it")]
    NoQuorumCertificate {
        /// The address that the writer claims.
        owner: Address,
    },
    /// The sender is not the writer of the entry.
    #[error("only the writer itself may ask for shares or give up its attempt")]
    SenderNotWriter,
    /// Somebody else owns the variable, as the entry proves.
    #[error("the variable is owned by {}", .0.entry().owner)]
    NotOwner(Box<CertifiedEntry>),
    /// The variable is sealed by a write-once value, as the entry proves.
    #[error("the variable is sealed by a write-once value")]
    Sealed(Box<CertifiedEntry>),
    /// The timestamp is not above the largest that this node has seen.
    #[error("the timestamp is not above {seen}")]
    OldTimestamp {
        /// seen(x).
        seen: Timestamp,
    },
    /// The timestamp is too far ahead of what the request proves.
    #[error("the timestamp is above {limit}")]
    TimestampTooFar {
        /// The largest timestamp that the node would sign now.
        limit: Timestamp,
    },
    /// 0 and 2^64-1 are not timestamps of entries.
    #[error("0 and 2^64-1 are not timestamps of entries")]
    UnusableTimestamp,
    /// Attempts of another owner are outstanding. Their abandon messages can be relayed.
    #[error("an attempt of another owner is outstanding")]
    Outstanding(#[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")] Vec<Slot>),
    /// A write-once attempt with another value is outstanding.
    #[error("a write-once attempt with another value is outstanding")]
    OutstandingFinal(Box<Slot>),
    /// The owner has too many attempts outstanding here: finish or abandon them.
    #[error("too many attempts of this owner are outstanding: finish or abandon them")]
    TooManySlots(#[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")] Vec<Slot>),
    /// A write-once attempt cannot be abandoned.
    #[error("a write-once attempt cannot be abandoned")]
    FinalStays,
    /// The collective signature is not valid: not enough distinct valid signers in every clique.
    #[error("the collective signature is not valid: {0}")]
    BadCollectiveSignature(#[serde(deserialize_with = "limited::reason")] String),
    /// Two certified entries have one timestamp; the proofs name the signers of both.
    #[error("two certified entries with one timestamp: equivocation")]
    Equivocation(
        #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")] Vec<EquivocationProof>,
    ),
    /// The variable's name begins with the fingerprint of another certificate.
    #[error("the name is reserved for the certificate {0}")]
    Reserved(NodeId),
    /// The members are changing: this node has stopped under the old configuration and takes over
    /// the state for the new one. Try again soon.
    #[error("the members are changing: try again soon")]
    Changing,
    /// This member does not sign that change of members.
    #[error("does not sign this change of members: {0}")]
    Objection(Objection),
    /// The node has not heard yet whether its memory is whole, or reads what it lost from the
    /// others: it gives no word that it may have to keep.
    #[error("the node is catching up with the others: try again later")]
    CatchingUp,
    /// The sender itself has announced a later memory, as it signed: it has forgotten something.
    #[error("the sender has announced a later memory")]
    Outdated(Box<Announcement>),
    /// The entry is valid, but fewer than b+1 of its signers were not cut out, and it is not
    /// stored here: it must be certified again first.
    #[error("too many of its signers were cut out: it must be certified again")]
    Lapsed,
    /// About a password.
    #[error("{0}")]
    Roaming(RoamingRefusal),
    /// The program in which this member runs does not want it to sign that value, at least not
    /// now.
    #[error("declined: {0}")]
    Declined(#[serde(deserialize_with = "limited::reason")] String),
}

/// Why a member does not sign a change of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum Objection {
    /// It is a change of another configuration than the one in force here.
    #[error("configuration {0} is in force here")]
    Predecessor(ConfigurationDigest),
    /// The last change is not complete here: this member still takes over the state.
    #[error("the last change is not complete here yet: wait")]
    Unconfirmed,
    /// It has signed another successor of this configuration and will sign no other.
    #[error("it has signed another change of this configuration already")]
    Voted(Box<Change>),
    /// Only a member, or the node that is to come or go, may propose.
    #[error("only members, and the node that comes or goes, may propose")]
    Stranger,
    /// A certification is missing or no longer valid.
    #[error("{from} has not certified {to}, as far as this member knows")]
    NotCertified {
        /// Who should certify.
        from: NodeId,
        /// Whom.
        to: NodeId,
    },
    /// Too few clique members certify the new store node.
    #[error("only {have} of the {need} clique members needed have certified the new store node")]
    TooFewCertifiers {
        /// How many do.
        have: u16,
        /// b+1 of the clique.
        need: u16,
    },
    /// The node that is to go is still certified, and did not ask itself.
    #[error(
        "{0} is still certified: withdraw this member's certification of it, or let it leave by itself"
    )]
    StillCertified(NodeId),
    /// The change leads to no usable groups.
    #[error("{0}")]
    Unfit(#[serde(deserialize_with = "limited::reason")] String),
}

impl Refusal {
    /// The stable number of the refusal.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Malformed => 100,
            Self::UnknownSender => 101,
            Self::Busy => 102,
            Self::StorageUnavailable => 103,
            Self::WrongRealm => 200,
            Self::WrongConfiguration { .. } => 201,
            Self::NotMember => 202,
            Self::UnknownWriter(_) => 300,
            Self::BadWriterSignature => 301,
            Self::NoQuorumCertificate { .. } => 302,
            Self::SenderNotWriter => 303,
            Self::NotOwner(_) => 304,
            Self::Sealed(_) => 305,
            Self::OldTimestamp { .. } => 400,
            Self::TimestampTooFar { .. } => 401,
            Self::UnusableTimestamp => 402,
            Self::Outstanding(_) => 403,
            Self::OutstandingFinal(_) => 404,
            Self::TooManySlots(_) => 405,
            Self::FinalStays => 406,
            Self::BadCollectiveSignature(_) => 500,
            Self::Lapsed => 502,
            Self::Declined(_) => 206,
            Self::Equivocation(_) => 501,
            Self::Reserved(_) => 306,
            Self::Changing => 203,
            Self::Objection(_) => 204,
            Self::CatchingUp => 104,
            Self::Outdated(_) => 205,
            Self::Roaming(refusal) => refusal.code(),
        }
    }
}
