//! Rule R3, "slots are limited per owner"; threats.md section 3, bounded resources.

use std::collections::BTreeMap;

use bftkv_protocol::{Address, Marks, Slot};

use super::{Facts, Invariant, Observation};

/// A signer's memory of one variable does not grow with the number of attempts.
#[derive(Debug)]
pub(super) struct Bounded;

impl Invariant for Bounded {
    fn name(&self) -> &'static str {
        "a signer's memory is bounded"
    }

    fn note(&mut self, _: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Share { slots, .. } = observation else { return Ok(()) };
        let mut owners: BTreeMap<&Address, usize> = BTreeMap::new();
        for slot in &slots.slots {
            let count = owners.entry(&slot.owner).or_default();
            *count = count.saturating_add(1);
        }
        let most = owners.values().copied().max().unwrap_or(0);
        if most > Slot::MAX_PER_OWNER || slots.abandons.len() > Marks::MAX_ABANDONS {
            return Err(format!("{most} slots of one owner, {} abandons", slots.abandons.len()));
        }
        Ok(())
    }
}
