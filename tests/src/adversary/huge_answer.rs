//! Answers with as much as the limits allow, all of it worthless.

use bftkv_protocol::{
    Abandon, Answer, EntryHash, EntryId, Outcome, Refusal, Request, Sign, Slot, Timestamp, Value,
    Variable,
};

use super::{ByzantineServer, Lair};

/// How long its lists are: as long as a decoder allows.
const LIST: usize = 256;

/// How many bytes its values have.
const BYTES: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct HugeAnswer;

impl ByzantineServer for HugeAnswer {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let usual = lair.careless(request);
        match request {
            Request::Versions { .. } => {
                let versions = (0..1024).map(|i| Timestamp::new(u64::MAX - 1 - i));
                Some(Ok(Answer::Versions(versions.collect())))
            }
            Request::Read { variable, .. }
            | Request::Digest { variable, .. }
            | Request::Time { variable, .. } => {
                let entry = lair.some_certified(variable).and_then(|mut entry| {
                    entry.signed.entry.value = Value::new(vec![7; BYTES]).ok()?;
                    Some(Box::new(entry))
                });
                match request {
                    Request::Time { .. } => Some(lair.time(variable, Timestamp::ZERO, entry)),
                    _ => Some(Ok(Answer::Entry(entry))),
                }
            }
            Request::Sign { entry, .. } => {
                let slot = Slot { writer: lair.signer.id().clone(), ..Slot::of(entry) };
                let slots = vec![slot; LIST];
                let many = lair.rng.percent(50);
                Some(Err(if many {
                    Refusal::TooManySlots(slots)
                } else {
                    Refusal::Outstanding(slots)
                }))
            }
            Request::Abandoned { variable } => {
                let abandon = abandon(lair, variable)?;
                Some(Ok(Answer::Abandons(vec![abandon; 32])))
            }
            _ => usual,
        }
    }
}

/// An abandon message that nobody has signed.
fn abandon(lair: &mut Lair<'_>, variable: &Variable) -> Option<Abandon> {
    let signed = lair.loot.signed.iter().find(|s| s.entry.variable == *variable)?;
    let mut attempt: EntryId = signed.id();
    attempt.hash = EntryHash::from_bytes([9; 32]);
    Some(Abandon {
        realm: lair.configuration.realm().clone(),
        attempt,
        writer: signed.entry.writer.clone(),
        owner: signed.entry.owner.clone(),
        signature: bftkv_protocol::SignatureBytes::new([1; 8]).ok()?,
    })
}
