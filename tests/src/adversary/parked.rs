//! Has an attempt signed, and leaves it there.

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct Parked;

impl ByzantineWriter for Parked {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let (t, owner) = (hand.top.saturating_add(1), hand.owner.clone());
        let (text, is_final) = (hand.text(), hand.rng.percent(25));
        if let Some(entry) = hand.attempt(t, &text, is_final, &owner) {
            let members = hand.some_members();
            hand.ask(&members, &entry);
        }
    }
}
