//! Bytes to values and back: postcard, made strict.
//!
//! A decoder here accepts exactly one encoding of each value: bytes left over, lengths beyond the
//! limits and other encodings of the same number are refused. So every message and every proof
//! file has one form, and a changed byte never goes unnoticed.

use postcard::ser_flavors::{Flavor, Size};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

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
    let mut bytes = Vec::new();
    encode_onto(&mut bytes, value);
    bytes
}

/// How long the encoding of a value is.
#[must_use]
pub fn encoded_len<T: Serialize>(value: &T) -> usize {
    postcard::serialize_with_flavor(value, Size::default()).unwrap_or_default()
}

/// Puts the encoding of a value behind what is in the buffer.
pub fn encode_onto<T: Serialize>(buffer: &mut Vec<u8>, value: &T) {
    buffer.reserve(encoded_len(value));
    // Encoding into memory cannot fail: postcard's errors are full buffers and lengths unknown
    // beforehand, and no type of ours has those (the round-trip tests cover every one).
    let _ = postcard::serialize_with_flavor(value, Onto(buffer));
}

/// Encodes a value that holds a secret: into a buffer that is wiped when dropped, and that had its
/// size from the beginning, so that no copy is left behind by growing.
#[must_use]
pub fn encode_secret<T: Serialize>(value: &T) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    encode_onto(&mut bytes, value);
    bytes
}

/// Writes into a buffer that has room for all of it: growing would move it again and again.
struct Onto<'a>(&'a mut Vec<u8>);

impl Flavor for Onto<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Compares what is written with what is expected, without a copy of either.
struct Expected<'a>(&'a [u8]);

impl Flavor for Expected<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(postcard::Error::SerializeBufferFull)?;
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(postcard::Error::SerializeBufferFull) }
    }
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
    let again = postcard::serialize_with_flavor(&value, Expected(bytes));
    again.map_err(|_| DecodeError::NotCanonical)?;
    Ok(value)
}
