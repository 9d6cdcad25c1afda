//! What an embedding program may say about values.

use bftkv_protocol::{CertifiedEntry, Entry};

/// A program that embeds a [`crate::Node`] can have a say in what it signs.
///
/// It can only refuse: whatever it allows is still judged by the rules of the protocol. Both
/// methods run on a thread where they may block, several at once.
pub trait Policy: Send + Sync {
    /// Whether this member may sign the entry. Its writer's signature is verified, and the sender
    /// is the writer. It is asked again when the writer tries again, also after the member has
    /// signed: for the same value it must then say the same.
    ///
    /// # Errors
    /// The reason, which the writer is told ([`bftkv_protocol::Refusal::Declined`]). The writer
    /// tries again until its deadline.
    fn may_sign(&self, entry: &Entry) -> Result<(), String>;

    /// This certified entry was stored here, perhaps not for the first time.
    fn stored(&self, entry: &CertifiedEntry);
}
