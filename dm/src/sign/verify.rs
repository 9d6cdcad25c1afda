//! Checking a signed zone, whoever signed it.

use std::collections::BTreeSet;
use std::fmt;

use domain::base::iana::Rtype;
use domain::rdata::ZoneRecordData;

use crate::zone::{Key, RrSet, Zone};

use super::authority::{is_denial, owners};
use super::denial::{denial, nsec3param};
use super::dnskey::check_answer;
use super::rrsig::{Signature, is_after};
use super::zonemd::{DigestCheck, check_zonemd};
use super::{Checked, Denial, Dnskey, Error, Nsec3};

/// The most problems that are listed. All are counted.
pub const MAX_PROBLEMS: usize = 50;

/// The most signatures over one set that are looked at, and the most keys: a zone with more is
/// no honest one, and each pair costs a verification (KeyTrap, CVE-2023-50387).
pub(crate) const MAX_PER_SET: usize = 16;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The first [`MAX_PROBLEMS`] problems. The zone is right if there are none.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub problem_count: usize,
    /// How many signatures are right.
    pub right_signatures: usize,
    /// When the first of them ends, in seconds since 1970 modulo 2^32.
    pub first_expiration: Option<u32>,
    /// Whether there is a digest, and a right one.
    pub digest: Option<DigestCheck>,
    /// Whether absence is denied by hashes.
    pub nsec3: bool,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, problem: Problem) {
        self.problem_count = self.problem_count.saturating_add(1);
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// What is wrong with a signed zone.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Problem {
    /// There are no keys.
    NoKeys,
    /// The answer to DNSKEY is too large, or something cannot be computed.
    Impossible(Error),
    /// More keys or signatures than anybody checks.
    TooMany(Key),
    /// No right signature with an algorithm that the zone has keys of (RFC 4035 section 2.2).
    NotSigned(Key, u8),
    /// A signature by none of the keys, or a wrong one.
    WrongSignature(Key),
    /// A signature over something that is not there, or that is not signed.
    Superfluous(Key),
    /// A signature that has ended.
    Expired(Key, u32),
    /// A signature that has not begun.
    NotYet(Key, u32),
    /// Signatures with another TTL than what they are over (RFC 4034 section 3).
    OtherTtl(Key),
    /// A denial that is missing.
    NoDenial(Key),
    /// A denial that is not what it should be.
    WrongDenial(Key),
    /// The digest does not fit.
    Digest(DigestCheck),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeys => f.write_str("the zone has no keys"),
            Self::Impossible(error) => fmt::Display::fmt(error, f),
            Self::TooMany(key) => write!(f, "{key}: more than {MAX_PER_SET}"),
            Self::NotSigned(key, algorithm) => {
                write!(f, "{key}: no right signature with algorithm {algorithm}")
            }
            Self::WrongSignature(key) => write!(f, "{key}: a wrong signature"),
            Self::Superfluous(key) => write!(f, "{key}: over what is not signed here"),
            Self::Expired(key, time) => write!(f, "{key}: expired at {time}"),
            Self::NotYet(key, time) => write!(f, "{key}: does not hold before {time}"),
            Self::OtherTtl(key) => write!(f, "{key}: another TTL than what it is over"),
            Self::NoDenial(key) => write!(f, "{key}: missing"),
            Self::WrongDenial(key) => write!(f, "{key}: wrong"),
            Self::Digest(DigestCheck::OtherSerial) => {
                f.write_str("the ZONEMD record is of another serial")
            }
            Self::Digest(_) => f.write_str("the ZONEMD record does not fit the zone"),
        }
    }
}

/// Checks everything about a signed zone that can be checked without its parent: every set that
/// the zone speaks for is signed, no other, all signatures are right and hold `now` (seconds
/// since 1970 modulo 2^32), every name's denial is there and right, and the digest fits.
#[must_use]
pub fn verify(zone: &Zone, now: u32) -> Report {
    verify_with(&Checked::default(), zone, now)
}

