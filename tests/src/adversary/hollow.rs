//! Names entries that it does not show, or shows something else than it named.

use bftkv_protocol::{Answer, EntryHash, Outcome, Request, SMALL_VALUE_BYTES, Timestamp};

use super::honest_core::HonestCore;
use super::wrong_value::spoil;
use super::{ByzantineServer, Lair};

#[derive(Debug, Default)]
pub(super) struct Hollow(HonestCore);

impl ByzantineServer for Hollow {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let honest = self.0.answer(lair, request)?;
        match request {
            Request::Digest { .. } if lair.rng.percent(40) => Some(Ok(made_up(lair, &honest))),
            Request::Read { .. } => match lair.rng.below(4) {
                0 => None,
                1 => Some(Ok(Answer::Entry(None))),
                2 => Some(spoiled(lair, honest)),
                _ => Some(honest),
            },
            _ => Some(honest),
        }
    }
}

/// The name of nothing: newer than what there is, or in its place.
fn made_up(lair: &mut Lair<'_>, honest: &Outcome) -> Answer {
    let newest = match honest {
        Ok(Answer::Digest { timestamp, .. }) => *timestamp,
        Ok(Answer::Entry(Some(entry))) => entry.timestamp(),
        _ => Timestamp::ZERO,
    };
    let timestamp = newest.saturating_add(lair.rng.below(3));
    let mut hash = [0; 32];
    hash.fill(u8::try_from(lair.rng.below(256)).unwrap_or_default());
    Answer::Digest { timestamp, hash: EntryHash::from_bytes(hash) }
}

fn spoiled(lair: &mut Lair<'_>, mut honest: Outcome) -> Outcome {
    if let Ok(Answer::Entry(Some(entry))) = &mut honest {
        spoil(entry, lair.rng.number());
    }
    honest
}

/// What any liar would show, it names where a digest was asked for: if it is large, and now and then
/// if it is not.
pub(crate) fn name_only(lair: &mut Lair<'_>, outcome: &mut Outcome) {
    let Ok(Answer::Entry(Some(entry))) = &*outcome else { return };
    let is_large = entry.entry().value.as_bytes().len() > SMALL_VALUE_BYTES;
    if is_large || lair.rng.percent(10) {
        *outcome = Ok(Answer::Digest { timestamp: entry.timestamp(), hash: entry.hash() });
    }
}
