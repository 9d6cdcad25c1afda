//! What is stored under a variable.

use std::fmt;

use crate::bytes::limited_bytes;
use crate::hash::ValueDigest;

limited_bytes!(
    /// The paper's v: any bytes, 0 to 1 MiB. An empty value is a value; "absent" is the lack of
    /// an entry, never an empty value.
    Value, "value", 0, 1024 * 1024
);

impl Value {
    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> ValueDigest {
        ValueDigest::of(&self.0)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}
