//! Two processes with one key, each with a disk of its own: each follows the rules.

use bftkv_protocol::{Outcome, Request};

use super::honest_core::HonestCore;
use super::{ByzantineServer, Lair};

#[derive(Debug, Default)]
pub(super) struct Twin {
    first: HonestCore,
    second: HonestCore,
}

impl ByzantineServer for Twin {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        // Each client reaches the twin of its part of the network, as a rule.
        let number = lair.sender.as_bytes().first().copied().unwrap_or_default();
        let is_usual = lair.rng.percent(90);
        if (number % 2 == 0) == is_usual {
            self.first.answer(lair, request)
        } else {
            self.second.answer(lair, request)
        }
    }
}
