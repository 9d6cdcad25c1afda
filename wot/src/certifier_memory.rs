//! A bounded memory of who has certified whom.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bftkv_protocol::{Address, NodeId};
use lru::LruCache;

/// How many writers are remembered, with one address each.
const WRITERS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// When an answer was worked out, and from what. Times in OpenPGP are whole seconds: within one
/// of them, and while no certificate changes and nobody is cut out, the same question has the
/// same answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    generation: u64,
    second: u64,
}

impl Moment {
    /// The keyring's generation is read before what the answer is worked out from.
    pub(crate) fn new(generation: u64, time: SystemTime) -> Self {
        let second = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { generation, second }
    }
}

/// The last answer for each writer. A server asks for every request, and a busy writer sends
/// hundreds of them within a second.
#[derive(Debug)]
pub(crate) struct CertifierMemory(Mutex<LruCache<NodeId, Known>>);

#[derive(Debug)]
struct Known {
    address: Address,
    moment: Moment,
    certifiers: Arc<BTreeSet<NodeId>>,
}

impl Default for CertifierMemory {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(WRITERS)))
    }
}

impl CertifierMemory {
    /// The answer for this moment, worked out if need be.
    pub(crate) fn get(
        &self,
        (writer, address): (&NodeId, &Address),
        moment: Moment,
        find: impl FnOnce() -> BTreeSet<NodeId>,
    ) -> Arc<BTreeSet<NodeId>> {
        if let Some(known) = self.lock().get(writer)
            && known.moment == moment
            && known.address == *address
        {
            return Arc::clone(&known.certifiers);
        }
        let certifiers = Arc::new(find());
        let known = Known { address: address.clone(), moment, certifiers: Arc::clone(&certifiers) };
        self.lock().put(writer.clone(), known);
        certifiers
    }

    /// Each use is one call, so a panic elsewhere leaves nothing half-changed.
    fn lock(&self) -> MutexGuard<'_, LruCache<NodeId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_holds_for_its_address_its_second_and_its_certificates() {
        let memory = CertifierMemory::default();
        let id = |n: u8| NodeId::from_bytes(&[n; 20]).unwrap();
        let address = |text: &str| Address::new(text).unwrap();
        let at = |generation, millis| {
            Moment::new(generation, UNIX_EPOCH + Duration::from_millis(millis))
        };
        let ask = |address: &Address, moment, n| {
            memory.get((&id(0), address), moment, || BTreeSet::from([id(n)])).first().cloned()
        };
        let (a, b) = (address("a@example.org"), address("b@example.org"));
        assert_eq!(ask(&a, at(1, 5000), 1), Some(id(1)));
        assert_eq!(ask(&a, at(1, 5999), 2), Some(id(1)), "remembered");
        assert_eq!(ask(&a, at(1, 6000), 3), Some(id(3)), "a second later");
        assert_eq!(ask(&a, at(2, 6000), 4), Some(id(4)), "after a change");
        assert_eq!(ask(&b, at(2, 6000), 5), Some(id(5)), "by another name");
        assert_eq!(ask(&a, at(2, 6000), 6), Some(id(6)));
    }
}
