//! Counts messages and bytes where they are sealed and opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bftkv::NodeId;
use bftkv::protocol::{CertificateBytes, Opened, Seal, SealError};

/// Messages and bytes so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    /// Messages and bytes so far, both ways.
    pub(super) fn read(&self) -> (u64, u64) {
        (self.messages.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    fn count(&self, messages: usize, bytes_each: usize) {
        let all = messages.saturating_mul(bytes_each);
        let [messages, all] = [messages, all].map(|n| u64::try_from(n).unwrap_or(u64::MAX));
        self.messages.fetch_add(messages, Ordering::Relaxed);
        self.bytes.fetch_add(all, Ordering::Relaxed);
    }
}

/// Seals and opens, and counts. One sealed message goes to every recipient.
pub(super) struct CountingSeal {
    seal: Arc<dyn Seal>,
    counters: Arc<Counters>,
}

impl CountingSeal {
    /// Counts what goes through `seal`.
    pub(super) fn new(seal: Arc<dyn Seal>, counters: Arc<Counters>) -> Self {
        Self { seal, counters }
    }
}

impl Seal for CountingSeal {
    fn id(&self) -> &NodeId {
        self.seal.id()
    }

    fn seal(&self, recipients: &[NodeId], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let sealed = self.seal.seal(recipients, plaintext)?;
        self.counters.count(recipients.len(), sealed.len());
        Ok(sealed)
    }

    fn open(&self, sealed: &[u8], limit: usize) -> Result<Opened, SealError> {
        self.counters.count(1, sealed.len());
        self.seal.open(sealed, limit)
    }

    fn open_from(
        &self,
        sealed: &[u8],
        limit: usize,
        certificate: &CertificateBytes,
    ) -> Result<Opened, SealError> {
        self.counters.count(1, sealed.len());
        self.seal.open_from(sealed, limit, certificate)
    }
}
