//! RRsets.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use domain::base::iana::Rtype;
use domain::base::rdata::ComposeRecordData as _;
use domain::base::{ParseRecordData as _, ParsedName};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;

use super::Fault;

/// The most bytes of data in one set: it must go into one message with its owner's name and
/// something around it.
pub const MAX_SET_BYTES: usize = 64_000;

/// A record's data as the crate `domain` has it, borrowed from a set.
pub type Data<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// The records of one name, type and class, without the name: a TTL in seconds and the data in
/// canonical form and order, none twice (RFC 4034 section 6.3, RFC 2181 section 5).
///
/// The data lie in one piece of memory that copies share.
#[derive(Clone, PartialEq, Eq)]
pub struct RrSet {
    ttl: u32,
    /// For each record its length in two bytes and its data.
    data: Arc<[u8]>,
}

impl RrSet {
    /// A set from data in canonical form, in any order.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] for data that are not of the type or not in canonical form,
    /// [`Fault::Duplicate`], [`Fault::Empty`], [`Fault::LargeSet`].
    pub fn new(rtype: Rtype, ttl: u32, mut records: Vec<Vec<u8>>) -> Result<Self, Fault> {
        records.iter().try_for_each(|rdata| check_canonical(rtype, rdata))?;
        records.sort_unstable();
        Self::sorted(ttl, &records)
    }

    /// A set from data that are known to be canonical and sorted.
    pub(crate) fn sorted(ttl: u32, records: &[Vec<u8>]) -> Result<Self, Fault> {
        let length = |rdata: &Vec<u8>| rdata.len().saturating_add(2);
        let total: usize = records.iter().map(length).sum();
        if total > MAX_SET_BYTES {
            return Err(Fault::LargeSet);
        }
        if records.is_empty() {
            return Err(Fault::Empty);
        }
        let pairs = records.iter().zip(records.iter().skip(1));
        if pairs.into_iter().any(|(a, b)| a.cmp(b) != Ordering::Less) {
            return Err(Fault::Duplicate);
        }
        let mut data = Vec::with_capacity(total);
        for rdata in records {
            let length = u16::try_from(rdata.len()).map_err(|_| Fault::LargeSet)?;
            data.extend_from_slice(&length.to_be_bytes());
            data.extend_from_slice(rdata);
        }
        Ok(Self { ttl, data: data.into() })
    }

    /// A set of one record with data that are known to be canonical.
    pub(crate) fn single(ttl: u32, rdata: Vec<u8>) -> Result<Self, Fault> {
        Self::sorted(ttl, &[rdata])
    }

    /// The TTL in seconds.
    #[must_use]
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The same records with another TTL.
    #[must_use]
    pub fn with_ttl(&self, ttl: u32) -> Self {
        Self { ttl, data: self.data.clone() }
    }

    /// An SOA with another serial.
    pub(crate) fn with_serial(&self, serial: u32) -> Result<Self, Fault> {
        let mut rdata = self.records().next().unwrap_or_default().to_vec();
        // The last five numbers of an SOA have four bytes each, and the serial is the first.
        let place = rdata.len().checked_sub(20).ok_or(Fault::NoSoa)?;
        for (byte, new) in rdata.iter_mut().skip(place).zip(serial.to_be_bytes()) {
            *byte = new;
        }
        Self::single(self.ttl, rdata)
    }

    /// Each record's data in canonical form, in canonical order.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records(&self.data)
    }

    /// How many records. There is always one.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> usize {
        self.records().count()
    }

    /// Each record's data as types.
    pub fn parsed(&self, rtype: Rtype) -> impl Iterator<Item = Data<'_>> {
        self.records().filter_map(move |rdata| parse(rtype, rdata))
    }

    /// The data as they lie in memory: what goes into hashes.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for RrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s, {} records", self.ttl, self.len())
    }
}

/// The records of a set, one after the other.
#[derive(Clone, Debug)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    pub(super) fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (rdata, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        self.0 = rest;
        Some(rdata)
    }
}

/// The data as types; `None` if they are not of this type, or something follows.
#[must_use]
pub fn parse(rtype: Rtype, rdata: &[u8]) -> Option<Data<'_>> {
    let mut parser = Parser::from_ref(rdata);
    let data = ZoneRecordData::parse_rdata(rtype, &mut parser).ok()??;
    (parser.remaining() == 0).then_some(data)
}

/// The data in canonical form (RFC 4034 section 6.2; RFC 6840 section 5.1).
pub(crate) fn canonical(
    data: &ZoneRecordData<impl AsRef<[u8]>, impl domain::base::ToName>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let Ok(()) = data.compose_canonical_rdata(&mut out);
    out
}

fn check_canonical(rtype: Rtype, rdata: &[u8]) -> Result<(), Fault> {
    let data = parse(rtype, rdata).ok_or(Fault::Malformed)?;
    if canonical(&data) == rdata { Ok(()) } else { Err(Fault::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_canonical_and_has_no_record_twice() {
        let a = |last| vec![192, 0, 2, last];
        let one = RrSet::new(Rtype::A, 60, vec![a(2), a(1)]).unwrap();
        assert_eq!(one, RrSet::new(Rtype::A, 60, vec![a(1), a(2)]).unwrap());
        assert_eq!(one.records().collect::<Vec<_>>(), [a(1), a(2)]);
        assert_ne!(one, one.with_ttl(61));
        assert_eq!(RrSet::new(Rtype::A, 60, vec![a(1), a(1)]), Err(Fault::Duplicate));
        assert_eq!(RrSet::new(Rtype::A, 60, vec![]), Err(Fault::Empty));
        assert_eq!(RrSet::new(Rtype::A, 60, vec![vec![1, 2, 3]]), Err(Fault::Malformed));
        assert_eq!(RrSet::new(Rtype::A, 60, vec![vec![1, 2, 3, 4, 5]]), Err(Fault::Malformed));
        let many = (0..=255).map(|n| vec![n; 255]).collect();
        assert_eq!(RrSet::new(Rtype::from_int(65_280), 60, many), Err(Fault::LargeSet));
    }

    #[test]
    fn names_in_data_are_in_lower_case() {
        let ns = |wire: &[u8]| RrSet::new(Rtype::NS, 60, vec![wire.to_vec()]);
        assert!(ns(b"\x01a\x00").is_ok());
        assert_eq!(ns(b"\x01A\x00"), Err(Fault::Malformed));
    }
}
