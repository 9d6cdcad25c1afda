//! One party's share of a FROST key, and the dealer.

use std::fmt;

use frost_ed25519::keys::{IdentifierList, KeyPackage, SigningShare, VerifyingShare};
use frost_ed25519::round1::SigningNonces;
use frost_ed25519::{SigningPackage, keys, round1, round2};

use super::group::{SIZE, identifier, point};
use super::key::Ed25519Key;
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::session::NonceKind;
use crate::{Error, GroupKey, KeyShare, MAX_BATCH, Nonces, Party, Roster, SecretBytes, Session};

/// One party's share s_i. Wiped when dropped.
pub struct Ed25519Share {
    key: Ed25519Key,
    party: Party,
    package: KeyPackage,
}

impl fmt::Debug for Ed25519Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Ed25519Share");
        out.field("party", &self.party).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Makes a key and deals its shares, in the order of the parties. The dealer's process must then
/// forget: end it.
///
/// # Errors
///
/// None with a roster that could be made; the type is there for what FROST may refuse.
pub fn deal(roster: &Roster, rng: &mut dyn CryptoRngCore) -> Result<Vec<Ed25519Share>, Error> {
    let names = roster.parties().iter().map(|party| identifier(*party));
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let threshold = Error::Threshold { n: roster.size(), k: roster.threshold() };
    let n = u16::try_from(roster.size()).map_err(|_| threshold.clone())?;
    let k = u16::try_from(roster.threshold()).map_err(|_| threshold.clone())?;
    let dealt = keys::generate_with_dealer(n, k, IdentifierList::Custom(&names), rng);
    let (shares, public) = dealt.map_err(|_| threshold)?;
    let key = Ed25519Key::from_package(roster, &public)?;
    let mut out = Vec::with_capacity(roster.size());
    for party in roster.parties() {
        let share = shares.get(&identifier(*party)?).ok_or(Error::Inconsistent)?;
        out.push(Ed25519Share::new(key.clone(), *party, *share.signing_share())?);
    }
    Ok(out)
}

impl Ed25519Share {
    /// A share, checked against the public part. The verifying share is computed anew, whatever
    /// the share came from: FROST's refresh leaves the old one in place.
    pub(super) fn new(key: Ed25519Key, party: Party, secret: SigningShare) -> Result<Self, Error> {
        let verifying = VerifyingShare::from(secret);
        let encoded = verifying.serialize().map_err(|_| Error::Inconsistent)?;
        if point(&encoded).as_ref() != Some(key.point_of(party)?) {
            return Err(Error::Inconsistent);
        }
        let name = identifier(party)?;
        let group = *key.package().verifying_key();
        let k = u16::try_from(key.roster().threshold()).map_err(|_| Error::Inconsistent)?;
        let package = KeyPackage::new(name, secret, verifying, group, k);
        Ok(Self { key, party, package })
    }

    /// The public part of the key.
    #[must_use]
    pub fn public(&self) -> &Ed25519Key {
        &self.key
    }

    pub(super) fn package(&self) -> &KeyPackage {
        &self.package
    }

    /// The same share of the key with one party in the place of another; see
    /// [`Ed25519Key::replacing`].
    ///
    /// # Errors
    ///
    /// As [`Ed25519Key::replacing`]; [`Error::NoSuchParty`] if it is our own place.
    pub fn replacing(&self, lost: Party, new: Party) -> Result<Self, Error> {
        let key = self.key.replacing(lost, new)?;
        Self::new(key, self.party, *self.package.signing_share())
    }

    /// Reads what [`KeyShare::to_secret_bytes`] wrote; the share and the public part are checked.
    ///
    /// # Errors
    ///
    /// As [`Ed25519Key::from_bytes`], and [`Error::Inconsistent`] if the share is not the one
    /// that the public part says.
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "Ed25519 key share");
        let key = Ed25519Key::read(&mut reader)?;
        let party = Party::new(reader.u8()?)?;
        let secret = SigningShare::deserialize(reader.bytes(SIZE)?);
        let secret = secret.map_err(|_| reader.malformed())?;
        reader.end()?;
        Self::new(key, party, secret)
    }
}

impl KeyShare for Ed25519Share {
    fn party(&self) -> Party {
        self.party
    }

    fn group(&self) -> &dyn GroupKey {
        &self.key
    }

    fn commit(
        &self,
        messages: usize,
        mut rng: &mut dyn CryptoRngCore,
    ) -> Result<(Nonces, Vec<u8>), Error> {
        if messages == 0 || messages > MAX_BATCH {
            return Err(Error::BatchSize);
        }
        let (mut nonces, mut out) = (Vec::with_capacity(messages), Writer::default());
        for _ in 0..messages {
            let (secret, public) = round1::commit(self.package.signing_share(), &mut rng);
            for point in [public.hiding(), public.binding()] {
                out.bytes(&point.serialize().map_err(|_| Error::Inconsistent)?);
            }
            nonces.push(secret);
        }
        let nonces = Nonces { key: self.key.id(), kind: NonceKind::Frost(nonces) };
        Ok((nonces, out.finish_public()))
    }

    fn sign(&self, nonces: Nonces, session: &Session) -> Result<Vec<u8>, Error> {
        let commitments = self.key.commitments(session)?;
        let NonceKind::Frost(secrets) = nonces.kind else { return Err(Error::OtherKey) };
        if nonces.key != self.key.id() {
            return Err(Error::OtherKey);
        }
        let secrets: Vec<SigningNonces> = secrets;
        if secrets.len() != session.messages().len() {
            return Err(Error::BatchSize);
        }
        let mut out = Vec::new();
        for ((message, theirs), ours) in session.messages().iter().zip(commitments).zip(&secrets) {
            let package = SigningPackage::new(theirs.clone(), message);
            let partial = round2::sign(&package, ours, &self.package);
            // What FROST refuses here is that the session has no or other commitments of ours.
            out.extend(partial.map_err(|_| Error::OtherNonces)?.serialize());
        }
        Ok(out)
    }

    fn prove(&self, _: &Session, _: usize, _: &mut dyn CryptoRngCore) -> Result<Vec<u8>, Error> {
        Err(Error::NoSuchStep)
    }

    fn to_secret_bytes(&self) -> SecretBytes {
        let public = self.key.to_bytes();
        let mut out = Writer::with_capacity(public.len().saturating_add(SIZE).saturating_add(1));
        out.bytes(&public);
        out.bytes(&[self.party.number()]);
        out.bytes(&SecretBytes::new(self.package.signing_share().serialize()));
        out.finish()
    }
}
