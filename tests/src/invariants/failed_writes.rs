//! Rule R2, "an attempt with S is finished or reported unknown, never failed".

use std::collections::BTreeSet;

use bftkv_protocol::{EntryHash, EntryId};

use super::{Facts, Invariant, Observation};
use crate::oracle::{History, Kind, Outcome};

/// A write that said that nothing was written has written nothing: none of its attempts is ever
/// stored anywhere. The same holds for every attempt that was given up.
#[derive(Debug, Default)]
pub(super) struct FailedWrites {
    stored: BTreeSet<EntryHash>,
    abandoned: BTreeSet<EntryHash>,
}

impl FailedWrites {
    fn check(&self, hash: EntryHash) -> Result<(), String> {
        if self.stored.contains(&hash) && self.abandoned.contains(&hash) {
            return Err(format!("{hash} was abandoned by its honest writer, and is stored"));
        }
        Ok(())
    }
}

impl Invariant for FailedWrites {
    fn name(&self) -> &'static str {
        "what failed or was abandoned is never seen"
    }

    fn note(&mut self, _: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Stored { entry, .. } => {
                self.stored.insert(entry.hash());
                self.check(entry.hash())
            }
            Observation::Abandoned { attempt: EntryId { hash, .. }, .. } => {
                self.abandoned.insert(*hash);
                self.check(*hash)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &Facts, history: &History) -> Result<(), String> {
        for operation in history.operations() {
            if !matches!(operation.kind, Kind::Write { .. }) {
                continue;
            }
            let Outcome::Failed(problem) = &operation.outcome else { continue };
            if let Some(seen) = operation.attempts.iter().find(|a| self.stored.contains(*a)) {
                return Err(format!(
                    "{} failed ({problem}), and {seen} is stored",
                    operation.process
                ));
            }
        }
        Ok(())
    }
}
