//! How soon one node answers.

use std::time::{Duration, Instant};

/// How long after it let others wait a node is asked in addition; if it is slow again, after twice as
/// long, and so on.
pub(super) const AGAIN_AT_FIRST: Duration = Duration::from_secs(1);
/// Nor longer than this.
pub(super) const AGAIN_AT_MOST: Duration = Duration::from_secs(8);

/// What is known of a node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Member {
    /// SRTT and RTTVAR of RFC 6298.
    smoothed: Option<(Duration, Duration)>,
    slow: Option<Slow>,
}

/// A node that let others wait.
#[derive(Debug, Clone, Copy)]
struct Slow {
    /// How often, since it was quick.
    strikes: u32,
    /// When it is asked in addition.
    again: Instant,
    pause: Duration,
}

impl Member {
    /// How long it usually takes.
    pub(super) fn time(&self) -> Option<Duration> {
        self.smoothed.map(|(time, _)| time)
    }

    /// How long to wait for it.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.smoothed.map(|(time, variation)| time.saturating_add(variation.saturating_mul(4)))
    }

    /// How often in a row it let others wait; `None` if it is not slow.
    pub(super) fn strikes(&self) -> Option<u32> {
        self.slow.map(|slow| slow.strikes)
    }

    /// Whether an operation that begins now asks it in addition. The next one does not.
    pub(super) fn is_asked_too(&mut self, now: Instant) -> bool {
        match &mut self.slow {
            Some(slow) if now >= slow.again => {
                slow.pause = slow.pause.saturating_mul(2).min(AGAIN_AT_MOST);
                slow.again = now + slow.pause;
                true
            }
            _ => false,
        }
    }

    pub(super) fn smooth(&mut self, took: Duration) {
        let (time, variation) = self.smoothed.unwrap_or((took, took / 2));
        let off = time.abs_diff(took);
        let time = time.saturating_mul(7).saturating_add(took) / 8;
        self.smoothed = Some((time, variation.saturating_mul(3).saturating_add(off) / 4));
    }

    /// It let others wait.
    pub(super) fn strike(&mut self, now: Instant) {
        let pause = AGAIN_AT_FIRST;
        let slow = self.slow.get_or_insert(Slow { strikes: 0, again: now + pause, pause });
        slow.strikes = slow.strikes.saturating_add(1);
    }

    /// It answered in good time. If it used to be slow, how slow says nothing any more.
    pub(super) fn is_quick(&mut self, took: Duration, much: Duration) {
        self.slow = None;
        if self.time().is_some_and(|time| time > much) {
            self.smoothed = Some((took, took / 2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_each_time_is_asked_ever_more_seldom_and_once_each_time() {
        let (mut member, began) = (Member::default(), Instant::now());
        assert!(!member.is_asked_too(began));
        let mut asked = Vec::new();
        for tenths in 0..400 {
            let now = began + Duration::from_millis(100 * tenths);
            member.strike(now);
            if member.is_asked_too(now) {
                asked.push(tenths / 10);
            }
        }
        assert_eq!(asked, [1, 3, 7, 15, 23, 31, 39]);
        member.is_quick(Duration::ZERO, Duration::ZERO);
        assert_eq!(member.strikes(), None);
    }

    #[test]
    fn strikes_add_up() {
        let (mut member, now) = (Member::default(), Instant::now());
        (0..3).for_each(|_| member.strike(now));
        assert_eq!(member.strikes(), Some(3));
    }
}
