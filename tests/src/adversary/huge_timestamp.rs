//! Names timestamps that would exhaust the variable.

use bftkv_protocol::server::MAX_TIMESTAMP_STEP;
use bftkv_protocol::{Outcome, Refusal, Request, Timestamp};

use super::{ByzantineServer, Lair};

#[derive(Debug)]
pub(super) struct HugeTimestamp;

impl ByzantineServer for HugeTimestamp {
    fn answer(&mut self, lair: &mut Lair<'_>, request: &Request) -> Option<Outcome> {
        match request {
            Request::Time { variable, .. } => {
                let all = [1 << 62, u64::MAX, u64::MAX - 1, MAX_TIMESTAMP_STEP - 1];
                let huge = lair.rng.pick(&all).copied().unwrap_or(0);
                Some(lair.time(variable, Timestamp::new(huge), None))
            }
            Request::Sign { entry, .. } if lair.rng.percent(70) => {
                let t = entry.entry.timestamp;
                let all = [0, 1, MAX_TIMESTAMP_STEP - 2, MAX_TIMESTAMP_STEP, 1 << 63];
                let more = lair.rng.pick(&all).copied().unwrap_or(0);
                Some(Err(Refusal::OldTimestamp { seen: t.saturating_add(more) }))
            }
            other => lair.careless(other),
        }
    }
}
