//! The last signed zones, and how to get from one to the next.

use std::collections::VecDeque;
use std::sync::Arc;

use domain::base::Serial;

use crate::zone::{Key, RrSet, Rtype, Zone};

/// How one version becomes the next, record by record, without the SOA (RFC 1995 section 4).
///
/// It follows from the two zones alone, in canonical order, so every DM has the same bytes.
#[derive(Debug)]
pub struct Step {
    /// From this zone.
    pub from: Arc<Zone>,
    /// To this one.
    pub to: Arc<Zone>,
    gone: Vec<(Key, RrSet)>,
    new: Vec<(Key, RrSet)>,
}

impl Step {
    fn between(from: &Arc<Zone>, to: &Arc<Zone>) -> Self {
        let soa = Key::new(to.apex().clone(), Rtype::SOA);
        let differ = |a: &Zone, b: &Zone| {
            let sets =
                a.sets().iter().filter(|(key, set)| **key != soa && b.set(key) != Some(*set));
            sets.filter_map(|(key, set)| Some((key.clone(), only_in(set, b.set(key), key)?)))
                .collect::<Vec<_>>()
        };
        let (gone, new) = (differ(from, to), differ(to, from));
        Self { from: Arc::clone(from), to: Arc::clone(to), gone, new }
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

/// The newest zone and the steps that led to it.
#[derive(Default, Debug)]
pub struct Journal {
    newest: Option<Arc<Zone>>,
    steps: VecDeque<Arc<Step>>,
}

impl Journal {
    /// How many steps are kept. Root zones change two or three times a day, so this is a month.
    pub const MAX_STEPS: usize = 100;

    /// The newest zone.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Zone>> {
        self.newest.as_ref()
    }

    /// Takes the next zone. False, and nothing happens, if its serial is not above the newest
    /// (RFC 1982).
    pub fn add(&mut self, zone: Arc<Zone>) -> bool {
        if let Some(newest) = &self.newest {
            // Serials that cannot be compared are not above either.
            if Serial::from(zone.serial()).partial_cmp(&Serial::from(newest.serial()))
                != Some(std::cmp::Ordering::Greater)
            {
                return false;
            }
            self.steps.push_back(Arc::new(Step::between(newest, &zone)));
            if self.steps.len() > Self::MAX_STEPS {
                self.steps.pop_front();
            }
        }
        self.newest = Some(zone);
        true
    }

    /// The steps from that serial to the newest zone: none for the newest serial; `None` for one
    /// that is not held.
    #[must_use]
    pub fn since(&self, serial: u32) -> Option<Vec<Arc<Step>>> {
        if self.newest.as_ref()?.serial() == serial {
            return Some(Vec::new());
        }
        let first = self.steps.iter().position(|step| step.from.serial() == serial)?;
        Some(self.steps.iter().skip(first).cloned().collect())
    }
}
