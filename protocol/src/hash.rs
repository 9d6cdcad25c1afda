//! Digests that name things.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bytes::{Bytes32, hex};

/// SHA-256 over chunks, one after the other.
pub(crate) fn sha256(chunks: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    chunks.iter().for_each(|chunk| hash.update(chunk));
    hash.finalize().into()
}

/// Defines a named 32-byte digest.
macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Bytes32);

        impl $name {
            /// A digest from its bytes, as read from a message or a file.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(Bytes32(bytes))
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(self.as_bytes(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}
pub(crate) use digest;

digest!(
    /// Names one signed entry: SHA-256 over the entry's canonical bytes and its writer signature.
    /// Shares sign it, slots keep it, and readers compare answers by it.
    EntryHash
);

digest!(
    /// SHA-256 of a value.
    ValueDigest
);

impl ValueDigest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_bytes(sha256(&[bytes]))
    }
}
