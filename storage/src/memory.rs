//! A backend in memory, for tests and simulations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bftkv_protocol::StoreError;

use crate::backend::{Backend, Change, Page, Pair};
use crate::identity::Opening;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keeps everything in memory. A clone is the same memory, so that a simulated node can crash and
/// open its store again.
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend(Arc<RwLock<Map>>, Arc<Mutex<Option<Opening>>>);

impl MemoryBackend {
    fn map(&self) -> RwLockReadGuard<'_, Map> {
        // A panic cannot leave the map half changed: `commit` only inserts and removes.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBackend {
    fn begin(&self) -> Result<Opening, StoreError> {
        let mut last = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        let next = last.map_or_else(Opening::of_new_store, |last| Ok(last.next()))?;
        *last = Some(next);
        Ok(next)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.map().get(key).cloned())
    }

    fn scan(&self, from: &[u8], end: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        let mut page = Page::new(limit);
        if from < end {
            let bounds = (Bound::Included(from), Bound::Excluded(end));
            for (key, value) in self.map().range::<[u8], _>(bounds) {
                if page.is_full() {
                    break;
                }
                page.push(key.clone(), value.clone());
            }
        }
        Ok(page.into_pairs())
    }

    fn commit(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let mut map = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for Change { key, value } in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }
}
