//! The public part of a FROST key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use frost_ed25519::keys::{PublicKeyPackage, VerifyingShare};
use frost_ed25519::round1::{NonceCommitment, SigningCommitments};
use frost_ed25519::{Signature, VerifyingKey};

use super::combine::Ed25519Combiner;
use super::group::{Point, SIZE, coefficient, identifier, identity, point, point_bytes};
use super::order::{any_point, are_of_prime_order};
use crate::codec::{Reader, Writer};
use crate::session::FrostCommitments;
use crate::{Combiner, Error, GroupKey, KeyId, Offence, Party, Roster, Scheme, Session};

/// What an encoding begins with: the scheme, and its version.
const HEADER: [u8; 2] = [Scheme::Ed25519 as u8, 1];

/// The length of a commitment: two points.
const PAIR: usize = 2 * SIZE;

/// The public part of a threshold Ed25519 key: the public key that verifiers have, and each
/// party's Y_i = s_i B, by which its partial signatures are checked. Cheap to clone.
#[derive(Clone)]
pub struct Ed25519Key(Arc<Public>);

struct Public {
    roster: Roster,
    verifying: [u8; SIZE],
    points: BTreeMap<Party, Point>,
    package: PublicKeyPackage,
    id: KeyId,
}

impl fmt::Debug for Ed25519Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ed25519Key").field("id", &self.0.id).finish_non_exhaustive()
    }
}

impl Ed25519Key {
    /// A key of these parts, which are checked: the points must lie on one polynomial of degree
    /// k-1, no lower, whose value at 0 is the public key. So any k parties sign.
    pub(super) fn new(
        roster: Roster,
        verifying: [u8; SIZE],
        points: BTreeMap<Party, Point>,
    ) -> Result<Self, Error> {
        let mut shares = BTreeMap::new();
        for (party, point) in &points {
            let share = VerifyingShare::deserialize(&point_bytes(point)?);
            shares.insert(identifier(*party)?, share.map_err(|_| Error::Inconsistent)?);
        }
        let key =
            VerifyingKey::deserialize(&verifying).map_err(|_| Error::Malformed("Ed25519 key"))?;
        let k = u16::try_from(roster.threshold()).ok();
        let package = PublicKeyPackage::new(shares, key, k);
        let mut public = Public { roster, verifying, points, package, id: KeyId([0; 32]) };
        public.id = KeyId::of(&public.to_bytes()?);
        let key = Self(Arc::new(public));
        key.check()?;
        Ok(key)
    }

    /// The key that FROST made, for this roster.
    pub(super) fn from_package(roster: &Roster, package: &PublicKeyPackage) -> Result<Self, Error> {
        let encoded = package.verifying_key().serialize().map_err(|_| Error::Inconsistent)?;
        let verifying = encoded.try_into().map_err(|_| Error::Inconsistent)?;
        let mut points = BTreeMap::new();
        for party in roster.parties() {
            let share = package.verifying_shares().get(&identifier(*party)?);
            let encoded = share.and_then(|share| share.serialize().ok());
            let point = encoded.and_then(|encoded| point(&encoded)).ok_or(Error::Inconsistent)?;
            points.insert(*party, point);
        }
        Self::new(roster.clone(), verifying, points)
    }

    fn check(&self) -> Result<(), Error> {
        let k = self.0.roster.threshold();
        let first = |count| -> BTreeSet<Party> {
            self.0.roster.parties().iter().copied().take(count).collect()
        };
        let gives_key = |count| {
            let secret = self.interpolate(&first(count), None)?;
            Ok::<_, Error>(point_bytes(&secret).ok() == Some(self.0.verifying))
        };
        // With a polynomial of a lower degree fewer than k would sign.
        let mut right = gives_key(k)? && !gives_key(k.saturating_sub(1))?;
        let first = first(k);
        for (party, point) in self.0.points.iter().filter(|(party, _)| !first.contains(party)) {
            right &= self.interpolate(&first, Some(*party))? == *point;
        }
        if right { Ok(()) } else { Err(Error::Inconsistent) }
    }

    /// The point that the polynomial has at this place, from the subset's.
    pub(super) fn interpolate(
        &self,
        subset: &BTreeSet<Party>,
        at: Option<Party>,
    ) -> Result<Point, Error> {
        subset.iter().try_fold(identity(), |sum, party| {
            Ok(sum + self.point_of(*party)? * coefficient(subset, *party, at))
        })
    }

    /// Y_i.
    pub(super) fn point_of(&self, party: Party) -> Result<&Point, Error> {
        self.0.points.get(&party).ok_or(Error::NoSuchParty(party.number()))
    }

    pub(super) fn package(&self) -> &PublicKeyPackage {
        &self.0.package
    }

