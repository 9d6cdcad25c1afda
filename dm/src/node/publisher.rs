//! From an agreed zone to one that is served.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};

use crate::agree::Manifest;
use crate::publish::{Desk, Notifier, Offered, Responder};
use crate::zone::Zone;

use super::kept::{Committed, keep_zone};
use super::steps::Steps;

/// Checks each zone that was agreed on, keeps it on disk, serves it and tells the secondaries.
///
/// What fails the check waits for an operator, and the last good zone is served on. It is not kept,
/// so that it waits again after a restart.
#[derive(Debug)]
pub struct Publisher {
    state: Mutex<State>,
    responder: Arc<Responder>,
    notifier: Notifier,
    path: PathBuf,
    steps: Steps,
}

#[derive(Debug)]
struct State {
    desk: Desk,
    /// What the zone on the desk was made of.
    waiting: Option<Arc<Manifest>>,
    /// The task that tells the secondaries.
    telling: Option<AbortHandle>,
}

impl Publisher {
    /// Serves by this responder and tells by this notifier; `path` is where the zone is kept, and beside it
    /// the steps that led to it.
    #[must_use]
    pub fn new(
        desk: Desk,
        responder: Arc<Responder>,
        notifier: Notifier,
        path: PathBuf,
    ) -> Arc<Self> {
        let state = Mutex::new(State { desk, waiting: None, telling: None });
        let steps = Steps::new(path.with_extension("steps"));
        Arc::new(Self { state, responder, notifier, path, steps })
    }

    /// Serves what was kept, after a restart. It was checked when it was published; if it is not
    /// right any more (signatures that ended), it is served all the same, and the reason is given.
    pub fn restore(&self, zone: &Arc<Zone>, now: u32) -> Option<String> {
        let mut state = self.lock();
        let offered = state.desk.offer(zone, now);
        if matches!(offered, Offered::Held(_)) {
            state.desk.release();
        }
        drop(state);
        self.responder.publish(Arc::clone(zone));
        self.responder.restore(self.steps.load(zone.apex()));
        match offered {
            Offered::Held(reason) => Some(reason),
            Offered::Right => None,
        }
    }

    /// Publishes what comes, until nothing can come any more. Needs a Tokio runtime.
    pub async fn run(
        self: Arc<Self>,
        mut committed: mpsc::UnboundedReceiver<Committed>,
        now: fn() -> u32,
    ) {
        while let Some((manifest, signed)) = committed.recv().await {
            let this = Arc::clone(&self);
            let zone = Arc::clone(signed.zone());
            let look = move || this.lock().desk.offer(&zone, now());
            match spawn_blocking(look).await {
                Ok(Offered::Right) => self.publish(&manifest, signed.zone()),
                Ok(Offered::Held(reason)) => {
                    tracing::error!(serial = manifest.serial, reason, "a zone is held");
                    self.lock().waiting = Some(manifest);
                }
                Err(error) => tracing::error!(%error, "a zone cannot be checked"),
            }
        }
    }

    /// Why a zone waits, if one does.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.lock().desk.held().map(|(zone, reason)| format!("serial {}: {reason}", zone.serial()))
    }

    /// An operator lets the zone out that waits. Gives its serial. Needs a Tokio runtime.
    pub fn release(&self) -> Option<u32> {
        let mut state = self.lock();
        let manifest = state.waiting.take()?;
        let zone = state.desk.release()?;
        drop(state);
        self.publish(&manifest, &zone);
        Some(zone.serial())
    }

    /// The zone that is served.
    #[must_use]
    pub fn zone(&self) -> Option<Arc<Zone>> {
        self.responder.newest()
    }

    /// What answers questions.
    #[must_use]
    pub fn responder(&self) -> Arc<Responder> {
        Arc::clone(&self.responder)
    }

    /// Who tells the secondaries.
    #[must_use]
    pub fn notifier(&self) -> &Notifier {
        &self.notifier
    }

    fn publish(&self, manifest: &Manifest, zone: &Arc<Zone>) {
        if let Err(error) = keep_zone(&self.path, manifest, zone) {
            // The store has it, and gives it after a restart.
            tracing::error!(%error, file = %self.path.display(), "the zone cannot be kept");
        }
        if !self.responder.publish(Arc::clone(zone)) {
            return tracing::error!(serial = zone.serial(), "the serial does not follow");
        }
        tracing::info!(serial = zone.serial(), "published");
        let step = self.responder.last_step();
        if let Some(Err(error)) = step.map(|step| self.steps.keep(&step)) {
            // After a restart, secondaries that have older zones get this one whole.
            tracing::error!(%error, "the step to this zone cannot be kept");
        }
        let (notifier, zone) = (self.notifier.clone(), Arc::clone(zone));
        let task = tokio::spawn(async move { notifier.tell(zone).await });
        // Whoever has not heard of the last one hears of this one.
        if let Some(before) = self.lock().telling.replace(task.abort_handle()) {
            before.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::kept::tests::manifest;
    use crate::node::steps::tests::zone;
    use crate::publish::Access;

    fn publisher(path: PathBuf) -> Arc<Publisher> {
        let access = Access::new(Vec::new());
        let responder = Arc::new(Responder::new(zone(1).apex().clone(), access));
        let notifier = Notifier::new(Vec::new(), (0, 1), Duration::ZERO);
        Publisher::new(Desk::new(100), responder, notifier, path)
    }

    #[tokio::test]
    async fn a_primary_that_was_started_again_has_the_increments_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        let before = publisher(path.clone());
        (1..=4).for_each(|serial| before.publish(&manifest(serial), &zone(serial)));
        let after = publisher(path.clone());
        let (_, signed) = super::super::kept_zone(&path, zone(4).apex()).unwrap().unwrap();
        after.restore(signed.zone(), 0);
        for serial in 1..=4 {
            let steps = after.responder.since(serial);
            assert_eq!(steps, before.responder.since(serial), "{serial}");
            assert_eq!(steps.unwrap().len(), 4 - usize::try_from(serial).unwrap());
        }
        after.publish(&manifest(5), &zone(5));
        assert_eq!(after.responder.since(1).unwrap().len(), 4);
    }
}
