//! What can go wrong, and whose fault it is.

use crate::Party;

/// Why something could not be done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller's fault: no such key can be.
    #[error("{k} of {n} is no threshold: at least 2 and b+1, at most n-b, with b = (n-1)/3")]
    Threshold {
        /// How many parties.
        n: usize,
        /// How many sign.
        k: usize,
    },
    /// The number names no holder of a share of this key. The caller's fault, or a peer's who
    /// claims to be one; it is nobody's offence.
    #[error("the key has no party {0}")]
    NoSuchParty(u8),
    /// The party has already given something else for the same place. The first one counts.
    #[error("{0} has already given another")]
    Repeated(Party),
    /// The session, share or nonces belong to another key, or to the same key before a refresh.
    #[error("this belongs to another key, or to this one before a refresh")]
    OtherKey,
    /// The session has other commitments of ours than the nonces that we have: signing would
    /// give the key away.
    #[error("the session does not have our commitments")]
    OtherNonces,
    /// A batch with no message, or more than [`crate::MAX_BATCH`]; or nonces or a message number
    /// that do not fit it.
    #[error("the number of messages does not fit")]
    BatchSize,
    /// Fewer parties than the key needs.
    #[error("too few parties: {have} of {need}")]
    TooFew {
        /// How many there are.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// Bytes that are no encoding of what they should be, and that nobody can be blamed for here
    /// (a file, or something whose sender is not known at this place).
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A party did what no honest one does. No retry with the same bytes helps.
    #[error("{party}: {offence}")]
    Caught {
        /// Who.
        party: Party,
        /// What.
        offence: Offence,
    },
    /// Nobody was asked for this.
    #[error("nobody asked for this")]
    Unasked,
    /// The numbers do not make a key: no product of two safe primes of the same size, or a size
    /// outside of the limits.
    #[error("these numbers do not make an RSA key")]
    Primes,
    /// The public part contradicts itself or the share. A lying dealer, a damaged file, or
    /// parties that did not see the same messages when the key was made.
    #[error("the key contradicts itself")]
    Inconsistent,
    /// The scheme has no such step.
    #[error("the scheme has no such step")]
    NoSuchStep,
}

/// What a liar was caught with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Offence {
    /// Bytes that no honest party sends.
    #[error("sent malformed bytes")]
    Malformed,
    /// A partial signature that its share does not give.
    #[error("gave a wrong partial signature")]
    WrongPartial,
    /// No proof of the partial signature that it gave.
    #[error("gave a wrong proof of its partial signature")]
    WrongProof,
    /// Claims a key without knowing the secret.
    #[error("gave a wrong proof of knowledge")]
    WrongKnowledge,
    /// A share, or a part of one, that the sender's own commitment does not give.
    #[error("gave a share that contradicts its commitment")]
    WrongDealing,
    /// A commitment that contradicts the key.
    #[error("gave a commitment that contradicts the key")]
    WrongCommitment,
}
