//! Signed denials: NSEC and NSEC3.

use std::collections::{BTreeMap, BTreeSet};

use domain::base::iana::Rtype;
use domain::rdata::dnssec::RtypeBitmap;
use ring::digest;

use crate::zone::{Key, Name, RrSet, Zone};

use super::Error;
use super::authority::{Owner, Standing, owners};

/// The most extra rounds of hashing that are made. RFC 9276 section 3.1 says 0, and validators
/// take a zone with many for one that is not signed.
pub const MAX_NSEC3_ITERATIONS: u16 = 100;

/// How it is shown that something is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Denial {
    /// By the next name (RFC 4034 section 4).
    Nsec,
    /// By the next hash of a name (RFC 5155), with SHA-1, which is the only one there is.
    Nsec3(Nsec3),
}

/// How names are hashed. The default is what RFC 9276 says: no extra rounds, no salt.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Nsec3 {
    /// Rounds of hashing beyond the first, at most [`MAX_NSEC3_ITERATIONS`].
    pub iterations: u16,
    /// At most 255 bytes.
    pub salt: Vec<u8>,
    /// Whether delegations without DS are left out.
    pub opt_out: bool,
}

/// The sets that deny everything that is not there, for a zone without any.
///
/// # Errors
///
/// [`Error::Terms`] for parameters beyond the limits, [`Error::HashCollision`].
pub(crate) fn denial(zone: &Zone, how: &Denial) -> Result<BTreeMap<Key, RrSet>, Error> {
    let ttl = zone.soa()?.denial_ttl_secs();
    match how {
        Denial::Nsec => nsec(zone, ttl),
        Denial::Nsec3(parameters) => nsec3(zone, ttl, parameters),
    }
}

fn nsec(zone: &Zone, ttl: u32) -> Result<BTreeMap<Key, RrSet>, Error> {
    let owners = owners(zone);
    let shown: Vec<_> = owners.iter().filter(|owner| owner.standing != Standing::Below).collect();
    let next = shown.iter().skip(1).chain(shown.first());
    let mut sets = BTreeMap::new();
    for (owner, next) in shown.iter().zip(next) {
        let mut types = owner.types();
        types.extend([Rtype::RRSIG, Rtype::NSEC]);
        let rdata = [next.name.as_wire(), &bitmap(&types)].concat();
        let key = Key::new(owner.name.clone(), Rtype::NSEC);
        sets.insert(key, RrSet::single(ttl, rdata)?);
    }
    Ok(sets)
}

/// The bitmap of types (RFC 4034 section 4.1.2).
fn bitmap(types: &[Rtype]) -> Vec<u8> {
    let mut builder = RtypeBitmap::<Vec<u8>>::builder();
    for rtype in types {
        let Ok(()) = builder.add(*rtype);
    }
    builder.finalize().as_slice().to_vec()
}

fn nsec3(zone: &Zone, ttl: u32, how: &Nsec3) -> Result<BTreeMap<Key, RrSet>, Error> {
    let head = parameters(how)?;
    let mut chain = BTreeMap::new();
    for (name, types) in nsec3_names(zone, how) {
        if chain.insert(hash(&name, how), types).is_some() {
            return Err(Error::HashCollision);
        }
    }
    let mut sets = BTreeMap::new();
    let next = chain.keys().skip(1).chain(chain.keys().next());
    for ((hash, types), next) in chain.iter().zip(next) {
        let flags = u8::from(how.opt_out);
        let length = u8::try_from(next.len()).unwrap_or(u8::MAX);
        let rdata = [&[1, flags], &*head, &[length], next, &bitmap(types)].concat();
        let name = zone.apex().child(base32hex(hash).as_bytes());
        let name = name.ok_or(Error::Terms("the zone's name is too long for NSEC3"))?;
        sets.insert(Key::new(name, Rtype::NSEC3), RrSet::single(ttl, rdata)?);
    }
    let own = Key::new(zone.apex().clone(), Rtype::NSEC3PARAM);
    sets.insert(own, nsec3param(ttl, how)?);
    Ok(sets)
}

