//! Shows old entries, or none, and says that it has seen nothing.

use bftkv_protocol::{Answer, Outcome, Request, Timestamp};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct StaleReader;

impl ByzantineServer for StaleReader {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Read { variable, .. } | Request::Digest { variable, .. } => {
                let old = lair.loot.certified.iter().find(|c| c.variable() == variable).cloned();
                let old = old.filter(|_| lair.rng.percent(50));
                Some(Ok(Answer::Entry(old.map(Box::new))))
            }
            Request::Time { variable, .. } => Some(lair.time(variable, Timestamp::ZERO, None)),
            Request::Store { entry } => {
                lair.loot.note_certified(entry);
                Some(Ok(Answer::Done))
            }
            other => lair.careless(other),
        }
    }
}
