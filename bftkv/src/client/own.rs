//! Which of its own entries a client knows to be stored: their next writes need no "get time".

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bftkv_protocol::{Timestamp, Variable};
use lru::LruCache;

/// Timestamps of this client's own newest entries, each stored by a quorum. In memory only, and
/// nothing depends on it: where another writer was faster, the members refuse and the write asks.
pub(super) struct OwnEntries(Mutex<LruCache<Variable, Timestamp>>);

/// The greatest number of variables that are remembered.
const MAX_VARIABLES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

impl OwnEntries {
    /// The timestamp above which a variable may be written at once.
    pub(super) fn last(&self, variable: &Variable) -> Option<Timestamp> {
        self.lock().get(variable).copied()
    }

    /// Notes what a write came to that began above `last`. Where it ended later than it thought, or
    /// not at all, others write too: there the next one asks for the time again.
    pub(super) fn note(
        &self,
        variable: &Variable,
        last: Option<Timestamp>,
        written: Option<Timestamp>,
    ) {
        let is_alone =
            |t: &Timestamp| last.is_none_or(|last| last.get().checked_add(1) == Some(t.get()));
        match written.filter(is_alone) {
            Some(t) => _ = self.lock().put(variable.clone(), t),
            None => _ = self.lock().pop(variable),
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Variable, Timestamp>> {
        // What a damaged cache says is refused by the members at worst.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for OwnEntries {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_VARIABLES)))
    }
}
