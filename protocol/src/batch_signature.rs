//! One OpenPGP signature over many messages (docs/adr/0016).
//!
//! The signature is made over the Merkle root of the messages. What stands beside each message is a
//! [`SignatureBytes`] that holds the packet and the message's path to the root; it is used like
//! any other signature of that message, and says no more than such a one would say.

use crate::canonical::{Head, batch_bytes};
use crate::merkle::{self, Hash};
use crate::planted::{self, Bug};
use crate::{Purpose, SignatureBytes};

/// The most messages under one root. The longest path has eight hashes, so that it and an
/// RSA-4096 signature stay within [`SignatureBytes::MAX_BYTES`].
pub const MAX_BATCH: usize = 256;

/// The first byte of a signature over a root. An OpenPGP packet begins with a byte above 127 (RFC
/// 9580 section 4.2), so that the two are never taken for each other.
const MARK: u8 = 0x42;

const HASH_BYTES: usize = 32;

/// What an OpenPGP program is asked to judge a protocol signature.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a signature has these three parts")]
pub struct Detached {
    /// What the packet's notation names.
    pub purpose: Purpose,
    /// The bytes that the packet signs: the message itself, or the root over many.
    pub message: Vec<u8>,
    /// The packet.
    pub packet: SignatureBytes,
}

impl SignatureBytes {
    /// Whether it is a signature over a root, with a path.
    #[must_use]
    pub fn is_batched(&self) -> bool {
        self.as_bytes().first() == Some(&MARK)
    }

    /// The OpenPGP packet in this signature of `message`, and what it signs. For a batched signature
    /// those are the bytes to which its path leads; it is good if that packet is.
    ///
    /// # Errors
    /// In words, what is wrong with the form: the fault of whoever made the signature.
    pub fn detach(&self, purpose: Purpose, message: &[u8]) -> Result<Detached, &'static str> {
        if !self.is_batched() {
            return Ok(Detached { purpose, message: message.to_vec(), packet: self.clone() });
        }
        let placed = Placed::of(self, purpose, message)?;
        let root = merkle::root(placed.leaf, placed.index, placed.count, placed.path);
        placed.detached(&root.ok_or("its path has the wrong length")?)
    }

    /// The OpenPGP packet in it.
    #[must_use]
    pub fn packet(&self) -> Option<Self> {
        if !self.is_batched() {
            return Some(self.clone());
        }
        let parts = Parts::read(self.as_bytes()).ok()?;
        Self::new(parts.packet).ok().filter(|packet| !packet.is_batched())
    }
}

/// A batched signature of a message, taken apart, before its path is walked.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    /// What the message is for, and its realm.
    pub(crate) head: Head<'a>,
    /// The message's leaf.
    pub(crate) leaf: Hash,
    /// Which of the leaves it is.
    pub(crate) index: usize,
    /// How many leaves there are.
    pub(crate) count: usize,
    /// The hashes beside the way to the root.
    pub(crate) path: &'a [Hash],
    /// The packet over the root; not a batched signature itself.
    pub(crate) packet: &'a [u8],
}

impl<'a> Placed<'a> {
    /// Takes a batched signature apart. Nothing in it is believed by that.
    pub(crate) fn of(
        signature: &'a SignatureBytes,
        purpose: Purpose,
        message: &'a [u8],
    ) -> Result<Self, &'static str> {
        let head = Head::of(message).ok_or("not a message that is signed in batches")?;
        let fits = purpose.may_be_batched() && head.is_of(purpose);
        if !fits && !planted::is(Bug::BatchForAnyPurpose) {
            return Err("not a message that is signed in batches");
        }
        let Parts { index, count, path, packet } = Parts::read(signature.as_bytes())?;
        let lengths = SignatureBytes::MIN_BYTES..=SignatureBytes::MAX_BYTES;
        if !lengths.contains(&packet.len()) || packet.first() == Some(&MARK) {
            return Err("it holds no signature packet");
        }
        Ok(Self { head, leaf: merkle::leaf(message), index, count, path, packet })
    }

    /// What is to be judged if the path leads to this root.
    pub(crate) fn detached(&self, root: &Hash) -> Result<Detached, &'static str> {
        let packet =
            SignatureBytes::new(self.packet).map_err(|_| "it holds no signature packet")?;
        let message = batch_bytes(&self.head, self.count, root);
        Ok(Detached { purpose: Purpose::Batch, message, packet })
    }
}

