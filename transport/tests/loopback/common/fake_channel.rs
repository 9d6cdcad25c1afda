//! A stand-in for the authentication subkeys of certificates. The keys and the signatures are real;
//! which key is whose stands in a table.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bftkv_protocol::{CertificateBytes, Channel, ChannelKey, ChannelStanding, NodeId, SignError};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::SigningKey;

/// What stands before the 32 secret bytes of an Ed25519 key in PKCS#8. RFC 8410 section 7.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A key that nobody has but who knows its seed.
pub fn secret(seed: u8) -> Arc<dyn SigningKey> {
    let der = [PKCS8.as_slice(), &[seed; 32]].concat();
    any_eddsa_type(&PrivatePkcs8KeyDer::from(der)).unwrap()
}

/// The public half, as it travels.
pub fn spki(seed: u8) -> Vec<u8> {
    secret(seed).public_key().unwrap().to_vec()
}

pub fn public(seed: u8) -> ChannelKey {
    ChannelKey::from_bytes(spki(seed)[12..].try_into().unwrap())
}

/// A party's own key, and what it knows of others.
pub struct FakeChannel {
    id: NodeId,
    shown: ChannelKey,
    secret: Arc<dyn SigningKey>,
    signed: AtomicUsize,
    book: Mutex<BTreeMap<(NodeId, ChannelKey), ChannelStanding>>,
}

impl FakeChannel {
    /// Party `byte`, whose key has the seed `byte`; knows the keys of `known`.
    pub fn new(byte: u8, known: impl IntoIterator<Item = u8>) -> Arc<Self> {
        Self::with_key(byte, byte, byte, known)
    }

    /// Party `byte` that shows the key of seed `shown` and signs with that of `seed`.
    pub fn with_key(
        byte: u8,
        shown: u8,
        seed: u8,
        known: impl IntoIterator<Item = u8>,
    ) -> Arc<Self> {
        let valid = |other| ((super::id(other), public(other)), ChannelStanding::Valid);
        Arc::new(Self {
            id: super::id(byte),
            shown: public(shown),
            secret: secret(seed),
            signed: AtomicUsize::new(0),
            book: Mutex::new(known.into_iter().map(valid).collect()),
        })
    }

    /// From now on the key of this seed is this to the certificate of `node`.
    pub fn learn(&self, node: u8, seed: u8, standing: ChannelStanding) {
        self.book.lock().unwrap().insert((super::id(node), public(seed)), standing);
    }

    /// How many handshakes it has signed.
    pub fn signed(&self) -> usize {
        self.signed.load(Ordering::SeqCst)
    }
}

impl Channel for FakeChannel {
    fn id(&self) -> &NodeId {
        &self.id
    }

    fn own_key(&self) -> ChannelKey {
        self.shown
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.signed.fetch_add(1, Ordering::SeqCst);
        let signer = self.secret.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
        Ok(signer.sign(message).unwrap().try_into().unwrap())
    }

    fn offers(&self, node: &NodeId) -> bool {
        let book = self.book.lock().unwrap();
        book.iter().any(|((id, _), standing)| id == node && *standing == ChannelStanding::Valid)
    }

    fn standing(&self, node: &NodeId, key: &ChannelKey) -> ChannelStanding {
        let book = self.book.lock().unwrap();
        book.get(&(node.clone(), *key)).copied().unwrap_or(ChannelStanding::Unknown)
    }

    /// A certificate is a fingerprint and a key.
    fn standing_in(
        &self,
        node: &NodeId,
        key: &ChannelKey,
        certificate: &CertificateBytes,
    ) -> ChannelStanding {
        match *certificate.as_bytes() == [node.as_bytes(), key.as_bytes()].concat() {
            true => ChannelStanding::Valid,
            false => ChannelStanding::Unknown,
        }
    }
}
