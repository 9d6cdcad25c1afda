//! Concurrent commits share one sync.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::StoreError;

/// A queue whose first waiting caller writes for all that wait (leader and followers). While one
/// group is being synced, the next one gathers.
#[derive(Debug)]
pub(crate) struct GroupCommit<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    max_bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<(T, usize)>,
    /// The number of the first item in `waiting`.
    first: u64,
    has_leader: bool,
    failed: BTreeMap<u64, StoreError>,
    /// Items below this number are decided.
    decided: u64,
}

impl<T> GroupCommit<T> {
    /// A queue whose groups hold at most `max_bytes`, or a single larger item.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            first: 0,
            has_leader: false,
            failed: BTreeMap::new(),
            decided: 0,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_bytes }
    }

    /// Waits until an item of `bytes` bytes is committed with its group. `commit` is called by
    /// one caller at a time, with the items in the order of arrival.
    pub(crate) fn submit(
        &self,
        item: T,
        bytes: usize,
        commit: impl Fn(Vec<T>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let number = state.first + state.waiting.len() as u64;
        state.waiting.push_back((item, bytes));
        loop {
            if number < state.decided {
                return state.failed.remove(&number).map_or(Ok(()), Err);
            }
            if state.has_leader {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.has_leader = true;
            let group = state.take_group(self.max_bytes);
            drop(state);
            // A panic must not leave the followers waiting for ever.
            let outcome = catch_unwind(AssertUnwindSafe(|| commit(group)))
                .unwrap_or(Err(StoreError::Stopped));
            state = self.lock();
            state.decide(&outcome);
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // `commit` runs outside of the lock, and nothing that panics runs inside.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take_group(&mut self, max_bytes: usize) -> Vec<T> {
        let mut group = Vec::new();
        let mut total = 0usize;
        while let Some((_, bytes)) = self.waiting.front() {
            total = total.saturating_add(*bytes);
            if total > max_bytes && !group.is_empty() {
                break;
            }
            group.extend(self.waiting.pop_front().map(|(item, _)| item));
        }
        self.first += group.len() as u64;
        group
    }

    fn decide(&mut self, outcome: &Result<(), StoreError>) {
        if let Err(error) = outcome {
            let error = |number| (number, error.clone());
            self.failed.extend((self.decided..self.first).map(error));
        }
        self.decided = self.first;
        self.has_leader = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread;

    use super::*;

    #[test]
    fn all_that_wait_are_committed_together_and_in_order() {
        let queue = GroupCommit::new(1 << 20);
        let groups = AtomicUsize::new(0);
        let gate = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                queue.submit(0, 1, |_| {
                    gate.wait();
                    gate.wait();
                    Ok(())
                })
            });
            gate.wait();
            for n in 1..=20 {
                let (queue, groups) = (&queue, &groups);
                scope.spawn(move || {
                    queue.submit(n, 1, |group| {
                        groups.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(group.len(), 20);
                        Ok(())
                    })
                });
            }
            while queue.lock().waiting.len() < 20 {
                thread::yield_now();
            }
            gate.wait();
        });
        assert_eq!(groups.into_inner(), 1);
    }

    #[test]
    fn groups_are_bounded_in_bytes() {
        let mut state = GroupCommit::new(0).state.into_inner().unwrap();
        state.waiting = VecDeque::from([('a', 60), ('b', 30), ('c', 20), ('d', 500), ('e', 1)]);
        assert_eq!(state.take_group(100), ['a', 'b']);
        assert_eq!(state.take_group(100), ['c']);
        assert_eq!(state.take_group(100), ['d']);
        assert_eq!(state.take_group(100), ['e']);
    }

    #[test]
    fn a_failure_reaches_its_own_group_only() {
        let queue = Arc::new(GroupCommit::new(1));
        let broken = StoreError::Io("disk full".into());
        assert_eq!(queue.submit(1, 1, |_| Err(broken.clone())), Err(broken.clone()));
        assert_eq!(queue.submit(2, 1, |_| Ok(())), Ok(()));
        assert!(queue.lock().failed.is_empty());
    }

    #[test]
    fn a_panic_is_an_error_and_does_not_block_the_next() {
        let queue = GroupCommit::new(1);
        let outcome = queue.submit(1, 1, |_| panic!("planted"));
        assert_eq!(outcome, Err(StoreError::Stopped));
        assert_eq!(queue.submit(2, 1, |_| Ok(())), Ok(()));
    }
}
