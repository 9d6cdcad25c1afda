//! Sends again what others have sent: old entries to store, others' attempts, others' words.

use bftkv_protocol::{Evidence, Request};

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct ReplayingWriter;

impl ByzantineWriter for ReplayingWriter {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let stores = hand.loot.certified.iter().map(|e| Request::Store { entry: e.clone() });
        let signs = hand
            .loot
            .signed
            .iter()
            .map(|e| Request::Sign { entry: e.clone(), evidence: Evidence::default() });
        let all: Vec<Request> = stores.chain(signs).collect();
        for request in hand.rng.sample(&all, 4) {
            let some = hand.some_nodes();
            hand.posts.extend(some.into_iter().map(|id| (id, request.clone())));
        }
        // Somebody else's attempt is given up in its own name.
        let signed = hand.loot.signed.clone();
        if let Some(theirs) = hand.rng.pick(&signed).cloned() {
            let members = hand.members();
            hand.give_up(&theirs, members);
        }
    }
}
