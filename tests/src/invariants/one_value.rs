//! Paper: §3.2, "an honest server signs one value for one (x,t)"; rule R3, "the slot is synced
//! before the share leaves".

use std::collections::BTreeMap;

use bftkv_protocol::{EntryHash, NodeId, Timestamp, Variable};

use super::{Facts, Invariant, Observation};

/// What each honest node has signed. A node that lost its disk signs with a fresh subkey: what it
/// signed alone before, nobody can tell it. That nothing is certified twice all the same is another
/// invariant.
#[derive(Debug, Default)]
pub(super) struct OneValue {
    signed: BTreeMap<((NodeId, u8), Variable, Timestamp), EntryHash>,
}

impl Invariant for OneValue {
    fn name(&self) -> &'static str {
        "an honest node signs one value for one timestamp, and remembers it"
    }

    fn note(&mut self, _: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Share { node, subkey, statement, durable, .. } = observation else {
            return Ok(());
        };
        let key = ((*node).clone(), *subkey);
        let place = (key, statement.variable.clone(), statement.timestamp);
        let first = *self.signed.entry(place).or_insert(statement.entry);
        if first != statement.entry {
            return Err(format!("{node} signed {first} and {}", statement.entry));
        }
        if !durable {
            return Err(format!("{node} lets a share leave before its slot is on the disk"));
        }
        Ok(())
    }
}
