//! Claims a name first, at half of the members, and finishes nothing.

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct Squatter;

impl ByzantineWriter for Squatter {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let all = hand.members();
        let half = hand.rng.sample(&all, all.len() / 2);
        let is_final = hand.rng.percent(50);
        hand.begin(1, is_final, &half);
    }
}
