//! Gives up attempts, also those that it could still finish.

use bftkv_protocol::{Abandon, Evidence, Purpose, Request, Sign};

use super::{ByzantineWriter, Hand};

#[derive(Debug)]
pub(super) struct GivingUp;

impl ByzantineWriter for GivingUp {
    fn act(&mut self, hand: &mut Hand<'_>) {
        let Some(entry) = hand.rng.pick(hand.attempts).cloned() else { return };
        let (realm, attempt) = (hand.configuration.realm().clone(), entry.id());
        let (writer, owner) = (hand.signer.id().clone(), hand.owner.clone());
        let bytes = Abandon::statement(&realm, &attempt, &writer, &owner);
        let Ok(signature) = hand.signer.sign(Purpose::Abandon, &bytes) else { return };
        let abandon = Abandon { realm, attempt, writer, owner, signature };
        let request = Request::Abandon { abandon, evidence: Evidence::default() };
        let members = hand.some_members();
        hand.posts.extend(members.into_iter().map(|id| (id, request.clone())));
    }
}
