//! Refusals of the transport itself.

use serde::{Deserialize, Serialize};

/// Why a server did not even look at what was asked. Numbered below 100; refusals of the protocol
/// ([`bftkv_protocol::Refusal`]) begin there. They are signed like every answer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[serde(try_from = "u8", into = "u8")]
#[non_exhaustive]
pub enum TransportRefusal {
    /// The challenge is missing or no longer accepted; the answer carries a fresh one. The
    /// client's transport mends this by itself: it seals again.
    #[error("the challenge is missing or no longer accepted")]
    StaleChallenge,
    /// This message was here before. A replay, or a network that doubles messages.
    #[error("this message was here before")]
    Replayed,
    /// This node is not among the recipients that the sender signed.
    #[error("the message is not for this node")]
    WrongRecipient,
    /// The sender's certificate is not known: join first.
    #[error("the sender's certificate is not known: join first")]
    UnknownSender,
    /// The request does not decode, or is of a kind that this node does not know. The sender's
    /// fault.
    #[error("the request is malformed, or of a kind that is not known here")]
    Malformed,
    /// The answer would be above the limit of a message: ask for less.
    #[error("the answer would be too large")]
    TooLarge,
    /// The node has too much to do, or did not finish in time: try again later. What was asked may
    /// have been done all the same.
    #[error("the node is overloaded: try again later")]
    Overloaded,
    /// The message is of another version of the protocol.
    #[error("the message is of a version that is not spoken here")]
    UnsupportedVersion,
    /// The sender asks more often than it may: wait, and ask less. Nothing was done.
    #[error("you ask too often: wait a little")]
    TooManyRequests,
    /// The sender's signature is good, but its key is expired or revoked, or not made for signing.
    /// The sender renews its key and joins again.
    #[error("the sender's key is expired or revoked, or may not sign: renew it and join again")]
    SenderNotValid,
}

impl TransportRefusal {
    /// All of them, by number.
    const ALL: [(u8, Self); 10] = [
        (1, Self::StaleChallenge),
        (2, Self::Replayed),
        (3, Self::WrongRecipient),
        (4, Self::UnknownSender),
        (5, Self::Malformed),
        (6, Self::TooLarge),
        (7, Self::Overloaded),
        (8, Self::UnsupportedVersion),
        (9, Self::TooManyRequests),
        (10, Self::SenderNotValid),
    ];

    /// The stable number, also on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|(_, refusal)| *refusal == self).map_or(0, |(code, _)| *code)
    }
}

impl From<TransportRefusal> for u8 {
    fn from(refusal: TransportRefusal) -> Self {
        refusal.code()
    }
}

/// A number that names no transport refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the number of a transport refusal")]
pub struct UnknownRefusal(pub u8);

impl TryFrom<u8> for TransportRefusal {
    type Error = UnknownRefusal;
    fn try_from(number: u8) -> Result<Self, UnknownRefusal> {
        let found = Self::ALL.iter().find(|(code, _)| *code == number);
        found.map(|(_, refusal)| *refusal).ok_or(UnknownRefusal(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bftkv_protocol::{decode, encode};

    #[test]
    fn the_number_is_what_travels() {
        for (code, refusal) in TransportRefusal::ALL {
            assert_eq!(encode(&refusal), [code]);
            assert_eq!(decode::<TransportRefusal>(&[code]).unwrap(), refusal);
        }
        assert!(decode::<TransportRefusal>(&[0]).is_err());
        assert!(decode::<TransportRefusal>(&[11]).is_err());
    }
}
