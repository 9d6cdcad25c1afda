//! Now this, now that: mostly behaves, and lies in between.

use bftkv_protocol::{Outcome, Request};

use super::equivocating_server::EquivocatingServer;
use super::forger::Forger;
use super::garbage::Garbage;
use super::huge_timestamp::HugeTimestamp;
use super::refuser::Refuser;
use super::silent::Silent;
use super::stale_reader::StaleReader;
use super::thief::Thief;
use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct Mixed;

impl ByzantineServer for Mixed {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match lair.rng.below(20) {
            0 => Silent.answer(lair, request),
            1..=3 => StaleReader.answer(lair, request),
            4 | 5 => HugeTimestamp.answer(lair, request),
            6 | 7 => Forger.answer(lair, request),
            8 => Garbage.answer(lair, request),
            9 | 10 => Refuser.answer(lair, request),
            11 => Thief.answer(lair, request),
            _ => EquivocatingServer.answer(lair, request),
        }
    }
}
