//! Entries: what is written, signed and certified.

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::hash::sha256;
use crate::{
    Address, CollectiveSignature, Domain, EntryHash, NodeId, Realm, Timestamp, Value, ValueDigest,
    Variable, WriterSignature,
};

/// The paper's <x,t,v>, with the realm, the writer and the `Final` mark.
///
/// Differs: the text leaves the writer's identity to the signature packet. Here the writer's
/// fingerprint and the address under which it owns the variable are signed too, so ownership can
/// be checked from the entry alone, also when the certificate is long gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The realm in which the entry counts.
    pub realm: Realm,
    /// x.
    pub variable: Variable,
    /// t.
    pub timestamp: Timestamp,
    /// v.
    pub value: Value,
    /// Write once: nothing else may follow this value.
    pub is_final: bool,
    /// The certificate whose key signs.
    pub writer: NodeId,
    /// The address in the writer's user ID under which it owns the variable.
    pub owner: Address,
}

impl Entry {
    /// The bytes that the writer signs. They hold the SHA-256 digest of v instead of v itself, so
    /// that a [`crate::Slot`] proves itself without the value.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        self.outline().signed_bytes()
    }

    fn outline(&self) -> Outline<'_> {
        Outline {
            realm: &self.realm,
            variable: &self.variable,
            timestamp: self.timestamp,
            value: self.value.digest(),
            is_final: self.is_final,
            writer: &self.writer,
            owner: &self.owner,
        }
    }
}

/// An entry with the digest of its value only: all that its signature and its name depend on.
pub(crate) struct Outline<'a> {
    pub(crate) realm: &'a Realm,
    pub(crate) variable: &'a Variable,
    pub(crate) timestamp: Timestamp,
    pub(crate) value: ValueDigest,
    pub(crate) is_final: bool,
    pub(crate) writer: &'a NodeId,
    pub(crate) owner: &'a Address,
}

impl Outline<'_> {
    pub(crate) fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new(Domain::Entry, self.realm)
            .field(self.variable.as_bytes())
            .number(self.timestamp.get())
            .flag(self.is_final)
            .field(self.writer.as_bytes())
            .field(self.owner.as_str().as_bytes())
            .field(self.value.as_bytes())
            .into_bytes()
    }

    pub(crate) fn hash(&self, signature: &WriterSignature) -> EntryHash {
        let prefix = Canonical::new(Domain::EntryHash, self.realm).into_bytes();
        let entry = sha256(&[&self.signed_bytes()]);
        let signature = sha256(&[signature.packet().as_bytes()]);
        EntryHash::from_bytes(sha256(&[&prefix, &entry, &signature]))
    }
}

/// Names an attempt: its variable, timestamp and hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryId {
    /// x.
    pub variable: Variable,
    /// t.
    pub timestamp: Timestamp,
    /// The hash of the signed entry.
    pub hash: EntryHash,
}

/// The paper's <x,t,v,s_C>: an entry with its writer's signature. Not verified by being one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedEntry {
    /// <x,t,v>.
    pub entry: Entry,
    /// s_C.
    pub signature: WriterSignature,
}

impl SignedEntry {
    /// The hash that names this signed entry. It covers the signature, so two signatures over
    /// the same entry are two attempts.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        self.entry.outline().hash(&self.signature)
    }

    /// The name of the attempt.
    #[must_use]
    pub fn id(&self) -> EntryId {
        EntryId {
            variable: self.entry.variable.clone(),
            timestamp: self.entry.timestamp,
            hash: self.hash(),
        }
    }
}

/// The paper's <x,t,v,s_C,S>: a signed entry with the signatures of the cliques. Not verified by
/// being one: see [`crate::verify_certified`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertifiedEntry {
    /// <x,t,v,s_C>.
    pub signed: SignedEntry,
    /// S.
    pub collective: CollectiveSignature,
}

impl CertifiedEntry {
    /// <x,t,v>.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.signed.entry
    }

    /// t.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.signed.entry.timestamp
    }

    /// x.
    #[must_use]
    pub fn variable(&self) -> &Variable {
        &self.signed.entry.variable
    }

    /// The hash of the signed entry, without S: two entries that differ only in which members
    /// signed are the same entry.
    #[must_use]
    pub fn hash(&self) -> EntryHash {
        self.signed.hash()
    }
}
