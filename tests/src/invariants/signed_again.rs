//! How often a node that lost its memory signed a second value for one (x,t) with its fresh
//! subkey. It is no violation: no key signs twice, and ADR 0013 says why the rest cannot be kept
//! from happening. It is counted, so that nobody need guess how often.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{EntryHash, NodeId, Timestamp, Variable};

use super::{Facts, Observation};

/// A certificate and a place.
type Place = (NodeId, Variable, Timestamp);

/// What each certificate has signed, whatever the subkey, and whether its writer was honest.
#[derive(Debug, Default)]
pub(super) struct SignedAgain {
    signed: BTreeMap<Place, BTreeMap<EntryHash, bool>>,
    again: BTreeSet<Place>,
}

impl SignedAgain {
    pub(super) fn note(&mut self, facts: &Facts, observation: &Observation<'_>) {
        let Observation::Share { node, statement, slots, .. } = observation else { return };
        let made_it = slots.slots.iter().find(|slot| slot.hash == statement.entry);
        let is_honest = made_it.is_some_and(|slot| facts.is_honest(&slot.writer));
        let place = ((*node).clone(), statement.variable.clone(), statement.timestamp);
        let values = self.signed.entry(place.clone()).or_default();
        values.insert(statement.entry, is_honest);
        if values.len() > 1 {
            self.again.insert(place);
        }
    }

    /// How many places of certificates have two values, and of how many of them all writers were
    /// honest.
    pub(super) fn counts(&self) -> (u64, u64) {
        let honest = self.again.iter().filter(|place| {
            self.signed.get(*place).is_some_and(|values| values.values().all(|honest| *honest))
        });
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        (number(self.again.len()), number(honest.count()))
    }
}