/// The NSEC3PARAM set, which says to servers how to hash (RFC 5155 section 4).
pub(crate) fn nsec3param(ttl: u32, how: &Nsec3) -> Result<RrSet, Error> {
    Ok(RrSet::single(ttl, [&[1, 0], &*parameters(how)?].concat())?)
}

/// Iterations and salt, as they stand in NSEC3 and NSEC3PARAM.
fn parameters(how: &Nsec3) -> Result<Vec<u8>, Error> {
    if how.iterations > MAX_NSEC3_ITERATIONS {
        return Err(Error::Terms("NSEC3 with more than 100 iterations; RFC 9276 says 0"));
    }
    let length = u8::try_from(how.salt.len());
    let length = length.map_err(|_| Error::Terms("an NSEC3 salt has at most 255 bytes"))?;
    Ok([how.iterations.to_be_bytes().as_slice(), &[length], &how.salt].concat())
}

/// The names that have an NSEC3 record, with the types that it shows: owners, and the empty names
/// between them and the apex (RFC 5155 section 7.1).
fn nsec3_names(zone: &Zone, how: &Nsec3) -> BTreeMap<Name, Vec<Rtype>> {
    let owners = owners(zone);
    let unsigned = |owner: &Owner<'_>| owner.standing == Standing::Cut && !owner.has(Rtype::DS);
    let shown =
        |owner: &&Owner<'_>| owner.standing != Standing::Below && !(how.opt_out && unsigned(owner));
    let mut names = BTreeMap::new();
    let mut empty = BTreeSet::new();
    for owner in owners.iter().filter(shown) {
        let mut types = owner.types();
        if owner.name == zone.apex() {
            types.push(Rtype::NSEC3PARAM);
        }
        if !unsigned(owner) {
            types.push(Rtype::RRSIG);
        }
        names.insert(owner.name.clone(), types);
        let mut above = owner.name.parent();
        while let Some(name) = above.filter(|name| name.is_within(zone.apex())) {
            above = name.parent();
            if !empty.insert(name) {
                break;
            }
        }
    }
    for name in empty {
        names.entry(name).or_default();
    }
    names
}

/// The hash of a name (RFC 5155 section 5).
fn hash(name: &Name, how: &Nsec3) -> Vec<u8> {
    let once = |bytes: &[u8]| {
        let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        context.update(bytes);
        context.update(&how.salt);
        context.finish().as_ref().to_vec()
    };
    (0..how.iterations).fold(once(name.as_wire()), |hash, _| once(&hash))
}

/// RFC 4648 section 7, in lower case and without padding. The hash's 20 bytes leave none.
fn base32hex(bytes: &[u8]) -> String {
    let alphabet = b"0123456789abcdefghijklmnopqrstuv";
    let mut text = String::new();
    for five in bytes.chunks(5) {
        let bits = five.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        for place in (0..8).rev() {
            let digit = usize::try_from(bits >> (place * 5) & 31).unwrap_or_default();
            text.push(alphabet.get(digit).copied().map_or('0', char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_as_rfc_5155_says() {
        // RFC 5155 appendix A.
        let how = Nsec3 { iterations: 12, salt: vec![0xaa, 0xbb, 0xcc, 0xdd], opt_out: false };
        let hash = |name: &str| base32hex(&hash(&name.parse().unwrap(), &how));
        assert_eq!(hash("example"), "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom");
        assert_eq!(hash("*.w.example"), "r53bq7cc2uvmubfu5ocmm6pers9tk9en");
        assert_eq!(hash("xx.example"), "t644ebqk9bibcna874givr6joj62mlhv");
    }

    #[test]
    fn types_are_in_the_bitmap_of_rfc_4034() {
        // RFC 4034 section 4.3.
        let types = [1, 15, 46, 47, 1234].map(Rtype::from_int);
        let wanted = "0006400100000003041b000000000000000000000000000000000000000000000000000020";
        let hex: String = bitmap(&types).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, wanted);
    }
}
