//! What is stored under a variable.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::TooLong;
use crate::hash::ValueDigest;

/// The paper's v: any bytes, 0 to 1 MiB. An empty value is a value; "absent" is the lack of an entry,
/// never an empty value.
///
/// A copy shares the bytes and their digest, which every rule about an entry asks for.
#[derive(Clone)]
pub struct Value(Arc<Shared>);

struct Shared {
    bytes: Box<[u8]>,
    digest: OnceLock<ValueDigest>,
}

impl Value {
    /// The smallest length in bytes.
    pub const MIN_BYTES: usize = 0;
    /// The greatest length in bytes.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, TooLong> {
        Self::from_cow(Cow::Owned(bytes.into()))
    }

    fn from_cow(bytes: Cow<'_, [u8]>) -> Result<Self, TooLong> {
        let (length, min, max) = (bytes.len(), Self::MIN_BYTES, Self::MAX_BYTES);
        if length > max {
            return Err(TooLong { what: "value", length, min, max });
        }
        let bytes = bytes.into_owned().into_boxed_slice();
        Ok(Self(Arc::new(Shared { bytes, digest: OnceLock::new() })))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// SHA-256 of the bytes, worked out once.
    #[must_use]
    pub fn digest(&self) -> ValueDigest {
        *self.0.digest.get_or_init(|| ValueDigest::of(self.as_bytes()))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes: Cow<'de, [u8]> = serde_bytes::deserialize(deserializer)?;
        Self::from_cow(bytes).map_err(serde::de::Error::custom)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.as_bytes().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn limits_hold_when_made_and_when_decoded() {
        let largest = Value::new(vec![7; Value::MAX_BYTES]).unwrap();
        assert_eq!(decode::<Value>(&encode(&largest)), Ok(largest));
        let larger = vec![7; Value::MAX_BYTES + 1];
        assert!(decode::<Value>(&encode(&serde_bytes::Bytes::new(&larger))).is_err());
        assert_eq!(Value::new(larger).unwrap_err().length, Value::MAX_BYTES + 1);
    }

    #[test]
    fn values_are_their_bytes_and_so_is_the_digest() {
        let value = |text: &str| Value::new(text).unwrap();
        let (a, copy) = (value("a"), value("a").clone());
        assert_eq!((&a, a.cmp(&copy)), (&copy, Ordering::Equal));
        assert_eq!(a.digest(), copy.digest());
        assert_eq!(a.digest(), ValueDigest::of(b"a"));
        assert!(a < value("b") && a != value("b") && a.digest() != value("b").digest());
        assert_eq!(a.clone().digest(), a.digest());
    }
}
