//! Writes under an address that is not its own.

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct ForeignWriter;

impl ByzantineWriter for ForeignWriter {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let (t, victim, text) = (hand.top.saturating_add(1), hand.victim.clone(), hand.text());
        if let Some(entry) = hand.attempt(t, &text, false, &victim) {
            let members = hand.members();
            hand.ask(&members, &entry);
        }
    }
}
