//! What all ways of asking a server share: the handler, the threads, and the limits.

mod budget;
mod crew;
mod throttles;

use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::{NodeId, Request, Response};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use self::budget::Budget;
pub(crate) use self::budget::Share;
use self::crew::{Crew, Died};
use self::throttles::Throttles;
use crate::{Handler, ServerLimits};

/// The handler of a server, the threads on which it runs, and what peers may ask of both.
///
/// Everything between a request's bytes and the bytes of its answer is done by one thread that may
/// block: each thread that a message wakes costs as much as a tenth of a signature, and finds its
/// caches cold. Threads are made as they are needed, so that the handlers of many requests can
/// wait for one sync of the disk together.
pub(crate) struct Serving {
    handler: Arc<dyn Handler>,
    throttles: Throttles,
    memory: Budget,
    crew: Crew,
    /// How many messages may be worked on, or wait for it.
    admitted: Arc<Semaphore>,
    handler_timeout: Duration,
}

/// A message that gets no answer of the node's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServeFailure {
    /// It cannot be opened here, or names no one to whom a refusal could be bound. The sender's
    /// fault.
    NotForUs(String),
    /// Too much waits already.
    Overloaded,
    /// The sender, or its address, asks too often.
    TooMany,
    /// The own key, the handler or the runtime failed. Ours.
    Broken(String),
}

impl Serving {
    pub(crate) fn new(handler: Arc<dyn Handler>, limits: &ServerLimits) -> Self {
        let admitted = limits.waiting_work.min(Semaphore::MAX_PERMITS);
        Self {
            handler,
            throttles: Throttles::new(limits),
            memory: Budget::new(limits.buffered_bytes),
            crew: Crew::default(),
            admitted: Arc::new(Semaphore::new(admitted)),
            handler_timeout: limits.handler_timeout,
        }
    }

    /// The memory that bodies and answers share.
    pub(crate) fn memory(&self) -> &Budget {
        &self.memory
    }

    /// Who may ask how often.
    pub(crate) fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// May this authenticated sender ask?
    pub(crate) fn allow_identity(&self, sender: &NodeId) -> bool {
        self.throttles.allow_identity(sender, self.handler.is_member(sender))
    }

    /// What it asks turned out to be as dear as several requests: it is paid for later.
    pub(crate) fn charge_identity(&self, sender: &NodeId, weight: u32) {
        self.throttles.charge_identity(sender, self.handler.is_member(sender), weight);
    }

    /// How long an asker waits for the handler.
    pub(crate) fn handler_timeout(&self) -> Duration {
        self.handler_timeout
    }

    /// Does work on a thread that may block. If the caller stops waiting, it is done all the same.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ServeFailure> + Send + 'static,
    ) -> Result<T, ServeFailure> {
        let admitted = self.admitted.clone().try_acquire_owned();
        let admitted = admitted.map_err(|_| ServeFailure::Overloaded)?;
        let work = move || {
            let answer = work();
            drop(admitted);
            answer
        };
        let died = |Died| ServeFailure::Broken("the handler failed".to_owned());
        self.crew.run(work).await.map_err(died)?
    }

    /// Has a request handled, within [`Serving::work`].
    pub(crate) fn handle(&self, runtime: &Handle, sender: NodeId, request: Request) -> Response {
        let _entered = runtime.enter();
        runtime.block_on(self.handler.handle(sender, request))
    }
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serving").field("throttles", &self.throttles).finish_non_exhaustive()
    }
}
