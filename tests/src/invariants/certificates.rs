//! Paper: §3.2, §5; rules R1 and R3: no two values can be certified for one (x,t), and an entry
//! counts as certified only if the signers really signed it.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{CertifiedEntry, EntryHash, NodeId, Timestamp, Variable};

use super::{Facts, Invariant, Observation};
use crate::oracle::Outcome;

/// Watches every share that leaves an honest node. An entry *could* be certified when its honest
/// signers and all traitors together make a quorum in every clique.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    shares: BTreeMap<EntryHash, BTreeSet<NodeId>>,
    vouches: BTreeMap<EntryHash, BTreeSet<NodeId>>,
    certified: BTreeMap<(Variable, Timestamp), EntryHash>,
}

impl Certificates {
    fn check_genuine(&self, facts: &Facts, entry: &CertifiedEntry) -> Result<(), String> {
        let signed = self.shares.get(&entry.hash());
        // An entry that was certified again has vouches; that it ever was certified, the shares tell.
        let is_again = entry.collective.configuration() == facts.configuration.vouched();
        let of_members = if is_again { self.vouches.get(&entry.hash()) } else { signed };
        let forged = entry.collective.shares().iter().map(|share| &share.signer).find(|signer| {
            facts.is_honest(signer) && !of_members.is_some_and(|all| all.contains(*signer))
        });
        match forged {
            Some(signer) => Err(format!("t={}: {signer} never signed it", entry.timestamp())),
            None if !signed.is_some_and(|signed| facts.could_certify(signed)) => {
                Err(format!("t={}: too few signers", entry.timestamp()))
            }
            None => Ok(()),
        }
    }
}

impl Invariant for Certificates {
    fn name(&self) -> &'static str {
        "one timestamp has one certificate, and it is genuine"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Share { node, statement, .. } => {
                let signers = self.shares.entry(statement.entry).or_default();
                signers.insert((*node).clone());
                if !facts.could_certify(signers) {
                    return Ok(());
                }
                let place = (statement.variable.clone(), statement.timestamp);
                let first = *self.certified.entry(place).or_insert(statement.entry);
                if first != statement.entry {
                    return Err(format!(
                        "t={}: {first} and {}",
                        statement.timestamp, statement.entry
                    ));
                }
                Ok(())
            }
            Observation::Vouched { node, statement, stored } => {
                self.vouches.entry(statement.entry).or_default().insert((*node).clone());
                let t = statement.timestamp;
                stored
                    .then_some(())
                    .ok_or_else(|| format!("t={t}: {node} vouches for what it lacks"))
            }
            Observation::Stored { entry, .. } => self.check_genuine(facts, entry),
            Observation::Ended { operation } => match &operation.outcome {
                Outcome::Written(entry) | Outcome::Found(Some(entry)) => {
                    self.check_genuine(facts, entry)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
