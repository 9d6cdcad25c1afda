//! The group ristretto255 and the hashes to it and to its scalars.

use bftkv_protocol::ElementBytes;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::Error;

/// Which of the two modes of RFC 9497 a hash belongs to: the function itself, or the proof.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// OPRF: no proof. The combined function.
    Oprf,
    /// VOPRF: the proof that goes with each server's evaluation.
    Voprf,
}

impl Mode {
    /// RFC 9497 section 3.1: "OPRFV1-", the mode, "-", the suite.
    fn context(self) -> &'static [u8] {
        match self {
            Self::Oprf => b"OPRFV1-\x00-ristretto255-SHA512",
            Self::Voprf => b"OPRFV1-\x01-ristretto255-SHA512",
        }
    }

    /// A domain separation tag: a label and the context.
    pub(crate) fn tag(self, label: &str) -> Vec<u8> {
        [label.as_bytes(), self.context()].concat()
    }
}

/// Reads an element.
///
/// # Errors
/// [`Error::Element`]: the encoding is not canonical, or it is the identity, which would make any
/// key's power the same. Small-order points do not exist: the group has prime order. Whoever sent
/// it is to blame.
pub(crate) fn element(bytes: &ElementBytes) -> Result<RistrettoPoint, Error> {
    let point = CompressedRistretto(*bytes.as_bytes()).decompress().ok_or(Error::Element)?;
    if point.is_identity() { Err(Error::Element) } else { Ok(point) }
}

/// Writes an element.
pub(crate) fn encode(point: &RistrettoPoint) -> ElementBytes {
    ElementBytes::from_bytes(point.compress().to_bytes())
}

/// Reads a scalar that is not 0.
///
/// # Errors
/// [`Error::Scalar`]: 0, or not below the group's order.
pub(crate) fn scalar(bytes: &[u8; 32]) -> Result<Scalar, Error> {
    let found: Option<Scalar> = Scalar::from_canonical_bytes(*bytes).into();
    found.filter(|scalar| *scalar != Scalar::ZERO).ok_or(Error::Scalar)
}

/// A random scalar that is not 0.
///
/// # Errors
/// [`Error::Randomness`].
pub(crate) fn random(rng: &mut dyn CryptoRngCore) -> Result<Zeroizing<Scalar>, Error> {
    loop {
        let mut wide = Zeroizing::new([0; 64]);
        fill(rng, &mut *wide)?;
        let scalar = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&wide));
        if *scalar != Scalar::ZERO {
            return Ok(scalar);
        }
    }
}

/// Random bytes. Everything here asks in this way, the only one in which a source can say that it
/// has none.
///
/// # Errors
/// [`Error::Randomness`].
pub(crate) fn fill(rng: &mut dyn CryptoRngCore, bytes: &mut [u8]) -> Result<(), Error> {
    rng.try_fill_bytes(bytes).map_err(|_| Error::Randomness)
}

/// RFC 9380 section 5.3.1, `expand_message_xmd` with SHA-512, for 64 bytes: one block.
fn expand(message: &[&[u8]], tag: &[u8]) -> Zeroizing<[u8; 64]> {
    // Tags are ours and have less than 256 bytes.
    let length = [u8::try_from(tag.len()).unwrap_or(u8::MAX)];
    let mut hash = Sha512::new();
    hash.update([0; 128]);
    message.iter().for_each(|part| hash.update(part));
    hash.update([0, 64, 0]);
    hash.update(tag);
    hash.update(length);
    let first = Zeroizing::new(<[u8; 64]>::from(hash.finalize()));
    let mut hash = Sha512::new();
    hash.update(*first);
    hash.update([1]);
    hash.update(tag);
    hash.update(length);
    Zeroizing::new(hash.finalize().into())
}

/// RFC 9497 section 4.1, `HashToGroup`: a point of which nobody knows the logarithm.
pub(crate) fn hash_to_group(input: &[u8], mode: Mode) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&expand(&[input], &mode.tag("HashToGroup-")))
}

/// RFC 9497 section 4.1, `HashToScalar`.
pub(crate) fn hash_to_scalar(message: &[&[u8]], mode: Mode) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&expand(message, &mode.tag("HashToScalar-")))
}
