//! One party's share of a P-256 key, and the dealer.

use std::fmt;

use super::group::{Pair, Polynomial, SCALAR, Scalar, random, read_scalar, times_base};
use super::key::{EcdsaKey, check_threshold};
use super::presign::Presign;
use super::presignature::{Binding, Presignature};
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::session::NonceKind;
use crate::{Error, GroupKey, KeyShare, Nonces, Party, Roster, SecretBytes, Session};

/// One party's share x_i. Wiped when dropped.
pub struct EcdsaShare {
    key: EcdsaKey,
    party: Party,
    /// x_i; its commitment is x_i·G, without a blind.
    secret: Pair,
}

impl fmt::Debug for EcdsaShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("EcdsaShare");
        out.field("party", &self.party).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Makes a key and deals its shares, in the order of the parties. The dealer's process must then
/// forget: end it.
///
/// # Errors
///
/// [`Error::Threshold`] unless 2k-1 <= n-b: so many parties must be there to presign.
pub fn deal(roster: &Roster, rng: &mut dyn CryptoRngCore) -> Result<Vec<EcdsaShare>, Error> {
    check_threshold(roster)?;
    let pair = |value| Pair { value, blind: Scalar::ZERO };
    let coefficients = (0..roster.threshold()).map(|_| pair(random(rng))).collect();
    let polynomial = Polynomial::of(coefficients);
    let key = EcdsaKey::new(roster.clone(), polynomial.commitments())?;
    let parties = roster.parties().iter();
    parties.map(|party| EcdsaShare::new(key.clone(), *party, polynomial.at(*party).value)).collect()
}

impl EcdsaShare {
    pub(super) fn new(key: EcdsaKey, party: Party, value: Scalar) -> Result<Self, Error> {
        let secret = Pair { value, blind: Scalar::ZERO };
        if times_base(&secret.value) != key.check_of(party)? {
            return Err(Error::Inconsistent);
        }
        Ok(Self { key, party, secret })
    }

    /// The public part of the key.
    #[must_use]
    pub fn public(&self) -> &EcdsaKey {
        &self.key
    }

    /// Another copy in memory, wiped on its own.
    pub(super) fn copy(&self) -> Self {
        Self { key: self.key.clone(), party: self.party, secret: self.secret.clone() }
    }

    pub(super) fn secret(&self) -> &Pair {
        &self.secret
    }

    /// Reads what [`KeyShare::to_secret_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// As [`EcdsaKey::from_bytes`], and [`Error::Inconsistent`] if the share is not the one that
    /// the public part says.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "ECDSA key share");
        let key = EcdsaKey::read(&mut reader)?;
        let party = Party::new(reader.u8()?)?;
        let secret = read_scalar(&mut reader)?;
        reader.end()?;
        Self::new(key, party, secret)
    }
}

/// Our part of one signature: the shares of ν = h·λ + r·xλ and of μ = κλ + δ·λ, with their blinds.
/// The signature is s = ν/μ.
fn partial(presignature: &Presignature, binding: &Binding) -> [Pair; 2] {
    let upper = Pair::ZERO.plus(&presignature.lambda, &binding.hash);
    let upper = upper.plus(&presignature.key_lambda, &binding.r);
    [upper, presignature.nonce_lambda.plus(&presignature.lambda, &binding.shift)]
}

impl KeyShare for EcdsaShare {
    fn party(&self) -> Party {
        self.party
    }

    fn group(&self) -> &dyn GroupKey {
        &self.key
    }

    /// Nonces are made by many ([`super::Presign`]) and taken from [`super::Presignatures`].
    fn commit(&self, _: usize, _: &mut dyn CryptoRngCore) -> Result<(Nonces, Vec<u8>), Error> {
        Err(Error::NoSuchStep)
    }

    fn presign(
        &self,
        count: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Presign, Vec<u8>), Error> {
        Presign::start(self, count, rng)
    }

    fn sign(&self, nonces: Nonces, session: &Session) -> Result<Vec<u8>, Error> {
        session.check_key(self.key.id())?;
        let NonceKind::Ecdsa(ours) = nonces.kind else { return Err(Error::OtherKey) };
        if nonces.key != self.key.id() {
            return Err(Error::OtherKey);
        }
        if ours.len() != session.messages().len() {
            return Err(Error::BatchSize);
        }
        let agreed = self.key.agreed(session)?;
        let public = ours.iter().flat_map(|one| one.public.encoded());
        if !session.commitments().contains_key(&self.party) || !public.eq(agreed) {
            return Err(Error::OtherNonces);
        }
        let bindings = Binding::all(session, ours.iter().map(|one| &one.public))?;
        let mut out = Writer::default();
        for (presignature, binding) in ours.iter().zip(&bindings) {
            partial(presignature, binding).iter().for_each(|pair| pair.write(&mut out));
        }
        Ok(out.finish_public())
    }

    fn prove(&self, _: &Session, _: usize, _: &mut dyn CryptoRngCore) -> Result<Vec<u8>, Error> {
        Err(Error::NoSuchStep)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        let public = self.key.to_bytes();
        let mut out = Writer::with_capacity(public.len().saturating_add(SCALAR).saturating_add(1));
        out.bytes(&public);
        out.bytes(&[self.party.number()]);
        out.bytes(&SecretBytes::new(self.secret.value.to_bytes().to_vec()));
        out.finish()
    }
}
