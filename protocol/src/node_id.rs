//! The identity of a node or a user.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The full fingerprint of an OpenPGP certificate: 20 bytes (version 4) or 32 (version 6).
///
/// A 64-bit key ID is not an identity: collisions can be made (threats.md P6).
/// Paper: §2.2, "a pair of unique ID and public key".
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<[u8]>);

/// The text or the bytes are not a full fingerprint. The caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a full fingerprint: expected 40 or 64 hexadecimal digits (20 or 32 bytes)")]
pub struct NodeIdError;

impl NodeId {
    /// Takes the 20 or 32 bytes of a fingerprint.
    ///
    /// # Errors
    /// When there are fewer or more bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NodeIdError> {
        match bytes.len() {
            20 | 32 => Ok(Self(bytes.into())),
            _ => Err(NodeIdError),
        }
    }

    /// The fingerprint's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    /// Reads hexadecimal digits of either case; spaces between groups are ignored.
    fn from_str(text: &str) -> Result<Self, NodeIdError> {
        let digits = text
            .chars()
            .filter(|c| *c != ' ')
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(NodeIdError))
            .collect::<Result<Vec<u8>, _>>()?;
        if digits.len() != 40 && digits.len() != 64 {
            return Err(NodeIdError);
        }
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| match pair {
                [high, low] => Some((high << 4) | low),
                _ => None,
            })
            .collect();
        Self::from_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Cow<'de, [u8]> = serde_bytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_round_trip() {
        let id = NodeId::from_bytes(&[0xAB; 20]).unwrap();
        assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
    }

    #[test]
    fn short_key_ids_are_refused() {
        assert_eq!("CEBB42083595CB43".parse::<NodeId>(), Err(NodeIdError));
        assert_eq!("zz".repeat(20).parse::<NodeId>(), Err(NodeIdError));
    }
}
