//! A share for a new party in the place of a lost one, made by k helpers of whom none learns it.
//!
//! 1. Everybody computes the key with the new party in the place of the lost one
//!    ([`super::Ed25519Key::replacing`], [`Ed25519Share::replacing`]).
//! 2. Each helper splits its part of the share into one piece for each helper: [`offer`]. The
//!    offer's commitments are broadcast, the pieces sealed to their helpers.
//! 3. Each helper adds up the pieces that it got: [`Repair::add_up`], and sends the sum, sealed, to the
//!    new party.
//! 4. The new party adds up the sums: [`Repair::finish`].
//! 5. All refresh ([`super::Refresh`]): only then is the lost share worth nothing.
//!
//! Source: Laing and Stinson, *A Survey and Refinement of Repairable Threshold Schemes*
//! (ePrint 2017/1155), section 2, as in `frost-ed25519`.
//!
//! Differs: every piece is committed to, as a point, and everything that is received is checked
//! against the commitments, so that a helper that lies is named. Without that the new party only
//! sees that its share is wrong (FROST's last step does not even look).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use frost_ed25519::Ed25519Sha512;
use frost_ed25519::keys::repairable::{
    Delta, Sigma, repair_share_part1, repair_share_part2, repair_share_part3,
};

use super::group::{
    Point, SIZE, base_times, coefficient, identifier, identity, party_of, point, point_bytes,
    scalar,
};
use super::key::Ed25519Key;
use super::share::Ed25519Share;
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::rounds::transcript;
use crate::{Error, GroupKey, KeyShare, Offence, Party, SecretBytes};

/// What an offer's commitments begin with.
const HEADER: [u8; 2] = [15, 0xd3];

/// A helper's offer.
pub struct Offer {
    /// Commitments to the pieces, to be broadcast.
    pub commitments: Vec<u8>,
    /// One piece for each helper, the one who offers among them, to be sealed to it.
    pub pieces: BTreeMap<Party, SecretBytes>,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer").field("helpers", &self.pieces.keys()).finish_non_exhaustive()
    }
}

/// Everything that the helpers have broadcast, checked: each one's commitments add up to its part
/// of the new share.
pub struct Repair {
    key: Ed25519Key,
    new: Party,
    /// By who offers, then by who receives.
    commitments: BTreeMap<Party, BTreeMap<Party, Point>>,
    transcript: [u8; 32],
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Repair");
        out.field("key", &self.key).field("new", &self.new).finish_non_exhaustive()
    }
}

fn check_helpers(key: &Ed25519Key, helpers: &BTreeSet<Party>, new: Party) -> Result<(), Error> {
    let (have, need) = (helpers.len(), key.roster().threshold());
    helpers.iter().try_for_each(|helper| key.roster().check(*helper))?;
    key.roster().check(new)?;
    if helpers.contains(&new) {
        return Err(Error::Repeated(new));
    }
    if have < need { Err(Error::TooFew { have, need }) } else { Ok(()) }
}

/// A helper's offer for the share of `new`, which is already a party of the key of `share`.
///
/// # Errors
///
/// [`Error::TooFew`] helpers, [`Error::NoSuchParty`] (one of them, or we are none),
/// [`Error::Repeated`] if the new party is to help itself.
pub fn offer(
    share: &Ed25519Share,
    helpers: &BTreeSet<Party>,
    new: Party,
    mut rng: &mut dyn CryptoRngCore,
) -> Result<Offer, Error> {
    check_helpers(share.public(), helpers, new)?;
    let names = helpers.iter().map(|party| identifier(*party)).collect::<Result<Vec<_>, _>>()?;
    let made =
        repair_share_part1::<Ed25519Sha512, _>(&names, share.package(), &mut rng, identifier(new)?);
    let made = made.map_err(|_| Error::NoSuchParty(share.party().number()))?;
    let mut pieces = BTreeMap::new();
    for (name, delta) in made {
        let party = party_of(helpers.iter(), &name).ok_or(Error::Inconsistent)?;
        pieces.insert(party, SecretBytes::new(delta.serialize()));
    }
    let mut out = Writer::default();
    out.bytes(&HEADER);
    for piece in pieces.values() {
        let piece = scalar(piece).ok_or(Error::Inconsistent)?;
        out.bytes(&point_bytes(&base_times(&piece))?);
    }
    Ok(Offer { commitments: out.finish_public(), pieces })
}

