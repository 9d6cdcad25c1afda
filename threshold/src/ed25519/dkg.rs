//! The parties make a key together, and nobody ever has it.

use std::collections::BTreeMap;
use std::fmt;

use frost_ed25519::keys::dkg::{self, round1, round2};
use frost_ed25519::keys::{SigningShare, VerifiableSecretSharingCommitment};
use frost_ed25519::{Error as FrostError, Identifier, Signature};

use super::group::{Point, SIZE, base_times, evaluate, identifier, party_of, point, scalar};
use super::key::Ed25519Key;
use super::share::Ed25519Share;
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::rounds::{check_complete, read_of, transcript};
use crate::{Error, Offence, Party, Roster, SecretBytes};

/// What a round-1 package begins with.
const HEADER: [u8; 2] = [15, 0xd1];

/// One party's part in making a key. Source: FROST (Komlo and Goldberg 2020), figure 1, KeyGen.
///
/// ```text
///   Dkg::start           -- package --> all, the same to all: write-once values in the store
///   Dkg::deal(packages)  -- one share -> each other party, sealed
///   DkgDealt::finish(shares) -> the key share; all compare DkgDealt::transcript
/// ```
///
/// All parties of the roster must take part; if one does not, or is caught, the rest starts again
/// with a roster without it. The key may be used when all have the same transcript.
pub struct Dkg {
    roster: Roster,
    party: Party,
    secret: round1::SecretPackage,
    package: Vec<u8>,
}

impl fmt::Debug for Dkg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dkg").field("party", &self.party).finish_non_exhaustive()
    }
}

/// A party that has dealt its shares and waits for the others'.
pub struct DkgDealt {
    roster: Roster,
    party: Party,
    secret: round2::SecretPackage,
    packages: BTreeMap<Party, Package>,
    transcript: [u8; 32],
}

impl fmt::Debug for DkgDealt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DkgDealt").field("party", &self.party).finish_non_exhaustive()
    }
}

/// A round-1 package: commitments to the k coefficients of a polynomial, and a proof of knowledge
/// of the first.
struct Package {
    points: Vec<Point>,
    frost: round1::Package,
}

impl Package {
    fn read(bytes: &[u8], k: usize) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "round-1 package");
        reader.expect(&HEADER)?;
        let (points, commitment) = read_points(&mut reader, k)?;
        let proof = Signature::deserialize(reader.bytes(SIZE.wrapping_mul(2))?);
        let proof = proof.map_err(|_| reader.malformed())?;
        reader.end()?;
        Ok(Self { points, frost: round1::Package::new(commitment, proof) })
    }
}

