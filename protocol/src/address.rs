//! Who owns a variable.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::TooLong;

/// The address part of a user ID: the e-mail address of a user, or the URL of a node. It is the
/// identity for trust on first use: two certificates with one address are two devices of one owner.
///
/// Paper: App. B, "The 'email address' part will be used as a unique ID to check TOFU."
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(Arc<str>);

impl Address {
    /// The greatest length in bytes.
    pub const MAX_BYTES: usize = 320;

    /// Takes the address.
    ///
    /// # Errors
    /// When it is empty, too long, or has white space or control characters.
    pub fn new(address: impl Into<String>) -> Result<Self, TooLong> {
        let address = address.into();
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if address.is_empty() || address.len() > Self::MAX_BYTES || address.chars().any(odd) {
            let length = address.len();
            let what = "address (without white space)";
            return Err(TooLong { what, length, min: 1, max: Self::MAX_BYTES });
        }
        Ok(Self(address.into()))
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Address {
    type Error = TooLong;
    fn try_from(address: String) -> Result<Self, TooLong> {
        Self::new(address)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.0)
    }
}
