//! Numbered refusals (rule R9).

use serde::{Deserialize, Serialize};

use crate::limited::{self, MAX_LIST};
use crate::{
    Address, CertifiedEntry, ConfigurationDigest, EquivocationProof, NodeId, Slot, Timestamp,
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
            Self::Equivocation(_) => 501,
            Self::Reserved(_) => 306,
        }
    }
}
