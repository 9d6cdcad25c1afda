//! Between a zone and what the agreement is about.

use crate::agree::{Content, Delta, SetKey};
use crate::sign::is_made_at;
use crate::zone::{Changes, Class, Error, Key, Limits, Name, RrSet, Rtype, Zone, ZoneBuilder};

/// What the agreement is about: the zone without what signers make, and without its serial, which
/// the DMs give it.
///
/// # Errors
/// The zone cannot be stripped; never in fact.
pub fn content_of(zone: &Zone) -> Result<Content, Error> {
    let mut content = Content::default();
    for (key, set) in zone.sets() {
        if let Some((place, value)) = entry_of(zone.apex(), key, set)? {
            content.insert(place, value);
        }
    }
    Ok(content)
}

/// The content of a zone that came from another one by these changes.
pub(super) fn content_after(
    before: &Content,
    apex: &Name,
    changes: &Changes,
) -> Result<Content, Error> {
    let mut delta = Delta::new();
    for (key, set) in changes {
        let entry = set.as_ref().map(|set| entry_of(apex, key, set)).transpose()?.flatten();
        match entry {
            Some((place, value)) => drop(delta.insert(place, Some(value))),
            None => drop(place_of(key).map(|place| delta.insert(place, None))),
        }
    }
    Ok(before.with(&delta))
}

/// `None` for what signers make.
fn entry_of(apex: &Name, key: &Key, set: &RrSet) -> Result<Option<(SetKey, Vec<u8>)>, Error> {
    if is_made_at(apex, key) {
        return Ok(None);
    }
    let is_soa = key.rtype() == Rtype::SOA;
    let without_serial = if is_soa { Some(set.with_serial(0)?) } else { None };
    let set = without_serial.as_ref().unwrap_or(set);
    Ok(place_of(key).map(|place| (place, value_of(set))))
}

/// What the agreement says of a set.
pub(super) fn value_of(set: &RrSet) -> Vec<u8> {
    [&set.ttl().to_be_bytes(), set.raw()].concat()
}

/// How the agreement names a set.
pub(super) fn place_of(key: &Key) -> Option<SetKey> {
    let labels: Vec<&[u8]> = key.name().labels().collect();
    SetKey::new(labels.into_iter().rev(), key.rtype().to_int())
}

/// The zone with that content and serial.
///
/// # Errors
/// It is no zone.
pub fn zone_of(apex: &Name, content: &Content, serial: u32) -> Result<Zone, String> {
    let mut builder = ZoneBuilder::new(Some(apex.clone()), Limits::default());
    for (place, value) in content.sets() {
        add(&mut builder, place, value)?;
    }
    let zone = builder.finish().map_err(|error| error.to_string())?;
    zone.with_serial(serial).map_err(|error| error.to_string())
}

/// The same from another zone and its content: what is the same in both contents is not looked at again.
pub(super) fn zone_after(
    (zone, before): (&Zone, &Content),
    content: &Content,
    serial: u32,
) -> Result<Zone, String> {
    let mut builder = ZoneBuilder::new(Some(zone.apex().clone()), Limits::default());
    let mut gone = Vec::new();
    for (place, value) in before.delta_to(content) {
        match value {
            Some(value) => add(&mut builder, &place, &value)?,
            None => gone.push(key_of(&place)?),
        }
    }
    let (zone, _) = builder.finish_on(zone, gone).map_err(|error| error.to_string())?;
    zone.with_serial(serial).map_err(|error| error.to_string())
}

fn key_of(place: &SetKey) -> Result<Key, String> {
    let mut name = Name::root();
    for label in place.labels() {
        name = name.child(label).ok_or_else(|| format!("{place}: malformed"))?;
    }
    Ok(Key::new(name, Rtype::from_int(place.rtype())))
}

/// The set of which that is said.
pub(super) fn set_of(place: &SetKey, value: &[u8]) -> Result<(Key, RrSet), String> {
    let wrong = || format!("{place}: malformed");
    let key = key_of(place)?;
    let (ttl, mut rest) = value.split_first_chunk().ok_or_else(wrong)?;
    let mut records = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (rdata, after) = after.split_at_checked(length).ok_or_else(wrong)?;
        records.push(rdata.to_vec());
        rest = after;
    }
    let ttl = u32::from_be_bytes(*ttl);
    // One form only: what is in canonical order and complete.
    let set = RrSet::new(key.rtype(), ttl, records).map_err(|fault| format!("{place}: {fault}"))?;
    if set.raw() != value.get(4..).unwrap_or_default() {
        return Err(wrong());
    }
    Ok((key, set))
}

fn add(builder: &mut ZoneBuilder, place: &SetKey, value: &[u8]) -> Result<(), String> {
    let (key, set) = set_of(place, value)?;
    for rdata in set.records() {
        let of = (key.rtype(), Class::IN);
        let added = builder.add(None, key.name().clone(), of, set.ttl(), rdata);
        added.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
