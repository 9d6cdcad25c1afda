//! Assembles what it can, and shows it much later, to few.

use bftkv_protocol::{NodeId, Request};

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct LurkingWriter;

impl ByzantineWriter for LurkingWriter {
    fn act(&mut self, hand: &mut Hand<'_>) {
        for attempt in hand.attempts.clone() {
            if let Some(certified) = hand.loot.assemble(&attempt, hand.helpers, hand.configuration)
                && hand.rng.percent(50)
            {
                let all: Vec<NodeId> = hand.configuration.everyone().into_iter().collect();
                let count = hand.rng.index(all.len()).saturating_add(1);
                let request = Request::Store { entry: certified };
                let some = hand.rng.sample(&all, count);
                hand.posts.extend(some.into_iter().map(|id| (id, request.clone())));
            }
        }
    }
}
