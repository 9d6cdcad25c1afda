//! Sealing shares with a passphrase: Argon2id (RFC 9106), then ChaCha20-Poly1305 (RFC 8439).

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::Error;

/// RFC 9106 section 4, the second choice: 64 MiB, three passes. One thread, because ours is.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
pub(super) const SALT_BYTES: usize = 16;

/// The key that a passphrase gives with a salt. Every file has a salt of its own and so a key of
/// its own, which encrypts once; the nonce can be the same always.
fn key(passphrase: &[u8], salt: &[u8; SALT_BYTES]) -> Result<LessSafeKey, Error> {
    let cannot = || Error::Malformed("passphrase");
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).map_err(|_| cannot())?;
    let mut bytes = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *bytes)
        .map_err(|_| cannot())?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &*bytes).map_err(|_| cannot())?;
    Ok(LessSafeKey::new(key))
}

/// Seals; `top` is bound to it.
pub(super) fn seal(
    secret: &[u8],
    top: &str,
    passphrase: &[u8],
    salt: &[u8; SALT_BYTES],
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(secret.len().saturating_add(CHACHA20_POLY1305.tag_len()));
    bytes.extend_from_slice(secret);
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let done = key(passphrase, salt)?.seal_in_place_append_tag(nonce, Aad::from(top), &mut bytes);
    done.map_err(|_| Error::Malformed("share"))?;
    Ok(bytes)
}

/// Opens.
pub(super) fn open(
    sealed: &[u8],
    top: &str,
    passphrase: &[u8],
    salt: &[u8; SALT_BYTES],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let key = key(passphrase, salt)?;
    let opened = key.open_in_place(nonce, Aad::from(top), &mut bytes);
    let length = opened.map_err(|_| Error::WrongPassphrase)?.len();
    bytes.truncate(length);
    Ok(bytes)
}
