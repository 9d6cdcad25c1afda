//! What all protocols in rounds need: everybody's bytes, by party.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::codec::Writer;
use crate::{Error, Offence, Party, Roster};

/// Reads one party's bytes, and names it if they are malformed.
pub(crate) fn read_of<T>(party: Party, read: Result<T, Error>) -> Result<T, Error> {
    read.map_err(|_| Error::Caught { party, offence: Offence::Malformed })
}

/// Checks that there is something of everybody (but of `except`), and of nobody else.
pub(crate) fn check_complete<T>(
    roster: &Roster,
    except: Option<Party>,
    given: &BTreeMap<Party, T>,
) -> Result<(), Error> {
    given.keys().try_for_each(|party| roster.check(*party))?;
    let need = roster.parties().iter().filter(|party| Some(**party) != except);
    let have = need.clone().filter(|party| given.contains_key(party)).count();
    let need = need.count();
    if have < need { Err(Error::TooFew { have, need }) } else { Ok(()) }
}

/// One hash over who takes part, how many sign, and everything that was broadcast.
pub(crate) fn transcript(
    label: &[u8],
    roster: &Roster,
    packages: &BTreeMap<Party, Vec<u8>>,
) -> [u8; 32] {
    let mut out = Writer::default();
    out.bytes(label);
    roster.write(&mut out);
    for (party, package) in packages {
        out.bytes(&[party.number()]);
        out.length_u32(package.len());
        out.bytes(package);
    }
    Sha256::digest(&*out.finish()).into()
}
