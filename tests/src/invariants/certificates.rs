//! Paper: §3.2, §5; rules R1 and R3: no two values can be certified for one (x,t), and an entry
//! counts as certified only if the signers really signed it.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{CertifiedEntry, ConfigurationDigest, EntryHash, NodeId, Timestamp, Variable};

use super::{Facts, Invariant, Observation};
use crate::oracle::Outcome;

/// Watches every share that leaves an honest node. An entry *could* be certified when its honest
/// signers and all traitors together make a quorum in every clique.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    /// Who signed an entry under which configuration.
    shares: BTreeMap<EntryHash, BTreeMap<ConfigurationDigest, BTreeSet<NodeId>>>,
    vouches: BTreeMap<EntryHash, BTreeSet<NodeId>>,
    certified: BTreeMap<(Variable, Timestamp), EntryHash>,
}

impl Certificates {
    /// A reader need not check S if enough nodes agree, and then S is what one of them showed: so it
    /// counts under which configuration the entry could have been certified, not which one S names.
    fn check_genuine(&self, facts: &Facts, entry: &CertifiedEntry) -> Result<(), String> {
        let none = BTreeMap::new();
        let signed = self.shares.get(&entry.hash()).unwrap_or(&none);
        // An entry that was certified again has vouches; that it ever was certified, the shares tell.
        let vouches = self.vouches.get(&entry.hash());
        let is_by = |signer: &NodeId| {
            if facts.is_vouched(entry) {
                vouches.is_some_and(|vouches| vouches.contains(signer))
            } else {
                signed.values().any(|signed| signed.contains(signer))
            }
        };
        let forged = entry
            .collective
            .shares()
            .iter()
            .map(|share| &share.signer)
            .find(|signer| facts.is_honest(signer) && !is_by(signer));
        if let Some(signer) = forged {
            return Err(format!("t={}: {signer} never signed it", entry.timestamp()));
        }
        let certified = signed.iter().any(|(named, signed)| facts.could_certify(signed, named));
        certified.then_some(()).ok_or_else(|| format!("t={}: too few signers", entry.timestamp()))
    }
}

impl Invariant for Certificates {
    fn name(&self) -> &'static str {
        "one timestamp has one certificate, and it is genuine"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Share { node, statement, .. } => {
                let named = statement.configuration;
                let signers = self.shares.entry(statement.entry).or_default();
                let signers = signers.entry(named).or_default();
                signers.insert((*node).clone());
                if !facts.could_certify(signers, &named) {
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
            Observation::Ended { operation, .. } => match &operation.outcome {
                Outcome::Written(entry) | Outcome::Found(Some(entry)) => {
                    self.check_genuine(facts, entry)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
