//! Seals, and then writes something else: gives the seal up, writes above and below it.

use bftkv_protocol::Request;

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct SealBreaker;

impl ByzantineWriter for SealBreaker {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let seal = hand.attempts.iter().rev().find(|attempt| attempt.entry.is_final).cloned();
        let Some(seal) = seal else {
            let members = hand.members();
            hand.begin(1, true, &members);
            return;
        };
        match hand.rng.below(3) {
            0 => {
                let members = hand.members();
                hand.give_up(&seal, members);
            }
            1 => {
                if let Some(entry) = hand.assemble(&seal) {
                    let some = hand.some_nodes();
                    let request = Request::Store { entry };
                    hand.posts.extend(some.into_iter().map(|id| (id, request.clone())));
                }
            }
            _ => {
                let (members, is_final) = (hand.some_members(), hand.rng.percent(30));
                hand.begin(1, is_final, &members);
            }
        }
    }
}
