//! The public part of a threshold RSA key.

use std::fmt;
use std::sync::Arc;

use crypto_bigint::BoxedUint;

use super::combine::RsaCombiner;
use super::number::{Modulus, Residue, coefficient, delta, pow_public};
use super::{EXPONENT, pkcs1};
use crate::codec::{Reader, Writer};
use crate::{
    Combiner, Error, GroupKey, KeyId, Offence, Party, Roster, Scheme, Session, scheme::SecretBytes,
};

/// What an encoding begins with: the scheme, and its version.
pub(super) const HEADER: [u8; 2] = [Scheme::Rsa as u8, 1];

/// The public part of a threshold RSA key: N, and for each party v_i = v^(s_i), which its proofs
/// are checked against. Cheap to clone.
#[derive(Clone)]
pub struct RsaKey(Arc<Public>);

struct Public {
    roster: Roster,
    modulus: Modulus,
    /// v is its square, so everybody sees that v is one.
    root: Residue,
    /// v_i, in the order of the parties.
    checks: Vec<Residue>,
    id: KeyId,
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RsaKey").field("id", &self.0.id).finish_non_exhaustive()
    }
}

impl RsaKey {
    /// A key of these parts. Checked by the caller, or made by the dealer.
    pub(super) fn new(
        roster: Roster,
        modulus: Modulus,
        root: Residue,
        checks: Vec<Residue>,
    ) -> Self {
        let id = KeyId([0; 32]);
        let mut public = Public { roster, modulus, root, checks, id };
        public.id = KeyId::of(&public.to_bytes());
        Self(Arc::new(public))
    }

    /// Reads what [`GroupKey::to_bytes`] wrote, and checks that the key is consistent: all v_i lie
    /// on one polynomial of degree k-1, no lower, whose value at 0 is 1/e. So any k right partial
    /// signatures make a signature. That N is the product of two safe primes cannot be seen from
    /// it; there the dealer is trusted.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Primes`] (the size of N), [`Error::Threshold`],
    /// [`Error::Inconsistent`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "RSA key");
        let key = Self::read(&mut reader)?;
        reader.end()?;
        Ok(key)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.expect(&HEADER)?;
        let roster = Roster::read(reader)?;
        check_parties(&roster)?;
        let size = usize::from(reader.u16()?);
        let n = BoxedUint::from_be_slice_vartime(reader.bytes(size)?);
        let modulus = Modulus::new(&n)?;
        if modulus.size() != size {
            return Err(reader.malformed());
        }
        let residue = |reader: &mut Reader<'_>| {
            let bytes = reader.bytes(size)?;
            modulus.read(bytes).ok_or(reader.malformed())
        };
        let root = residue(reader)?;
        let checks = roster.parties().iter().map(|_| residue(reader)).collect::<Result<_, _>>()?;
        let key = Self::new(roster, modulus.clone(), root, checks);
        key.check()?;
        Ok(key)
    }

    /// N, big-endian, without leading zeros: what a DNSKEY record or a certificate holds beside
    /// [`EXPONENT`].
    #[must_use]
    pub fn modulus(&self) -> Vec<u8> {
        self.0.modulus.to_bytes()
    }

    pub(super) fn numbers(&self) -> &Modulus {
        &self.0.modulus
    }

    /// v, of which the v_i are powers.
    pub(super) fn base(&self) -> Residue {
        self.0.root.square()
    }

    /// v_i.
    pub(super) fn check_of(&self, party: Party) -> Result<&Residue, Error> {
        let place = self.0.roster.parties().iter().position(|other| *other == party);
        let check = place.and_then(|place| self.0.checks.get(place));
        check.ok_or(Error::NoSuchParty(party.number()))
    }

    /// Δ = n!.
    pub(super) fn delta(&self) -> u128 {
        delta(self.0.roster.size())
    }

    /// x, the padded message as a number.
    pub(super) fn encode(&self, message: &[u8]) -> Result<Residue, Error> {
        let encoded = pkcs1::encode(message, self.0.modulus.size());
        self.0.modulus.read(&encoded).ok_or(Error::Malformed("modulus"))
    }

    /// The value at `at`, times Δ, in the exponent of v, from the first so many of the v_i; as
    /// numerator and denominator.
    fn interpolate(&self, from: usize, at: u8) -> (Residue, Residue) {
        let first = self.0.roster.parties().iter().take(from);
        let first: Vec<Party> = first.copied().collect();
        let one = || self.0.modulus.one();
        first.iter().zip(&self.0.checks).fold((one(), one()), |(above, below), (party, check)| {
            let c = coefficient(self.delta(), &first, *party, at);
            let power = pow_public(check, c.size);
            if c.negative { (above, below.mul(&power)) } else { (above.mul(&power), below) }
        })
    }

    /// See [`RsaKey::from_bytes`].
    pub(super) fn check(&self) -> Result<(), Error> {
        let k = self.0.roster.threshold();
        let agrees = |(above, below): (Residue, Residue), raised: &Residue| {
            above == pow_public(raised, self.delta()).mul(&below)
        };
        // At 0 the value is d, and e times it is 1.
        let gives_d = |from| {
            let (above, below) = self.interpolate(from, 0);
            let to_e = |x| pow_public(&x, u128::from(EXPONENT));
            agrees((to_e(above), to_e(below)), &self.base())
        };
        let others = self.0.roster.parties().iter().zip(&self.0.checks).skip(k);
        let on_it =
            |(party, check): (&Party, &Residue)| agrees(self.interpolate(k, party.number()), check);
        // With a polynomial of a lower degree fewer than k would sign. (Nor does a base of 1 pass,
        // with which every equation holds.)
        let right = gives_d(k) && others.into_iter().all(on_it) && !gives_d(k.saturating_sub(1));
        if right { Ok(()) } else { Err(Error::Inconsistent) }
    }

    /// Whether y^e is x.
    pub(super) fn is_root(&self, signature: &Residue, message: &Residue) -> bool {
        pow_public(signature, u128::from(EXPONENT)) == *message
    }

    /// Cuts a batch of partial signatures into residues.
    pub(super) fn read_batch(&self, bytes: &[u8], count: usize) -> Option<Vec<Residue>> {
        let size = self.0.modulus.size();
        if Some(bytes.len()) != size.checked_mul(count) {
            return None;
        }
        bytes.chunks_exact(size).map(|partial| self.0.modulus.read(partial)).collect()
    }

    pub(super) fn write_share(&self, party: Party, share: &BoxedUint) -> SecretBytes {
        let public = self.to_bytes();
        let size = self.0.modulus.size();
        let mut out = Writer::with_capacity(public.len().saturating_add(size).saturating_add(1));
        out.bytes(&public);
        out.bytes(&[party.number()]);
        out.bytes(&SecretBytes::new(share.to_be_bytes().into_vec()));
        out.finish()
    }
}

