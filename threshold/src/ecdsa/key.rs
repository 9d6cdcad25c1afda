//! The public part of a threshold P-256 key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use p256::elliptic_curve::sec1::ToEncodedPoint;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::combine::EcdsaCombiner;
use super::group::{Point, evaluate, read_point, write_point};
use super::presignature::PublicPart;
use crate::codec::{Reader, Writer};
use crate::{Combiner, Error, GroupKey, KeyId, Offence, Party, Roster, Scheme, Session};

/// What an encoding begins with: the scheme, and its version.
const HEADER: [u8; 2] = [Scheme::EcdsaP256 as u8, 1];

/// The public part of a threshold P-256 key: commitments a_j·G to the k coefficients of the
/// polynomial that shares it, the first of which is the public key. Cheap to clone.
#[derive(Clone)]
pub struct EcdsaKey(Arc<Public>);

struct Public {
    roster: Roster,
    commitments: Vec<Point>,
    /// SEC 1, not compressed: 4, x and y.
    verifying: Vec<u8>,
    id: KeyId,
}

impl fmt::Debug for EcdsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcdsaKey").field("id", &self.0.id).finish_non_exhaustive()
    }
}

/// Presigning multiplies shares, which doubles the degree: 2k-1 parties must be there for it,
/// although b are not.
pub(super) fn check_threshold(roster: &Roster) -> Result<(), Error> {
    let (n, k) = (roster.size(), roster.threshold());
    let needed = k.saturating_mul(2).saturating_sub(1);
    if needed <= n.saturating_sub(roster.faults()) {
        Ok(())
    } else {
        Err(Error::Threshold { n, k })
    }
}

impl EcdsaKey {
    pub(super) fn new(roster: Roster, commitments: Vec<Point>) -> Result<Self, Error> {
        check_threshold(&roster)?;
        let first = commitments.first().ok_or(Error::Inconsistent)?;
        if *first == Point::IDENTITY {
            return Err(Error::Inconsistent);
        }
        let verifying = first.to_affine().to_encoded_point(false).as_bytes().to_vec();
        let mut public = Public { roster, commitments, verifying, id: KeyId([0; 32]) };
        public.id = KeyId::of(&public.body());
        Ok(Self(Arc::new(public)))
    }

    /// Reads what [`GroupKey::to_bytes`] wrote. The commitments are those of a polynomial of
    /// degree k-1, whatever they are, so any k shares that fit them sign.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Threshold`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "ECDSA key");
        let key = Self::read(&mut reader)?;
        reader.end()?;
        Ok(key)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.expect(&HEADER)?;
        let roster = Roster::read(reader)?;
        let commitments = (0..roster.threshold()).map(|_| read_point(reader));
        let commitments = commitments.collect::<Result<_, _>>()?;
        let key = Self::new(roster, commitments)?;
        reader.expect(key.0.id.as_bytes())?;
        Ok(key)
    }

    /// The public key as DNSKEY records hold it: x and y, 32 bytes each. RFC 6605 section 4.
    #[must_use]
    pub fn verifying_key(&self) -> Vec<u8> {
        self.0.verifying.get(1..).unwrap_or_default().to_vec()
    }

    /// x_i·G.
    pub(super) fn check_of(&self, party: Party) -> Result<Point, Error> {
        self.0.roster.check(party)?;
        Ok(evaluate(&self.0.commitments, party))
    }

    /// The presignatures of a session.
    pub(super) fn presignatures(&self, session: &Session) -> Result<Vec<PublicPart>, Error> {
        let bytes = self.agreed(session)?;
        PublicPart::read_all(bytes, self.0.roster.threshold(), session.messages().len())
    }

    /// What all signers of a session say its presignatures are.
    pub(super) fn agreed<'a>(&self, session: &'a Session) -> Result<&'a [u8], Error> {
        session.check_key(self.0.id)?;
        let (have, need) = (session.commitments().len(), self.0.roster.threshold());
        if have < need {
            return Err(Error::TooFew { have, need });
        }
        session.commitments().keys().try_for_each(|party| self.0.roster.check(*party))?;
        let mut all = session.commitments().values();
        let first = all.next().ok_or(Error::TooFew { have, need })?;
        if all.any(|other| other != first) {
            return Err(Error::OtherNonces);
        }
        Ok(first)
    }
}

impl Public {
    /// The encoding but for the hash at its end. The hash is there because nothing else would
    /// contradict a damaged roster.
    fn body(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.bytes(&HEADER);
        self.roster.write(&mut out);
        self.commitments.iter().for_each(|commitment| write_point(commitment, &mut out));
        out.finish_public()
    }
}

impl GroupKey for EcdsaKey {
    fn scheme(&self) -> Scheme {
        Scheme::EcdsaP256
    }

    fn id(&self) -> KeyId {
        self.0.id
    }

    fn roster(&self) -> &Roster {
        &self.0.roster
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0.verifying);
        key.verify(message, signature).is_ok()
    }

    fn check_commitments(&self, party: Party, bytes: &[u8], messages: usize) -> Result<(), Error> {
        self.0.roster.check(party)?;
        let read = PublicPart::read_all(bytes, self.0.roster.threshold(), messages);
        let checked =
            read.and_then(|all| all.iter().try_for_each(|one| one.commitments().map(drop)));
        checked.map_err(|_| Error::Caught { party, offence: Offence::Malformed })
    }

    fn combiner(&self, session: &Session) -> Result<Box<dyn Combiner>, Error> {
        let presignatures = self.presignatures(session)?;
        Ok(Box::new(EcdsaCombiner::new(self.clone(), session, presignatures)?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        [self.0.body().as_slice(), self.0.id.as_bytes()].concat()
    }
}

/// Everything by party.
pub(super) type ByParty<T> = BTreeMap<Party, T>;
