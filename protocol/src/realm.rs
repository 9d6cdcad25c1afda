//! The name of a cluster and its data.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::TooLong;

/// The name of a realm: 1 to 64 characters of `a-z 0-9 . -`.
///
/// It stands in everything that is signed, so that a signature of one realm is worthless in
/// another (rule R7).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Realm(Arc<str>);

impl Realm {
    /// The greatest length in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Takes the name.
    ///
    /// # Errors
    /// When it is empty, too long, or has another character.
    pub fn new(name: impl Into<String>) -> Result<Self, TooLong> {
        let name = name.into();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-';
        if name.is_empty() || name.len() > Self::MAX_BYTES || !name.bytes().all(plain) {
            let length = name.len();
            let what = "realm name (a-z, 0-9, '.', '-')";
            return Err(TooLong { what, length, min: 1, max: Self::MAX_BYTES });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Realm {
    type Error = TooLong;
    fn try_from(name: String) -> Result<Self, TooLong> {
        Self::new(name)
    }
}

impl Serialize for Realm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Realm({})", self.0)
    }
}
