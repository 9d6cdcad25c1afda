//! Reading a zone file that was read before in another version, by the lines that differ.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::builder::Changes;
use super::read::scan;
use super::{Key, Limits, RrSet, Zone, ZoneBuilder};

/// The most lines that may differ. With more it is better read as a whole.
const MAX_LINES: usize = 4_096;

/// The zone of a file, from the file before it and the zone that this was, with what changed. The same as
/// reading it as a whole gives, or nothing: then it is to be read as a whole, which also says what is wrong with it.
///
/// This goes only if every line of both stands for itself, as in the files that the root zone's maintainer and most
/// programs write: see [`stands_alone`].
pub(crate) fn reread(
    (before, zone): (&[u8], &Zone),
    text: &[u8],
    limits: Limits,
) -> Option<(Zone, Changes)> {
    if text.len() > limits.bytes {
        return None;
    }
    let (old, new) = (lines(before)?, lines(text)?);
    let differing = |of: &HashSet<&[u8]>, from: &HashSet<&[u8]>| {
        let mut out = Vec::new();
        let lines = of.difference(from).take(MAX_LINES.saturating_add(1));
        let count = lines.fold(0usize, |count, line| {
            out.extend_from_slice(line);
            out.push(b'\n');
            count.saturating_add(1)
        });
        (count <= MAX_LINES).then_some(out)
    };
    let apex = Some(zone.apex().clone());
    let gone = scan(&differing(&old, &new)?, apex.clone(), limits).ok()?;
    let added = scan(&differing(&new, &old)?, apex.clone(), limits).ok()?;
    let (_, gone) = gone.finish_sets().ok()?;
    // Their TTLs are compared with each other here, and with those of what stays below.
    let (_, added) = added.finish_sets().ok()?;
    let keys: BTreeSet<&Key> = gone.keys().chain(added.keys()).collect();
    let (mut builder, mut empty) = (ZoneBuilder::new(apex, limits), Vec::new());
    for key in keys {
        let is_left = put(&mut builder, key, zone.set(key), (gone.get(key), added.get(key)))?;
        if !is_left {
            empty.push(key.clone());
        }
    }
    builder.finish_on(zone, empty).ok()
}

/// Adds what a set is now. Whether anything is left of it.
fn put(
    builder: &mut ZoneBuilder,
    key: &Key,
    before: Option<&RrSet>,
    (gone, added): (Option<&RrSet>, Option<&RrSet>),
) -> Option<bool> {
    let mut records = BTreeMap::new();
    for rdata in before.into_iter().flat_map(RrSet::records) {
        records.insert(rdata, before?.ttl());
    }
    for rdata in gone.into_iter().flat_map(RrSet::records) {
        // What goes was there, or the lines are not what we took them for.
        records.remove(rdata).filter(|ttl| Some(*ttl) == gone.map(RrSet::ttl))?;
    }
    for rdata in added.into_iter().flat_map(RrSet::records) {
        // The same record in two spellings is there twice.
        if records.insert(rdata, added?.ttl()).is_some() {
            return None;
        }
    }
    for (rdata, ttl) in &records {
        builder.add(None, key.name().clone(), (key.rtype(), key.class()), *ttl, rdata).ok()?;
    }
    Some(!records.is_empty())
}

/// The lines of a file, if all stand alone and none is there twice.
fn lines(text: &[u8]) -> Option<HashSet<&[u8]>> {
    let mut lines = HashSet::with_capacity(text.len() >> 6);
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if !stands_alone(line) || !lines.insert(line) {
            return None;
        }
    }
    Some(lines)
}

/// Whether a line is one record, whatever stands before and after it: with owner, TTL and class, and without anything
/// that goes on in the next line (parentheses, quotes) or changes what follows (directives).
fn stands_alone(line: &[u8]) -> bool {
    let is_plain = |byte: &u8| {
        byte.is_ascii_graphic() && !b"();\"\\$@".contains(byte) || [b' ', b'\t'].contains(byte)
    };
    if !line.first().is_some_and(u8::is_ascii_graphic) || !line.iter().all(is_plain) {
        return false;
    }
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (owner, ttl, class) = (words.next(), words.next(), words.next());
    owner.is_some()
        && ttl.is_some_and(|ttl| ttl.iter().all(u8::is_ascii_digit))
        && class.is_some_and(|class| class.eq_ignore_ascii_case(b"IN"))
        && words.next().is_some()
}

#[cfg(test)]
#[path = "reread_tests.rs"]
mod tests;
