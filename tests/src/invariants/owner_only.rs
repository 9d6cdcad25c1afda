//! Paper: §4.1, trust on first use; rule R3, "only the owner overwrites".

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{Address, EntryHash, NodeId, Timestamp, Variable};

use super::{Facts, Invariant, Observation};
use crate::oracle::{History, Kind, Outcome};

/// Once an honest owner's write was acknowledged, nobody with another address can get a
/// certificate with a larger timestamp.
#[derive(Debug, Default)]
pub(super) struct OwnerOnly {
    stored: BTreeMap<EntryHash, (Variable, Timestamp, NodeId, Address)>,
    acknowledged: BTreeSet<(Variable, Timestamp, NodeId, Address)>,
}

impl Invariant for OwnerOnly {
    fn name(&self) -> &'static str {
        "only the owner overwrites"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Stored { entry, .. } => {
                let e = entry.entry();
                let place = (e.variable.clone(), e.timestamp, e.writer.clone(), e.owner.clone());
                self.stored.insert(entry.hash(), place);
            }
            Observation::Ended { operation, .. } => {
                if let (Kind::Write { .. }, Outcome::Written(entry)) =
                    (&operation.kind, &operation.outcome)
                    && facts.is_honest(&entry.entry().writer)
                {
                    let e = entry.entry();
                    let place =
                        (e.variable.clone(), e.timestamp, e.writer.clone(), e.owner.clone());
                    self.acknowledged.insert(place);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, facts: &Facts, _: &History) -> Result<(), String> {
        for (variable, t, writer, owner) in self.stored.values() {
            // Whoever claims an address that is not his is nobody's second device.
            let is_true = facts.users.get(writer) == Some(owner);
            let overtaken = self.acknowledged.iter().find(|(x, acknowledged, _, first)| {
                x == variable && t > acknowledged && (owner != first || !is_true)
            });
            if let Some((_, acknowledged, _, first)) = overtaken {
                return Err(format!("{first} at t={acknowledged}, then {owner} at t={t}"));
            }
        }
        Ok(())
    }
}
