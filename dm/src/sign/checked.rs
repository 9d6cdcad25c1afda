//! Signatures that were verified already.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::Dnskey;

/// Remembers right signatures by the hash of key, message and signature, so that one process computes each only
/// once, however often it looks at a zone. Whether it holds at the time is another question, which it does not answer.
///
/// Copies share what they know.
#[derive(Clone, Debug, Default)]
pub struct Checked(Arc<Mutex<Known>>);

/// Two generations: when the newer one is full, the older one is forgotten.
#[derive(Debug, Default)]
struct Known {
    newer: BTreeSet<[u8; 32]>,
    older: BTreeSet<[u8; 32]>,
}

impl Checked {
    /// The most signatures of a generation: a zone of as many sets as may be agreed on, twice.
    const GENERATION: usize = 1 << 17;

    /// As [`Dnskey::verify`].
    #[must_use]
    pub fn verify(&self, by: &Dnskey, message: &[u8], signature: &[u8]) -> bool {
        let hash = hash(&[&by.rdata(), message, signature]);
        if self.knows(&hash) {
            return true;
        }
        let is_right = by.verify(message, signature);
        if is_right {
            self.note(hash);
        }
        is_right
    }

    fn knows(&self, hash: &[u8; 32]) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.newer.contains(hash) || known.older.contains(hash)
    }

    fn note(&self, hash: [u8; 32]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.newer.len() >= Self::GENERATION {
            known.older = std::mem::take(&mut known.newer);
        }
        known.newer.insert(hash);
    }
}

/// Each part with its length before it, so that nothing of one can be taken for another's.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(b"bftkv dm signature 1");
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
