//! What is signed together, by whom and with which nonces.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use frost_ed25519::Identifier;
use frost_ed25519::round1::{SigningCommitments, SigningNonces};
use sha2::{Digest, Sha256};

use crate::codec::Writer;
use crate::ecdsa::Presignature;
use crate::{Error, Party};

/// The most messages in one session. A root zone needs about 2,800; whoever has more makes
/// several sessions. It bounds what a peer's batch can cost.
pub const MAX_BATCH: usize = 16_384;

/// The hash of a group key's public part. Another refresh of the same key has another one,
/// because partial signatures of the two do not fit together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) [u8; 32]);

impl KeyId {
    pub(crate) fn of(public: &[u8]) -> Self {
        Self(
            Sha256::new_with_prefix(b"bftkv threshold key 1")
                .chain_update(public)
                .finalize()
                .into(),
        )
    }

    /// The hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What one session signs: with which key, which messages, and (for schemes with two rounds)
/// under which commitments, whose givers are its signers.
///
/// Two parties may give partial signatures only for the same session. A caller who runs the
/// session past its quorum agrees on [`Session::hash`].
#[derive(Clone)]
pub struct Session {
    key: KeyId,
    messages: Arc<[Vec<u8>]>,
    commitments: Arc<BTreeMap<Party, Vec<u8>>>,
    /// The commitments as points, which takes long and is done once: for each message, by signer.
    parsed: Arc<OnceLock<Vec<FrostCommitments>>>,
}

/// The commitments of all signers for one message.
pub(crate) type FrostCommitments = BTreeMap<Identifier, SigningCommitments>;

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signers: Vec<_> = self.commitments.keys().collect();
        let mut out = f.debug_struct("Session");
        out.field("key", &self.key).field("messages", &self.messages.len());
        out.field("signers", &signers).finish()
    }
}

impl Session {
    /// A session. Commitments are empty for schemes with one round ([`crate::rsa`]): there
    /// everybody may sign.
    ///
    /// # Errors
    ///
    /// [`Error::BatchSize`] for no message, or more than [`MAX_BATCH`].
    pub fn new(
        key: KeyId,
        messages: Vec<Vec<u8>>,
        commitments: BTreeMap<Party, Vec<u8>>,
    ) -> Result<Self, Error> {
        if messages.is_empty() || messages.len() > MAX_BATCH {
            return Err(Error::BatchSize);
        }
        let (messages, commitments) = (messages.into(), Arc::new(commitments));
        Ok(Self { key, messages, commitments, parsed: Arc::default() })
    }

    /// The key that signs.
    #[must_use]
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// What is signed.
    #[must_use]
    pub fn messages(&self) -> &[Vec<u8>] {
        &self.messages
    }

    /// The commitments, by their givers.
    #[must_use]
    pub fn commitments(&self) -> &BTreeMap<Party, Vec<u8>> {
        &self.commitments
    }

    pub(crate) fn message(&self, number: usize) -> Result<&[u8], Error> {
        self.messages.get(number).map(Vec::as_slice).ok_or(Error::BatchSize)
    }

    /// The parsed commitments, parsed now if they have not been.
    pub(crate) fn parsed(
        &self,
        parse: impl FnOnce(&Self) -> Result<Vec<FrostCommitments>, Error>,
    ) -> Result<&[FrostCommitments], Error> {
        if self.parsed.get().is_none() {
            let parsed = parse(self)?;
            return Ok(self.parsed.get_or_init(|| parsed));
        }
        Ok(self.parsed.get().map(Vec::as_slice).unwrap_or_default())
    }

    pub(crate) fn check_key(&self, key: KeyId) -> Result<(), Error> {
        if self.key == key { Ok(()) } else { Err(Error::OtherKey) }
    }

    /// One hash over key, messages and commitments, for the caller to agree on.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut out = Writer::default();
        out.bytes(b"bftkv threshold session 1");
        out.bytes(&self.key.0);
        out.length_u32(self.messages.len());
        for message in self.messages.iter() {
            out.bytes(&Sha256::digest(message));
        }
        out.length_u32(self.commitments.len());
        for (party, commitments) in self.commitments.iter() {
            out.bytes(&[party.number()]);
            out.bytes(&Sha256::digest(commitments));
        }
        Sha256::digest(&*out.finish()).into()
    }
}

/// How many wrong messages of a batch are looked into for who spoiled them. A liar can spoil thousands, and each takes as
/// long as many right ones; whoever spoiled others only is named when they are signed again.
pub(crate) const MOST_EXAMINED: usize = 64;

/// A party's secret between the rounds of one session. It is used up by signing, cannot be
/// copied and cannot be written anywhere: signing two sessions with the same nonces gives the
/// share away. A restart forgets them.
pub struct Nonces {
    pub(crate) key: KeyId,
    pub(crate) kind: NonceKind,
}

pub(crate) enum NonceKind {
    /// The scheme has none.
    None,
    /// FROST, one for each message.
    Frost(Vec<SigningNonces>),
    /// Presignatures, one for each message.
    Ecdsa(Vec<Presignature>),
}

impl Nonces {
    /// Presignatures of several batches as one, in this order.
    ///
    /// # Errors
    ///
    /// [`Error::BatchSize`] for none at all; [`Error::OtherNonces`] if some are no presignatures;
    /// [`Error::OtherKey`] if they belong to several keys. All are gone then.
    pub fn join(parts: Vec<Self>) -> Result<Self, Error> {
        let key = parts.first().ok_or(Error::BatchSize)?.key;
        let mut all = Vec::new();
        for part in parts {
            if part.key != key {
                return Err(Error::OtherKey);
            }
            let NonceKind::Ecdsa(some) = part.kind else { return Err(Error::OtherNonces) };
            all.extend(some);
        }
        Ok(Self { key, kind: NonceKind::Ecdsa(all) })
    }
}

impl fmt::Debug for Nonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nonces").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_session_is_about_everything_in_it() {
        let key = |byte| KeyId([byte; 32]);
        let party = |number| Party::new(number).unwrap();
        let commitments = |n: u8, byte: u8| BTreeMap::from([(party(n), vec![byte])]);
        let session = |k, messages: &[&[u8]], commitments| {
            let messages = messages.iter().map(|m| m.to_vec()).collect();
            Session::new(key(k), messages, commitments).unwrap().hash()
        };
        let hashes = [
            session(1, &[b"a", b"b"], commitments(1, 1)),
            session(2, &[b"a", b"b"], commitments(1, 1)),
            session(1, &[b"b", b"a"], commitments(1, 1)),
            session(1, &[b"ab"], commitments(1, 1)),
            session(1, &[b"a", b"b", b""], commitments(1, 1)),
            session(1, &[b"a", b"b"], commitments(2, 1)),
            session(1, &[b"a", b"b"], commitments(1, 2)),
            session(1, &[b"a", b"b"], BTreeMap::new()),
        ];
        let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
    }

    #[test]
    fn a_batch_is_neither_empty_nor_endless() {
        let session = |count| Session::new(KeyId([0; 32]), vec![vec![]; count], BTreeMap::new());
        assert_eq!(session(0).unwrap_err(), Error::BatchSize);
        assert!(session(MAX_BATCH).is_ok());
        assert_eq!(session(MAX_BATCH + 1).unwrap_err(), Error::BatchSize);
    }
}
