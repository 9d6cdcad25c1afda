//! Buffers of messages that may hold a secret.

use std::fmt;
use std::ops::Deref;

use bftkv_protocol::encode_secret;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroize as _;

/// The longest message that is wiped, in bytes. A share is dealt in a few kilobytes at most; larger
/// messages carry values, which are no secrets, and wiping them would take time.
const MOST_WIPED: usize = 64 * 1024;

/// Bytes of a message before they are sealed or after they were opened: wiped when dropped if a
/// share of a password's key may be among them. Not shown.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Wiped(ByteBuf);

impl Wiped {
    /// Takes bytes; they are wiped later where they are.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(ByteBuf::from(bytes))
    }

    /// Encodes a value, without leaving copies.
    pub(crate) fn encoded<T: Serialize>(value: &T) -> Self {
        Self::new(std::mem::take(&mut *encode_secret(value)))
    }
}

impl Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Wiped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        if self.0.len() <= MOST_WIPED {
            self.0.zeroize();
        }
    }
}

impl fmt::Debug for Wiped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wiped").field("bytes", &self.0.len()).finish()
    }
}
