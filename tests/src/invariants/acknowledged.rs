//! Rule R2, "on disk, synced"; rule R5, write-back.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{Configuration, EntryHash, Group, NodeId};

use super::{Facts, Invariant, Observation};
use crate::oracle::{Kind, Operation, Outcome};

/// When a write was acknowledged, a quorum of each clique and of the store group has it on disk
/// (Byzantine members may lie about it). When a linearizable read ends, a quorum of the store
/// group has what it shows.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    holders: BTreeMap<EntryHash, BTreeSet<NodeId>>,
}

impl Acknowledged {
    fn check(&self, facts: &Facts, group: &Group, hash: EntryHash) -> Result<(), String> {
        let none = BTreeSet::new();
        let honest = self.holders.get(&hash).unwrap_or(&none);
        let have = group.count(honest.union(&facts.traitors));
        if have < group.thresholds().q() {
            return Err(format!("only {have} of {} can have {hash}", group.thresholds().q()));
        }
        Ok(())
    }

    fn check_ended(
        &self,
        facts: &Facts,
        operation: &Operation,
        configuration: &Configuration,
    ) -> Result<(), String> {
        let store = configuration.store();
        match (&operation.kind, &operation.outcome) {
            (Kind::Write { .. }, Outcome::Written(entry)) => {
                let mut groups = configuration.cliques().iter().chain([store]);
                groups.try_for_each(|group| self.check(facts, group, entry.hash()))
            }
            (Kind::Read { regular: false, at: None }, Outcome::Found(Some(entry))) => {
                self.check(facts, store, entry.hash())
            }
            _ => Ok(()),
        }
    }
}

impl Invariant for Acknowledged {
    fn name(&self) -> &'static str {
        "what was acknowledged or read is on the disks of a quorum"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Stored { node, entry } => {
                self.holders.entry(entry.hash()).or_default().insert((*node).clone());
                Ok(())
            }
            Observation::Ended { operation, configuration } => {
                self.check_ended(facts, operation, configuration)
            }
            _ => Ok(()),
        }
    }
}
