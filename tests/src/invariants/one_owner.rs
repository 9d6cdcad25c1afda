//! Rule R3, "two owners never both hold a certificate unless one of them broke the rules".

use std::collections::BTreeMap;

use bftkv_protocol::{Address, EntryId, NodeId, Variable};

use super::{Facts, Invariant, Observation};

/// The honest writers who ever hold all shares of an attempt on one variable have one address.
#[derive(Debug, Default)]
pub(super) struct OneOwner {
    signed: BTreeMap<EntryId, NodeId>,
    owners: BTreeMap<Variable, Address>,
}

impl Invariant for OneOwner {
    fn name(&self) -> &'static str {
        "two owners never both hold a certificate"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::WriterSigned { entry } => {
                self.signed.insert(entry.id(), entry.entry.writer.clone());
                Ok(())
            }
            Observation::Assembled { attempt } => {
                let writer = self.signed.get(*attempt).and_then(|w| facts.users.get(w));
                let Some(owner) = writer else { return Ok(()) };
                let first = self.owners.entry(attempt.variable.clone()).or_insert(owner.clone());
                if first != owner {
                    return Err(format!("{first} and {owner} (t={})", attempt.timestamp));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
