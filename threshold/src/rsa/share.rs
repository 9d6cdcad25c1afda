//! One party's share of a threshold RSA key.

use std::fmt;

use crypto_bigint::{BoxedUint, ConcatenatingMul};
use zeroize::{Zeroize, Zeroizing};

use super::key::RsaKey;
use super::number::Residue;
use super::proof;
use super::secret_power::pow_secret;
use crate::codec::Reader;
use crate::rand_core::CryptoRngCore;
use crate::session::NonceKind;
use crate::{Error, GroupKey, KeyShare, MAX_BATCH, Nonces, Party, SecretBytes, Session};

/// One party's share s_i of d. Wiped when dropped.
pub struct RsaShare {
    key: RsaKey,
    party: Party,
    /// s_i, in the precision of N.
    secret: BoxedUint,
    /// 2Δ s_i, what messages are raised to.
    exponent: BoxedUint,
    /// The size of `exponent` as far as it is public.
    exponent_bits: u32,
}

impl Drop for RsaShare {
    fn drop(&mut self) {
        self.secret.zeroize();
        self.exponent.zeroize();
    }
}

impl fmt::Debug for RsaShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RsaShare");
        out.field("party", &self.party).field("key", &self.key).finish_non_exhaustive()
    }
}

impl RsaShare {
    /// A share, checked against v_i of the public part.
    pub(super) fn new(key: RsaKey, party: Party, secret: BoxedUint) -> Result<Self, Error> {
        let secret = Zeroizing::new(secret);
        let right = key.base().pow(&secret) == *key.check_of(party)?;
        if !right {
            return Err(Error::Inconsistent);
        }
        let twice_delta = key.delta().saturating_mul(2);
        let factor_bits = u128::BITS.saturating_sub(twice_delta.leading_zeros());
        let exponent_bits = key.numbers().bits().saturating_add(factor_bits);
        let exponent = secret.concatenating_mul(BoxedUint::from(twice_delta));
        Ok(Self { key, party, secret: (*secret).clone(), exponent, exponent_bits })
    }

    /// The public part of the key.
    #[must_use]
    pub fn public(&self) -> &RsaKey {
        &self.key
    }

    /// Reads what [`KeyShare::to_secret_bytes`] wrote; the share and the public part are checked.
    ///
    /// # Errors
    ///
    /// As [`RsaKey::from_bytes`], and [`Error::Inconsistent`] if the share is not the one that
    /// the public part says.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "RSA key share");
        let key = RsaKey::read(&mut reader)?;
        let party = Party::new(reader.u8()?)?;
        let secret = reader.bytes(key.numbers().size())?;
        reader.end()?;
        let secret = BoxedUint::from_be_slice(secret, key.numbers().bits());
        // Any other encoding of the same share (plus a multiple of the group's order) is only
        // known to the dealer.
        Self::new(key, party, secret.map_err(|_| Error::Malformed("RSA key share"))?)
    }

    /// x_i = x^(2Δ s_i). Source: Shoup, section 3.
    fn partial(&self, message: &[u8]) -> Result<Residue, Error> {
        let message = self.key.encode(message)?;
        Ok(pow_secret(self.key.numbers(), &message, &self.exponent, self.exponent_bits))
    }
}

impl KeyShare for RsaShare {
    fn party(&self) -> Party {
        self.party
    }

    fn group(&self) -> &dyn GroupKey {
        &self.key
    }

    fn commit(
        &self,
        messages: usize,
        _: &mut dyn CryptoRngCore,
    ) -> Result<(Nonces, Vec<u8>), Error> {
        if messages == 0 || messages > MAX_BATCH {
            return Err(Error::BatchSize);
        }
        Ok((Nonces { key: self.key.id(), kind: NonceKind::None }, Vec::new()))
    }

    fn sign(&self, nonces: Nonces, session: &Session) -> Result<Vec<u8>, Error> {
        session.check_key(self.key.id())?;
        if nonces.key != self.key.id() || !matches!(nonces.kind, NonceKind::None) {
            return Err(Error::OtherKey);
        }
        let mut out = Vec::new();
        for message in session.messages() {
            out.extend(self.key.numbers().write(&self.partial(message)?));
        }
        Ok(out)
    }

    fn prove(
        &self,
        session: &Session,
        message: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, Error> {
        session.check_key(self.key.id())?;
        let message = session.message(message)?;
        let partial = self.partial(message)?;
        let message = self.key.encode(message)?;
        proof::prove(&self.key, self.party, &self.secret, &message, &partial, rng)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        self.key.write_share(self.party, &self.secret)
    }
}
