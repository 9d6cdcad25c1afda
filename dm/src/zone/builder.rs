//! From records, in any order and from anywhere, to a checked zone.

use std::collections::BTreeMap;

use domain::base::iana::{Class, Rtype};

use super::rrset::{canonical, parse};
use super::{Error, Fault, Key, Limits, MAX_SET_BYTES, Name, Place, RrSet, Zone};

/// Takes records and makes a zone of them if they make one. It checks each and all together, and
/// names the first in the source's order that is wrong.
#[derive(Debug)]
pub struct ZoneBuilder {
    limits: Limits,
    apex: Option<Name>,
    records: Vec<Record>,
    /// Of names and data.
    bytes: usize,
}

/// A set that grows: its TTL, its data in order, and how many bytes they are.
type Growing = (u32, Vec<Vec<u8>>, usize);

/// Sets that are put in the place of others, or taken away.
pub(crate) type Changes = BTreeMap<Key, Option<RrSet>>;

/// A record that waits.
#[derive(Debug)]
struct Record {
    place: Option<Place>,
    key: Key,
    ttl: u32,
    rdata: Vec<u8>,
}

impl Record {
    fn wrong(&self, fault: Fault) -> Error {
        Error::new(fault).at(self.place).with(&self.key)
    }
}

impl ZoneBuilder {
    /// A builder for the zone of this name; without one, the first SOA's owner is the apex.
    #[must_use]
    pub fn new(apex: Option<Name>, limits: Limits) -> Self {
        Self { limits, apex, records: Vec::new(), bytes: 0 }
    }

    /// Takes a record. Its data are in wire form, uncompressed; they need not be canonical.
    ///
    /// # Errors
    ///
    /// [`Fault::Class`], [`Fault::Malformed`], [`Fault::ZeroTtl`], [`Fault::HugeTtl`],
    /// [`Fault::ManyRecords`], [`Fault::LargeFile`].
    pub fn add(
        &mut self,
        place: Option<Place>,
        owner: Name,
        (rtype, class): (Rtype, Class),
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Error> {
        let rdata = parse(rtype, rdata).map(|data| canonical(&data));
        let key = rdata.as_ref().and_then(|data| Key::of_record(owner.clone(), rtype, data));
        let (Some(key), Some(rdata)) = (key, rdata) else {
            let name = Key::new(owner, rtype);
            return Err(Error::new(Fault::Malformed).at(place).with(&name));
        };
        let record = Record { place, key, ttl, rdata };
        self.check(&record, class).map_err(|fault| record.wrong(fault))?;
        if self.apex.is_none() && rtype == Rtype::SOA {
            self.apex = Some(record.key.name().clone());
        }
        // A transfer names a long name in two bytes, so this can be far more than came.
        let size = record.key.name().as_wire().len().saturating_add(record.rdata.len());
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(record.wrong(Fault::LargeFile(self.limits.bytes)));
        }
        self.records.push(record);
        Ok(())
    }

