//! How soon nodes answer, and who does not.

mod member;
#[cfg(test)]
mod simulated;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bftkv_protocol::client::Hedge;
use bftkv_protocol::{NodeId, Part, Request};

use self::member::Member;

/// What is assumed before the first answer.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Whoever answers sooner than this is never slow.
const MIN_WAIT: Duration = Duration::from_millis(5);
/// Nobody waits longer than this before others are asked.
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Whoever takes so many times as long as the middle one of all is slow.
const MUCH_SLOWER: u32 = 2;
/// How many nodes are remembered.
const MAX_NODES: usize = 4096;

/// What a node was asked for. What it answers from its memory comes much sooner than what it first
/// writes to its disk, so each is compared with its like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// To look something up.
    Look,
    /// To show an entry, which may be large.
    Show,
    /// To keep something.
    Keep,
}

impl Work {
    pub(super) fn of(request: &Request) -> Self {
        let keeps = |part: &Part| Self::of_part(part) == Self::Keep;
        let shows = |part: &Part| Self::of_part(part) == Self::Show;
        match request {
            Request::Sign { .. } | Request::Store { .. } => Self::Keep,
            Request::Many(parts) if parts.iter().any(keeps) => Self::Keep,
            Request::Many(parts) if parts.iter().any(shows) => Self::Show,
            Request::Read { .. } => Self::Show,
            _ => Self::Look,
        }
    }

    pub(super) fn of_part(part: &Part) -> Self {
        match part {
            Part::Sign { .. } | Part::Store { .. } => Self::Keep,
            Part::Read { .. } => Self::Show,
            _ => Self::Look,
        }
    }
}

/// Whom to ask first, and how long to wait for those: the smoothed time of an answer and four times
/// its variation, as for a lost segment. RFC 6298 section 2. A node that is much slower than the
/// others, or did not answer in this time, is not among the first until it has been quick again; from
/// time to time it is asked in addition, and nobody waits for it.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    look: Table,
    show: Table,
    keep: Table,
    turn: usize,
}

/// How soon each node does one kind of work.
#[derive(Debug, Default)]
struct Table(BTreeMap<NodeId, Member>);

impl Pace {
    /// Begins with this turn: a random one, so that programs that live for one operation do not
    /// all ask the same nodes.
    pub(super) fn beginning_with(turn: u64) -> Self {
        let turn = usize::try_from(turn % 65_536).unwrap_or_default();
        Self(Mutex::new(State { turn, ..State::default() }))
    }

    /// Whom to ask first now, and for how long.
    pub(super) fn hedge(&self, work: Work, now: Instant) -> Hedge {
        let mut state = self.lock();
        let turn = state.next_turn();
        state.table(work).hedge(turn, now)
    }

    /// The same for a read: whom to ask, and whom of those for the whole entry.
    pub(super) fn of_read(&self, now: Instant) -> [Hedge; 2] {
        let mut state = self.lock();
        let turn = state.next_turn();
        [Work::Look, Work::Show].map(|work| state.table(work).hedge(turn, now))
    }

    /// A node has answered after so long.
    pub(super) fn answered(&self, node: &NodeId, work: Work, took: Duration, now: Instant) {
        self.lock().table(work).answered(node, took, now);
    }

    /// A node has not answered for so long, or not well.
    pub(super) fn failed(&self, node: &NodeId, work: Work, waited: Option<Duration>, now: Instant) {
        let mut state = self.lock();
        let table = state.table(work);
        if waited.is_none_or(|waited| waited > table.wait()) {
            table.with(node, |member| member.strike(now));
        }
    }

    /// How much longer a node is listened to whose answer nobody waits for any more: how slow it is
    /// shall be known.
    pub(super) fn curiosity(&self, work: Work) -> Duration {
        self.lock().table(work).wait()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each step leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    fn table(&mut self, work: Work) -> &mut Table {
        match work {
            Work::Look => &mut self.look,
            Work::Show => &mut self.show,
            Work::Keep => &mut self.keep,
        }
    }
}

impl Table {
    fn hedge(&mut self, turn: usize, now: Instant) -> Hedge {
        let after = Some(self.wait());
        let slow = self.0.iter().filter_map(|(id, m)| m.strikes().map(|n| (id.clone(), n)));
        let slow = slow.collect();
        let due = self.0.iter_mut().filter_map(|(id, m)| m.is_asked_too(now).then_some(id));
        let also = due.cloned().collect();
        Hedge { after, slow, also, turn }
    }

    /// How long to wait for those who were asked first.
    fn wait(&self) -> Duration {
        self.middle(Member::wait).unwrap_or(FIRST_WAIT).clamp(MIN_WAIT, MAX_WAIT)
    }

    /// Above this an answer is much slower than usual.
    fn much(&self) -> Duration {
        let usual = self.middle(Member::time).unwrap_or(FIRST_WAIT);
        usual.saturating_mul(MUCH_SLOWER).max(MIN_WAIT)
    }

