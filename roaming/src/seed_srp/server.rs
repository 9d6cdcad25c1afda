//! One server of the text's scheme.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use crypto_bigint::U2048;
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::group::{Group, Residue, encode};
use super::{ElementBytes, SrpError};

/// What a server remembers of a password: <y_i, v, salt>.
#[derive(Clone)]
pub struct Record {
    /// y_i = f(i) + g^pi' mod q.
    pub(super) y: Zeroizing<U2048>,
    /// v = g^x. The same at all servers, and it checks guesses: whoever has it needs only g^S.
    pub(super) v: ElementBytes,
    /// Random, and told to anybody.
    pub(super) salt: [u8; 32],
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record(..)")
    }
}

/// A server's answer to X.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has these parts")]
pub struct Answer {
    /// Y_i = X g^y_i.
    pub y: ElementBytes,
    /// B_i = kv + g^b_i.
    pub b: ElementBytes,
    /// The record's salt.
    pub salt: [u8; 32],
    /// E_KS_i(Sig_i(var), X || B_i).
    pub sealed: Vec<u8>,
}

/// One server, for one variable: no IO, no clock; randomness is handed in.
pub struct Server {
    group: Group,
    record: Record,
    tries_left: u32,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("tries_left", &self.tries_left).finish_non_exhaustive()
    }
}

impl Server {
    /// How many answers it gives in a row to whoever shows no proof. The text: "the server will
    /// prevent the request from the client for some period". It must be kept on disk by whoever
    /// uses this; and it does not help against the dictionary attack, which asks once.
    pub const TRIES: u32 = 10;

    /// A server with its record.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self { group: Group::new(), record, tries_left: Self::TRIES }
    }

    /// Answers X. `proof` is Sig_i(var), which goes to whoever knows the password.
    ///
    /// Paper: "Authentication & Decryption": the evidence is sent before the client has shown any.
    ///
    /// # Errors
    /// [`SrpError::Element`], the client's fault: no try is counted, nothing was computed with the
    /// record. [`SrpError::NoTries`].
    pub fn answer(
        &mut self,
        x: &ElementBytes,
        proof: &[u8],
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Answer, SrpError> {
        let element = self.group.element(x)?;
        self.tries_left = self.tries_left.checked_sub(1).ok_or(SrpError::NoTries)?;
        let secret = self.group.random(rng)?;
        self.answer_with(x, &element, proof, &secret)
    }

    fn answer_with(
        &self,
        x: &ElementBytes,
        element: &Residue,
        proof: &[u8],
        secret: &U2048,
    ) -> Result<Answer, SrpError> {
        let (b, shared) = self.share_key(x, element, secret)?;
        let y = encode(&element.mul(&self.group.power(&self.record.y)));
        let sealed = seal(&shared, x, &b, proof)?;
        Ok(Answer { y, b, salt: self.record.salt, sealed })
    }

    /// B_i and KS_i = (X v^u)^b_i, for b_i.
    pub(super) fn share_key(
        &self,
        x: &ElementBytes,
        element: &Residue,
        secret: &U2048,
    ) -> Result<(ElementBytes, Zeroizing<ElementBytes>), SrpError> {
        let v = self.group.number(&self.record.v)?;
        let sum = self.group.multiplier().mul(&v).add(&self.group.power(secret));
        let b = encode(&sum);
        self.group.number(&b)?;
        let u = self.group.scrambler(x, &b)?;
        let shared = element.mul(&v.pow(&u)).pow(secret);
        Ok((b, Zeroizing::new(encode(&shared))))
    }

    /// The client has shown proofs of enough servers: the tries come back.
    pub fn accept(&mut self) {
        self.tries_left = Self::TRIES;
    }
}

/// The AEAD of the text, which leaves the choice open: ChaCha20-Poly1305 (RFC 8439). The key is
/// fresh for every answer because b_i is, so the nonce may be 0.
fn seal(
    shared: &ElementBytes,
    x: &ElementBytes,
    b: &ElementBytes,
    plain: &[u8],
) -> Result<Vec<u8>, SrpError> {
    let payload = Payload { msg: plain, aad: &[&x[..], b].concat() };
    cipher(shared).encrypt(&Nonce::default(), payload).map_err(|_| SrpError::TooLong)
}

/// Opens what a server has sealed; `None` if the key is another one.
pub(super) fn open(
    shared: &ElementBytes,
    x: &ElementBytes,
    b: &ElementBytes,
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let payload = Payload { msg: sealed, aad: &[&x[..], b].concat() };
    cipher(shared).decrypt(&Nonce::default(), payload).ok()
}

fn cipher(shared: &ElementBytes) -> ChaCha20Poly1305 {
    let key = Sha256::new().chain_update(b"bftkv seed-srp key").chain_update(shared).finalize();
    ChaCha20Poly1305::new(&key)
}
