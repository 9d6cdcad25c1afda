//! Bytes to values and back: postcard, made strict.
//!
//! A decoder here accepts exactly one encoding of each value: bytes left over, lengths beyond the
//! limits and other encodings of the same number are refused. So every message and every proof
//! file has one form, and a changed byte never goes unnoticed.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The greatest encoded message: two entries with values of 1 MiB each, their signatures, and
/// room for certificates.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes that are not a message. The sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`MAX_MESSAGE_BYTES`].
    #[error("longer than {MAX_MESSAGE_BYTES} bytes")]
    TooLong,
    /// Not an encoding of the expected type, or a field breaks a limit.
    #[error("not an encoding of the expected kind")]
    Malformed,
    /// The value is readable, but these are not its canonical bytes.
    #[error("trailing bytes or not the canonical encoding")]
    NotCanonical,
}

/// Encodes a value.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Encoding into memory cannot fail: postcard's errors are full buffers and lengths unknown
    // beforehand, and no type of ours has those (the round-trip tests cover every one).
    postcard::to_allocvec(value).unwrap_or_default()
}

/// Decodes a value from its canonical bytes.
///
/// # Errors
/// [`DecodeError`]: the sender's fault; do not retry.
pub fn decode<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(DecodeError::TooLong);
    }
    let value: T = postcard::from_bytes(bytes).map_err(|_| DecodeError::Malformed)?;
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}