    /// The middle one of all that are known, the later of two. A few nodes that lie about their pace do
    /// not move it beyond what honest ones need; if most become slow, it follows.
    fn middle(&self, of: impl Fn(&Member) -> Option<Duration>) -> Option<Duration> {
        let mut all: Vec<Duration> = self.0.values().filter_map(of).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }

    fn answered(&mut self, node: &NodeId, took: Duration, now: Instant) {
        let is_late = took > self.wait();
        self.with(node, |member| member.smooth(took));
        let much = self.much();
        self.with(node, |member| {
            if is_late || (took > much && member.time().is_some_and(|time| time > much)) {
                member.strike(now);
            } else if took <= much {
                member.is_quick(took, much);
            }
        });
    }

    fn with(&mut self, node: &NodeId, change: impl FnOnce(&mut Member)) {
        if let Some(member) = self.0.get_mut(node) {
            change(member);
        } else if self.0.len() < MAX_NODES {
            change(self.0.entry(node.clone()).or_default());
        }
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

    /// Four nodes that have answered quickly for a while.
    fn usual(now: Instant) -> Pace {
        let pace = Pace::default();
        for number in (1..=4).cycle().take(200) {
            pace.answered(&id(number), Work::Look, QUICK, now);
        }
        pace
    }

    fn slow(pace: &Pace, now: Instant) -> BTreeSet<NodeId> {
        pace.hedge(Work::Look, now).slow.into_keys().collect()
    }

    fn wait(pace: &Pace, now: Instant) -> Duration {
        pace.hedge(Work::Look, now).after.unwrap()
    }

    #[test]
    fn the_wait_follows_what_is_usual_and_one_slow_node_does_not_change_it() {
        let now = Instant::now();
        assert_eq!(wait(&Pace::default(), now), FIRST_WAIT);
        let pace = usual(now);
        let before = wait(&pace, now);
        assert!((QUICK..QUICK * 2).contains(&before), "{before:?}");
        (0..20).for_each(|_| pace.answered(&id(2), Work::Look, Duration::from_secs(60), now));
        assert_eq!(wait(&pace, now), before);
        for number in [1, 3, 4] {
            pace.answered(&id(number), Work::Look, QUICK * 50, now);
        }
        assert!(wait(&pace, now) >= QUICK * 50, "all have become slow");
    }

    #[test]
    fn who_let_others_wait_is_not_asked_first_until_it_was_quick_again() {
        let now = Instant::now();
        let pace = usual(now);
        pace.answered(&id(2), Work::Look, QUICK * 30, now);
        pace.failed(&id(3), Work::Look, None, now);
        pace.failed(&id(4), Work::Look, Some(MIN_WAIT), now);
        pace.failed(&id(5), Work::Look, Some(MAX_WAIT * 2), now);
        assert_eq!(slow(&pace, now), BTreeSet::from([id(2), id(3), id(5)]));
        let later = now + Duration::from_secs(3600);
        assert_eq!(slow(&pace, later), BTreeSet::from([id(2), id(3), id(5)]));
        pace.answered(&id(2), Work::Look, QUICK, later);
        assert_eq!(slow(&pace, later), BTreeSet::from([id(3), id(5)]));
        pace.answered(&id(3), Work::Keep, QUICK, later);
        assert_eq!(slow(&pace, later), BTreeSet::from([id(3), id(5)]), "that was other work");
    }

    #[test]
    fn who_is_always_twice_as_slow_as_the_others_comes_last_and_who_is_a_little_slower_does_not() {
        let now = Instant::now();
        let pace = usual(now);
        // So much variation that nobody is late.
        for took in [1_u32, 3].repeat(20) {
            for number in 1..=3 {
                pace.answered(&id(number), Work::Look, QUICK * took / 2, now);
            }
        }
        let wait = wait(&pace, now);
        (0..20).for_each(|_| pace.answered(&id(4), Work::Look, QUICK + QUICK / 2, now));
        assert_eq!(slow(&pace, now), BTreeSet::new());
        let much = QUICK * 5 / 2;
        assert!(much < wait, "it is not late: {wait:?}");
        (0..20).for_each(|_| pace.answered(&id(4), Work::Look, much, now));
        assert_eq!(slow(&pace, now), BTreeSet::from([id(4)]));
    }

    /// Whether or not somebody lies: what is claimed by b of n nodes makes no quick node slow.
    #[test]
    fn nodes_that_answer_at_once_make_nobody_slow() {
        let now = Instant::now();
        for (n, b) in [(4, 1), (7, 2), (10, 3), (13, 4)] {
            let pace = Pace::default();
            for number in (0..n).cycle().take(400) {
                let took = if number < b { Duration::ZERO } else { QUICK };
                pace.answered(&id(number), Work::Look, took, now);
            }
            assert_eq!(slow(&pace, now), BTreeSet::new(), "n = {n}");
        }
    }

    #[test]
    fn each_operation_has_another_turn() {
        let pace = Pace::default();
        let now = Instant::now();
        assert_ne!(pace.hedge(Work::Look, now).turn, pace.hedge(Work::Look, now).turn);
    }
}
