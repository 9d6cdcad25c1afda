//! Assembles what it can, and shows it much later, to few.

use bftkv_protocol::Request;

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct LurkingWriter;

impl ByzantineWriter for LurkingWriter {
    fn act(&mut self, hand: &mut Hand<'_>) {
        for attempt in hand.attempts.clone() {
            if let Some(entry) = hand.assemble(&attempt)
                && hand.rng.percent(50)
            {
                let some = hand.some_nodes();
                let request = Request::Store { entry };
                hand.posts.extend(some.into_iter().map(|id| (id, request.clone())));
            }
        }
        if hand.attempts.len() < 3 {
            let members = hand.members();
            hand.begin(1, false, &members);
        }
    }
}
