//! A cache of the newest state of variables, bounded in bytes.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bftkv_protocol::{Variable, VariableState};
use lru::LruCache;

/// Keeps what was loaded last. A reader that is slower than a commit cannot put an old state back:
/// see [`Ticket`].
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    state: Mutex<Contents>,
}

#[derive(Debug)]
struct Contents {
    entries: LruCache<Variable, Cached>,
    bytes: usize,
    /// For each group of variables: odd while a commit changes one of them, and never the same
    /// again after it.
    epochs: [u64; STRIPES],
}

#[derive(Debug)]
struct Cached {
    state: VariableState,
    bytes: usize,
}

/// What a reader that missed shows when it brings the state that it read from the backend. It
/// counts only if no commit touched the variable since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket(u64);

/// Enough that commits of other variables seldom keep a reader from filling the cache.
const STRIPES: usize = 256;

/// What a cached state takes beyond its encoded bytes: list nodes, allocations, decoded fields.
const OVERHEAD_BYTES: usize = 1024;

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        let contents = Contents { entries: LruCache::unbounded(), bytes: 0, epochs: [0; STRIPES] };
        Self { limit, state: Mutex::new(contents) }
    }

    /// The cached state, or a ticket to bring it.
    pub(crate) fn find(&self, variable: &Variable) -> Result<VariableState, Ticket> {
        let mut contents = self.lock();
        match contents.entries.get(variable) {
            Some(cached) => Ok(cached.state.clone()),
            None => Err(Ticket(contents.epoch(stripe(variable)))),
        }
    }

    /// Keeps a state of `bytes` encoded bytes, unless the ticket is out of date.
    pub(crate) fn fill(
        &self,
        ticket: Ticket,
        variable: &Variable,
        state: &VariableState,
        bytes: usize,
    ) {
        let bytes = bytes + OVERHEAD_BYTES;
        let mut contents = self.lock();
        let is_current = contents.epoch(stripe(variable)) == ticket.0 && ticket.0.is_multiple_of(2);
        if !is_current || bytes > self.limit {
            return;
        }
        contents.put(variable.clone(), Cached { state: state.clone(), bytes });
        while contents.bytes > self.limit && contents.evict() {}
    }

    /// Forgets the variables that a commit is about to change, and keeps readers from bringing
    /// them back until [`Cache::end_commit`].
    pub(crate) fn begin_commit<'a>(&self, variables: impl Iterator<Item = &'a Variable> + Clone) {
        let mut contents = self.lock();
        variables.clone().for_each(|variable| contents.forget(variable));
        contents.turn(variables);
    }

    /// The commit is over, well or badly.
    pub(crate) fn end_commit<'a>(&self, variables: impl Iterator<Item = &'a Variable> + Clone) {
        self.lock().turn(variables);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // A panic inside leaves at worst a wrong byte count; the entries are whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn epoch(&self, stripe: usize) -> u64 {
        self.epochs.get(stripe).copied().unwrap_or(1)
    }

    fn turn<'a>(&mut self, variables: impl Iterator<Item = &'a Variable>) {
        let touched: BTreeSet<usize> = variables.map(stripe).collect();
        for stripe in touched {
            if let Some(epoch) = self.epochs.get_mut(stripe) {
                *epoch = epoch.wrapping_add(1);
            }
        }
    }

    fn put(&mut self, variable: Variable, cached: Cached) {
        self.bytes += cached.bytes;
        if let Some(old) = self.entries.put(variable, cached) {
            self.bytes -= old.bytes;
        }
    }

    fn forget(&mut self, variable: &Variable) {
        if let Some(old) = self.entries.pop(variable) {
            self.bytes -= old.bytes;
        }
    }

    fn evict(&mut self) -> bool {
        let evicted = self.entries.pop_lru();
        self.bytes -= evicted.as_ref().map_or(0, |(_, cached)| cached.bytes);
        evicted.is_some()
    }
}

fn stripe(variable: &Variable) -> usize {
    crc32fast::hash(variable.as_bytes()) as usize % STRIPES
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Marks, Timestamp};

    use super::*;

    fn name(n: u32) -> Variable {
        Variable::new(n.to_be_bytes()).unwrap()
    }

    fn state(seen: u64) -> VariableState {
        let marks = Marks { seen: Timestamp::new(seen), ..Marks::default() };
        VariableState { latest: None, marks }
    }

    fn ticket(cache: &Cache, n: u32) -> Ticket {
        cache.find(&name(n)).unwrap_err()
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let cache = Cache::new(10 * (OVERHEAD_BYTES + 100));
        for n in 0..20 {
            cache.fill(ticket(&cache, n), &name(n), &state(1), 100);
        }
        assert_eq!(cache.lock().entries.len(), 10);
        assert!(cache.find(&name(9)).is_err());
        assert!(cache.find(&name(10)).is_ok());
        cache.fill(ticket(&cache, 0), &name(0), &state(1), 1 << 30);
        assert!(cache.find(&name(0)).is_err(), "one too large for the cache is not kept");
    }

    #[test]
    fn a_slow_reader_cannot_bring_back_an_old_state() {
        let cache = Cache::new(1 << 20);
        let changed = [name(1)];
        let before = ticket(&cache, 1);
        cache.begin_commit(changed.iter());
        let during = ticket(&cache, 1);
        cache.fill(before, &name(1), &state(1), 0);
        cache.fill(during, &name(1), &state(1), 0);
        cache.end_commit(changed.iter());
        cache.fill(before, &name(1), &state(1), 0);
        cache.fill(during, &name(1), &state(1), 0);
        assert!(cache.find(&name(1)).is_err());
        cache.fill(ticket(&cache, 1), &name(1), &state(2), 0);
        assert_eq!(cache.find(&name(1)).unwrap(), state(2));
    }
}
