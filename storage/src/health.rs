//! Whether a store may be written: it is checked first, and never written after a failure.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::StoreError;

/// One commit, or the beginning of one check, runs at a time; a failed one ends all commits. The
/// rest of a check runs beside commits.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// A commit runs, or what of a check must not run beside one.
    is_busy: bool,
    is_checking: bool,
    /// Whether a check was ever wholly done.
    was_checked: bool,
    /// A check found this; or the first one could not be made.
    damage: Option<StoreError>,
    is_stopped: bool,
}

impl Health {
    /// A store whose first check is still to come: commits wait for its beginning.
    pub(crate) fn unchecked() -> Self {
        let state = State {
            is_busy: true,
            is_checking: true,
            was_checked: false,
            damage: None,
            is_stopped: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits until neither a commit nor a check runs, then begins a check and keeps commits out.
    pub(crate) fn begin_check(&self) {
        let mut state = self.wait_until(|state| !state.is_busy && !state.is_checking);
        (state.is_busy, state.is_checking) = (true, true);
    }

    /// From now on the check runs beside commits.
    pub(crate) fn let_commits_in(&self) {
        self.lock().is_busy = false;
        self.changed.notify_all();
    }

    /// The outcome of a check. Commits were let in before.
    pub(crate) fn end_check(&self, outcome: Result<(), StoreError>) {
        let mut state = self.lock();
        if let Err(error) = outcome {
            state.take(error);
        }
        (state.is_checking, state.was_checked) = (false, true);
        drop(state);
        self.changed.notify_all();
    }

    /// Something is damaged, or could not be read: no more commits.
    pub(crate) fn report(&self, error: StoreError) {
        self.lock().take(error);
    }

    /// A read failed: no more commits.
    pub(crate) fn stop(&self) {
        self.lock().is_stopped = true;
    }

    /// Whether something failed, which may be over when the files are opened again: no damage.
    pub(crate) fn can_resume(&self) -> bool {
        match &self.lock() {
            state if state.is_stopped => !matches!(state.damage, Some(StoreError::Corrupt { .. })),
            state => matches!(state.damage, Some(StoreError::Io(_))),
        }
    }

    /// Waits for the end of the first check; gives what any check found.
    pub(crate) fn damage_of_first_check(&self) -> Option<StoreError> {
        self.wait_until(|state| state.was_checked).damage.clone()
    }

    /// Waits for a running check; tells whether the store may be written.
    ///
    /// # Errors
    /// What a check found, or [`StoreError::Stopped`].
    pub(crate) fn wait(&self) -> Result<(), StoreError> {
        self.wait_until(|state| !state.is_busy && !state.is_checking).verdict()
    }

    /// Waits until commits may run; tells whether the store may be written.
    ///
    /// # Errors
    /// As [`Health::wait`].
    pub(crate) fn wait_for_commits(&self) -> Result<(), StoreError> {
        self.wait_until(|state| !state.is_busy).verdict()
    }

    /// Like [`Health::wait_for_commits`], and keeps checks out until [`Health::end_commit`].
    pub(crate) fn begin_commit(&self) -> Result<(), StoreError> {
        let mut state = self.wait_until(|state| !state.is_busy);
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

    fn wait_until(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.changed
            .wait_while(state, |state| !condition(state))
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is flags and an error: whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes an error of a check. What a whole check has vouched for is still served after a
    /// failed read; before that nothing is known.
    fn take(&mut self, error: StoreError) {
        match error {
            StoreError::Io(_) | StoreError::Stopped if self.was_checked => self.is_stopped = true,
            error => _ = self.damage.get_or_insert(error),
        }
    }

    fn verdict(&self) -> Result<(), StoreError> {
        match &self.damage {
            Some(damage) => Err(damage.clone()),
            None if self.is_stopped => Err(StoreError::Stopped),
            None => Ok(()),
        }
    }
}
