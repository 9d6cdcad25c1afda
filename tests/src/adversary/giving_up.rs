//! Gives up attempts, also those that it could still finish.

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct GivingUp;

impl ByzantineWriter for GivingUp {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let picked = hand.rng.pick(hand.attempts).cloned();
        let members = hand.some_members();
        match picked.filter(|_| hand.rng.percent(60)) {
            Some(entry) => hand.give_up(&entry, members),
            None => hand.begin(1, false, &members),
        }
    }
}