/// As [`verify`]: a signature that this process has found right before, by the same key over the same bytes, is not
/// computed again. Everything else is looked at, also the times of all signatures.
#[must_use]
pub fn verify_with(checked: &Checked, zone: &Zone, now: u32) -> Report {
    let mut report = Report::default();
    let Some(keys) = keys(zone, &mut report) else {
        report.problem(Problem::NoKeys);
        return report;
    };
    check_signatures(zone, checked, &keys, now, &mut report);
    check_denials(zone, &mut report);
    let digest = check_zonemd(zone);
    if ![DigestCheck::Right, DigestCheck::Absent].contains(&digest) {
        report.problem(Problem::Digest(digest));
    }
    report.digest = Some(digest);
    report
}

/// The key that signed the zone's SOA, and so, if the zone is right, everything but the keys.
#[must_use]
pub fn zone_signer(zone: &Zone) -> Option<Dnskey> {
    let key = Key::new(zone.apex().clone(), Rtype::SOA);
    let (soa, signatures) = (zone.set(&key)?, zone.set(&Key::signatures_over(&key))?);
    let signature = Signature::read(signatures.records().next()?)?;
    let mut keys = Dnskey::all(zone.apex_set(Rtype::DNSKEY)?).take(MAX_PER_SET);
    keys.find(|by| signature.is_by(by, zone.apex(), &key, soa))
}

/// The zone's keys by what signatures say of them.
fn keys(zone: &Zone, report: &mut Report) -> Option<Vec<Dnskey>> {
    let set = zone.apex_set(Rtype::DNSKEY)?;
    let key = super::dnskey::dnskey_key(zone.apex());
    if let Some(signatures) = zone.set(&Key::signatures_over(&key))
        && let Err(error) = check_answer(zone.apex(), set, signatures)
    {
        report.problem(Problem::Impossible(error));
    }
    let keys: Vec<_> = Dnskey::all(set).filter(|key| key.flags() & 0x0100 != 0).collect();
    if keys.len() > MAX_PER_SET {
        report.problem(Problem::TooMany(key));
        return None;
    }
    (!keys.is_empty()).then_some(keys)
}

fn check_signatures(
    zone: &Zone,
    checked: &Checked,
    keys: &[Dnskey],
    now: u32,
    report: &mut Report,
) {
    let active = || keys.iter().filter(|key| key.is_active());
    let algorithms: BTreeSet<u8> = active().map(|key| key.algorithm().to_int()).collect();
    let entry_points = active().any(Dnskey::is_entry_point);
    let mut wanted = BTreeSet::new();
    for owner in owners(zone) {
        for (key, set) in owner.signed() {
            let own = key.rtype() == Rtype::DNSKEY && key.name() == zone.apex();
            let by: Vec<_> = keys
                .iter()
                .filter(|by| {
                    by.is_active() && (!own || !entry_points || by.is_entry_point())
                        || own && !by.is_active()
                })
                .collect();
            let missing = check_set((zone, checked), (key, set), &by, now, (&algorithms, report));
            missing.into_iter().for_each(|algorithm| {
                report.problem(Problem::NotSigned(key.clone(), algorithm));
            });
            wanted.insert(Key::signatures_over(key));
        }
    }
    let signatures = zone.sets().keys().filter(|key| key.rtype() == Rtype::RRSIG);
    for key in signatures.filter(|key| !wanted.contains(key)) {
        report.problem(Problem::Superfluous(key.clone()));
    }
}

