//! Rule R2: the writer's own durable slots.

use std::collections::BTreeMap;

use bftkv_protocol::{EntryHash, NodeId, Timestamp, Variable};

use super::{Facts, Invariant, Observation};

/// The key of an honest writer never signs two values at one timestamp, and never gives up an
/// attempt for which it had all shares.
#[derive(Debug, Default)]
pub(super) struct WriterSlots {
    signed: BTreeMap<(NodeId, Variable, Timestamp), EntryHash>,
}

impl Invariant for WriterSlots {
    fn name(&self) -> &'static str {
        "an honest writer signs one value for one timestamp, and keeps what it assembled"
    }

    fn note(&mut self, _: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::WriterSigned { entry } => {
                let e = &entry.entry;
                let place = (e.writer.clone(), e.variable.clone(), e.timestamp);
                let first = *self.signed.entry(place).or_insert_with(|| entry.hash());
                if first == entry.hash() {
                    return Ok(());
                }
                Err(format!("{} signed two values at t={}", e.owner, e.timestamp))
            }
            Observation::Abandoned { attempt, assembled: true } => {
                Err(format!("t={} had all its shares and was abandoned", attempt.timestamp))
            }
            _ => Ok(()),
        }
    }
}
