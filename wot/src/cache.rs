//! A bounded memory of verified signatures.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use sequoia_openpgp::types::HashAlgorithm;

/// Remembers which signatures were found good. Sequoia's own memory grows without bound (54 bytes
/// for each signature, for ever), so checks go past it and use this one.
#[derive(Debug)]
pub(crate) struct SignatureCache {
    good: Mutex<LruCache<CacheKey, ()>>,
}

/// SHA-256 over everything on which the verdict depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey([u8; 32]);

impl CacheKey {
    /// Each part is preceded by its length, so that no two lists give the same key.
    pub(crate) fn of(parts: &[&[u8]]) -> Option<Self> {
        let mut hash = HashAlgorithm::SHA256.context().ok()?.for_digest();
        for part in parts {
            hash.update(&part.len().to_be_bytes());
            hash.update(part);
        }
        Some(Self(hash.into_digest().ok()?.try_into().ok()?))
    }
}

impl SignatureCache {
    /// About 100 bytes for each entry.
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { good: Mutex::new(LruCache::new(capacity)) }
    }

    /// Runs `check` unless the same question was answered with yes before.
    pub(crate) fn check<E>(
        &self,
        key: Option<CacheKey>,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(key) = key else { return check() };
        if self.lock().get(&key).is_some() {
            return Ok(());
        }
        check()?;
        self.lock().put(key, ());
        Ok(())
    }

    /// Remembers an answer that is known without a check.
    pub(crate) fn note_good(&self, key: Option<CacheKey>) {
        if let Some(key) = key {
            self.lock().put(key, ());
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A panic elsewhere cannot leave the cache half-changed: each use is one call.
    fn lock(&self) -> std::sync::MutexGuard<'_, LruCache<CacheKey, ()>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_good_answers_are_remembered_and_only_so_many() {
        let cache = SignatureCache::new(NonZeroUsize::new(2).unwrap());
        let key = |n: u8| CacheKey::of(&[&[n]]);
        assert_eq!(cache.check(key(1), || Err("bad")), Err("bad"));
        assert_eq!(cache.check(key(1), || Ok::<_, &str>(())), Ok(()));
        assert_eq!(cache.check(key(1), || Err("not asked again")), Ok(()));
        (2..9).for_each(|n| cache.check(key(n), || Ok::<_, &str>(())).unwrap());
        assert_eq!(cache.len(), 2);
        assert_eq!(cache.check(key(1), || Err("forgotten")), Err("forgotten"));
    }

    #[test]
    fn keys_keep_parts_apart() {
        assert_ne!(CacheKey::of(&[b"ab", b"c"]), CacheKey::of(&[b"a", b"bc"]));
    }
}
