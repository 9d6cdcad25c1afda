//! Puts of one client that come at the same time are made together (docs/adr/0016).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of so many, one may be late without the next having to wait for it.
const LATE: usize = 8;

/// Who goes together. What comes while nothing is under way goes at once, alone. What comes meanwhile
/// waits until that is done, and goes together: from beginning to end, so that all steps of it have
/// their messages, syncs and signatures in common. `T` is what waits.
///
/// Whoever puts one value after the other comes back at once. So the next convoy waits a moment
/// for those of the last; else two halves would take turns for ever, each at the price of both.
#[derive(Debug)]
pub(super) struct Convoys<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// The newest convoy, how many it had, and how many of them are not done.
    number: u64,
    size: usize,
    left: usize,
    /// What is to go next, and its tickets, in their order.
    waiting: VecDeque<(u64, T)>,
    tickets: u64,
    /// How many the next one is worth waiting for, once the newest is done.
    expected: Option<usize>,
    /// Somebody will let the next one go soon.
    is_called: bool,
}

/// When the next convoy is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Due {
    /// Not now, or somebody was told already.
    No,
    /// After a moment, if this is still the newest by then.
    Soon(u64),
    /// Now.
    Now,
}

impl<T> Default for Convoys<T> {
    fn default() -> Self {
        Self(Mutex::new(State {
            number: 0,
            size: 0,
            left: 0,
            waiting: VecDeque::new(),
            tickets: 0,
            expected: None,
            is_called: false,
        }))
    }
}

impl<T> Convoys<T> {
    /// Goes alone, if nothing is under way and the last one did, too; gives the convoy's number.
    pub(super) fn go_alone(&self) -> Option<u64> {
        let mut state = self.lock();
        let may_go = state.is_free() && state.size <= 1 && state.waiting.is_empty();
        may_go.then(|| state.begin(1))
    }

    /// Goes with the next one. Gives a ticket for [`Convoys::is_waiting`].
    pub(super) fn wait(&self, item: T) -> (u64, Due) {
        let mut state = self.lock();
        state.tickets = state.tickets.wrapping_add(1);
        let ticket = state.tickets;
        state.waiting.push_back((ticket, item));
        (ticket, state.due())
    }

    /// Whether that has not gone yet.
    pub(super) fn is_waiting(&self, ticket: u64) -> bool {
        self.lock().waiting.iter().any(|(of, _)| *of == ticket)
    }

    /// Whether that convoy is the newest.
    pub(super) fn is_newest(&self, number: u64) -> bool {
        self.lock().number == number
    }

    /// Lets those go that wait, the first ones that fit together.
    pub(super) fn depart(&self, mut fits: impl FnMut(&T) -> bool) -> Option<(u64, Vec<T>)> {
        let mut state = self.lock();
        let mut group = Vec::new();
        while let Some((_, item)) = state.waiting.pop_front_if(|(_, item)| fits(item)) {
            group.push(item);
        }
        let size = group.len();
        (size > 0).then(|| (state.begin(size), group))
    }

