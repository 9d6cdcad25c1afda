//! A whole zone.

use std::collections::BTreeMap;
use std::fmt;

use domain::base::iana::Rtype;
use domain::rdata::ZoneRecordData;

use super::builder::{check_cname, check_place, is_singleton};
use super::{Delta, Error, Fault, Key, Name, RrSet};

/// A zone: its sets in canonical order, with one SOA and an NS set at the apex, nothing out of
/// the zone, nothing beside a CNAME. It may be signed or not. It never changes; a changed one is
/// another value ([`Zone::with`]), which shares the data of all that is the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    apex: Name,
    serial: u32,
    sets: BTreeMap<Key, RrSet>,
}

impl Zone {
    /// A zone of sets that were checked one by one.
    ///
    /// # Errors
    ///
    /// [`Fault::NoSoa`], [`Fault::NoNs`].
    pub(super) fn of(apex: Name, sets: BTreeMap<Key, RrSet>) -> Result<Self, Error> {
        let soa = sets.get(&Key::new(apex.clone(), Rtype::SOA)).ok_or(Fault::NoSoa)?;
        let serial = soa_of(soa).map(|soa| soa.serial).ok_or(Fault::NoSoa)?;
        if !sets.contains_key(&Key::new(apex.clone(), Rtype::NS)) {
            return Err(Fault::NoNs.into());
        }
        Ok(Self { apex, serial, sets })
    }

    /// The zone's name.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The SOA's serial. To be compared by RFC 1982.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// The SOA's numbers.
    ///
    /// # Errors
    ///
    /// Never in fact: a zone has an SOA. [`Fault::NoSoa`].
    pub fn soa(&self) -> Result<Soa, Error> {
        Ok(self.apex_set(Rtype::SOA).and_then(soa_of).ok_or(Fault::NoSoa)?)
    }

    /// A set at the apex.
    #[must_use]
    pub fn apex_set(&self, rtype: Rtype) -> Option<&RrSet> {
        self.sets.get(&Key::new(self.apex.clone(), rtype))
    }

    /// A set.
    #[must_use]
    pub fn set(&self, key: &Key) -> Option<&RrSet> {
        self.sets.get(key)
    }

    /// All sets in canonical order.
    #[must_use]
    pub fn sets(&self) -> &BTreeMap<Key, RrSet> {
        &self.sets
    }

    /// The sets of one name.
    pub fn sets_of(&self, name: &Name) -> impl Iterator<Item = (&Key, &RrSet)> {
        let from = Key::new(name.clone(), Rtype::from_int(0));
        let name = name.clone();
        self.sets.range(from..).take_while(move |(key, _)| *key.name() == name)
    }

    /// How many records.
    #[must_use]
    pub fn records(&self) -> usize {
        self.sets.values().map(RrSet::len).sum()
    }

    /// The zone with another serial. Nothing else changes, so it is for zones that are not signed
    /// yet.
    ///
    /// # Errors
    ///
    /// As [`Zone::soa`].
    pub fn with_serial(&self, serial: u32) -> Result<Self, Error> {
        let key = Key::new(self.apex.clone(), Rtype::SOA);
        let set = self.sets.get(&key).ok_or(Fault::NoSoa)?;
        let set = set.with_serial(serial)?;
        let mut changed = self.clone();
        changed.sets.insert(key, set);
        changed.serial = serial;
        Ok(changed)
    }

    /// The zone without the sets of these keys, of which SOA and NS of the apex may be none.
    ///
    /// # Errors
    ///
    /// As of [`Zone::with`].
    pub fn without(&self, unwanted: impl Fn(&Key) -> bool) -> Result<Self, Error> {
        let kept = self.sets.iter().filter(|(key, _)| !unwanted(key));
        Self::of(self.apex.clone(), kept.map(|(key, set)| (key.clone(), set.clone())).collect())
    }

    /// The zone with changes: sets put in the place of others, or taken away.
    ///
    /// # Errors
    ///
    /// [`Fault::OtherSerial`] if the change is one of another version, [`Fault::NotThere`], and
    /// what is wrong with the result: [`Fault::OutOfZone`], [`Fault::SecondSoa`],
    /// [`Fault::CnameClash`], [`Fault::Singleton`], [`Fault::NoSoa`], [`Fault::NoNs`].
    pub fn with(&self, delta: &Delta) -> Result<Self, Error> {
        let (have, found) = (self.serial, delta.from);
        if have != found {
            return Err(Fault::OtherSerial { have, found }.into());
        }
        let changed = self.with_sets(&delta.changes)?;
        let (have, found) = (changed.serial, delta.to);
        if have == found { Ok(changed) } else { Err(Fault::OtherSerial { have, found }.into()) }
    }

    /// As [`Zone::with`], whatever the serials are.
    ///
    /// # Errors
    ///
    /// As there, but for [`Fault::OtherSerial`].
    pub fn with_sets(&self, changes: &BTreeMap<Key, Option<RrSet>>) -> Result<Self, Error> {
        let mut sets = self.sets.clone();
        for key in changes.iter().filter(|(_, set)| set.is_none()).map(|(key, _)| key) {
            sets.remove(key).ok_or_else(|| Error::new(Fault::NotThere).with(key))?;
        }
        for (key, set) in changes {
            let Some(set) = set else { continue };
            let wrong = |fault| Error::new(fault).with(key);
            check_place(&self.apex, key).map_err(wrong)?;
            check_cname(&sets, key).map_err(wrong)?;
            if is_singleton(key.rtype()) && set.len() > 1 {
                return Err(wrong(Fault::Singleton));
            }
            sets.insert(key.clone(), set.clone());
        }
        Self::of(self.apex.clone(), sets)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone {} {}, {} sets", self.apex, self.serial, self.sets.len())
    }
}

/// The numbers of an SOA record (RFC 1035 section 3.3.13). Times are in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Soa {
    /// The TTL of the record itself.
    pub ttl_secs: u32,
    /// The zone's version.
    pub serial: u32,
    /// How often secondaries look.
    pub refresh_secs: u32,
    /// How soon they look again after a failure.
    pub retry_secs: u32,
    /// How long they serve without having looked.
    pub expire_secs: u32,
    /// The TTL of denials, together with the record's own (RFC 2308 section 3).
    pub minimum_secs: u32,
}

impl Soa {
    /// The TTL of NSEC and NSEC3 records: the smaller of the two (RFC 9077).
    #[must_use]
    pub fn denial_ttl_secs(&self) -> u32 {
        self.minimum_secs.min(self.ttl_secs)
    }
}

/// The serial in a set that is an SOA.
pub(crate) fn serial_of(set: &RrSet) -> Option<u32> {
    Some(soa_of(set)?.serial)
}

fn soa_of(set: &RrSet) -> Option<Soa> {
    let ZoneRecordData::Soa(soa) = set.parsed(Rtype::SOA).next()? else { return None };
    Some(Soa {
        ttl_secs: set.ttl(),
        serial: soa.serial().into_int(),
        refresh_secs: soa.refresh().as_secs(),
        retry_secs: soa.retry().as_secs(),
        expire_secs: soa.expire().as_secs(),
        minimum_secs: soa.minimum().as_secs(),
    })
}
