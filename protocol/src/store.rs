//! What a server remembers, and the trait of the stores that keep it.

use serde::{Deserialize, Serialize};

use crate::entry::Outline;
use crate::limited::{self, MAX_LIST};
use crate::{
    Abandon, Address, CertifiedEntry, EntryHash, EntryId, EquivocationProof, Invalid, NodeId,
    Purpose, Realm, SignedEntry, StoreAge, Timestamp, ValueDigest, Variable, Vault, Verify,
    WriterSignature,
};

/// An attempt that this server has signed and whose outcome it does not know yet.
///
/// It stays outstanding until that very attempt is abandoned or an entry with t at least its own
/// is certified. It blocks other owners, never its own (rule R3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// t.
    pub timestamp: Timestamp,
    /// The hash of <x,t,v,s_C>.
    pub hash: EntryHash,
    /// The writer's certificate.
    pub writer: NodeId,
    /// The address under which it writes.
    pub owner: Address,
    /// The digest of v.
    pub value: ValueDigest,
    /// Whether the attempt would seal the variable.
    pub is_final: bool,
    /// s_C: with it the slot proves to others that its writer made the attempt.
    pub signature: WriterSignature,
}

impl Slot {
    /// How many slots one owner may have outstanding on one variable at one server.
    pub const MAX_PER_OWNER: usize = 16;

    /// How many slots of one variable one member may report: an honest one has those of one owner,
    /// and more only where it had to collect them itself.
    pub const MAX_RECALLED: usize = 64;

    /// The slot that signing this attempt leaves.
    #[must_use]
    pub fn of(signed: &SignedEntry) -> Self {
        Self::named(signed, signed.hash())
    }

    /// The same, where the hash of the attempt is known.
    pub(crate) fn named(signed: &SignedEntry, hash: EntryHash) -> Self {
        let entry = &signed.entry;
        Self {
            timestamp: entry.timestamp,
            hash,
            writer: entry.writer.clone(),
            owner: entry.owner.clone(),
            value: entry.value.digest(),
            is_final: entry.is_final,
            signature: signed.signature.clone(),
        }
    }

    /// Checks that the writer signed this very attempt. It does not say that a member signed it.
    ///
    /// # Errors
    /// [`Invalid`]: the fault of whoever showed the slot, unless [`Invalid::missing_certificate`]
    /// names one.
    pub fn verify(
        &self,
        realm: &Realm,
        variable: &Variable,
        keys: &dyn Verify,
    ) -> Result<(), Invalid> {
        let outline = Outline {
            realm,
            variable,
            timestamp: self.timestamp,
            value: self.value,
            is_final: self.is_final,
            writer: &self.writer,
            owner: &self.owner,
        };
        if !self.timestamp.is_usable() || outline.hash(&self.signature) != self.hash {
            return Err(Invalid::Timestamp);
        }
        let bytes = outline.signed_bytes();
        keys.verify(&self.writer, Purpose::Entry, &bytes, self.signature.packet())
            .map_err(Invalid::Writer)
    }
}

/// A signer's memory of one variable. Losing it makes an honest signer equivocate, so it is synced
/// to disk before a share leaves and survives everything, pruning and operators included.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Marks {
    /// seen(x): the largest t signed, stored or abandoned here. A refusal never raises it.
    pub seen: Timestamp,
    /// Attempts signed and not settled, in ascending order of t.
    #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
    pub slots: Vec<Slot>,
    /// Abandon messages, kept until an entry is certified so that others can relay them.
    #[serde(deserialize_with = "limited::list::<_, _, MAX_LIST>")]
    pub abandons: Vec<Abandon>,
}

impl Marks {
    /// How many abandon messages are kept for one variable; the newest stay.
    pub const MAX_ABANDONS: usize = 32;

    /// The slot of this very attempt.
    #[must_use]
    pub fn slot(&self, attempt: &EntryId) -> Option<&Slot> {
        self.slots.iter().find(|s| s.timestamp == attempt.timestamp && s.hash == attempt.hash)
    }
}

