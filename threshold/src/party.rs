//! Who holds shares of a key, and how many of them sign.

use std::collections::BTreeSet;
use std::fmt;

use crate::Error;
use crate::codec::{Reader, Writer};

/// The most parties that a key can have. The integers of threshold RSA (n! and its square) fit
/// into 128 bits up to here, and nobody has more distribution masters.
pub const MAX_PARTIES: usize = 20;

/// One holder of a share: 1 to 255. Zero is not a party, because the secret itself lies there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Party(u8);

impl Party {
    /// The party with this number.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchParty`] for 0: the caller's fault, or a peer's whose number was read.
    pub fn new(number: u8) -> Result<Self, Error> {
        if number == 0 { Err(Error::NoSuchParty(0)) } else { Ok(Self(number)) }
    }

    /// Its number, never 0.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "party {}", self.0)
    }
}

/// The n parties of a key, and the k of them that it takes to sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    parties: BTreeSet<Party>,
    k: usize,
}

impl Roster {
    /// A roster of these parties.
    ///
    /// With n parties, b = (n-1)/3 of which may be dead or lying, k is from b+1 (liars alone
    /// cannot sign) to n-b (the others alone can), and at least 2, because a share of a key that
    /// one signs with is the key.
    ///
    /// # Errors
    ///
    /// [`Error::Threshold`] if k is outside of these bounds or n above [`MAX_PARTIES`].
    pub fn new(parties: BTreeSet<Party>, k: usize) -> Result<Self, Error> {
        let n = parties.len();
        let b = Self::faults_of(n);
        let lowest = b.saturating_add(1).max(2);
        if n > MAX_PARTIES || k < lowest || k > n.saturating_sub(b) {
            return Err(Error::Threshold { n, k });
        }
        Ok(Self { parties, k })
    }

    /// The parties 1 to n.
    ///
    /// # Errors
    ///
    /// As [`Roster::new`].
    pub fn first(n: u8, k: usize) -> Result<Self, Error> {
        Self::new((1..=n).map(Party).collect(), k)
    }

    fn faults_of(n: usize) -> usize {
        n.saturating_sub(1).checked_div(3).unwrap_or_default()
    }

    /// n, the number of parties.
    #[must_use]
    pub fn size(&self) -> usize {
        self.parties.len()
    }

    /// k, how many it takes to sign.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.k
    }

    /// b, how many may be dead or lying while the others still sign, and cannot sign alone.
    #[must_use]
    pub fn faults(&self) -> usize {
        Self::faults_of(self.parties.len())
    }

    /// The parties, in the order of their numbers.
    #[must_use]
    pub fn parties(&self) -> &BTreeSet<Party> {
        &self.parties
    }

    /// Whether the party holds a share.
    #[must_use]
    pub fn contains(&self, party: Party) -> bool {
        self.parties.contains(&party)
    }

    /// The same threshold for other parties.
    pub(crate) fn with(&self, parties: BTreeSet<Party>) -> Result<Self, Error> {
        Self::new(parties, self.k)
    }

    pub(crate) fn check(&self, party: Party) -> Result<(), Error> {
        if self.contains(party) { Ok(()) } else { Err(Error::NoSuchParty(party.0)) }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.length_u8(self.k);
        out.length_u8(self.parties.len());
        self.parties.iter().for_each(|party| out.bytes(&[party.0]));
    }

    /// Reads what [`Roster::write`] wrote: parties in order, none twice.
    pub(crate) fn read(from: &mut Reader<'_>) -> Result<Self, Error> {
        let (k, n) = (usize::from(from.u8()?), usize::from(from.u8()?));
        let mut parties = BTreeSet::new();
        for _ in 0..n {
            let party = Party::new(from.u8()?)?;
            if parties.last().is_some_and(|last| *last >= party) {
                return Err(Error::Malformed("roster"));
            }
            parties.insert(party);
        }
        Self::new(parties, k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_between_the_liars_and_the_others() {
        for n in 0..=30u8 {
            for k in 0..=31 {
                let b = usize::from(n.saturating_sub(1) / 3);
                let right = n <= 20 && k >= 2 && k > b && k + b <= usize::from(n);
                assert_eq!(Roster::first(n, k).is_ok(), right, "n = {n}, k = {k}");
            }
        }
    }

    #[test]
    fn a_roster_is_read_as_written_and_in_no_other_way() {
        let parties = [2, 3, 5, 9].map(Party).into();
        let roster = Roster::new(parties, 3).unwrap();
        let mut out = Writer::default();
        roster.write(&mut out);
        let bytes = out.finish();
        let read = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes, "roster");
            let roster = Roster::read(&mut reader)?;
            reader.end().map(|()| roster)
        };
        assert_eq!(read(&bytes).unwrap(), roster);
        assert_eq!(*bytes, [3, 4, 2, 3, 5, 9]);
        for bad in [
            &[3, 4, 2, 3, 5][..],
            &[3, 4, 2, 3, 5, 9, 9],
            &[3, 4, 0, 3, 5, 9],
            &[3, 4, 3, 2, 5, 9],
            &[3, 4, 2, 2, 5, 9],
            &[1, 4, 2, 3, 5, 9],
            &[4, 4, 2, 3, 5, 9],
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
