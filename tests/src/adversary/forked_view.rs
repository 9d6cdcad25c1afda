//! Shows one half of its clients another configuration than the other.

use bftkv_protocol::{ConfigurationDigest, Outcome, Refusal, Request};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct ForkedView;

impl ByzantineServer for ForkedView {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        let number = lair.sender.as_bytes().first().copied().unwrap_or_default();
        if number % 2 == 0 {
            return lair.careless(request);
        }
        let ours = ConfigurationDigest::from_bytes([6; 32]);
        lair.digest = ours;
        let answer = lair.careless(request);
        if lair.rng.percent(30) { Some(Err(Refusal::WrongConfiguration { ours })) } else { answer }
    }
}