/// What a store holds of one variable, as far as the rules need it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VariableState {
    /// The certified entry with the largest t.
    pub latest: Option<CertifiedEntry>,
    /// The signer's memory.
    pub marks: Marks,
}

/// One atomic change of a store: all of it is on disk when `commit` returns, or none of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// Certified entries to keep. The store keeps every version; "latest" is the one with the
    /// largest t.
    pub entries: Vec<CertifiedEntry>,
    /// Signer's memories to replace.
    pub marks: Vec<(Variable, Marks)>,
    /// Proofs of equivocation to keep for ever.
    pub proofs: Vec<EquivocationProof>,
    /// Shares and counters of passwords to replace.
    pub vaults: Vec<(Variable, Vault)>,
}

impl Batch {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.marks.is_empty()
            && self.proofs.is_empty()
            && self.vaults.is_empty()
    }
}

/// A store failed. The world's fault or a damaged disk; a server that meets it stops signing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The operating system refused or failed. Retry after the cause is gone.
    #[error("storage: {0}")]
    Io(String),
    /// A record does not fit its checksum or its place. It is not served; the quorum has copies.
    #[error("storage: damaged record {record}: {reason}")]
    Corrupt {
        /// Which record, in words.
        record: String,
        /// What does not fit.
        reason: String,
    },
    /// An earlier write or sync failed; the store must be opened again before it is trusted.
    #[error("storage: stopped after an earlier failure; restart the node to check and reopen it")]
    Stopped,
}

/// A durable store of certified entries and signer's memories.
///
/// Calls block; a driver makes them on threads of its own. Concurrent commits are grouped into
/// one sync. Every record carries a checksum: a damaged one is an error, never an answer.
pub trait Store: Send + Sync {
    /// The newest certified entry and the signer's memory of a variable. A variable that was
    /// never seen gives the default.
    ///
    /// # Errors
    /// [`StoreError`]: the world's or the disk's fault.
    fn load(&self, variable: &Variable) -> Result<VariableState, StoreError>;

    /// The certified entry with exactly this timestamp.
    ///
    /// # Errors
    /// [`StoreError`].
    fn version(
        &self,
        variable: &Variable,
        timestamp: Timestamp,
    ) -> Result<Option<CertifiedEntry>, StoreError>;

    /// The timestamps of certified entries below `below` (all, if `None`), newest first, at most
    /// `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn versions(
        &self,
        variable: &Variable,
        below: Option<Timestamp>,
        limit: usize,
    ) -> Result<Vec<Timestamp>, StoreError>;

    /// Variables with a certified entry whose names begin with `prefix`, in ascending order, after
    /// `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&Variable>,
        limit: usize,
    ) -> Result<Vec<Variable>, StoreError>;

    /// All variables of which the store holds anything, signer's memories alone included, in
    /// ascending order, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`].
    fn known(&self, after: Option<&Variable>, limit: usize) -> Result<Vec<Variable>, StoreError>;

    /// Which store this is, and how far it has come. Waits for the check after opening as far as
    /// a signature depends upon it.
    ///
    /// # Errors
    /// What the check found.
    fn age(&self) -> Result<StoreAge, StoreError>;

    /// Makes a batch durable, atomically. On return it is synced to disk.
    ///
    /// # Errors
    /// [`StoreError`]; after an error of writing or syncing every later commit answers
    /// [`StoreError::Stopped`] until the store is opened again.
    fn commit(&self, batch: Batch) -> Result<(), StoreError>;

    /// All stored proofs of equivocation, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    fn proofs(&self) -> Result<Vec<EquivocationProof>, StoreError>;

    /// The shares and counters of a variable's password. It is guarded like a signer's memory: an
    /// older one is never given for the newest.
    ///
    /// # Errors
    /// [`StoreError`].
    fn vault(&self, variable: &Variable) -> Result<Option<Vault>, StoreError>;
}
