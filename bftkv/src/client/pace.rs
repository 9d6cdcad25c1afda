//! How soon nodes answer, and who does not.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bftkv_protocol::NodeId;
use bftkv_protocol::client::Hedge;

/// What is assumed before the first answer.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Whoever answers sooner than this is never slow.
const MIN_WAIT: Duration = Duration::from_millis(5);
/// Nobody waits longer than this before others are asked.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// A node that let others wait is not asked first for so long; if it is slow again after that, for
/// twice as long, and so on.
const SLOW_AT_FIRST: Duration = Duration::from_secs(1);
/// Nor longer than this.
const SLOW_AT_MOST: Duration = Duration::from_secs(30);
/// How many slow nodes are remembered.
const MAX_SLOW: usize = 4096;

/// How long to wait for those who were asked first: the smoothed time of an answer and four times
/// its variation, as for a lost segment. RFC 6298 section 2.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// SRTT and RTTVAR.
    smoothed: Option<(Duration, Duration)>,
    slow: BTreeMap<NodeId, Slow>,
    turn: usize,
}

/// A node that let others wait.
#[derive(Debug, Clone, Copy)]
struct Slow {
    since: Instant,
    lasts: Duration,
}

impl Slow {
    /// Whether it is not asked first. Afterwards it is tried again.
    fn counts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < self.lasts
    }
}

impl Pace {
    /// Begins with this turn: a random one, so that programs that live for one operation do not
    /// all ask the same nodes.
    pub(super) fn beginning_with(turn: u64) -> Self {
        let turn = usize::try_from(turn % 65_536).unwrap_or_default();
        Self(Mutex::new(State { turn, ..State::default() }))
    }

    /// Whom to ask first now, and for how long.
    pub(super) fn hedge(&self, now: Instant) -> Hedge {
        let mut state = self.lock();
        state.turn = state.turn.wrapping_add(1);
        let counts = |(id, slow): (&NodeId, &Slow)| slow.counts(now).then(|| id.clone());
        let slow = state.slow.iter().filter_map(counts).collect();
        Hedge { after: Some(state.wait()), slow, turn: state.turn }
    }

    /// A node has answered after so long.
    pub(super) fn answered(&self, node: &NodeId, took: Duration, now: Instant) {
        let mut state = self.lock();
        if took > state.wait() {
            state.mark_slow(node, now);
        } else {
            state.slow.remove(node);
        }
        state.smooth(took);
    }

    /// A node has not answered for so long, or not well.
    pub(super) fn failed(&self, node: &NodeId, waited: Option<Duration>, now: Instant) {
        let mut state = self.lock();
        if waited.is_none_or(|waited| waited > state.wait()) {
            state.mark_slow(node, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each step leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&self) -> Duration {
        let wait = |(time, variation): (Duration, Duration)| time.saturating_add(variation * 4);
        self.smoothed.map_or(FIRST_WAIT, wait).clamp(MIN_WAIT, MAX_WAIT)
    }

    /// One very slow node must not make everybody patient, so no answer counts for more than twice
    /// the present wait; if all become slow, the wait follows within a few answers.
    fn smooth(&mut self, took: Duration) {
        let took = took.min(self.wait() * 2);
        let (time, variation) = self.smoothed.unwrap_or((took, took / 2));
        let off = time.abs_diff(took);
        self.smoothed = Some(((time * 7 + took) / 8, (variation * 3 + off) / 4));
    }

    fn mark_slow(&mut self, node: &NodeId, now: Instant) {
        let lasts = match self.slow.get(node) {
            Some(slow) if slow.counts(now) => slow.lasts,
            Some(slow) => (slow.lasts * 2).min(SLOW_AT_MOST),
            None if self.slow.len() < MAX_SLOW => SLOW_AT_FIRST,
            None => return,
        };
        self.slow.insert(node.clone(), Slow { since: now, lasts });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes(&[number; 20]).unwrap()
    }

    const QUICK: Duration = Duration::from_millis(10);

    #[test]
    fn the_wait_follows_what_is_usual_and_one_slow_node_does_not_change_it_much() {
        let (pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.hedge(now).after, Some(FIRST_WAIT));
        (0..50).for_each(|_| pace.answered(&id(1), QUICK, now));
        let usual = pace.hedge(now).after.unwrap();
        assert!((QUICK..QUICK * 2).contains(&usual), "{usual:?}");
        pace.answered(&id(2), Duration::from_secs(60), now);
        assert!(pace.hedge(now).after.unwrap() < QUICK * 4);
        (0..20).for_each(|_| pace.answered(&id(1), QUICK * 50, now));
        assert!(pace.hedge(now).after.unwrap() >= QUICK * 50, "all have become slow");
    }

    #[test]
    fn a_node_that_let_others_wait_is_not_asked_first_for_a_while() {
        let (pace, now) = (Pace::default(), Instant::now());
        (0..50).for_each(|_| pace.answered(&id(1), QUICK, now));
        pace.answered(&id(2), QUICK * 30, now);
        pace.failed(&id(3), None, now);
        pace.failed(&id(4), Some(MIN_WAIT), now);
        pace.failed(&id(5), Some(MAX_WAIT * 2), now);
        assert_eq!(pace.hedge(now).slow, BTreeSet::from([id(2), id(3), id(5)]));
        pace.answered(&id(2), MIN_WAIT, now);
        assert_eq!(pace.hedge(now).slow, BTreeSet::from([id(3), id(5)]), "it is quick again");
        assert_eq!(pace.hedge(now + SLOW_AT_FIRST).slow, BTreeSet::new(), "they are tried again");
    }

    #[test]
    fn who_is_slow_each_time_is_tried_ever_more_seldom() {
        let (pace, mut now) = (Pace::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..7 {
            pace.failed(&id(1), None, now);
            let began = now;
            while !pace.hedge(now).slow.is_empty() {
                now += Duration::from_millis(500);
            }
            waits.push((now - began).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn each_operation_has_another_turn() {
        let pace = Pace::default();
        let now = Instant::now();
        assert_ne!(pace.hedge(now).turn, pace.hedge(now).turn);
    }
}
