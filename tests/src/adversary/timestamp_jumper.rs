//! Jumps as far ahead as the bound allows, and beyond.

use bftkv_protocol::server::MAX_TIMESTAMP_STEP;

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct TimestampJumper;

impl ByzantineWriter for TimestampJumper {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let all = [MAX_TIMESTAMP_STEP, MAX_TIMESTAMP_STEP.saturating_add(1), 1 << 62, u64::MAX];
        let step = hand.rng.pick(&all).copied().unwrap_or(1);
        let (t, owner, text) = (hand.top.saturating_add(step), hand.owner.clone(), hand.text());
        if let Some(entry) = hand.attempt(t, &text, false, &owner) {
            let members = hand.some_members();
            hand.ask(&members, &entry);
        }
    }
}
