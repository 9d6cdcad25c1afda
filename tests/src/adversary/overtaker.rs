//! Has later timestamps signed beforehand, and shows them after others were acknowledged.

use bftkv_protocol::Request;

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct Overtaker;

impl ByzantineWriter for Overtaker {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let newest = hand.loot.certified.iter().filter(|c| c.variable() == hand.variable);
        let newest = newest.map(|c| c.timestamp()).max().unwrap_or_default();
        for attempt in hand.attempts.clone() {
            // Only what is overtaken or about to be: an entry on its own is no attack.
            let is_near = attempt.entry.timestamp <= newest.saturating_add(3);
            if let Some(entry) = hand.assemble(&attempt).filter(|_| is_near) {
                let some = hand.some_nodes();
                let request = Request::Store { entry };
                hand.posts.extend(some.into_iter().map(|id| (id, request.clone())));
            }
        }
        let (step, members) = (hand.rng.between(2, 5), hand.members());
        hand.begin(step, false, &members);
    }
}
