//! Paper: §4, write once; rule R3, "nothing follows a certified Final".

use std::collections::BTreeMap;

use bftkv_protocol::{EntryHash, Timestamp, Value, Variable};

use super::{Facts, Invariant, Observation};
use crate::oracle::{History, Outcome};

/// After a sealed value was acknowledged or read, nobody reads or writes another one.
#[derive(Debug, Default)]
pub(super) struct FinalStays {
    sealed: BTreeMap<Variable, (Timestamp, Value)>,
    stored: BTreeMap<EntryHash, (Variable, Timestamp, Value)>,
}

impl Invariant for FinalStays {
    fn name(&self) -> &'static str {
        "nothing follows a certified Final"
    }

    fn note(&mut self, _: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        if let Observation::Stored { entry, .. } = observation {
            let place = (entry.variable().clone(), entry.timestamp(), entry.entry().value.clone());
            self.stored.insert(entry.hash(), place);
        }
        if let Observation::Ended { operation, .. } = observation
            && let Outcome::Written(entry) | Outcome::Found(Some(entry)) = &operation.outcome
            && entry.entry().is_final
        {
            let seal = (entry.timestamp(), entry.entry().value.clone());
            self.sealed.entry(operation.variable.clone()).or_insert(seal);
        }
        Ok(())
    }

    fn finish(&mut self, _: &Facts, _: &History) -> Result<(), String> {
        for (variable, t, value) in self.stored.values() {
            if let Some((sealed, final_value)) = self.sealed.get(variable)
                && t > sealed
                && value != final_value
            {
                return Err(format!("{variable} was sealed at t={sealed}, and t={t} is stored"));
            }
        }
        Ok(())
    }
}
