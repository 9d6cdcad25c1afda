//! Follows the rules when it signs and stores, and shows another value than it stored.

use bftkv_protocol::{Answer, CertifiedEntry, Outcome, Request, Value};

use super::honest_core::HonestCore;
use super::{ByzantineServer, Lair};

#[derive(Debug, Default)]
pub(super) struct WrongValue(HonestCore);

impl ByzantineServer for WrongValue {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let mut outcome = self.0.answer(lair, request);
        if let Some(Ok(Answer::Entry(Some(entry)) | Answer::Time { latest: Some(entry), .. })) =
            &mut outcome
        {
            spoil(entry, lair.rng.number());
        }
        outcome
    }
}

pub(super) fn spoil(entry: &mut CertifiedEntry, number: u64) {
    if let Ok(value) = Value::new(number.to_be_bytes()) {
        entry.signed.entry.value = value;
    }
}
