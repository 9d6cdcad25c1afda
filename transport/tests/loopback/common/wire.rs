//! The envelopes as `docs/wire.md` describes them, written a second time on purpose: if the crate
//! and the description drift apart, these tests fail.

use bftkv_protocol::{NodeId, Request, Response, decode, encode};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::fake_seal::Packet;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub version: u8,
    pub nonce: [u8; 32],
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Body {
    Request { recipients: Vec<(NodeId, Option<[u8; 16]>)>, request: ByteBuf },
    Answer { asker: NodeId, challenge: [u8; 16], outcome: Result<Response, u8> },
}

/// The numbers of the refusals.
pub const STALE: u8 = 1;
pub const REPLAYED: u8 = 2;
pub const WRONG_RECIPIENT: u8 = 3;
pub const UNKNOWN_SENDER: u8 = 4;
pub const MALFORMED: u8 = 5;
pub const OVERLOADED: u8 = 7;
pub const UNSUPPORTED: u8 = 8;

pub fn request(
    nonce: u8,
    recipients: &[(NodeId, Option<[u8; 16]>)],
    request: &Request,
) -> Envelope {
    let body =
        Body::Request { recipients: recipients.to_vec(), request: ByteBuf::from(encode(request)) };
    Envelope { version: 1, nonce: [nonce; 32], body }
}

impl Envelope {
    /// Signed by `signer`, encrypted to `readers`.
    pub fn seal(&self, signer: &NodeId, readers: &[NodeId]) -> Vec<u8> {
        Packet::new(signer.clone(), readers, &encode(self)).to_bytes()
    }

    pub fn open(sealed: &[u8]) -> Self {
        decode(&Packet::read(sealed).plaintext).unwrap()
    }

    pub fn outcome(&self) -> Result<Response, u8> {
        match &self.body {
            Body::Answer { outcome, .. } => outcome.clone(),
            Body::Request { .. } => panic!("not an answer"),
        }
    }

    pub fn challenge(&self) -> [u8; 16] {
        match &self.body {
            Body::Answer { challenge, .. } => *challenge,
            Body::Request { .. } => panic!("not an answer"),
        }
    }
}
