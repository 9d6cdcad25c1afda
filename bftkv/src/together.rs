//! Work that one thread does for all that wait.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What waits to be done together. Whoever finds nobody at it does all that waits; what comes
/// meanwhile waits for the next turn. So what comes alone is done at once, and under load a turn
/// takes as many as came during the one before.
#[derive(Debug)]
pub(crate) struct Together<T> {
    state: Mutex<State<T>>,
    /// The most that one turn takes.
    most: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: Vec<T>,
    is_busy: bool,
}

impl<T> Together<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Mutex::new(State { waiting: Vec::new(), is_busy: false }), most }
    }

    /// Adds something. Whoever adds takes a [`Together::turn`] afterwards, or need not if somebody is
    /// at it already, who will be back for another turn: tells whether nobody is.
    pub(crate) fn add(&self, item: T) -> bool {
        let mut state = self.lock();
        state.waiting.push(item);
        !state.is_busy
    }

    /// Does what waits, unless somebody is at it or nothing waits. Whoever did something comes back
    /// for another turn: what was added meanwhile relies on it.
    pub(crate) fn turn<R>(&self, work: impl FnOnce(Vec<T>) -> R) -> Option<R> {
        let items: Vec<T> = {
            let mut state = self.lock();
            if state.is_busy || state.waiting.is_empty() {
                return None;
            }
            state.is_busy = true;
            let count = state.waiting.len().min(self.most);
            state.waiting.drain(..count).collect()
        };
        let _busy = Busy(self);
        Some(work(items))
    }

    /// Poisoned or not, the state is whole: it is changed in single steps.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the turn, also if the work panics.
struct Busy<'a, T>(&'a Together<T>);

impl<T> Drop for Busy<'_, T> {
    fn drop(&mut self) {
        self.0.lock().is_busy = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_added_during_a_turn_waits_for_the_next_and_one_works_at_a_time() {
        let together = Together::new(3);
        (0..4).for_each(|n| assert!(together.add(n), "nobody is at it"));
        let first = together.turn(|items| {
            assert!(!together.add(4), "somebody is, and will be back");
            assert!(together.turn(|_| ()).is_none(), "somebody is at it");
            items
        });
        assert_eq!(first, Some(vec![0, 1, 2]));
        assert_eq!(together.turn(|items| items), Some(vec![3, 4]));
        assert_eq!(together.turn(|items| items), None);
    }

    #[test]
    fn nothing_is_forgotten_or_done_twice_when_many_add() {
        let (together, done) = (Together::new(7), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for n in 0..500 {
                        together.add(n);
                        while together
                            .turn(|items| done.fetch_add(items.len(), Ordering::Relaxed))
                            .is_some()
                        {}
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 8 * 500);
    }

    #[test]
    fn a_panic_ends_the_turn() {
        let together = Together::new(7);
        together.add(1);
        let panics = || {
            let _ = together.turn(|_| panic!("planted"));
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        together.add(2);
        assert_eq!(together.turn(|items| items), Some(vec![2]));
    }
}
