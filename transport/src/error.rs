//! Why a node gave no answer, and whose fault that is.

use bftkv_protocol::{NodeId, SealError};

use crate::TransportRefusal;

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// This program or its configuration.
    Ours,
    /// Whoever asked: the request or the address cannot work.
    Caller,
    /// The node that was asked: it signed what no honest node sends.
    Peer,
    /// The node or anybody between it and us; it cannot be told which. Nobody may be accused.
    PeerOrPath,
    /// The world: the node or the network is down or slow.
    World,
}

/// Why a node that was asked gave no answer that counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The node's URL cannot be used. The caller's fault; do not retry.
    #[error("cannot use the address {url:?}: {reason}")]
    BadAddress {
        /// The URL.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The request is above the limit of a message. The caller's fault; do not retry.
    #[error("the request of {length} bytes is too large: at most {max} are allowed")]
    RequestTooLarge {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The request cannot be sealed for this node. Ours to mend: its certificate is missing, or
    /// the own key does not work.
    #[error("cannot seal: {0}")]
    Seal(SealError),
    /// Too much is going on in this program; try again later.
    #[error("too many messages wait to be sealed or opened here")]
    Busy,
    /// No connection, or it broke. Try again later.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// No answer within the deadline. What was asked may have been done.
    #[error("no answer within the deadline")]
    TimedOut,
    /// An HTTP status other than 200. Unauthenticated: anybody between us may have sent it.
    #[error("HTTP status {status}: {reason}")]
    Http {
        /// The status.
        status: u16,
        /// What came with it, cut short, printable ASCII only.
        reason: String,
    },
    /// More bytes than an answer may have.
    #[error("the answer is longer than {max} bytes")]
    AnswerTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// What came back is not a sealed answer that can be opened.
    #[error("what came back cannot be opened: {0}")]
    NotOpened(String),
    /// Another node than the one asked signed the answer.
    #[error("the answer was signed by {signer}")]
    WrongSigner {
        /// Who signed it.
        signer: NodeId,
    },
    /// Who answers at the node's address has another key for connections than the node's
    /// certificate, as it is known here, holds: another program, somebody on the way, or a newer
    /// certificate. There is no other way to such a node.
    #[error("who answers there has no key of the node's certificate")]
    WrongKey,
    /// The answer is signed by the node, but is for another request or another asker: an old
    /// answer that was replayed on the way, or a mistake of the node.
    #[error("the answer belongs to another request")]
    WrongRequest,
    /// The node signed, or sent over TLS, something that is no answer.
    #[error("the node sent an answer of its own that does not decode")]
    MalformedAnswer,
    /// The node signed a message of another version of the protocol: one of us must be updated.
    #[error("the node answers by version {version} of the protocol, which is not spoken here")]
    OtherVersion {
        /// The version that it speaks.
        version: u8,
    },
    /// The node refused, by an answer that is its own.
    #[error("refused: {0}")]
    Refused(TransportRefusal),
}

impl TransportError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Seal(_) | Self::Busy => Fault::Ours,
            Self::BadAddress { .. } | Self::RequestTooLarge { .. } => Fault::Caller,
            Self::Unreachable(_) | Self::TimedOut | Self::OtherVersion { .. } => Fault::World,
            Self::MalformedAnswer => Fault::Peer,
            Self::Refused(refusal) => refused(*refusal),
            Self::Http { .. }
            | Self::AnswerTooLarge { .. }
            | Self::NotOpened(_)
            | Self::WrongSigner { .. }
            | Self::WrongKey
            | Self::WrongRequest => Fault::PeerOrPath,
        }
    }

    /// Whether the same request may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        use TransportRefusal::{Overloaded, Replayed, StaleChallenge, TooManyRequests};
        match self {
            Self::Busy | Self::Unreachable(_) | Self::TimedOut => true,
            Self::Http { status, .. } => matches!(status, 429 | 503),
            Self::Refused(refusal) => {
                matches!(refusal, Overloaded | Replayed | StaleChallenge | TooManyRequests)
            }
            _ => false,
        }
    }
}

fn refused(refusal: TransportRefusal) -> Fault {
    match refusal {
        TransportRefusal::Overloaded => Fault::World,
        // The transport has sealed again, twice, with what the node itself sent: no honest node
        // refuses that, unless somebody doubles every message on the way.
        TransportRefusal::StaleChallenge | TransportRefusal::Replayed => Fault::PeerOrPath,
        _ => Fault::Caller,
    }
}
