//! From one signed zone to the next.

use crate::differing::differing;
use crate::zone::codec::{Reader, Writer};
use crate::zone::{Error, Fault, Key, Name, RrSet, Rtype, Zone, serial_of};

/// How one version becomes the next, record by record (RFC 1995 section 4).
///
/// It follows from the two zones alone, in canonical order, so every DM has the same bytes. It holds what
/// differs and neither of the zones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    from: RrSet,
    to: RrSet,
    /// The serials in the two.
    serials: (u32, u32),
    gone: Vec<(Key, RrSet)>,
    new: Vec<(Key, RrSet)>,
}

/// The most sets on one side of a step that is read back: as many as a zone may have records.
const MAX_SETS: usize = 1_000_000;

impl Step {
    /// `None` if one of them has no SOA, which no zone lacks.
    pub(super) fn between(from: &Zone, to: &Zone) -> Option<Self> {
        let soa = Key::new(to.apex().clone(), Rtype::SOA);
        let (mut gone, mut new) = (Vec::new(), Vec::new());
        for (key, before, after) in differing(from.sets(), to.sets()) {
            let only = |set: Option<&RrSet>, other| Some((key.clone(), only_in(set?, other, key)?));
            if *key != soa {
                gone.extend(only(before, after));
                new.extend(only(after, before));
            }
        }
        Some(Self {
            from: from.set(&soa)?.clone(),
            to: to.set(&soa)?.clone(),
            serials: (from.serial(), to.serial()),
            gone,
            new,
        })
    }

    /// The SOA before.
    #[must_use]
    pub fn from(&self) -> &RrSet {
        &self.from
    }

    /// The SOA after.
    #[must_use]
    pub fn to(&self) -> &RrSet {
        &self.to
    }

    /// The serials before and after.
    #[must_use]
    pub fn serials(&self) -> (u32, u32) {
        self.serials
    }

    /// The records that are no more, by set.
    #[must_use]
    pub fn gone(&self) -> &[(Key, RrSet)] {
        &self.gone
    }

    /// The records that are new, by set.
    #[must_use]
    pub fn added(&self) -> &[(Key, RrSet)] {
        &self.new
    }

    /// How many records an IXFR needs for it.
    #[must_use]
    pub fn records(&self) -> usize {
        let sets = self.gone.iter().chain(&self.new);
        sets.map(|(_, set)| set.len()).sum::<usize>().saturating_add(2)
    }

    /// As it is kept: both SOA sets, then twice a count and so many keys with their sets.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.set(&self.from);
        out.set(&self.to);
        for sets in [&self.gone, &self.new] {
            out.length(sets.len());
            for (key, set) in sets {
                out.key(key);
                out.set(set);
            }
        }
        out.finish()
    }

    /// Reads what [`Step::to_bytes`] wrote, of a zone of this name.
    ///
    /// # Errors
    /// [`Fault::Malformed`].
    pub fn from_bytes(bytes: &[u8], apex: &Name) -> Result<Self, Error> {
        let mut input = Reader::new(bytes);
        let soa = Key::new(apex.clone(), Rtype::SOA);
        let from = input.set(&soa)?.ok_or(Fault::NoSoa)?;
        let to = input.set(&soa)?.ok_or(Fault::NoSoa)?;
        let serial = |soa: &RrSet| serial_of(soa).ok_or(Fault::NoSoa);
        let serials = (serial(&from)?, serial(&to)?);
        let (gone, new) = (read_sets(&mut input)?, read_sets(&mut input)?);
        input.end()?;
        Ok(Self { from, to, serials, gone, new })
    }
}

fn read_sets(input: &mut Reader<'_>) -> Result<Vec<(Key, RrSet)>, Error> {
    let count = input.length(MAX_SETS)?;
    let mut sets = Vec::new();
    for _ in 0..count {
        let key = input.key()?;
        let set = input.set(&key)?.ok_or(Fault::Malformed)?;
        sets.push((key, set));
    }
    Ok(sets)
}

/// The records of a set that the other version does not have. With another TTL all are others.
fn only_in(set: &RrSet, other: Option<&RrSet>, key: &Key) -> Option<RrSet> {
    let Some(other) = other.filter(|other| other.ttl() == set.ttl()) else {
        return Some(set.clone());
    };
    let is_new = |rdata: &&[u8]| !other.records().any(|known| known == *rdata);
    let records = set.records().filter(is_new).map(<[u8]>::to_vec).collect();
    RrSet::new(key.rtype(), set.ttl(), records).ok()
}
