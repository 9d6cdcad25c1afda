//! Whether a store may be written: it is checked first, and never written after a failure.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::StoreError;

/// Commits and checks exclude each other; a failed commit or check ends all commits.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    is_busy: bool,
    /// A check found this.
    damage: Option<StoreError>,
    is_stopped: bool,
}

impl Health {
    /// A store whose first check is still to come: commits wait for it.
    pub(crate) fn unchecked() -> Self {
        let state = State { is_busy: true, damage: None, is_stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The outcome of a check that had the store for itself.
    pub(crate) fn end_check(&self, outcome: Result<(), StoreError>) {
        let mut state = self.lock();
        state.is_busy = false;
        if let Err(damage) = outcome {
            state.damage.get_or_insert(damage);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until no commit runs, then keeps commits out until [`Health::end_check`].
    pub(crate) fn begin_check(&self) {
        self.idle().is_busy = true;
    }

    /// Waits for a running check; tells whether the store may be written.
    ///
    /// # Errors
    /// What a check found, or [`StoreError::Stopped`].
    pub(crate) fn wait(&self) -> Result<(), StoreError> {
        self.idle().verdict()
    }

    /// Like [`Health::wait`], and keeps checks out until [`Health::end_commit`].
    pub(crate) fn begin_commit(&self) -> Result<(), StoreError> {
        let mut state = self.idle();
        state.verdict()?;
        state.is_busy = true;
        Ok(())
    }

    pub(crate) fn end_commit(&self, succeeded: bool) {
        let mut state = self.lock();
        state.is_busy = false;
        state.is_stopped |= !succeeded;
        drop(state);
        self.changed.notify_all();
    }

    /// What a check found, without waiting for one that runs.
    pub(crate) fn damage(&self) -> Option<StoreError> {
        self.lock().damage.clone()
    }

    fn idle(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.changed
            .wait_while(state, |state| state.is_busy)
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is two flags and an error: whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn verdict(&self) -> Result<(), StoreError> {
        match &self.damage {
            Some(damage) => Err(damage.clone()),
            None if self.is_stopped => Err(StoreError::Stopped),
            None => Ok(()),
        }
    }
}
