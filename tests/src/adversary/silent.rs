//! Answers nothing.

use bftkv_protocol::{Outcome, Request};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct Silent;

impl ByzantineServer for Silent {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        // It listens all the same.
        let _ = lair.careless(request);
        None
    }
}
