//! Public-key work away from the asynchronous threads.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

/// Runs work on threads of its own, one for each processor; a bounded number of pieces waits.
///
/// Not Tokio's `spawn_blocking`: its pool of up to 512 threads wakes another one for each piece.
/// Here a busy thread takes the next piece without anybody being woken, which halves the CPU time
/// of a busy round trip without cryptography (`examples/loopbench.rs`, 64 tasks).
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    admitted: Arc<Semaphore>,
    threads: Arc<Threads>,
}

/// Work that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkError {
    /// Too much is waiting already.
    Full,
    /// The work panicked, or there are no threads.
    Died,
}

type Work = Box<dyn FnOnce() + Send>;

/// The threads end when this is dropped and the queue is empty.
struct Threads(Arc<Queue>);

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    ended: bool,
}

impl Workers {
    /// `waiting` pieces may wait for a processor.
    pub(crate) fn new(waiting: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let queue = Arc::new(Queue::default());
        for _ in 0..processors {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name("bftkv-seal".to_owned());
            if let Err(error) = thread.spawn(move || queue.work()) {
                tracing::error!(%error, "cannot start a thread");
            }
        }
        let limit = processors.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        Self { admitted: Arc::new(Semaphore::new(limit)), threads: Arc::new(Threads(queue)) }
    }

    /// Runs `work`. If the caller stops waiting, it is done all the same, and counts until then.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| WorkError::Full)?;
        let (done, result) = oneshot::channel();
        self.threads.0.push(Box::new(move || {
            let value = work();
            drop(admitted);
            // Nobody may be waiting any more.
            drop(done.send(value));
        }));
        result.await.map_err(|_| WorkError::Died)
    }
}

impl Queue {
    fn push(&self, work: Work) {
        self.lock().waiting.push_back(work);
        self.changed.notify_one();
    }

    fn work(&self) {
        while let Some(work) = self.next() {
            // A panic ends this piece only; its caller learns that it died.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        }
    }

    fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            if state.ended {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No work runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Threads")
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_the_limit_is_refused_and_nothing_is_lost_by_a_panic() {
        let workers = Workers::new(0);
        let processors = workers.admitted.available_permits();
        for _ in 0..=processors {
            let died = workers.run(|| -> u8 { panic!("on purpose") }).await;
            assert_eq!(died, Err(WorkError::Died));
        }
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let busy: Vec<_> = (0..processors)
            .map(|_| {
                let (workers, gate) = (workers.clone(), gate.clone());
                tokio::spawn(async move {
                    workers.run(move || drop(gate.lock().map(|gate| gate.recv()))).await
                })
            })
            .collect();
        while workers.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(workers.run(|| 1).await, Err(WorkError::Full));
        drop(open);
        for task in busy {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(workers.run(|| 1).await, Ok(1));
    }
}
