//! What is inside a sealed message: the bytes that its one signature covers.

use bftkv_protocol::{DecodeError, MAX_MESSAGE_BYTES, NodeId, Nonce, Response, SealError, decode};
use serde::{Deserialize, Serialize};

use crate::wiped::Wiped;

use crate::TransportRefusal;

/// The version of the envelopes that this code writes and reads.
pub(crate) const VERSION: u8 = 1;

/// The greatest number of nodes that one message is sealed for. Groups have at most 256 members;
/// whoever asks more seals several messages.
pub(crate) const MAX_RECIPIENTS: usize = 256;

/// The greatest length of a sealed message: the plaintext, for each recipient one encrypted
/// session key (540 bytes with RSA-4096), and 64 KiB for the signature and the framing.
pub(crate) const MAX_SEALED_BYTES: usize = MAX_MESSAGE_BYTES + MAX_RECIPIENTS * 768 + 64 * 1024;

/// A message. Version and nonce come first in every version, so that a node can refuse a version
/// that it does not know and still bind the refusal to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) version: u8,
    /// Chosen by the asker for each message; the answer repeats it.
    pub(crate) nonce: Nonce,
    pub(crate) body: Body,
}

/// Requests and answers are told apart inside the signed part, so that neither passes as the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Body {
    Request(RequestBody),
    Answer(Box<AnswerBody>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestBody {
    /// Whom the sender means, with the challenge of each that the sender knows.
    pub(crate) recipients: Vec<Recipient>,
    /// The encoded request. It is decoded last, so that a request of a kind that the node does not
    /// know is refused by a signed answer.
    pub(crate) request: Wiped,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipient {
    pub(crate) node: NodeId,
    pub(crate) challenge: Option<Challenge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnswerBody {
    /// Whose request it answers.
    pub(crate) asker: NodeId,
    /// The challenge for the asker's next request.
    pub(crate) challenge: Challenge,
    pub(crate) outcome: Result<Response, TransportRefusal>,
}

/// 16 random bytes that a server accepts for a while; no secret, only never used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Challenge([u8; 16]);

impl Challenge {
    pub(crate) fn random() -> Result<Self, SealError> {
        random().map(Self)
    }
}

/// A nonce for one message.
pub(crate) fn random_nonce() -> Result<Nonce, SealError> {
    random().map(Nonce::from_bytes)
}

fn random<const N: usize>() -> Result<[u8; N], SealError> {
    let mut bytes = [0; N];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(SealError::OwnKey(format!("no random numbers: {error}"))),
    }
}

/// Bytes that are no envelope of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    OtherVersion(u8),
    Malformed(DecodeError),
}

impl Envelope {
    pub(crate) fn new(nonce: Nonce, body: Body) -> Self {
        Self { version: VERSION, nonce, body }
    }

    pub(crate) fn to_bytes(&self) -> Wiped {
        Wiped::encoded(self)
    }

    pub(crate) fn read(plaintext: &[u8]) -> Result<Self, EnvelopeError> {
        match plaintext.first() {
            Some(version) if *version != VERSION => Err(EnvelopeError::OtherVersion(*version)),
            _ => decode(plaintext).map_err(EnvelopeError::Malformed),
        }
    }

    /// The nonce of a message that may not be readable otherwise.
    pub(crate) fn nonce_of(plaintext: &[u8]) -> Option<Nonce> {
        let nonce = plaintext.get(1..)?.first_chunk::<32>()?;
        Some(Nonce::from_bytes(*nonce))
    }
}

/// Reads bytes as the inside of a sealed message, and what it holds as far as it is read without
/// a key. For the fuzz target: whether there is one form of each message only.
///
/// # Panics
/// When a message was read that would be written differently.
#[doc(hidden)]
pub fn check_envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::read(bytes) {
        assert_eq!(&*envelope.to_bytes(), bytes, "another form of an envelope was read");
        assert_eq!(Envelope::nonce_of(bytes), Some(envelope.nonce), "another nonce was found");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Envelope {
        let node = NodeId::from_bytes(&[7; 20]).unwrap();
        let challenge = Some(Challenge([9; 16]));
        let recipients = vec![Recipient { node, challenge }];
        let body = RequestBody { recipients, request: Wiped::new(vec![1, 2, 3]) };
        Envelope::new(Nonce::from_bytes([5; 32]), Body::Request(body))
    }

    #[test]
    fn bytes_are_as_documented() {
        let mut expected = vec![VERSION];
        expected.extend([5; 32]); // the nonce
        expected.push(0); // a request
        expected.push(1); // one recipient
        expected.push(20);
        expected.extend([7; 20]);
        expected.push(1); // with a challenge
        expected.extend([9; 16]);
        expected.extend([3, 1, 2, 3]); // the request
        assert_eq!(&*request().to_bytes(), expected);
        assert_eq!(Envelope::read(&expected), Ok(request()));
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let bytes = request().to_bytes();
        for length in 0..bytes.len() {
            assert!(Envelope::read(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Envelope::read(&[&*bytes, &[0]].concat()).is_err());
    }

    #[test]
    fn the_nonce_is_found_in_other_versions() {
        let mut bytes = request().to_bytes().to_vec();
        bytes[0] = 2;
        assert_eq!(Envelope::read(&bytes), Err(EnvelopeError::OtherVersion(2)));
        assert_eq!(Envelope::nonce_of(&bytes), Some(Nonce::from_bytes([5; 32])));
        assert_eq!(Envelope::nonce_of(&bytes[..32]), None);
    }
}
