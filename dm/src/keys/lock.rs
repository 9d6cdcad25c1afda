//! What keeps a share's file closed, and what opens it.

use std::fmt;

use bftkv::protocol::{NodeId, Seal, SealError};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Error;

/// What keeps a share's file closed.
#[derive(Clone, Copy)]
#[allow(clippy::exhaustive_enums, reason = "callers choose one of these")]
pub enum Lock<'a> {
    /// Nothing but the file's permissions: whoever reads it has the share.
    None,
    /// A passphrase of its own.
    Passphrase(&'a [u8]),
    /// The encryption subkey of an OpenPGP certificate, so what protects that key protects the
    /// share.
    Key {
        /// With our key, which signs, and the certificates that are known.
        seal: &'a dyn Seal,
        /// To whom.
        to: &'a NodeId,
    },
}

impl fmt::Debug for Lock<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
            Self::Key { to, .. } => write!(f, "Key({to})"),
        }
    }
}

/// What opens a share's file. It is asked only for what the file needs.
pub trait Unlock {
    /// The file's passphrase; `None` if there is nobody to ask.
    fn passphrase(&self) -> Option<Zeroizing<Vec<u8>>>;

    /// The OpenPGP key.
    ///
    /// # Errors
    /// Why it cannot be had: there is none, or its passphrase is wrong.
    fn key(&self) -> Result<KeyAccess<'_>, String>;
}

/// Where the OpenPGP key is that opens a share.
#[derive(Clone, Copy)]
#[allow(clippy::exhaustive_enums, reason = "callers choose one of these")]
pub enum KeyAccess<'a> {
    /// Here.
    Own(&'a dyn Seal),
    /// With somebody who uses it for us and never gives it away: an agent, a card.
    Held(&'a dyn KeyHolder),
}

impl fmt::Debug for KeyAccess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own(_) => "Own(..)",
            Self::Held(_) => "Held(..)",
        })
    }
}

/// Uses an OpenPGP key for us. Nobody needs to believe what it gives: a share is checked against
/// the public part of its key.
pub trait KeyHolder {
    /// Decrypts an OpenPGP message of at most `limit` bytes of content.
    ///
    /// # Errors
    /// What it says: it has no such key, or its owner said no.
    fn decrypt(&self, sealed: &[u8], limit: usize) -> Result<Zeroizing<Vec<u8>>, String>;
}

/// For those that have no OpenPGP key.
impl<F: Fn() -> Option<Zeroizing<Vec<u8>>>> Unlock for F {
    fn passphrase(&self) -> Option<Zeroizing<Vec<u8>>> {
        self()
    }

    fn key(&self) -> Result<KeyAccess<'_>, String> {
        Err("no key is at hand".to_owned())
    }
}

/// More than a sealed share has.
const MAX_PLAINTEXT: usize = 32 * 1024;
const HASH: usize = 32;

/// Seals a share to a key. What stands in front of it in the file is bound to it.
pub(super) fn seal_to(
    (seal, to): (&dyn Seal, &NodeId),
    top: &str,
    secret: &[u8],
) -> Result<Vec<u8>, Error> {
    // Room for all of it, so that growing leaves no copy behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(HASH.saturating_add(secret.len())));
    plain.extend_from_slice(&Sha256::digest(top));
    plain.extend_from_slice(secret);
    Ok(seal.seal(std::slice::from_ref(to), &plain)?)
}

/// Opens what [`seal_to`] made.
pub(super) fn open_with(
    key: KeyAccess<'_>,
    to: &str,
    top: &str,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut plain = match key {
        KeyAccess::Own(key) => open_ourselves(key, to, sealed)?,
        KeyAccess::Held(holder) => holder
            .decrypt(sealed, MAX_PLAINTEXT)
            .map_err(|reason| Error::NeedsKey { to: to.to_owned(), reason })?,
    };
    if plain.get(..HASH) != Some(Sha256::digest(top).as_slice()) {
        return Err(Error::Mismatch);
    }
    plain.drain(..HASH);
    Ok(plain)
}

fn open_ourselves(key: &dyn Seal, to: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    if key.id().to_string() != to {
        return Err(Error::SealedToOther { to: to.to_owned(), ours: key.id().to_string() });
    }
    let plain = match key.open(sealed, MAX_PLAINTEXT) {
        Ok(opened) => opened.plaintext,
        // A share may lie for years; whoever sealed it need not be able to do so today.
        Err(SealError::NotValidNow(old)) => old.plaintext,
        Err(error) => return Err(error.into()),
    };
    Ok(Zeroizing::new(plain))
}