/// Checks the signatures over a set; returns the algorithms that have none.
fn check_set(
    (zone, checked): (&Zone, &Checked),
    (key, set): (&Key, &RrSet),
    by: &[&Dnskey],
    now: u32,
    (algorithms, report): (&BTreeSet<u8>, &mut Report),
) -> BTreeSet<u8> {
    let mut missing = algorithms.clone();
    let own = Key::signatures_over(key);
    let Some(signatures) = zone.set(&own) else { return missing };
    if signatures.len() > MAX_PER_SET {
        report.problem(Problem::TooMany(own));
        return missing;
    }
    if signatures.ttl() != set.ttl() {
        report.problem(Problem::OtherTtl(own.clone()));
    }
    for rdata in signatures.records() {
        let signature = Signature::read(rdata);
        let about = (zone.apex(), key, set);
        let by_one = |it: &Signature| by.iter().any(|by| it.is_found_by(by, about, checked));
        let Some(signature) = signature.filter(by_one) else {
            // By a ZSK over the keys, which is allowed and counts for nothing.
            let harmless = key.rtype() == Rtype::DNSKEY && by_any_key(zone, rdata, key, set);
            if !harmless {
                report.problem(Problem::WrongSignature(own.clone()));
            }
            continue;
        };
        if is_after(now, signature.expiration) {
            report.problem(Problem::Expired(own.clone(), signature.expiration));
            continue;
        }
        if is_after(signature.inception, now) {
            report.problem(Problem::NotYet(own.clone(), signature.inception));
            continue;
        }
        report.right_signatures = report.right_signatures.saturating_add(1);
        let first = report.first_expiration.get_or_insert(signature.expiration);
        if is_after(*first, signature.expiration) {
            *first = signature.expiration;
        }
        missing.remove(&signature.algorithm);
    }
    missing
}

fn by_any_key(zone: &Zone, rdata: &[u8], key: &Key, set: &RrSet) -> bool {
    let Some(signature) = Signature::read(rdata) else { return false };
    Dnskey::all(set).any(|by| signature.is_by(&by, zone.apex(), key, set))
}

/// Makes all denials again and compares; times to live may differ.
fn check_denials(zone: &Zone, report: &mut Report) {
    let how = match denial_of(zone) {
        Ok(how) => how,
        Err(error) => return report.problem(Problem::Impossible(error)),
    };
    report.nsec3 = how != Denial::Nsec;
    let bare = zone.without(|key| {
        let added = [Rtype::NSEC3PARAM, Rtype::RRSIG].contains(&key.rtype());
        added || is_denial(key.rtype())
    });
    let wanted = bare.map_err(Error::from).and_then(|bare| denial(&bare, &how));
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(error) => return report.problem(Problem::Impossible(error)),
    };
    for (key, set) in &wanted {
        match zone.set(key) {
            None => report.problem(Problem::NoDenial(key.clone())),
            Some(found) if found.with_ttl(set.ttl()) != *set => {
                report.problem(Problem::WrongDenial(key.clone()));
            }
            Some(_) => {}
        }
    }
    let there = zone.sets().keys().filter(|key| is_denial(key.rtype()));
    for key in there.filter(|key| !wanted.contains_key(key)) {
        report.problem(Problem::WrongDenial(key.clone()));
    }
}

/// How the zone denies.
fn denial_of(zone: &Zone) -> Result<Denial, Error> {
    let Some(set) = zone.apex_set(Rtype::NSEC3PARAM) else { return Ok(Denial::Nsec) };
    let Some(ZoneRecordData::Nsec3param(found)) = set.parsed(Rtype::NSEC3PARAM).next() else {
        return Err(Error::Terms("the zone has an NSEC3PARAM record that cannot be read"));
    };
    let (iterations, salt) = (found.iterations(), found.salt().as_slice().to_vec());
    let mut how = Nsec3 { iterations, salt, opt_out: false };
    if nsec3param(set.ttl(), &how)? != *set {
        return Err(Error::Terms("the zone has several NSEC3PARAM records, or one with flags"));
    }
    let nsec3 = zone.sets().iter().find(|(key, _)| key.rtype() == Rtype::NSEC3);
    // The second byte is the flags.
    let flags = nsec3.and_then(|(_, set)| set.records().next()?.get(1).copied());
    how.opt_out = flags == Some(1);
    Ok(Denial::Nsec3(how))
}
