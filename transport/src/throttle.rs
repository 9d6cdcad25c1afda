//! How often somebody may ask: token buckets in bounded tables.

use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a rate is two numbers")]
pub struct Rate {
    /// In the long run, per second. 0: never.
    pub per_second: u32,
    /// So many at once, after a pause; at least 1.
    pub burst: u32,
}

impl Rate {
    /// So many per second, and for a moment twice as many.
    #[must_use]
    pub fn per_second(per_second: u32) -> Self {
        Self { per_second, burst: per_second.saturating_mul(2) }
    }
}

/// How many names one table remembers, about 100 bytes each. Whoever is forgotten has a full
/// bucket again; to be forgotten takes as many other names, each of which is slowed as well.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16 * 1024).unwrap();

/// One bucket for each name.
///
/// A bucket is one moment (the generic cell rate algorithm): when it will be full again. Nothing
/// runs in the background, and nothing is rounded.
#[derive(Debug)]
pub(crate) struct Throttle<K: Hash + Eq> {
    /// The time that one token takes to come back; `None` if none ever does.
    interval: Option<Duration>,
    /// The time that a whole bucket takes.
    whole: Duration,
    full_at: Mutex<LruCache<K, Instant>>,
}

impl<K: Hash + Eq + Clone> Throttle<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        let interval = Duration::from_secs(1).checked_div(rate.per_second);
        let whole = interval.unwrap_or_default().saturating_mul(rate.burst.max(1));
        Self { interval, whole, full_at: Mutex::new(LruCache::new(REMEMBERED)) }
    }

    /// Takes a token; false, and nothing is taken, if there is none.
    pub(crate) fn allow(&self, name: &K, now: Instant) -> bool {
        let Some(interval) = self.interval else { return false };
        let mut table = self.lock();
        let full_at = table.get(name).copied().unwrap_or(now).max(now);
        let after = full_at + interval;
        if after.saturating_duration_since(now) > self.whole {
            return false;
        }
        table.put(name.clone(), after);
        true
    }

    /// Takes more tokens for what was dearer than it seemed; the bucket may be overdrawn by one
    /// whole bucket.
    pub(crate) fn charge(&self, name: &K, tokens: u32, now: Instant) {
        let Some(interval) = self.interval else { return };
        let mut table = self.lock();
        let full_at = table.get(name).copied().unwrap_or(now).max(now);
        let most = now + self.whole.saturating_mul(2);
        table.put(name.clone(), (full_at + interval.saturating_mul(tokens)).min(most));
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<K, Instant>> {
        // A bucket that is wrong for a moment does no harm.
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(throttle: &Throttle<u32>, name: u32, now: Instant) -> usize {
        (0..1000).take_while(|_| throttle.allow(&name, now)).count()
    }

    #[test]
    fn a_burst_then_the_rate_and_each_name_for_itself() {
        let throttle = Throttle::new(Rate { per_second: 10, burst: 30 });
        let start = Instant::now();
        assert_eq!(allowed(&throttle, 1, start), 30);
        assert_eq!(allowed(&throttle, 2, start), 30);
        let later = start + Duration::from_millis(500);
        assert_eq!(allowed(&throttle, 1, later), 5);
        assert_eq!(allowed(&throttle, 1, later), 0);
        assert_eq!(allowed(&throttle, 1, start + Duration::from_secs(60)), 30, "no more is saved");
    }

    #[test]
    fn what_was_dear_is_paid_later() {
        let throttle = Throttle::new(Rate { per_second: 10, burst: 10 });
        let start = Instant::now();
        throttle.charge(&1, 15, start);
        assert_eq!(allowed(&throttle, 1, start), 0);
        assert_eq!(allowed(&throttle, 1, start + Duration::from_secs(1)), 5);
        (0..100).for_each(|_| throttle.charge(&2, u32::MAX, start));
        assert_eq!(allowed(&throttle, 2, start + Duration::from_secs(2)), 10, "debts are bounded");
    }

    #[test]
    fn the_table_is_bounded_and_a_rate_of_zero_allows_nothing() {
        let throttle = Throttle::new(Rate::per_second(1));
        let now = Instant::now();
        (0..40_000).for_each(|name| assert!(throttle.allow(&name, now)));
        assert_eq!(throttle.lock().len(), REMEMBERED.get());
        assert!(!Throttle::new(Rate::per_second(0)).allow(&1, now));
    }
}
