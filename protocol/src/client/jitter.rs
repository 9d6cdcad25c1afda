//! Jittered backoff.

use std::time::Duration;

/// A small generator for waiting times (Steele, Lea and Flood, "SplitMix"). It decides how long to
/// wait and nothing else; the driver seeds it.
#[derive(Debug, Clone)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random wait that grows with the number of attempts made: up to `unit` times the number,
    /// and never more than 16 times.
    pub(super) fn backoff(&mut self, unit: Duration, attempt: u32) -> Duration {
        let most = unit.saturating_mul(attempt.clamp(1, 16));
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next().checked_rem(micros).unwrap_or(0).saturating_add(1))
    }
}
