//! Public-key work away from the asynchronous threads.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Runs work on blocking threads: at most one piece for each processor at a time, and a bounded
/// number that wait.
#[derive(Debug, Clone)]
pub(crate) struct Workers {
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

/// Work that was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkError {
    /// Too much is waiting already.
    Full,
    /// The work panicked, or the runtime is shutting down.
    Died,
}

impl Workers {
    /// `waiting` pieces may wait for a processor.
    pub(crate) fn new(waiting: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            running: Arc::new(Semaphore::new(processors)),
            admitted: Arc::new(Semaphore::new(processors.saturating_add(waiting))),
        }
    }

    /// Runs `work`. If the caller stops waiting, work that has begun ends and counts until then.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, WorkError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| WorkError::Full)?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| WorkError::Died)?;
        let task = tokio::task::spawn_blocking(move || {
            let done = work();
            drop((running, admitted));
            done
        });
        task.await.map_err(|_| WorkError::Died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_the_limit_is_refused_and_nothing_is_lost_by_a_panic() {
        let workers = Workers::new(0);
        let processors = workers.running.available_permits();
        for _ in 0..=processors {
            let died = workers.run(|| -> u8 { panic!("on purpose") }).await;
            assert_eq!(died, Err(WorkError::Died));
        }
        let (open, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
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
