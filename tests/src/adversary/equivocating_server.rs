//! Signs everything, also two values at one timestamp, and otherwise behaves.

use bftkv_protocol::{Outcome, Request};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct EquivocatingServer;

impl ByzantineServer for EquivocatingServer {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        lair.careless(request)
    }
}
