//! A value that only a password opens, as it is stored.

use bftkv_protocol::{RecordBytes, Value, decode, encode};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::record::Record;
use crate::stretch::Keys;
use crate::{Error, group};

/// How a protected value begins; a plain value that begins so is not protected unless the rest
/// decodes.
const MAGIC: &[u8] = b"bftkv password 1\n";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Body {
    record: RecordBytes,
    version: u64,
    nonce: [u8; 24],
    #[serde(with = "serde_bytes")]
    sealed: Vec<u8>,
}

/// A protected value: a password record, and what is sealed under the key that the record's
/// password and servers give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    record: Record,
    body: Body,
}

impl Protected {
    /// The longest value that can be protected, in bytes.
    pub const MAX_VALUE_BYTES: usize = Value::MAX_BYTES - RecordBytes::MAX_BYTES - 1024;

    /// Whether a stored value looks like a protected one.
    #[must_use]
    pub fn is_one(value: &Value) -> bool {
        value.as_bytes().starts_with(MAGIC)
    }

    /// Seals a value. `version` counts the values of the variable under passwords; it, the realm,
    /// the variable and the record are bound in.
    ///
    /// # Errors
    /// [`Error::TooLong`]; [`Error::Randomness`].
    pub fn seal(
        record: &Record,
        keys: &Keys,
        version: u64,
        value: &[u8],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, Error> {
        if value.len() > Self::MAX_VALUE_BYTES {
            return Err(Error::TooLong);
        }
        let mut nonce = [0; 24];
        group::fill(rng, &mut nonce)?;
        let aad = bound(record, version);
        let payload = Payload { msg: value, aad: &aad };
        let sealed = cipher(keys).encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Error::TooLong)?;
        let body = Body { record: record.to_bytes()?, version, nonce, sealed };
        Ok(Self { record: record.clone(), body })
    }

    /// Reads a stored value.
    ///
    /// # Errors
    /// [`Error::NotProtected`]; what is wrong with the record.
    pub fn from_value(value: &Value) -> Result<Self, Error> {
        let rest = value.as_bytes().strip_prefix(MAGIC).ok_or(Error::NotProtected)?;
        let body: Body = decode(rest).map_err(|_| Error::NotProtected)?;
        let record = Record::from_bytes(&body.record)?;
        Ok(Self { record, body })
    }

    /// As it is stored.
    ///
    /// # Errors
    /// [`Error::TooLong`]; never for one that was sealed here.
    pub fn to_value(&self) -> Result<Value, Error> {
        Value::new([MAGIC, &encode(&self.body)].concat()).map_err(|_| Error::TooLong)
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Counts the values of the variable under passwords.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.body.version
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Error::Sealed`]: it was changed, or the keys are those of another record.
    pub fn open(&self, keys: &Keys) -> Result<Zeroizing<Vec<u8>>, Error> {
        let aad = bound(&self.record, self.body.version);
        let payload = Payload { msg: &self.body.sealed, aad: &aad };
        let opened = cipher(keys).decrypt(&XNonce::from(self.body.nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| Error::Sealed)
    }
}

fn cipher(keys: &Keys) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(keys.value().into())
}

/// The record's name binds realm, variable and epoch.
fn bound(record: &Record, version: u64) -> Vec<u8> {
    [b"bftkv 1 password value".as_slice(), record.id().as_bytes(), &version.to_be_bytes()].concat()
}
