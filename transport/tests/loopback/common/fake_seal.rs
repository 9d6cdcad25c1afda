//! A stand-in for OpenPGP: the same promises among friends, no cryptography.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bftkv_protocol::{
    CertificateBytes, NodeId, NotValidNow, Opened, Seal, SealError, Stranger, decode, encode,
};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Packet {
    pub signer: NodeId,
    /// Whom it is encrypted to; everybody if empty.
    pub readers: Vec<NodeId>,
    pub plaintext: ByteBuf,
    /// The "signature".
    pub tag: u64,
}

impl Packet {
    pub fn new(signer: NodeId, readers: &[NodeId], plaintext: &[u8]) -> Self {
        let plaintext = ByteBuf::from(plaintext);
        let mut packet = Self { signer, readers: readers.to_vec(), plaintext, tag: 0 };
        packet.tag = packet.sum();
        packet
    }

    fn sum(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.signer, &self.readers, &self.plaintext).hash(&mut hasher);
        hasher.finish()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    pub fn read(bytes: &[u8]) -> Self {
        decode(bytes).unwrap()
    }
}

#[derive(Debug)]
pub struct FakeSeal {
    id: NodeId,
    known: Mutex<BTreeSet<NodeId>>,
    /// Known, but their keys are expired.
    lapsed: Mutex<BTreeSet<NodeId>>,
    sealed: AtomicUsize,
}

impl FakeSeal {
    /// Knows nodes 1 to 9 and users 100 to 109.
    pub fn new(byte: u8) -> Arc<Self> {
        Self::knowing(byte, (1..10).chain(100..110))
    }

    pub fn knowing(byte: u8, known: impl IntoIterator<Item = u8>) -> Arc<Self> {
        let known = Mutex::new(known.into_iter().map(super::id).collect());
        let (lapsed, sealed) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { id: super::id(byte), known, lapsed, sealed })
    }

    pub fn own(&self) -> NodeId {
        self.id.clone()
    }

    pub fn certificate(&self) -> CertificateBytes {
        CertificateBytes::new(self.id.as_bytes()).unwrap()
    }

    pub fn learn(&self, node: NodeId) {
        self.known.lock().unwrap().insert(node);
    }

    pub fn lapse(&self, node: NodeId) {
        self.lapsed.lock().unwrap().insert(node);
    }

    pub fn sealed(&self) -> usize {
        self.sealed.load(Ordering::SeqCst)
    }

    fn packet(&self, sealed: &[u8]) -> Result<Packet, SealError> {
        let bad = |reason: &str| SealError::Bad(reason.to_owned());
        let packet: Packet = decode(sealed).map_err(|_| bad("not a packet"))?;
        if !packet.readers.is_empty() && !packet.readers.contains(&self.id) {
            return Err(bad("encrypted to others"));
        }
        if packet.tag != packet.sum() { Err(bad("bad signature")) } else { Ok(packet) }
    }
}

impl Seal for FakeSeal {
    fn id(&self) -> &NodeId {
        &self.id
    }

    fn seal(&self, recipients: &[NodeId], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        self.sealed.fetch_add(1, Ordering::SeqCst);
        let known = self.known.lock().unwrap();
        if let Some(recipient) = recipients.iter().find(|node| !known.contains(*node)) {
            let reason = "no certificate".to_owned();
            return Err(SealError::Recipient { recipient: recipient.clone(), reason });
        }
        Ok(Packet::new(self.own(), recipients, plaintext).to_bytes())
    }

    fn open(&self, sealed: &[u8], limit: usize) -> Result<Opened, SealError> {
        let packet = self.packet(sealed)?;
        let plaintext = packet.plaintext.into_vec();
        if plaintext.len() > limit {
            return Err(SealError::Bad("too long".to_owned()));
        }
        if !self.known.lock().unwrap().contains(&packet.signer) {
            let claimed_key = Some(packet.signer);
            return Err(SealError::Stranger(Box::new(Stranger { claimed_key, plaintext })));
        }
        if self.lapsed.lock().unwrap().contains(&packet.signer) {
            let (sender, reason) = (packet.signer, "expired".to_owned());
            let told = NotValidNow { sender, reason, plaintext };
            return Err(SealError::NotValidNow(Box::new(told)));
        }
        Ok(Opened { sender: packet.signer, plaintext, is_for_anybody: false })
    }

    fn open_from(
        &self,
        sealed: &[u8],
        _: usize,
        certificate: &CertificateBytes,
    ) -> Result<Opened, SealError> {
        let packet = self.packet(sealed)?;
        if packet.signer.as_bytes() != certificate.as_bytes() {
            return Err(SealError::Bad("signed by another certificate".to_owned()));
        }
        let plaintext = packet.plaintext.into_vec();
        Ok(Opened { sender: packet.signer, plaintext, is_for_anybody: false })
    }
}
