//! Signs two values at one timestamp and shows them to different members.

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct EquivocatingWriter;

impl ByzantineWriter for EquivocatingWriter {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let more = hand.rng.pick(&[1, 1, 1, 2, 5]).copied().unwrap_or(1);
        let (t, owner) = (hand.top.saturating_add(more), hand.owner.clone());
        let (text, is_final) = (hand.text(), hand.rng.percent(30));
        let first = hand.attempt(t, &text, is_final, &owner);
        let second = hand.attempt(t, &format!("{text}x"), false, &owner);
        for member in hand.some_members() {
            let entry = if hand.rng.percent(50) { &first } else { &second };
            if let Some(entry) = entry {
                hand.ask(&[member], entry);
            }
        }
    }
}
