//! How a DM hands a secret to another one.

use std::fmt;

use bftkv_threshold::SecretBytes;

use crate::agree::council::Dm;

/// Something that its dealer did not sign, as far as we can see.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(clippy::exhaustive_enums, reason = "a caller has to handle each")]
pub enum NotSigned {
    /// It is signed by nobody: everybody comes to this verdict.
    #[error("not signed: {0}")]
    Forged(String),
    /// A certificate is missing, or is not valid here and now: others may see it in another way.
    #[error("cannot be checked: {0}")]
    Unknown(String),
}

/// Seals what is dealt, in two layers: inside, the dealer's signature, which the receiver can show to
/// all others; around it, what only the receiver opens.
pub trait Sealing: Send + Sync + fmt::Debug {
    /// Signs as us, and seals to that DM.
    ///
    /// # Errors
    /// Its certificate is missing, or our key is.
    fn seal(&self, to: Dm, text: &[u8]) -> Result<Vec<u8>, String>;

    /// Opens what is sealed to us: what its dealer signed.
    ///
    /// # Errors
    /// It is not sealed to us.
    fn open(&self, sealed: &[u8]) -> Result<SecretBytes, String>;

    /// Who signed that, and what. For everybody, when a receiver complains.
    ///
    /// # Errors
    /// It is not signed, or this cannot be said here.
    fn check(&self, signed: &[u8]) -> Result<(Dm, SecretBytes), NotSigned>;
}
