//! Gathers all shares, says that it gives the attempt up, and stores it all the same.

use bftkv_protocol::Request;

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct AbandonThenStore;

impl ByzantineWriter for AbandonThenStore {
    fn act(&mut self, hand: &mut Hand<'_>) {
        for attempt in hand.attempts.clone() {
            let Some(certified) = hand.assemble(&attempt) else { continue };
            let members = hand.some_members();
            hand.give_up(&attempt, members);
            if hand.rng.percent(60) {
                let some = hand.some_nodes();
                let request = Request::Store { entry: certified };
                hand.posts.extend(some.into_iter().map(|id| (id, request.clone())));
            }
        }
        let is_final = hand.rng.percent(20);
        let members = hand.members();
        hand.begin(1, is_final, &members);
    }
}
