//! Follows the rules, and answers when its asker is about to give up, or just has.

use bftkv_protocol::{Outcome, Request};

use super::honest_core::HonestCore;
use super::{ByzantineServer, Lair};

#[derive(Debug, Default)]
pub(super) struct SlowDrip(HonestCore);

impl ByzantineServer for SlowDrip {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        lair.delay = lair.rng.millis(350, 2_000);
        self.0.answer(lair, request)
    }
}
