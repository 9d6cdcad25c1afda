//! Rule R6, "no honest node is ever framed"; threats.md section 3, no framing.

use super::{Facts, Invariant, Observation};

/// Nobody honest is in a proof that somebody believes, or among the culprits of a result. It
/// holds however many nodes lie.
#[derive(Debug)]
pub(super) struct NoFraming;

impl Invariant for NoFraming {
    fn name(&self) -> &'static str {
        "nobody honest is accused"
    }

    fn note(&mut self, facts: &Facts, observation: &Observation<'_>) -> Result<(), String> {
        match observation {
            Observation::Accused { by, guilty } if facts.is_honest(guilty) => {
                Err(format!("{by} believes a proof against {guilty}"))
            }
            Observation::Blamed { by, who, fault } if facts.is_honest(who) => {
                Err(format!("{by} says that {who} {fault}"))
            }
            _ => Ok(()),
        }
    }
}
