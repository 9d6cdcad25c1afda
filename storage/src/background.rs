//! What a store does by itself: goes on after a failure, and looks for damage.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use bftkv_protocol::StoreError;

use crate::RecordStore;
use crate::backend::io_error;
use crate::check::ScrubStep;

/// How long a store waits before it tries to go on after a failure: a full disk is seldom emptied
/// sooner, and an attempt costs a file of a mebibyte. Nobody waits longer for a thread to end.
const PAUSE: Duration = Duration::from_secs(1);

/// How many records one step of a scrub reads: commits wait for it, and a record may hold a MiB.
const SCRUB_RECORDS: usize = 16;

/// The pause between two steps: a million records take an hour.
const SCRUB_PAUSE: Duration = Duration::from_millis(50);

impl RecordStore {
    /// Calls [`RecordStore::resume`] after a failure again and again, in a thread of its own, until
    /// it succeeds; for as long as anybody has the store. `report` gets each outcome.
    ///
    /// # Errors
    /// [`StoreError::Io`] when there is no thread to be had.
    pub fn resume_by_itself(
        self: &Arc<Self>,
        report: impl Fn(&Result<(), StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.in_background("storage-resume", PAUSE, move |store| {
            if store.inner().health.can_resume() {
                report(&store.resume());
            }
            PAUSE
        })
    }

    /// Checks the whole store again and again, in a thread of its own, for as long as anybody has
    /// the store: the first time after `every`, and so long after each end. First the backend's
    /// files, as [`RecordStore::scrub`] does; then, slowly, every record. `report` gets what was
    /// damaged, the end of each pass, and errors, which end a pass. Whoever drops the store may
    /// have to wait for the check of the files before it can be opened again.
    ///
    /// Limit: LevelDB cannot look past what it holds in memory (a part of its tables, and its
    /// newest records); damage there is found by the start that reads it.
    ///
    /// # Errors
    /// [`StoreError::Io`] when there is no thread to be had.
    pub fn scrub_by_itself(
        self: &Arc<Self>,
        every: Duration,
        report: impl Fn(&Result<ScrubStep, StoreError>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let mut begins = true;
        self.in_background("storage-scrub", every, move |store| {
            if store.inner().health.can_resume() {
                // The files are opened and checked anew when it goes on.
                return PAUSE;
            }
            let step = match begins {
                true => store.inner().scrub_files(|| Ok(())).map(|()| ScrubStep::default()),
                false => store.scrub_some(SCRUB_RECORDS),
            };
            let is_last = step.as_ref().map_or(true, |step| step.is_last);
            if is_last || step.as_ref().is_ok_and(|step| !step.damaged.is_empty()) {
                report(&step);
            }
            begins = is_last;
            if is_last { every } else { SCRUB_PAUSE }
        })
    }

    /// Does something again and again while anybody has the store. It says how long to rest.
    fn in_background(
        self: &Arc<Self>,
        name: &str,
        first: Duration,
        mut work: impl FnMut(&Self) -> Duration + Send + 'static,
    ) -> Result<(), StoreError> {
        let store = Arc::downgrade(self);
        let run = move || {
            let mut rest = first;
            while rest_while(&store, rest) {
                let Some(store) = store.upgrade() else { return };
                rest = work(&store);
            }
        };
        let started = thread::Builder::new().name(name.into()).spawn(run);
        started.map(|_| ()).map_err(|e| io_error("starting a thread", &e))
    }
}

/// Rests in short naps; `false` as soon as nobody has the store any more.
fn rest_while(store: &Weak<RecordStore>, time: Duration) -> bool {
    let mut left = time;
    while !left.is_zero() && store.strong_count() > 0 {
        let nap = left.min(PAUSE);
        thread::sleep(nap);
        left = left.saturating_sub(nap);
    }
    store.strong_count() > 0
}
