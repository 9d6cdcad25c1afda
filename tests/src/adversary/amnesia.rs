//! Follows the rules, and forgets everything now and then.

use bftkv_protocol::{Outcome, Request};

use super::honest_core::HonestCore;
use super::{ByzantineServer, Lair};

#[derive(Debug, Default)]
pub(super) struct Amnesia(HonestCore);

impl ByzantineServer for Amnesia {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        if lair.rng.percent(15) {
            self.0 = HonestCore::default();
        }
        self.0.answer(lair, request)
    }
}
