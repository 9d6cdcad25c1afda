//! Style: "every operation by an honest client ends within its deadline".

use std::time::Duration;

use super::{Facts, Invariant, Observation};
use crate::oracle::History;

/// No operation ends after its deadline, and none of a living client is left open.
#[derive(Debug)]
pub(super) struct Deadline;

/// The deadline wakes the operation; what it then still does takes no time.
const SLACK: Duration = Duration::from_millis(1);

impl Invariant for Deadline {
    fn name(&self) -> &'static str {
        "every operation ends by its deadline"
    }

    fn note(&mut self, _: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        let Observation::Ended { operation, .. } = observation else { return Ok(()) };
        match operation.ended {
            Some(ended) if ended > operation.deadline.saturating_add(SLACK) => {
                Err(format!("{} ended at {ended:?}", operation.process))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &Facts, history: &History) -> Result<(), String> {
        match history.operations().find(|op| op.ended.is_none()) {
            Some(open) => Err(format!("{} never ended its {:?}", open.process, open.kind)),
            None => Ok(()),
        }
    }
}
