//! Who a member is, and how long it waits.

use super::council::{Council, Dm};

/// The same at all DMs but for `me`. Times without a unit in their name are milliseconds.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Settings {
    /// Which DM this is.
    pub me: Dm,
    /// How many there are.
    pub council: Council,
    /// How many labels the zone's name has: none for the root.
    pub apex: usize,
    /// The serial of the first zone.
    pub first: u32,
    /// How long the proposer waits, once a quorum of views is there, for the others and for a
    /// source that is late.
    pub grace: u64,
    /// How long a round may take before the next serial is tried. Doubled for each failure, up to
    /// 64 times.
    pub round: u64,
    /// How long a signer may take for its partial signatures. Doubled for each round that failed, and
    /// each attempt in which more were silent than may lie, up to 64 times.
    pub share_wait: u64,
    /// How often to ask again: the source, and the store for what may have been missed.
    pub again: u64,
    /// How long a signature is valid.
    pub validity_seconds: u32,
    /// How far back it begins to be, for resolvers whose clock is late.
    pub backdate_seconds: u32,
    /// How far the proposer's clock may differ from ours.
    pub skew_seconds: u32,
    /// With a P-256 key: how many presignatures to have ahead of need. May differ.
    pub presignatures: usize,
    /// How many are made at once.
    pub batch: u16,
    /// How long making a batch may take before the next one is begun. Doubled for each failure, up
    /// to 8 times.
    pub presign_wait: u64,
}

impl Settings {
    /// The most presignatures in a batch: with 20 DMs, one's dealings still fit into a value.
    pub const MAX_BATCH: u16 = 256;

    /// Those of a root zone: as IANA's, 13 days and an hour.
    #[must_use]
    pub fn new(me: Dm, council: Council, first: u32) -> Self {
        Self {
            me,
            council,
            apex: 0,
            first,
            grace: 5_000,
            round: 30_000,
            share_wait: 10_000,
            again: 1_000,
            validity_seconds: 13 * 86_400 + 3_600,
            backdate_seconds: 3_600,
            skew_seconds: 600,
            presignatures: 256,
            batch: 128,
            presign_wait: 60_000,
        }
    }
}
