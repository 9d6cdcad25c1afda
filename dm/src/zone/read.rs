//! Reading zone files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bytes::Bytes;
use domain::base::iana::Class;
use domain::base::name::Name as AnyName;
use domain::zonefile::inplace::{Entry, Zonefile};

use super::rrset::canonical;
use super::{Error, Fault, Key, Limits, Name, Place, RrSet, Zone, ZoneBuilder};

impl Zone {
    /// Reads a zone file (RFC 1035 section 5) of the zone `apex`, which is also what relative
    /// names are relative to. Without it the first SOA's owner is the apex, and the file must say
    /// `$ORIGIN` before a relative name.
    ///
    /// # Errors
    ///
    /// What is wrong, with line and record; see [`Fault`].
    pub fn read(text: &[u8], apex: Option<Name>, limits: Limits) -> Result<Self, Error> {
        scan(text, apex, limits)?.finish()
    }

    /// Reads the zone file of this name in the file system.
    ///
    /// # Errors
    ///
    /// As [`Zone::read`]; [`Fault::Unreadable`].
    pub fn read_file(path: &Path, apex: Option<Name>, limits: Limits) -> Result<Self, Error> {
        Self::read(&text_of(path, limits)?, apex, limits)
    }
}

/// The bytes of a file: of one that is too long enough to see that.
pub(crate) fn text_of(path: &Path, limits: Limits) -> Result<Vec<u8>, Error> {
    let unreadable = |error: std::io::Error| Fault::Unreadable(error.to_string());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let most = u64::try_from(limits.bytes).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text).map_err(unreadable)?;
    Ok(text)
}

/// Reads sets that need not make a zone: a DNSKEY set with its signatures, say.
///
/// # Errors
///
/// As [`Zone::read`].
pub fn read_sets(text: &[u8], apex: &Name, limits: Limits) -> Result<BTreeMap<Key, RrSet>, Error> {
    scan(text, Some(apex.clone()), limits)?.finish_sets().map(|(_, sets)| sets)
}

pub(super) fn scan(text: &[u8], apex: Option<Name>, limits: Limits) -> Result<ZoneBuilder, Error> {
    if text.len() > limits.bytes {
        return Err(Fault::LargeFile(limits.bytes).into());
    }
    let mut lines = Lines::new(text);
    let mut scanner = scanner(text, apex.as_ref());
    let mut builder = ZoneBuilder::new(apex, limits);
    loop {
        let entry = next(&mut scanner).map_err(|fault| match fault {
            Fault::Syntax(text) => syntax(&text),
            fault => Error::new(fault).at(Some(Place::Line(lines.line))),
        })?;
        let place = Some(Place::Line(lines.line_of(scanner.current_offset())));
        match entry {
            None => return Ok(builder),
            Some(Entry::Include { .. }) => return Err(Error::new(Fault::Include).at(place)),
            Some(Entry::Record(record)) => {
                let (owner, data) = (Name::of(record.owner()), record.data());
                let (of, ttl) = ((record.rtype(), record.class()), record.ttl().as_secs());
                builder.add(place, owner, of, ttl, &canonical(data))?;
            }
        }
    }
}

fn scanner(text: &[u8], apex: Option<&Name>) -> Zonefile {
    let mut scanner = Zonefile::with_capacity(text.len().saturating_add(1));
    scanner.extend_from_slice(text);
    // The scanner wants the last line to be ended as well.
    scanner.extend_from_slice(b"\n");
    scanner.set_default_class(Class::IN);
    let origin = apex.map(|apex| AnyName::from_octets(Bytes::copy_from_slice(apex.as_wire())));
    if let Some(Ok(origin)) = origin {
        scanner.set_origin(origin);
    }
    scanner
}

/// The next entry. The scanner of `domain` 0.12.3 has assertions that malformed files trip (an
/// unfinished token before a directive, say); that is the file's fault like any other.
fn next(scanner: &mut Zonefile) -> Result<Option<Entry>, Fault> {
    // After a panic the scanner is not used again, so it cannot be seen half changed.
    let entry = catch_unwind(AssertUnwindSafe(|| scanner.next_entry()));
    entry.map_err(|_| Fault::Malformed)?.map_err(|error| Fault::Syntax(error.to_string()))
}

/// The scanner's error says `line:column: what`, and only in its text.
fn syntax(text: &str) -> Error {
    let mut parts = text.splitn(3, ':');
    let line = parts.next().and_then(|line| line.parse().ok());
    match (line, parts.nth(1)) {
        (Some(line), Some(what)) => {
            Error::new(Fault::Syntax(what.trim().to_owned())).at(Some(Place::Line(line)))
        }
        _ => Fault::Syntax(text.to_owned()).into(),
    }
}

/// Counts lines up to where the scanner is. It tells bytes only, and goes forward only.
struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, line: 1 }
    }

    /// The line of the last byte that was read. The scanner counts one more, which it puts in
    /// front of the text.
    fn line_of(&mut self, offset: usize) -> usize {
        let end = offset.saturating_sub(2).min(self.text.len());
        let passed = self.text.get(self.at..end).unwrap_or_default();
        let breaks = passed.iter().filter(|byte| **byte == b'\n').count();
        self.line = self.line.saturating_add(breaks);
        self.at = end.max(self.at);
        self.line
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