impl Repair {
    /// Takes what all helpers have broadcast.
    ///
    /// # Errors
    ///
    /// As [`offer`]; [`Error::Caught`]: start again without that helper.
    pub fn new(
        key: &Ed25519Key,
        new: Party,
        broadcast: &BTreeMap<Party, Vec<u8>>,
    ) -> Result<Self, Error> {
        let helpers: BTreeSet<Party> = broadcast.keys().copied().collect();
        check_helpers(key, &helpers, new)?;
        let mut commitments = BTreeMap::new();
        for (helper, bytes) in broadcast {
            let caught = |offence| Error::Caught { party: *helper, offence };
            let read = read_commitments(bytes, &helpers);
            let points = read.map_err(|_| caught(Offence::Malformed))?;
            let sum = points.values().fold(identity(), |sum, point| sum + point);
            let part = key.point_of(*helper)? * coefficient(&helpers, *helper, Some(new));
            if sum != part {
                return Err(caught(Offence::WrongCommitment));
            }
            commitments.insert(*helper, points);
        }
        let label =
            [b"bftkv threshold repair 1 ", &key.id().as_bytes()[..], &[new.number()]].concat();
        let transcript = transcript(&label, key.roster(), broadcast);
        Ok(Self { key: key.clone(), new, commitments, transcript })
    }

    /// A hash of the key, for whom it is, and everything that was broadcast. The helpers and the new party must have
    /// the same before any sum is sent: otherwise a helper that broadcast different things could get another
    /// one named.
    #[must_use]
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// A helper adds up the pieces that it got from all helpers, itself among them. The sum is
    /// for the new party only.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`]; [`Error::Caught`]: a piece contradicts its commitment.
    pub fn add_up(
        &self,
        helper: Party,
        pieces: &BTreeMap<Party, SecretBytes>,
    ) -> Result<SecretBytes, Error> {
        let committed = |from: &Party| {
            let committed = self.commitments.get(from).and_then(|theirs| theirs.get(&helper));
            committed.copied().ok_or(Error::NoSuchParty(helper.number()))
        };
        let pieces = self.check_all(pieces, &committed)?;
        let deltas =
            pieces.iter().map(|piece| Delta::deserialize(piece)).collect::<Result<Vec<_>, _>>();
        let sum = repair_share_part2(&deltas.map_err(|_| Error::Inconsistent)?);
        Ok(SecretBytes::new(sum.serialize()))
    }

    /// The new party adds up the sums that it got from all helpers, and has its share. It is
    /// checked against the public key.
    ///
    /// # Errors
    ///
    /// [`Error::TooFew`]; [`Error::Caught`]: a sum contradicts the commitments.
    pub fn finish(&self, sums: &BTreeMap<Party, SecretBytes>) -> Result<Ed25519Share, Error> {
        let committed = |to: &Party| {
            let mut pieces = self.commitments.values().map(|theirs| theirs.get(to).copied());
            let sum = pieces.try_fold(identity(), |sum, piece| Some(sum + piece?));
            sum.ok_or(Error::NoSuchParty(to.number()))
        };
        let sums = self.check_all(sums, &committed)?;
        let sums = sums.iter().map(|sum| Sigma::deserialize(sum)).collect::<Result<Vec<_>, _>>();
        let sums = sums.map_err(|_| Error::Inconsistent)?;
        let made = repair_share_part3(&sums, identifier(self.new)?, self.key.package());
        let made = made.map_err(|_| Error::Inconsistent)?;
        Ed25519Share::new(self.key.clone(), self.new, *made.signing_share())
    }

    /// One secret of each helper, each checked against what was committed to.
    fn check_all<'b>(
        &self,
        given: &'b BTreeMap<Party, SecretBytes>,
        committed: &dyn Fn(&Party) -> Result<Point, Error>,
    ) -> Result<Vec<&'b SecretBytes>, Error> {
        let (have, need) = (given.len(), self.commitments.len());
        if let Some(stranger) = given.keys().find(|party| !self.commitments.contains_key(party)) {
            return Err(Error::NoSuchParty(stranger.number()));
        }
        if have < need {
            return Err(Error::TooFew { have, need });
        }
        for (party, bytes) in given {
            let caught = |offence| Error::Caught { party: *party, offence };
            let value = scalar(bytes).ok_or(caught(Offence::Malformed))?;
            if base_times(&value) != committed(party)? {
                return Err(caught(Offence::WrongDealing));
            }
        }
        Ok(given.values().collect())
    }
}

fn read_commitments(
    bytes: &[u8],
    helpers: &BTreeSet<Party>,
) -> Result<BTreeMap<Party, Point>, Error> {
    let mut reader = Reader::new(bytes, "repair commitments");
    reader.expect(&HEADER)?;
    let mut points = BTreeMap::new();
    for helper in helpers {
        let read = point(reader.bytes(SIZE)?).ok_or(reader.malformed())?;
        points.insert(*helper, read);
    }
    reader.end()?;
    Ok(points)
}
