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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::Limits;

    fn read(text: &str) -> Zone {
        Zone::read(text.as_bytes(), Some("example.".parse().unwrap()), Limits::default()).unwrap()
    }

    /// RFC 8976 appendix A.1.
    const SIMPLE_ZONE: &str = "\
example. 86400 IN SOA ns1 admin 2018031900 1800 900 604800 86400
 86400 IN NS ns1
 86400 IN NS ns2
 86400 IN ZONEMD 2018031900 1 1 ( c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3
   a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c )
ns1 3600 IN A 203.0.113.63
ns2 3600 IN AAAA 2001:db8::63
";

    /// RFC 8976 appendix A.2, without a record that is there twice and one out of the zone, which
    /// are not digested: we refuse such a file.
    const COMPLEX_ZONE: &str = "\
example. 86400 IN SOA ns1 admin 2018031900 1800 900 604800 86400
 86400 IN NS ns1
 86400 IN NS ns2
 86400 IN ZONEMD 2018031900 1 1 ( a3b69bad980a3504e1cffcb0fd6397f93848071c93151f55
   2ae2f6b1711d4bd2d8b39808226d7b9db71e34b72077f8fe )
ns1 3600 IN A 203.0.113.63
NS2 3600 IN AAAA 2001:db8::63
occluded.sub 7200 IN TXT \"I'm occluded but must be digested\"
sub 7200 IN NS ns1
duplicate 300 IN TXT \"I must be digested just once\"
UPPERCASE 3600 IN TXT \"canonicalize uppercase owner names\"
* 777 IN PTR dont-forget-about-wildcards
mail 3600 IN MX 20 MAIL1
mail 3600 IN MX 10 Mail2.Example.
sortme 3600 IN AAAA 2001:db8::5:61
sortme 3600 IN AAAA 2001:db8::3:62
sortme 3600 IN AAAA 2001:db8::4:63
sortme 3600 IN AAAA 2001:db8::1:65
sortme 3600 IN AAAA 2001:db8::2:64
non-apex 900 IN ZONEMD 2018031900 1 1 ( 616c6c6f776564206275742069676e6f
   7265642e20616c6c6f77656420627574 2069676e6f7265642e20616c6c6f7765 )
";

    /// RFC 8976 appendix A.3: SHA-384, SHA-512 and two kinds that nobody knows.
    const MULTIPLE_DIGESTS: &str = "\
example. 86400 IN SOA ns1 admin 2018031900 1800 900 604800 86400
example. 86400 IN NS ns1.example.
example. 86400 IN NS ns2.example.
example. 86400 IN ZONEMD 2018031900 1 1 ( 62e6cf51b02e54b9b5f967d547ce43136792901f9f88e637
   493daaf401c92c279dd10f0edb1c56f8080211f8480ee306 )
example. 86400 IN ZONEMD 2018031900 1 2 ( 08cfa1115c7b948c4163a901270395ea226a930cd2cbcf2f
   a9a5e6eb85f37c8a4e114d884e66f176eab121cb02db7d652e0cc4827e7a3204f166b47e5613fd27 )
example. 86400 IN ZONEMD 2018031900 1 240 e2d523f654b9422a96c5a8f44607bbee
example. 86400 IN ZONEMD 2018031900 241 1 e1846540e33a9e4189792d18d5d131f605fc283e
ns1.example. 3600 IN A 203.0.113.63
ns2.example. 86400 IN TXT \"This example has multiple digests\"
NS2.EXAMPLE. 3600 IN AAAA 2001:db8::63
";

    #[test]
    fn the_zones_of_rfc_8976_have_the_digests_that_it_says() {
        let without = |text: &str, line: &str| {
            text.lines().filter(|l| !l.contains(line)).collect::<Vec<_>>().join("\n")
        };
        for text in [SIMPLE_ZONE, COMPLEX_ZONE, MULTIPLE_DIGESTS] {
            assert_eq!(check_zonemd(&read(text)), DigestCheck::Right);
            let changed = text.replace("203.0.113.63", "203.0.113.64");
            assert_eq!(check_zonemd(&read(&changed)), DigestCheck::Wrong);
            let other = text.replacen("2018031900", "2018031901", 1);
            assert_eq!(check_zonemd(&read(&other)), DigestCheck::OtherSerial);
        }
        // Each of the two that are known is enough.
        let one = MULTIPLE_DIGESTS.replace("62e6cf51", "62e6cf52");
        assert_eq!(check_zonemd(&read(&one)), DigestCheck::Right);
        let two = one.replace("08cfa111", "08cfa112");
        assert_eq!(check_zonemd(&read(&two)), DigestCheck::Wrong);
        // What is below a cut counts as well.
        let occluded = without(COMPLEX_ZONE, "occluded");
        assert_eq!(check_zonemd(&read(&occluded)), DigestCheck::Wrong);
    }

    #[test]
    fn two_digests_of_one_kind_are_of_no_use() {
        let more = format!("{SIMPLE_ZONE}@ 86400 IN ZONEMD 2018031900 1 1 {}\n", "00".repeat(48));
        assert_eq!(check_zonemd(&read(&more)), DigestCheck::Unusable);
        let unknown = SIMPLE_ZONE.replace("2018031900 1 1", "2018031900 1 240");
        assert_eq!(check_zonemd(&read(&unknown)), DigestCheck::Unusable);
    }

    #[test]
    fn the_digest_that_is_made_is_the_one_of_rfc_8976() {
        for text in [SIMPLE_ZONE, COMPLEX_ZONE] {
            let zone = read(text);
            let (key, set) = zonemd(&zone).unwrap();
            assert_eq!(zone.set(&key), Some(&set));
        }
    }
}
