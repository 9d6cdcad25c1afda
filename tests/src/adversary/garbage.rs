//! Answers something else than what was asked: another kind, another variable, another
//! configuration's refusal.

use bftkv_protocol::{Answer, ConfigurationDigest, Outcome, Refusal, Request, Timestamp};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct Garbage;

impl ByzantineServer for Garbage {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let _ = lair.careless(request);
        let others = lair.loot.certified.clone();
        let entry = lair.rng.pick(&others).cloned().map(Box::new);
        Some(match lair.rng.below(7) {
            0 => Ok(Answer::Done),
            1 => Ok(Answer::Entry(entry)),
            2 => Ok(Answer::Versions(vec![Timestamp::new(u64::MAX); 3])),
            3 => Ok(Answer::Certificates(Vec::new())),
            4 => Ok(Answer::Abandons(Vec::new())),
            5 => Ok(Answer::Time { seen: Timestamp::new(9), latest: entry, signature: None }),
            _ => {
                Err(Refusal::WrongConfiguration { ours: ConfigurationDigest::from_bytes([9; 32]) })
            }
        })
    }
}