/// Shares are dealt to the parties 1 to n: Δ = n! makes the coefficients whole only for these.
pub(super) fn check_parties(roster: &Roster) -> Result<(), Error> {
    let last = roster.parties().last().map_or(0, |party| usize::from(party.number()));
    let threshold = Error::Threshold { n: last, k: roster.threshold() };
    if last == roster.size() { Ok(()) } else { Err(threshold) }
}

impl Public {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(&HEADER);
        self.roster.write(&mut out);
        out.bytes(&u16::try_from(self.modulus.size()).unwrap_or_default().to_be_bytes());
        out.bytes(&self.modulus.to_bytes());
        out.bytes(&self.modulus.write(&self.root));
        self.checks.iter().for_each(|check| out.bytes(&self.modulus.write(check)));
        out.finish_public()
    }
}

impl GroupKey for RsaKey {
    fn scheme(&self) -> Scheme {
        Scheme::Rsa
    }

    fn id(&self) -> KeyId {
        self.0.id
    }

    fn roster(&self) -> &Roster {
        &self.0.roster
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(signature) = self.0.modulus.read(signature) else { return false };
        self.encode(message).is_ok_and(|message| self.is_root(&signature, &message))
    }

    fn check_commitments(&self, party: Party, bytes: &[u8], _: usize) -> Result<(), Error> {
        self.0.roster.check(party)?;
        let caught = Error::Caught { party, offence: Offence::Malformed };
        if bytes.is_empty() { Ok(()) } else { Err(caught) }
    }

    fn combiner(&self, session: &Session) -> Result<Box<dyn Combiner>, Error> {
        session.check_key(self.id())?;
        Ok(Box::new(RsaCombiner::new(self.clone(), session)?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }
}
