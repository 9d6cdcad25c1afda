//! Asks for shares of what others have signed, to certify it before they do.

use bftkv_protocol::{Evidence, Request};

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct Collector;

impl ByzantineWriter for Collector {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let me = hand.attempts.first().map(|attempt| attempt.entry.writer.clone());
        let others: Vec<_> = hand
            .loot
            .signed
            .iter()
            .filter(|s| s.entry.variable == *hand.variable && Some(&s.entry.writer) != me.as_ref())
            .cloned()
            .collect();
        for entry in hand.rng.sample(&others, 3) {
            let request = Request::Sign { entry, evidence: Evidence::default() };
            let members = hand.members();
            hand.posts.extend(members.into_iter().map(|id| (id, request.clone())));
        }
    }
}
