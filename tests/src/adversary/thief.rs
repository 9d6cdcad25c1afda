//! Asks the others for shares of an entry that is not its own, to certify what its writer may
//! give up.

use bftkv_protocol::{Evidence, Outcome, Request};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct Thief;

impl ByzantineServer for Thief {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        // Once for each entry: two thieves would otherwise steal from each other for ever.
        if let Request::Sign { entry, .. } = request
            && !lair.loot.signed.contains(entry)
        {
            let evidence = Evidence::default();
            let stolen = Request::Sign { entry: entry.clone(), evidence };
            let others = lair.other_members();
            lair.posts.extend(others.into_iter().map(|id| (id, stolen.clone())));
        }
        let answer = lair.careless(request);
        answer.filter(|_| lair.rng.percent(70))
    }
}