/// ```text
/// mark, index, count - 1: one byte each; path: 32 bytes for each hash; packet: all that follows
/// ```
struct Parts<'a> {
    index: usize,
    count: usize,
    path: &'a [Hash],
    packet: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, &'static str> {
        let [MARK, index, last, rest @ ..] = bytes else { return Err("not a batched signature") };
        // A root over a single message would be a second form of a plain signature.
        if index > last || *last == 0 {
            return Err("it has no such place in its batch");
        }
        let (index, count) = (usize::from(*index), usize::from(*last).saturating_add(1));
        let length = merkle::path_length(index, count).saturating_mul(HASH_BYTES);
        let (path, packet) = rest.split_at_checked(length).ok_or("its path is cut off")?;
        let (path, _) = path.as_chunks::<HASH_BYTES>();
        Ok(Self { index, count, path, packet })
    }

    fn write(&self) -> Option<SignatureBytes> {
        let (index, last) = (u8::try_from(self.index), u8::try_from(self.count.checked_sub(1)?));
        let place = [MARK, index.ok()?, last.ok()?];
        SignatureBytes::new([place.as_slice(), self.path.as_flattened(), self.packet].concat()).ok()
    }
}

/// Signs many messages of one purpose and realm: each [`MAX_BATCH`] of them under one root, a
/// message that is alone by itself. The signatures come in the order of the messages.
///
/// Whoever holds one of them learns nothing of the other messages but that there are so many.
///
/// # Errors
/// What `sign` says.
pub fn sign_batch<E>(
    purpose: Purpose,
    messages: &[Vec<u8>],
    mut sign: impl FnMut(Purpose, &[u8]) -> Result<SignatureBytes, E>,
) -> Result<Vec<SignatureBytes>, E> {
    let mut signatures = Vec::with_capacity(messages.len());
    for messages in messages.chunks(MAX_BATCH) {
        match sign_under_one_root(purpose, messages, &mut sign)? {
            Some(together) => signatures.extend(together),
            None => {
                for message in messages {
                    signatures.push(sign(purpose, message)?);
                }
            }
        }
    }
    Ok(signatures)
}

/// `None` if the messages do not go under one root: there is one only, they are of several realms,
/// or the packet is so long that there is no room for a path.
fn sign_under_one_root<E>(
    purpose: Purpose,
    messages: &[Vec<u8>],
    sign: &mut impl FnMut(Purpose, &[u8]) -> Result<SignatureBytes, E>,
) -> Result<Option<Vec<SignatureBytes>>, E> {
    let Some(head) = messages.first().and_then(|first| Head::of(first)) else { return Ok(None) };
    let is_like_it = |message: &Vec<u8>| Head::of(message).is_some_and(|other| other == head);
    let may = purpose.may_be_batched() && head.is_of(purpose);
    if messages.len() < 2 || !may || !messages.iter().all(is_like_it) {
        return Ok(None);
    }
    let leaves: Vec<Hash> = messages.iter().map(|message| merkle::leaf(message)).collect();
    let (root, paths) = merkle::tree(&leaves);
    let count = leaves.len();
    let packet = sign(Purpose::Batch, &batch_bytes(&head, count, &root))?;
    let packet = packet.as_bytes();
    let with_path =
        |(index, path): (usize, &Vec<Hash>)| Parts { index, count, path, packet }.write();
    Ok(paths.iter().enumerate().map(with_path).collect())
}