/// Reads so many commitments.
pub(super) fn read_points(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<(Vec<Point>, VerifiableSecretSharingCommitment), Error> {
    let encoded = (0..count).map(|_| reader.bytes(SIZE)).collect::<Result<Vec<_>, _>>()?;
    let points = encoded.iter().map(|bytes| point(bytes)).collect::<Option<Vec<_>>>();
    let commitment = VerifiableSecretSharingCommitment::deserialize(encoded);
    let commitment = commitment.map_err(|_| reader.malformed())?;
    Ok((points.ok_or(reader.malformed())?, commitment))
}

/// Writes commitments.
pub(super) fn write_points(
    out: &mut Writer,
    commitment: &VerifiableSecretSharingCommitment,
) -> Result<(), Error> {
    let encoded = commitment.serialize().map_err(|_| Error::Inconsistent)?;
    encoded.iter().for_each(|point| out.bytes(point));
    Ok(())
}

/// FROST's maps go by its own names.
pub(super) fn by_name<T>(
    given: impl Iterator<Item = (Party, T)>,
) -> Result<BTreeMap<Identifier, T>, Error> {
    given.map(|(party, value)| Ok((identifier(party)?, value))).collect()
}

/// The shares that we deal, ready to be sealed to their parties.
pub(super) fn dealt(
    roster: &Roster,
    shares: &BTreeMap<Identifier, round2::Package>,
) -> Result<BTreeMap<Party, SecretBytes>, Error> {
    let named = shares.iter().map(|(name, package)| {
        let party = party_of(roster.parties().iter(), name).ok_or(Error::Inconsistent)?;
        Ok((party, SecretBytes::new(package.signing_share().serialize())))
    });
    named.collect()
}

/// The shares that were dealt to us, each checked against its dealer's commitments: the
/// coefficients from x^`from` on.
pub(super) fn received(
    to: Party,
    from: u32,
    given: &BTreeMap<Party, SecretBytes>,
    points: &dyn Fn(Party) -> Option<Vec<Point>>,
) -> Result<BTreeMap<Identifier, round2::Package>, Error> {
    let one = |(party, bytes): (&Party, &SecretBytes)| {
        let caught = |offence| Error::Caught { party: *party, offence };
        let points = points(*party).ok_or(Error::NoSuchParty(party.number()))?;
        let share = SigningShare::deserialize(bytes).map_err(|_| caught(Offence::Malformed))?;
        if !share_is_right(&points, from, to, bytes) {
            return Err(caught(Offence::WrongDealing));
        }
        Ok((identifier(*party)?, round2::Package::new(share)))
    };
    given.iter().map(one).collect()
}

/// Whether the share is the value of the committed polynomial at the party's number.
pub(super) fn share_is_right(points: &[Point], from: u32, to: Party, share: &[u8]) -> bool {
    scalar(share).is_some_and(|share| base_times(&share) == evaluate(points, from, to))
}

/// Whether a dealer whose broadcast is `package` dealt this share to `to` rightly: for everybody
/// to judge, when the receiver complains by publishing the share that the dealer signed.
///
/// # Errors
///
/// [`Error::Malformed`] if the package is (then the dealer is wrong anyway).
pub fn dealing_is_right(
    roster: &Roster,
    package: &[u8],
    to: Party,
    share: &[u8],
) -> Result<bool, Error> {
    let package = Package::read(package, roster.threshold())?;
    Ok(share_is_right(&package.points, 0, to, share))
}

impl Dkg {
    /// Begins: makes our secret polynomial, and the package to broadcast.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchParty`] if we are not in the roster.
    pub fn start(
        roster: &Roster,
        party: Party,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Vec<u8>), Error> {
        roster.check(party)?;
        let threshold = || Error::Threshold { n: roster.size(), k: roster.threshold() };
        let n = u16::try_from(roster.size()).map_err(|_| threshold())?;
        let k = u16::try_from(roster.threshold()).map_err(|_| threshold())?;
        let made = dkg::part1(identifier(party)?, n, k, rng);
        let (secret, public) = made.map_err(|_| threshold())?;
        let mut out = Writer::default();
        out.bytes(&HEADER);
        write_points(&mut out, public.commitment())?;
        let proof = public.proof_of_knowledge().serialize();
        out.bytes(&proof.map_err(|_| Error::Inconsistent)?);
        let package = out.finish_public();
        Ok((Self { roster: roster.clone(), party, secret, package: package.clone() }, package))
    }

    /// Takes everybody's packages, our own among them, and deals: one secret share for each other
    /// party, to be sealed to it and signed by us.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`], [`Error::NoSuchParty`], [`Error::OtherNonces`] if our own package is
    /// another one, [`Error::Caught`] for a wrong package: start again without that party.
    pub fn deal(
        self,
        packages: &BTreeMap<Party, Vec<u8>>,
    ) -> Result<(DkgDealt, BTreeMap<Party, SecretBytes>), Error> {
        check_complete(&self.roster, None, packages)?;
        if packages.get(&self.party) != Some(&self.package) {
            return Err(Error::OtherNonces);
        }
        let k = self.roster.threshold();
        let mut read = BTreeMap::new();
        for (party, bytes) in packages {
            read.insert(*party, read_of(*party, Package::read(bytes, k))?);
        }
        let others = read.iter().filter(|(party, _)| **party != self.party);
        let named = by_name(others.map(|(party, package)| (*party, package.frost.clone())))?;
        let (secret, shares) =
            dkg::part2(self.secret, &named).map_err(|error| caught_of(&self.roster, &error))?;
        let shares = dealt(&self.roster, &shares)?;
        let transcript = transcript(b"bftkv threshold DKG 1", &self.roster, packages);
        let Self { roster, party, .. } = self;
        Ok((DkgDealt { roster, party, secret, packages: read, transcript }, shares))
    }
}

/// What FROST found, in our words.
fn caught_of(roster: &Roster, error: &FrostError) -> Error {
    let offence = match error {
        FrostError::InvalidProofOfKnowledge { .. } => Offence::WrongKnowledge,
        _ => Offence::WrongDealing,
    };
    let named = error.culprits();
    let party = named.first().and_then(|name| party_of(roster.parties().iter(), name));
    party.map_or(Error::Inconsistent, |party| Error::Caught { party, offence })
}

impl DkgDealt {
    /// A hash of everything that was broadcast. All parties must have the same before the key is
    /// used: otherwise somebody broadcast different things to different parties.
    #[must_use]
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// Takes the shares that the other parties dealt to us, and makes our share of the key.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`], [`Error::NoSuchParty`]; [`Error::Caught`] with
    /// [`Offence::WrongDealing`]: complain, by publishing the share, and start again without the
    /// dealer when the others have judged it ([`dealing_is_right`]).
    pub fn finish(&self, shares: &BTreeMap<Party, SecretBytes>) -> Result<Ed25519Share, Error> {
        check_complete(&self.roster, Some(self.party), shares)?;
        let points = |party| Some(self.packages.get(&party)?.points.clone());
        let shares: BTreeMap<Party, SecretBytes> = shares
            .iter()
            .filter(|(p, _)| **p != self.party)
            .map(|(p, s)| (*p, s.clone()))
            .collect();
        let received = received(self.party, 0, &shares, &points)?;
        let others = self.packages.iter().filter(|(party, _)| **party != self.party);
        let packages = by_name(others.map(|(party, package)| (*party, package.frost.clone())))?;
        let made = dkg::part3(&self.secret, &packages, &received);
        let (share, public) = made.map_err(|error| caught_of(&self.roster, &error))?;
        let key = Ed25519Key::from_package(&self.roster, &public)?;
        Ed25519Share::new(key, self.party, *share.signing_share())
    }
}
