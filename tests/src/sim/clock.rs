//! Simulated time: a queue of what will happen.

use std::collections::BTreeMap;
use std::time::Duration;

/// Events in the order of their times; those of one moment in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    now: Duration,
    made: u64,
    queue: BTreeMap<(Duration, u64), E>,
}

impl<E> Clock<E> {
    pub(crate) fn new() -> Self {
        Self { now: Duration::ZERO, made: 0, queue: BTreeMap::new() }
    }

    /// The time since the beginning of the run.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    pub(crate) fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// A time that has passed already means now.
    pub(crate) fn at(&mut self, time: Duration, event: E) {
        self.made = self.made.saturating_add(1);
        self.queue.insert((time.max(self.now), self.made), event);
    }

    /// The next event, if there is one before `limit`; the clock moves to it.
    pub(crate) fn pop(&mut self, limit: Duration) -> Option<E> {
        let first = self.queue.first_entry()?;
        let (time, _) = *first.key();
        if time >= limit {
            return None;
        }
        self.now = time;
        Some(first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_of_making() {
        let mut clock = Clock::new();
        let ms = Duration::from_millis;
        clock.after(ms(5), 'c');
        clock.after(ms(1), 'a');
        clock.after(ms(1), 'b');
        let order: Vec<char> = std::iter::from_fn(|| clock.pop(ms(100))).collect();
        assert_eq!((order, clock.now()), (vec!['a', 'b', 'c'], ms(5)));
    }
}
