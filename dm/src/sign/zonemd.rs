//! One digest over the whole zone: ZONEMD (RFC 8976).

use domain::base::iana::Rtype;
use domain::rdata::ZoneRecordData;
use sha2::{Digest, Sha384, Sha512};

use crate::zone::{Fault, Key, RrSet, Zone};

use super::rrsig::record;

/// How the digest is made: over single records in canonical order (section 5.2).
const SIMPLE: u8 = 1;
/// SHA-384 (section 5.3).
const SHA384: u8 = 1;
/// SHA-512 (section 5.3).
const SHA512: u8 = 2;

/// The ZONEMD set with SHA-384, for a zone that has everything else: signatures and denials too.
///
/// # Errors
///
/// As [`Zone::soa`].
pub(crate) fn zonemd(zone: &Zone) -> Result<(Key, RrSet), crate::zone::Error> {
    let ttl = zone.soa()?.ttl_secs;
    let head = zone.serial().to_be_bytes();
    let rdata = [head.as_slice(), &[SIMPLE, SHA384], &digest::<Sha384>(zone)].concat();
    Ok((Key::new(zone.apex().clone(), Rtype::ZONEMD), RrSet::single(ttl, rdata)?))
}

/// A stand-in for [`zonemd`], so that denials show the type before the digest is known.
pub(crate) fn placeholder(zone: &Zone) -> Result<(Key, RrSet), Fault> {
    let rdata = [&zone.serial().to_be_bytes()[..], &[SIMPLE, SHA384], &[0; 48]].concat();
    Ok((Key::new(zone.apex().clone(), Rtype::ZONEMD), RrSet::single(1, rdata)?))
}

/// What a zone's ZONEMD says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DigestCheck {
    /// It has none.
    Absent,
    /// The zone is what the digest was made of.
    Right,
    /// It is not.
    Wrong,
    /// The digest is of another version of the zone.
    OtherSerial,
    /// There is none of a kind that we know, or several of one kind.
    Unusable,
}

/// Checks a zone against its ZONEMD (section 4). Whether that is signed is another question.
#[must_use]
pub fn check_zonemd(zone: &Zone) -> DigestCheck {
    let Some(set) = zone.apex_set(Rtype::ZONEMD) else { return DigestCheck::Absent };
    let mut kinds = Vec::new();
    let mut outcome = DigestCheck::Unusable;
    for data in set.parsed(Rtype::ZONEMD) {
        let ZoneRecordData::Zonemd(data) = data else { continue };
        let (scheme, algorithm) = (data.scheme().to_int(), data.algorithm().to_int());
        if kinds.contains(&(scheme, algorithm)) {
            return DigestCheck::Unusable;
        }
        kinds.push((scheme, algorithm));
        let wanted = match (scheme, algorithm) {
            (SIMPLE, SHA384) => digest::<Sha384>(zone),
            (SIMPLE, SHA512) => digest::<Sha512>(zone),
            _ => continue,
        };
        if outcome == DigestCheck::Right {
            continue;
        }
        outcome = if data.serial().into_int() != zone.serial() {
            DigestCheck::OtherSerial
        } else if *data.digest() == wanted.as_slice() {
            DigestCheck::Right
        } else {
            DigestCheck::Wrong
        };
    }
    outcome
}

/// All records in canonical form and order, but for the apex's ZONEMD and the signatures over it
/// (section 3.3.1).
fn digest<D: Digest>(zone: &Zone) -> Vec<u8> {
    let mut hash = D::new();
    let mut buffer = Vec::new();
    for (key, set) in zone.sets() {
        let about_digest =
            [key.rtype(), key.covered().unwrap_or(key.rtype())].contains(&Rtype::ZONEMD);
        if about_digest && key.name() == zone.apex() {
            continue;
        }
        for rdata in set.records() {
            buffer.clear();
            record(&mut buffer, key, set.ttl(), rdata);
            hash.update(&buffer);
        }
    }
    hash.finalize().to_vec()
}
