//! Signatures and what they are for.

use serde::{Deserialize, Serialize};

use crate::{Domain, SignatureBytes};

/// The purposes for which a key of the protocol signs. Each is named in a notation in the hashed
/// area of the OpenPGP signature; a signature without it does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// The writer's signature of an entry, s_C.
    Entry,
    /// A member's signature share, s_i.
    Share,
    /// A member's statement of the largest timestamp seen.
    Time,
    /// A writer gives up an attempt.
    Abandon,
    /// A sealed request or answer.
    Message,
    /// A member's vote for a successor of a configuration.
    Change,
    /// A node's word on its memory.
    Announcement,
    /// A member's word that it stores an entry.
    Vouch,
    /// One signature for many messages of another purpose, which the signed bytes name.
    Batch,
}

impl Purpose {
    /// The domain whose string is the notation's value.
    #[must_use]
    pub const fn domain(self) -> Domain {
        match self {
            Self::Entry => Domain::Entry,
            Self::Share => Domain::Share,
            Self::Time => Domain::Time,
            Self::Abandon => Domain::Abandon,
            Self::Message => Domain::Message,
            Self::Change => Domain::Change,
            Self::Announcement => Domain::Announcement,
            Self::Vouch => Domain::Vouch,
            Self::Batch => Domain::Batch,
        }
    }

    /// Whether many messages of this purpose may be signed at once (docs/adr/0016): entries by
    /// their writer, and shares. Whatever else is signed is signed by itself.
    #[must_use]
    pub const fn may_be_batched(self) -> bool {
        matches!(self, Self::Entry | Self::Share)
    }
}

/// The paper's s_C: the writer's OpenPGP detached signature over an entry's canonical bytes, or over
/// the root of many entries with the path of this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterSignature(SignatureBytes);

impl WriterSignature {
    /// Wraps a signature packet. It says nothing about validity: see `verify_writer`.
    #[must_use]
    pub fn new(bytes: SignatureBytes) -> Self {
        Self(bytes)
    }

    /// The signature packet, with its path if it is a batched one.
    #[must_use]
    pub fn packet(&self) -> &SignatureBytes {
        &self.0
    }
}