    /// Reads what [`GroupKey::to_bytes`] wrote and checks that the key is consistent.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`], [`Error::Threshold`], [`Error::Inconsistent`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "Ed25519 key");
        let key = Self::read(&mut reader)?;
        reader.end()?;
        Ok(key)
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.expect(&HEADER)?;
        let roster = Roster::read(reader)?;
        let verifying = reader.array()?;
        let mut points = BTreeMap::new();
        for party in roster.parties() {
            let point = point(reader.bytes(SIZE)?).ok_or(reader.malformed())?;
            points.insert(*party, point);
        }
        Self::new(roster, verifying, points)
    }

    /// The public key of RFC 8032: what verifiers have.
    #[must_use]
    pub fn verifying_key(&self) -> &[u8; 32] {
        &self.0.verifying
    }

    /// The same key with one party in the place of another, its point interpolated from the
    /// others': the first step of a replacement, which everybody takes alone. See
    /// [`super::repair`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchParty`] if `lost` is none; [`Error::Repeated`] if `new` already has a
    /// share and is not `lost`.
    pub fn replacing(&self, lost: Party, new: Party) -> Result<Self, Error> {
        self.0.roster.check(lost)?;
        let mut points = self.0.points.clone();
        points.remove(&lost);
        if points.contains_key(&new) {
            return Err(Error::Repeated(new));
        }
        let helpers = points.keys().copied().take(self.0.roster.threshold()).collect();
        points.insert(new, self.interpolate(&helpers, Some(new))?);
        let roster = self.0.roster.with(points.keys().copied().collect())?;
        Self::new(roster, self.0.verifying, points)
    }

    /// The commitments of a session, checked; the first time they are parsed.
    pub(super) fn commitments<'a>(
        &self,
        session: &'a Session,
    ) -> Result<&'a [FrostCommitments], Error> {
        session.check_key(self.0.id)?;
        session.parsed(|session| {
            let (have, need) = (session.commitments().len(), self.0.roster.threshold());
            if have < need {
                return Err(Error::TooFew { have, need });
            }
            let mut all = vec![FrostCommitments::new(); session.messages().len()];
            let given = session.commitments();
            let given = given.iter().map(|(party, bytes)| (*party, bytes.as_slice()));
            for (party, theirs) in self.read_commitments(given.collect(), all.len())? {
                for (message, theirs) in all.iter_mut().zip(theirs) {
                    message.insert(identifier(party)?, theirs);
                }
            }
            Ok(all)
        })
    }

    /// Two points for each message of each party, all of the prime order.
    fn read_commitments(
        &self,
        given: Vec<(Party, &[u8])>,
        messages: usize,
    ) -> Result<Vec<(Party, Vec<SigningCommitments>)>, Error> {
        let caught = |party| Error::Caught { party, offence: Offence::Malformed };
        let (mut encoded, mut points) = (Vec::new(), Vec::new());
        for (party, bytes) in &given {
            self.0.roster.check(*party)?;
            if Some(bytes.len()) != messages.checked_mul(PAIR) {
                return Err(caught(*party));
            }
            for bytes in bytes.chunks_exact(SIZE) {
                points.push(any_point(bytes).ok_or_else(|| caught(*party))?);
                encoded.push(bytes);
            }
        }
        let by_party = || given.iter().zip(points.chunks(messages.saturating_mul(2).max(1)));
        if !are_of_prime_order(&encoded, &points) {
            // Whose they are is seen one by one.
            let is_wrong = |points: &[Point]| points.iter().any(|point| !point.is_torsion_free());
            let liar = by_party().find(|(_, points)| is_wrong(points));
            return Err(liar.map_or(Error::Inconsistent, |((party, _), _)| caught(*party)));
        }
        let pair = |pair: &[Point]| {
            let [hiding, binding] = pair else { return None };
            let commitment = |point: &Point| NonceCommitment::new(*point);
            Some(SigningCommitments::new(commitment(hiding), commitment(binding)))
        };
        let read = by_party().map(|((party, _), points)| {
            (*party, points.chunks_exact(2).filter_map(pair).collect())
        });
        Ok(read.collect())
    }
}

impl Public {
    fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut out = Writer::default();
        out.bytes(&HEADER);
        self.roster.write(&mut out);
        out.bytes(&self.verifying);
        for point in self.points.values() {
            out.bytes(&point_bytes(point)?);
        }
        Ok(out.finish_public())
    }
}

impl GroupKey for Ed25519Key {
    fn scheme(&self) -> Scheme {
        Scheme::Ed25519
    }

    fn id(&self) -> KeyId {
        self.0.id
    }

    fn roster(&self) -> &Roster {
        &self.0.roster
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let signature = Signature::deserialize(signature);
        signature.is_ok_and(|s| self.0.package.verifying_key().verify(message, &s).is_ok())
    }

    fn check_commitments(&self, party: Party, bytes: &[u8], messages: usize) -> Result<(), Error> {
        self.read_commitments(vec![(party, bytes)], messages).map(|_| ())
    }

    fn combiner(&self, session: &Session) -> Result<Box<dyn Combiner>, Error> {
        self.commitments(session)?;
        Ok(Box::new(Ed25519Combiner::new(self.clone(), session.clone())))
    }

    fn to_bytes(&self) -> Vec<u8> {
        // Every point was encoded when the key was made.
        self.0.to_bytes().unwrap_or_default()
    }
}
