//! Keys and sets as bytes: for hashes and for what is sent.
//!
//! ```text
//!   key  wire form of the name | type (2) | covered type, or 0 (2) | class (2)
//!   set  TTL (4) | bytes of data (4), 0 for no set | for each record its length (2) and data
//! ```

use domain::base::iana::{Class, Rtype};

use super::rrset::{MAX_SET_BYTES, Records};
use super::{Error, Fault, Key, Limits, Name, RrSet, Zone, ZoneBuilder};

/// Appends.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    /// A length that is below 2^32 because what it counts lies in memory within limits.
    pub(crate) fn length(&mut self, length: usize) {
        self.u32(u32::try_from(length).unwrap_or(u32::MAX));
    }

    pub(crate) fn key(&mut self, key: &Key) {
        self.0.extend_from_slice(key.name().as_wire());
        let covered = key.covered().map_or(0, Rtype::to_int);
        for number in [key.rtype().to_int(), covered, key.class().to_int()] {
            self.0.extend_from_slice(&number.to_be_bytes());
        }
    }

    pub(crate) fn set(&mut self, set: &RrSet) {
        self.set_head(set);
        self.0.extend_from_slice(set.raw());
    }

    /// What stands in front of a set's data.
    pub(crate) fn set_head(&mut self, set: &RrSet) {
        self.u32(set.ttl());
        self.length(set.raw().len());
    }

    /// In the place of a set that there is not.
    pub(crate) fn no_set(&mut self) {
        self.u32(0);
        self.u32(0);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`Writer`] wrote, and nothing else.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        let bytes = self.take(2)?.first_chunk().ok_or(Fault::Malformed)?;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Fault> {
        let bytes = self.take(4)?.first_chunk().ok_or(Fault::Malformed)?;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(crate) fn length(&mut self, most: usize) -> Result<usize, Fault> {
        let length = usize::try_from(self.u32()?).map_err(|_| Fault::Malformed)?;
        if length > most { Err(Fault::Malformed) } else { Ok(length) }
    }

    pub(crate) fn key(&mut self) -> Result<Key, Fault> {
        let end = name_end(self.0).ok_or(Fault::Malformed)?;
        let wire = self.take(end)?;
        let name = Name::from_wire(wire).filter(|name| name.as_wire() == wire);
        let name = name.ok_or(Fault::Malformed)?;
        let (rtype, covered, class) = (self.u16()?, self.u16()?, self.u16()?);
        let (rtype, signature) = (Rtype::from_int(rtype), rtype == Rtype::RRSIG.to_int());
        if Class::from_int(class) != Class::IN || signature == (covered == 0) || rtype.to_int() == 0
        {
            return Err(Fault::Malformed);
        }
        if signature {
            return Ok(Key::signatures_over(&Key::new(name, Rtype::from_int(covered))));
        }
        Ok(Key::new(name, rtype))
    }

    /// A set of this key; `None` where there are no records.
    pub(crate) fn set(&mut self, key: &Key) -> Result<Option<RrSet>, Fault> {
        let (ttl, length) = (self.u32()?, self.length(MAX_SET_BYTES)?);
        if length == 0 {
            return if ttl == 0 { Ok(None) } else { Err(Fault::Malformed) };
        }
        let raw = self.take(length)?;
        let records: Vec<_> = Records::new(raw).map(<[u8]>::to_vec).collect();
        let covers = |rdata: &Vec<u8>| {
            Key::of_record(key.name().clone(), key.rtype(), rdata).is_some_and(|of| of == *key)
        };
        let set = RrSet::new(key.rtype(), ttl, records.clone())?;
        // Sorting has changed nothing, and nothing was left over.
        if set.raw() != raw || !records.iter().all(covers) {
            return Err(Fault::Malformed);
        }
        Ok(Some(set))
    }

    pub(crate) fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err(Fault::Malformed) }
    }
}

impl Zone {
    /// The number of sets, then each with its key: as a zone is kept.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.length(self.sets().len());
        for (key, set) in self.sets() {
            out.key(key);
            out.set(set);
        }
        out.finish()
    }

    /// Reads what [`Zone::to_bytes`] wrote of the zone of this name, and checks it as any other records.
    ///
    /// # Errors
    /// [`Fault::Malformed`], and those of [`ZoneBuilder::finish`].
    pub(crate) fn from_bytes(bytes: &[u8], apex: &Name) -> Result<Self, Error> {
        let limits = Limits::default();
        let (mut input, mut builder) =
            (Reader::new(bytes), ZoneBuilder::new(Some(apex.clone()), limits));
        for _ in 0..input.length(limits.records)? {
            let key = input.key()?;
            let set = input.set(&key)?.ok_or(Fault::Malformed)?;
            for rdata in set.records() {
                let of = (key.rtype(), key.class());
                builder.add(None, key.name().clone(), of, set.ttl(), rdata)?;
            }
        }
        input.end()?;
        builder.finish()
    }
}

/// Where a name in wire form ends.
fn name_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at = at.checked_add(length)?.checked_add(1)?;
        if length == 0 {
            return Some(at);
        }
    }
}