    fn check(&self, record: &Record, class: Class) -> Result<(), Fault> {
        if class != Class::IN {
            return Err(Fault::Class(class));
        }
        // Only servers read NSEC3PARAM, and some signers give it no time (RFC 5155 section 4).
        let rtype = record.key.covered().unwrap_or(record.key.rtype());
        if record.ttl == 0 && rtype != Rtype::NSEC3PARAM {
            return Err(Fault::ZeroTtl);
        }
        let limit = self.limits.ttl_secs;
        if record.ttl > limit {
            return Err(Fault::HugeTtl { found: record.ttl, limit });
        }
        if self.records.len() >= self.limits.records {
            return Err(Fault::ManyRecords(self.limits.records));
        }
        Ok(())
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// The zone, if the records make one.
    ///
    /// # Errors
    ///
    /// [`Fault::NoSoa`], [`Fault::SecondSoa`], [`Fault::NoNs`], [`Fault::OutOfZone`],
    /// [`Fault::Duplicate`], [`Fault::OtherTtl`], [`Fault::Singleton`], [`Fault::CnameClash`],
    /// [`Fault::LargeSet`].
    pub fn finish(self) -> Result<Zone, Error> {
        let (apex, sets) = self.finish_sets()?;
        Zone::of(apex, sets)
    }

    /// The zone in which these records stand in the place of what was in their sets, and without the sets of
    /// these other keys. Everything is checked as by [`ZoneBuilder::finish`], but for what was there before and stays.
    ///
    /// # Errors
    ///
    /// As of [`ZoneBuilder::finish`].
    pub(crate) fn finish_on(
        self,
        before: &Zone,
        gone: impl IntoIterator<Item = Key>,
    ) -> Result<(Zone, Changes), Error> {
        let limit = self.limits.records;
        let (_, sets) = self.finish_sets()?;
        let mut changes: Changes = gone.into_iter().map(|key| (key, None)).collect();
        changes.extend(sets.into_iter().map(|(key, set)| (key, Some(set))));
        let zone = before.with_sets(&changes)?;
        if zone.records() > limit {
            return Err(Fault::ManyRecords(limit).into());
        }
        Ok((zone, changes))
    }

    /// The sets, whether they make a zone or not.
    pub(super) fn finish_sets(self) -> Result<(Name, BTreeMap<Key, RrSet>), Error> {
        let apex = self.apex.ok_or(Fault::NoSoa)?;
        let mut sets = BTreeMap::<Key, Growing>::new();
        for record in self.records {
            check_place(&apex, &record.key).map_err(|fault| record.wrong(fault))?;
            check_cname(&sets, &record.key).map_err(|fault| record.wrong(fault))?;
            let found = record.ttl;
            let (first, data, bytes) =
                sets.entry(record.key.clone()).or_insert((found, Vec::new(), 0));
            // Now, because each record of a set is put among those before it.
            *bytes = bytes.saturating_add(record.rdata.len()).saturating_add(2);
            if *bytes > MAX_SET_BYTES {
                return Err(record.wrong(Fault::LargeSet));
            }
            if *first != found {
                return Err(record.wrong(Fault::OtherTtl { first: *first, found }));
            }
            match data.binary_search(&record.rdata) {
                Ok(_) => return Err(record.wrong(Fault::Duplicate)),
                Err(_) if !data.is_empty() && is_singleton(record.key.rtype()) => {
                    return Err(record.wrong(Fault::Singleton));
                }
                Err(position) => data.insert(position, record.rdata),
            }
        }
        let one = |(key, (ttl, data, _)): (Key, Growing)| {
            let set = RrSet::sorted(ttl, &data).map_err(|fault| Error::new(fault).with(&key))?;
            Ok((key, set))
        };
        Ok((apex, sets.into_iter().map(one).collect::<Result<_, Error>>()?))
    }
}

/// Whether a set of this type has one record at most.
pub(super) fn is_singleton(rtype: Rtype) -> bool {
    [Rtype::SOA, Rtype::CNAME, Rtype::DNAME, Rtype::NSEC].contains(&rtype)
}

pub(super) fn check_place(apex: &Name, key: &Key) -> Result<(), Fault> {
    if !key.name().is_within(apex) {
        return Err(Fault::OutOfZone(apex.clone()));
    }
    if key.rtype() == Rtype::SOA && key.name() != apex {
        return Err(Fault::SecondSoa(apex.clone()));
    }
    Ok(())
}

/// RFC 2181 section 10.1 and RFC 4034 section 2.5: beside a CNAME there are only what DNSSEC adds.
pub(super) fn check_cname<T>(sets: &BTreeMap<Key, T>, new: &Key) -> Result<(), Fault> {
    let beside_cname = |key: &Key| [Rtype::CNAME, Rtype::RRSIG, Rtype::NSEC].contains(&key.rtype());
    if beside_cname(new) && new.rtype() != Rtype::CNAME {
        return Ok(());
    }
    let clash = if new.rtype() == Rtype::CNAME {
        let from = Key::new(new.name().clone(), Rtype::from_int(0));
        let mut there = sets.range(from..).take_while(|(key, _)| key.name() == new.name());
        there.any(|(key, _)| !beside_cname(key))
    } else {
        sets.contains_key(&Key::new(new.name().clone(), Rtype::CNAME))
    };
    if clash { Err(Fault::CnameClash) } else { Ok(()) }
}
