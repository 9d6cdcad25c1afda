//! What can be wrong with what others sent.

/// Why something was not accepted. The fault of whoever sent or wrote it, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a canonical encoding of an element of ristretto255, or the identity.
    #[error("not an element of the group, or the identity")]
    Element,
    /// Not a canonical encoding of a scalar, or 0.
    #[error("not a scalar, or zero")]
    Scalar,
    /// A share does not fit the commitments.
    #[error("the share does not fit the commitments")]
    Share,
    /// An index is 0, above n, or given twice; or there are fewer than t.
    #[error("indices of shares are missing, out of range or given twice")]
    Indices,
    /// A server's evaluation is not the one that its share gives.
    #[error("the evaluation is not the one that the server's share gives")]
    Evaluation,
    /// A password has no bytes, or more than [`crate::Password::MAX_BYTES`]. The caller's fault.
    #[error("a password has 1 to {} bytes", crate::Password::MAX_BYTES)]
    Password,
    /// A record does not hold together, as the words say.
    #[error("the password record does not hold together: {0}")]
    Record(&'static str),
    /// t = n-b was asked for where it is 2b+1. The caller's fault: the default is the same.
    #[error(
        "with {n} servers n-b and 2b+1 are the same number: the larger threshold can be chosen \
         where n is more than 3b+1, as with 5 or 6 servers"
    )]
    NoChoice {
        /// How many servers there are.
        n: usize,
    },
    /// The parameters of Argon2id are outside of what this program computes.
    #[error(
        "the record asks for Argon2id with {memory_kib} KiB, {passes} passes and {lanes} lanes, \
         which is outside of the limits"
    )]
    Stretching {
        /// Memory, in KiB.
        memory_kib: u32,
        /// Passes.
        passes: u32,
        /// Lanes.
        lanes: u32,
    },
    /// There is not enough memory for Argon2id. The world's fault.
    #[error("Argon2id needs {memory_kib} KiB of memory, which are not to be had")]
    Memory {
        /// How much, in KiB.
        memory_kib: u32,
    },
    /// The system gave no randomness. The world's fault; nothing was sent or written.
    #[error("the system gives no randomness: no password can be used")]
    Randomness,
    /// The value is not one that was put under a password.
    #[error("the value was not put under a password")]
    NotProtected,
    /// The value was changed, or belongs to another variable, or to another key.
    #[error("the protected value does not open: it was changed, or belongs elsewhere")]
    Sealed,
    /// The value is too long to be sealed. The caller's fault.
    #[error(
        "the value is longer than {} bytes, the most that fits under a password",
        crate::Protected::MAX_VALUE_BYTES
    )]
    TooLong,
    /// A proof of login is not valid.
    #[error("the proof of login is not valid")]
    Proof,
}
