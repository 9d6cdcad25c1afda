//! Threads for work that may block.

use std::collections::VecDeque;
use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// More work than this at once waits for a thread. The callers' own limits are lower.
const MAX_THREADS: usize = 512;

/// A thread that has rested for so long ends.
const REST: Duration = Duration::from_secs(10);

/// Threads that do work that may block; made as they are needed. The one that has rested least
/// takes the next piece, so that a few threads do nearly everything and the others end.
///
/// Not Tokio's `spawn_blocking`: it wakes the thread that has rested longest, whose stack and
/// memory have left the processor's caches, and does so under the lock that this thread needs
/// first, so that on one processor the two wait for each other each time.
#[derive(Debug, Default)]
pub(crate) struct Crew(Arc<Shared>);

/// The work panicked, or the system gives no threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Died;

type Work = Box<dyn FnOnce() + Send>;

#[derive(Debug, Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    /// Threads that rest; the last one has rested least.
    resting: Vec<Arc<Seat>>,
    /// Work that has no thread yet.
    waiting: VecDeque<Work>,
    threads: usize,
    ended: bool,
}

/// Where a thread rests, and is told what to do next.
struct Seat {
    thread: Thread,
    order: Mutex<Order>,
}

#[derive(Default)]
enum Order {
    #[default]
    Rest,
    Work(Work),
    End,
}

impl Crew {
    /// Runs `work`. If the caller stops waiting, it is done all the same.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, Died>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        // Nobody may be waiting any more.
        self.push(Box::new(move || drop(done.send(work()))));
        result.await.map_err(|_| Died)
    }

    fn push(&self, work: Work) {
        let mut state = self.0.lock();
        if let Some(seat) = state.resting.pop() {
            drop(state);
            return seat.tell(Order::Work(work));
        }
        state.waiting.push_back(work);
        if state.threads >= MAX_THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(&self.0);
        let named = thread::Builder::new().name("bftkv-serve".to_owned());
        if let Err(error) = named.spawn(move || shared.live()) {
            tracing::error!(%error, "cannot start a thread");
            self.0.lock().one_thread_less();
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        let resting = take(&mut state.resting);
        drop(state);
        resting.iter().for_each(|seat| seat.tell(Order::End));
    }
}

impl Shared {
    fn live(&self) {
        let seat = Arc::new(Seat { thread: thread::current(), order: Mutex::default() });
        while let Some(work) = self.next(&seat) {
            // A panic ends this piece only; its caller learns that it died.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }

    /// The next piece for a thread; none: it ends, and is counted no more.
    fn next(&self, seat: &Arc<Seat>) -> Option<Work> {
        let mut state = self.lock();
        if let Some(work) = state.waiting.pop_front() {
            return Some(work);
        }
        if state.ended {
            state.one_thread_less();
            return None;
        }
        state.resting.push(Arc::clone(seat));
        drop(state);
        let order = match seat.rest(Some(Instant::now() + REST)) {
            // Whoever has just taken this seat from the list is about to say what is to be done.
            Order::Rest if !self.lock().end_rest_of(seat) => seat.rest(None),
            order => order,
        };
        match order {
            Order::Work(work) => Some(work),
            Order::Rest => None,
            Order::End => {
                self.lock().one_thread_less();
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No work runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends a thread that rests, if its seat is still on the list.
    fn end_rest_of(&mut self, seat: &Arc<Seat>) -> bool {
        let before = self.resting.len();
        self.resting.retain(|one| !Arc::ptr_eq(one, seat));
        let was_resting = self.resting.len() < before;
        if was_resting {
            self.one_thread_less();
        }
        was_resting
    }

    fn one_thread_less(&mut self) {
        self.threads = self.threads.saturating_sub(1);
        if self.threads == 0 {
            // There is nobody who would do it.
            self.waiting.clear();
        }
    }
}

impl Seat {
    fn tell(&self, order: Order) {
        *self.lock() = order;
        self.thread.unpark();
    }

    /// Waits for an order, or until it is too late for one.
    fn rest(&self, until: Option<Instant>) -> Order {
        loop {
            match take(&mut *self.lock()) {
                Order::Rest => {}
                order => return order,
            }
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return Order::Rest,
                Some(left) => thread::park_timeout(left),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        // It is replaced as a whole.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    async fn name_of_worker(crew: &Crew) -> thread::ThreadId {
        crew.run(|| thread::current().id()).await.unwrap()
    }

    fn settled(crew: &Crew, resting: usize) {
        while crew.0.lock().resting.len() < resting {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn blocked_work_does_not_hold_up_other_work_and_the_warmest_thread_is_next() {
        let crew = Arc::new(Crew::default());
        let (open, gate) = mpsc::channel::<()>();
        let (blocked, first) = (Arc::clone(&crew), mpsc::channel());
        let told = first.0;
        let blocked = tokio::spawn(async move {
            let work = move || {
                told.send(thread::current().id()).unwrap();
                gate.recv().unwrap();
            };
            blocked.run(work).await
        });
        tokio::task::yield_now().await;
        let first = first.1.recv().unwrap();
        let second = name_of_worker(&crew).await;
        assert_ne!(first, second);
        settled(&crew, 1);
        open.send(()).unwrap();
        assert_eq!(blocked.await.unwrap(), Ok(()));
        settled(&crew, 2);
        for _ in 0..5 {
            assert_eq!(name_of_worker(&crew).await, first, "it rested last");
            settled(&crew, 2);
        }
        assert_eq!(crew.0.lock().threads, 2);
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_work_only() {
        let crew = Crew::default();
        assert_eq!(crew.run(|| -> u8 { panic!("on purpose") }).await, Err(Died));
        settled(&crew, 1);
        assert_eq!(crew.run(|| 1).await, Ok(1));
        assert_eq!(crew.0.lock().threads, 1);
    }

    #[tokio::test]
    async fn threads_end_with_their_crew_after_the_work_that_was_taken() {
        let crew = Crew::default();
        let shared = Arc::clone(&crew.0);
        assert_eq!(crew.run(|| 1).await, Ok(1));
        settled(&crew, 1);
        let (done, result) = mpsc::channel();
        crew.push(Box::new(move || done.send(2).unwrap()));
        drop(crew);
        assert_eq!(result.recv(), Ok(2));
        while shared.lock().threads > 0 {
            thread::yield_now();
        }
    }
}