    /// One of that convoy is done.
    pub(super) fn done(&self, number: u64) -> Due {
        let mut state = self.lock();
        if state.number != number {
            return Due::No;
        }
        state.left = state.left.saturating_sub(1);
        if state.is_free() {
            let come_back = state.size.saturating_sub(state.left);
            let all = state.waiting.len().saturating_add(come_back);
            state.expected = Some(state.expected.map_or(all, |before| before.saturating_add(1)));
        }
        state.due()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Poisoned or not, the state is whole: it is changed in single steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn is_free(&self) -> bool {
        self.left <= self.size.checked_div(LATE).unwrap_or_default()
    }

    fn due(&mut self) -> Due {
        if !self.is_free() || self.waiting.is_empty() {
            return Due::No;
        }
        if self.waiting.len() >= self.expected.unwrap_or_default() {
            return Due::Now;
        }
        match std::mem::replace(&mut self.is_called, true) {
            true => Due::No,
            false => Due::Soon(self.number),
        }
    }

    fn begin(&mut self, size: usize) -> u64 {
        self.number = self.number.wrapping_add(1);
        (self.size, self.left) = (size, size);
        (self.expected, self.is_called) = (None, false);
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(convoys: &Convoys<T>, item: T) -> Due {
        convoys.wait(item).1
    }

    fn depart(convoys: &Convoys<u32>) -> (u64, Vec<u32>) {
        convoys.depart(|_| true).unwrap()
    }

    #[test]
    fn what_is_alone_goes_at_once_and_what_comes_meanwhile_goes_together() {
        let convoys = Convoys::default();
        for _ in 0..3 {
            let alone = convoys.go_alone().unwrap();
            assert_eq!(convoys.go_alone(), None);
            assert_eq!(convoys.done(alone), Due::No);
        }
        let alone = convoys.go_alone().unwrap();
        let (ticket, due) = convoys.wait(0);
        assert_eq!(due, Due::No);
        (1..16).for_each(|n| assert_eq!(wait(&convoys, n), Due::No));
        assert!(convoys.is_waiting(ticket));
        assert_eq!(convoys.done(alone), Due::Soon(alone), "it may come back");
        assert_eq!(convoys.go_alone(), None, "nobody overtakes those who wait");
        assert_eq!(wait(&convoys, 16), Due::Now, "it does");
        let (number, group) = depart(&convoys);
        assert_eq!(group, (0..17).collect::<Vec<_>>());
        assert!(!convoys.is_waiting(ticket) && convoys.is_newest(number));
        assert_eq!(convoys.done(alone), Due::No, "that is over");
    }

    #[test]
    fn those_who_come_back_go_together_again() {
        let convoys = Convoys::default();
        let _ = (0..4).map(|n| wait(&convoys, n)).collect::<Vec<_>>();
        let (mut number, _) = depart(&convoys);
        for _ in 0..3 {
            (0..4).for_each(|_| assert_eq!(convoys.done(number), Due::No, "nobody waits"));
            assert_eq!(convoys.go_alone(), None, "others will come");
            assert_eq!(wait(&convoys, 0), Due::Soon(number));
            assert_eq!(wait(&convoys, 1), Due::No, "once");
            assert_eq!(wait(&convoys, 2), Due::No);
            assert_eq!(wait(&convoys, 3), Due::Now);
            let (next, group) = depart(&convoys);
            assert_eq!(group, [0, 1, 2, 3]);
            assert!(!convoys.is_newest(number), "whoever was to call need not");
            number = next;
        }
        // One is left: it waits a moment once.
        (0..4).for_each(|_| assert_eq!(convoys.done(number), Due::No));
        assert_eq!(wait(&convoys, 0), Due::Soon(number));
        let (number, _) = depart(&convoys);
        assert_eq!(convoys.done(number), Due::No);
        assert!(convoys.go_alone().is_some());
    }

    #[test]
    fn a_few_may_be_late() {
        let convoys = Convoys::default();
        let _ = (0..17).map(|n| wait(&convoys, n)).collect::<Vec<_>>();
        let (number, _) = depart(&convoys);
        assert_eq!(wait(&convoys, 17), Due::No);
        (0..14).for_each(|_| assert_eq!(convoys.done(number), Due::No));
        assert_eq!(convoys.done(number), Due::Soon(number), "two are late");
        let (next, group) = depart(&convoys);
        assert_eq!(group, [17]);
        assert_eq!(convoys.done(number), Due::No, "they are not waited for");
        assert_eq!(convoys.done(next), Due::No);
    }

    #[test]
    fn what_does_not_fit_waits_for_the_next() {
        let convoys = Convoys::default();
        let _ = [1, 2, 3, 2].map(|n| wait(&convoys, n));
        let (number, group) = convoys.depart(|n| *n < 3).unwrap();
        assert_eq!(group, [1, 2]);
        assert_eq!(convoys.done(number), Due::No);
        assert_eq!(convoys.done(number), Due::Soon(number), "some are left");
        assert_eq!(depart(&convoys).1, [3, 2]);
        assert_eq!(convoys.depart(|_| true), None);
    }
}
