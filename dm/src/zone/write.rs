//! Writing zone files.

use std::fmt::{self, Write as _};

use domain::base::iana::Rtype;
use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};

use super::rrset::parse;
use super::{Key, RrSet, Zone};

/// Shows a zone as a zone file: one record a line, every name in full, the SOA first (some
/// programs insist), all else in canonical order. Equal zones give equal files.
impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let soa = Key::new(self.apex().clone(), Rtype::SOA);
        let first = self.sets().get_key_value(&soa);
        let others = self.sets().iter().filter(|(key, _)| **key != soa);
        first.into_iter().chain(others).try_for_each(|(key, set)| write_set(f, key, set))
    }
}

/// Sets as lines of a zone file.
pub struct Lines<'a>(pub &'a [(Key, RrSet)]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(key, set)| write_set(f, key, set))
    }
}

impl fmt::Debug for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_set(f: &mut fmt::Formatter<'_>, key: &Key, set: &RrSet) -> fmt::Result {
    let (name, ttl, class, rtype) = (key.name(), set.ttl(), key.class(), key.rtype());
    let mut text = String::new();
    for rdata in set.records() {
        let data = parse(rtype, rdata).ok_or(fmt::Error)?;
        text.clear();
        write!(text, "{}", data.display_zonefile(DisplayKind::Simple))?;
        if reads_otherwise(rtype, &text) {
            text = generic(rdata);
        }
        writeln!(f, "{name}\t{ttl}\t{class}\t{rtype}\t{text}")?;
    }
    Ok(())
}

/// Whether a name in the data has a character that `domain` 0.12.3 does not escape and that
/// means something in a zone file. No data of these types have it otherwise.
fn reads_otherwise(rtype: Rtype, text: &str) -> bool {
    let only_strings = [Rtype::TXT, Rtype::HINFO, Rtype::CAA, Rtype::SPF].contains(&rtype);
    let strings_and_names = [Rtype::NAPTR, Rtype::SVCB, Rtype::HTTPS].contains(&rtype);
    let has = |chars: &[char]| text.contains(chars);
    !only_strings && (has(&[';', '(', ')', '@', '$']) || !strings_and_names && has(&['"']))
}

/// Data as RFC 3597 section 5 writes those of unknown types, which all programs read for known
/// ones too.
fn generic(rdata: &[u8]) -> String {
    let mut text = format!("\\# {} ", rdata.len());
    rdata.iter().for_each(|byte| text.push_str(&format!("{byte:02x}")));
    text
}
