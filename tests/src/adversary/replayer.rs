//! Sends on what it was asked before, to others, in its own name.

use std::collections::VecDeque;

use bftkv_protocol::{Outcome, Request};

use super::{ByzantineServer, Lair};

/// How many requests it remembers.
const MAX_REMEMBERED: usize = 24;

#[derive(Debug, Default)]
pub(super) struct Replayer {
    seen: VecDeque<Request>,
}

impl ByzantineServer for Replayer {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        // What arrives twice was replayed already: two replayers must not feed each other.
        let is_new = !self.seen.contains(request);
        if is_new {
            self.seen.push_back(request.clone());
            if self.seen.len() > MAX_REMEMBERED {
                self.seen.pop_front();
            }
            let index = lair.rng.index(self.seen.len());
            if let Some(old) = self.seen.get(index).cloned() {
                let everyone: Vec<_> = lair.configuration.everyone().into_iter().collect();
                let to = lair.rng.sample(&everyone, 2);
                lair.posts.extend(to.into_iter().map(|id| (id, old.clone())));
            }
        }
        lair.careless(request)
    }
}
