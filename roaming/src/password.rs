//! What a person types.

use std::fmt;

use zeroize::Zeroizing;

use crate::Error;

/// A password: bytes as they were typed. Wiped when dropped and never shown.
///
/// Differs: RFC 8265 would have it normalised first. Bytes are taken as they are, so a keyboard
/// that composes letters in another way types another password.
#[derive(Clone)]
pub struct Password(Zeroizing<Vec<u8>>);

impl Password {
    /// The greatest length in bytes.
    pub const MAX_BYTES: usize = 1024;

    /// Takes the bytes.
    ///
    /// # Errors
    /// [`Error::Password`]: none, or more than [`Password::MAX_BYTES`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let bytes = Zeroizing::new(bytes.into());
        let good = (1..=Self::MAX_BYTES).contains(&bytes.len());
        good.then_some(Self(bytes)).ok_or(Error::Password)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}
