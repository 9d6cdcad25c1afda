//! Convicts itself before everybody, and goes on signing and answering as if nothing had happened.

use bftkv_protocol::{EquivocationProof, Outcome, Request};

use super::{ByzantineServer, Lair, own_proof};

#[derive(Debug, Default)]
pub(super) struct Revoked {
    has_confessed: bool,
}

impl ByzantineServer for Revoked {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        if let Request::Sign { entry, .. } = request
            && !self.has_confessed
            && lair.rng.percent(30)
        {
            let proof: EquivocationProof = own_proof(lair, entry)?;
            self.has_confessed = true;
            let accuse = Request::Accuse(Box::new(proof));
            let others = lair.other_members();
            lair.posts.extend(others.into_iter().map(|id| (id, accuse.clone())));
        }
        lair.careless(request)
    }
}
