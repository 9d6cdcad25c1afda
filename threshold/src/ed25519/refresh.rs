//! New shares of the same key: the old ones are worth nothing afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use frost_ed25519::Signature;
use frost_ed25519::keys::dkg::{round1, round2};
use frost_ed25519::keys::refresh::{refresh_dkg_part1, refresh_dkg_part2, refresh_dkg_shares};

use super::dkg::{by_name, dealt, read_points, received, share_is_right, write_points};
use super::group::{Point, SIZE, identifier};
use super::key::Ed25519Key;
use super::share::Ed25519Share;
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::rounds::{check_complete, read_of, transcript};
use crate::{Error, GroupKey, KeyShare, Party, Roster, SecretBytes};

/// What a refresh package begins with.
const HEADER: [u8; 2] = [15, 0xd2];

/// One party's part in a refresh: each party deals shares of 0, and adds what it gets to its
/// share. The public key stays; old and new shares do not fit together.
///
/// ```text
///   Refresh::start           -- package --> all who go on, the same to all
///   Refresh::deal(packages)  -- one share -> each other, sealed
///   RefreshDealt::finish(shares) -> the new share; all compare RefreshDealt::transcript
/// ```
///
/// Whoever is not among the parties that go on has no share afterwards. All of them must take
/// part; a party keeps its old share until all have the same transcript and have stored their
/// new ones, and destroys it then. The threshold stays.
pub struct Refresh<'a> {
    share: &'a Ed25519Share,
    roster: Roster,
    secret: round1::SecretPackage,
    package: Vec<u8>,
}

impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").field("share", &self.share).finish_non_exhaustive()
    }
}

/// A party that has dealt its shares of 0 and waits for the others'.
pub struct RefreshDealt<'a> {
    share: &'a Ed25519Share,
    roster: Roster,
    secret: round2::SecretPackage,
    packages: BTreeMap<Party, Package>,
    transcript: [u8; 32],
}

impl fmt::Debug for RefreshDealt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshDealt").field("share", &self.share).finish_non_exhaustive()
    }
}

/// Commitments to the coefficients of a polynomial from x on; the one before is 0.
struct Package {
    points: Vec<Point>,
    frost: round1::Package,
}

impl Package {
    fn read(bytes: &[u8], k: usize) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes, "refresh package");
        reader.expect(&HEADER)?;
        let (points, commitment) = read_points(&mut reader, k.saturating_sub(1))?;
        reader.end()?;
        Ok(Self { points, frost: round1::Package::new(commitment, no_proof()?) })
    }
}

/// A place in FROST's package that nobody reads: there is no secret whose knowledge is to be
/// proven. The base point and 0.
fn no_proof() -> Result<Signature, Error> {
    let mut bytes = [0x66; 64];
    let (point, zero) = bytes.split_at_mut(SIZE);
    zero.fill(0);
    if let Some(first) = point.first_mut() {
        *first = 0x58;
    }
    Signature::deserialize(&bytes).map_err(|_| Error::Inconsistent)
}

/// As [`super::dealing_is_right`], for a refresh.
///
/// # Errors
///
/// [`Error::Malformed`] if the package is.
pub fn refresh_dealing_is_right(
    roster: &Roster,
    package: &[u8],
    to: Party,
    share: &[u8],
) -> Result<bool, Error> {
    let package = Package::read(package, roster.threshold())?;
    Ok(share_is_right(&package.points, 1, to, share))
}

impl<'a> Refresh<'a> {
    /// Begins a refresh of these parties, which must hold shares of the key as it is now.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchParty`] for one that does not, or if we are not among them;
    /// [`Error::Threshold`] if too few are left for the key's threshold, or so many that their
    /// faults would reach it.
    pub fn start(
        share: &'a Ed25519Share,
        parties: BTreeSet<Party>,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Self, Vec<u8>), Error> {
        let old = share.public().roster();
        parties.iter().try_for_each(|party| old.check(*party))?;
        let roster = old.with(parties)?;
        roster.check(share.party())?;
        let threshold = || Error::Threshold { n: roster.size(), k: roster.threshold() };
        let n = u16::try_from(roster.size()).map_err(|_| threshold())?;
        let k = u16::try_from(roster.threshold()).map_err(|_| threshold())?;
        let made = refresh_dkg_part1(identifier(share.party())?, n, k, rng);
        let (secret, public) = made.map_err(|_| threshold())?;
        let mut out = Writer::default();
        out.bytes(&HEADER);
        write_points(&mut out, public.commitment())?;
        let package = out.finish_public();
        Ok((Self { share, roster, secret, package: package.clone() }, package))
    }

    /// Takes everybody's packages, our own among them, and deals.
    ///
    /// # Errors
    ///
    /// As [`super::Dkg::deal`].
    pub fn deal(
        self,
        packages: &BTreeMap<Party, Vec<u8>>,
    ) -> Result<(RefreshDealt<'a>, BTreeMap<Party, SecretBytes>), Error> {
        check_complete(&self.roster, None, packages)?;
        let own = self.share.party();
        if packages.get(&own) != Some(&self.package) {
            return Err(Error::OtherNonces);
        }
        let mut read = BTreeMap::new();
        for (party, bytes) in packages {
            let package = Package::read(bytes, self.roster.threshold());
            read.insert(*party, read_of(*party, package)?);
        }
        let others = read.iter().filter(|(party, _)| **party != own);
        let named = by_name(others.map(|(party, package)| (*party, package.frost.clone())))?;
        let (secret, shares) =
            refresh_dkg_part2(self.secret, &named).map_err(|_| Error::Inconsistent)?;
        let shares = dealt(&self.roster, &shares)?;
        let mut label = b"bftkv threshold refresh 1".to_vec();
        label.extend_from_slice(self.share.public().id().as_bytes());
        let transcript = transcript(&label, &self.roster, packages);
        let Self { share, roster, .. } = self;
        Ok((RefreshDealt { share, roster, secret, packages: read, transcript }, shares))
    }
}

impl RefreshDealt<'_> {
    /// A hash of the key as it was and of everything that was broadcast.
    #[must_use]
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// Takes the shares that the others dealt to us, and makes our new share.
    ///
    /// # Errors
    ///
    /// As [`super::DkgDealt::finish`]; the judge is [`refresh_dealing_is_right`].
    pub fn finish(&self, shares: &BTreeMap<Party, SecretBytes>) -> Result<Ed25519Share, Error> {
        let own = self.share.party();
        check_complete(&self.roster, Some(own), shares)?;
        let points = |party| Some(self.packages.get(&party)?.points.clone());
        let shares: BTreeMap<Party, SecretBytes> =
            shares.iter().filter(|(p, _)| **p != own).map(|(p, s)| (*p, s.clone())).collect();
        let received = received(own, 1, &shares, &points)?;
        let others = self.packages.iter().filter(|(party, _)| **party != own);
        let packages = by_name(others.map(|(party, package)| (*party, package.frost.clone())))?;
        let (public, ours) = (self.share.public().package(), self.share.package());
        let made =
            refresh_dkg_shares(&self.secret, &packages, &received, public.clone(), ours.clone());
        let (share, public) = made.map_err(|_| Error::Inconsistent)?;
        let key = Ed25519Key::from_package(&self.roster, &public)?;
        Ed25519Share::new(key, own, *share.signing_share())
    }
}
