//! Byte strings with a limit, the building blocks of everything that crosses the wire.

use serde::{Deserialize, Serialize};

/// A byte string was longer than its kind allows. The sender's fault; do not retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {length} bytes: at least {min} and at most {max} are allowed")]
pub struct TooLong {
    /// What kind of byte string.
    pub what: &'static str,
    /// The length that was found, in bytes.
    pub length: usize,
    /// The smallest length allowed, in bytes.
    pub min: usize,
    /// The greatest length allowed, in bytes.
    pub max: usize,
}

/// Defines a byte string type with a length range that holds by construction, also when decoded.
/// A copy shares the bytes: states and messages are copied often, and their parts never change.
macro_rules! limited_bytes {
    ($(#[$doc:meta])* $name:ident, $what:literal, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(std::sync::Arc<[u8]>);

        impl $name {
            /// The smallest length in bytes.
            pub const MIN_BYTES: usize = $min;
            /// The greatest length in bytes.
            pub const MAX_BYTES: usize = $max;

            /// Takes the bytes as they are.
            ///
            /// # Errors
            /// When the length is outside the limits.
            pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, $crate::TooLong> {
                let bytes = bytes.into();
                Self::check(bytes.len())?;
                Ok(Self(bytes.into()))
            }

            fn check(length: usize) -> Result<(), $crate::TooLong> {
                if !($min..=$max).contains(&length) {
                    return Err($crate::TooLong { what: $what, length, min: $min, max: $max });
                }
                Ok(())
            }

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        /// Copies once, out of what is decoded: messages have many of these, and values are large.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes: std::borrow::Cow<'de, [u8]> = serde_bytes::deserialize(deserializer)?;
                Self::check(bytes.len()).map_err(serde::de::Error::custom)?;
                Ok(Self(bytes.as_ref().into()))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }
    };
}
pub(crate) use limited_bytes;

limited_bytes!(
    /// One OpenPGP signature packet, binary, in canonical form (empty unhashed area).
    /// An RSA-4096 signature with our notation is under 700 bytes.
    SignatureBytes, "signature", 1, 1024
);

limited_bytes!(
    /// One OpenPGP certificate, binary (RFC 9580 transferable public key), not yet parsed.
    CertificateBytes, "certificate", 1, 64 * 1024
);

impl std::fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignatureBytes({} bytes)", self.0.len())
    }
}

impl std::fmt::Debug for CertificateBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateBytes({} bytes)", self.0.len())
    }
}

/// Renders bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8], f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// A 32-byte digest or nonce. Serialized as exactly 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Bytes32(pub(crate) [u8; 32]);
