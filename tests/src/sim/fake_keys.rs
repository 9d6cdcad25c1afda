//! Signatures that cost nothing and that nobody can forge, by the rules of the game.

use std::collections::BTreeSet;

use bftkv_protocol::{
    Address, Identities, NodeId, Purpose, Sign, SignError, SignatureBytes, Verify, VerifyError,
    sign_batch,
};

/// A number that depends on every byte (a multiplication and a rotation for each word, with the
/// finish of SplitMix). No cryptography: only the simulator calls it with a secret.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mix(u64);

impl Mix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0xcbf2_9ce4_8422_2325)
    }

    /// Eight bytes at a time, then the rest and the length.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mixed = words.iter().fold(self, |mix, word| mix.number(u64::from_le_bytes(*word)));
        let last = rest.iter().fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
        mixed.number(last).number(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }

    pub(crate) fn number(self, number: u64) -> Self {
        Self((self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
    }

    pub(crate) fn finish(self) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// All keys of a run. Whoever is handed a [`FakeSigner`] can sign as its owner; nobody else can,
/// because only the simulator makes them.
#[derive(Debug)]
pub(crate) struct FakeKeys {
    secret: u64,
    /// The user IDs that have a quorum certificate.
    certified: BTreeSet<(NodeId, Address)>,
    /// Certificates that everybody knows: those of the nodes.
    members: BTreeSet<NodeId>,
}

impl FakeKeys {
    pub(crate) fn new(secret: u64, members: BTreeSet<NodeId>) -> Self {
        Self { secret, certified: BTreeSet::new(), members }
    }

    /// Gives a user ID its quorum certificate.
    pub(crate) fn certify(&mut self, key: &NodeId, address: &Address) {
        self.certified.insert((key.clone(), address.clone()));
    }

    pub(crate) fn signer(&self, id: &NodeId) -> FakeSigner {
        FakeSigner { id: id.clone(), secret: self.secret_of(id), subkey: 0 }
    }

    /// What somebody sees who knows only these certificates besides those of the members.
    pub(crate) fn seen_by<'a>(&'a self, known: &'a BTreeSet<NodeId>) -> View<'a> {
        View { keys: self, known }
    }

    fn secret_of(&self, id: &NodeId) -> u64 {
        Mix::new(self.secret).bytes(id.as_bytes()).finish()
    }
}

/// Knows every certificate, as servers do: whoever writes has joined.
impl Verify for FakeKeys {
    fn verify_packet(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        let subkey = signature.as_bytes().first().copied().unwrap_or_default();
        if signature.as_bytes() == tag(self.secret_of(signer), subkey, purpose, message) {
            return Ok(());
        }
        let reason = "not made with the key".to_owned();
        Err(VerifyError::Bad { signer: signer.clone(), reason })
    }

    /// Each subkey has a made-up fingerprint: that of the certificate with its number behind.
    fn packet_made_by(&self, signer: &NodeId, signature: &SignatureBytes) -> Option<NodeId> {
        let subkey = *signature.as_bytes().first()?;
        let (_, most) = signer.as_bytes().split_last()?;
        let fingerprint = [most, &[signer.as_bytes().first()?.wrapping_add(subkey)]].concat();
        NodeId::from_bytes(&fingerprint).ok()
    }
}

impl Identities for FakeKeys {
    fn has_quorum_certificate(&self, writer: &NodeId, address: &Address) -> bool {
        self.certified.contains(&(writer.clone(), address.clone()))
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}

/// The certificates that one client knows.
#[derive(Debug)]
pub(crate) struct View<'a> {
    keys: &'a FakeKeys,
    known: &'a BTreeSet<NodeId>,
}

impl Verify for View<'_> {
    fn verify_packet(
        &self,
        signer: &NodeId,
        purpose: Purpose,
        message: &[u8],
        signature: &SignatureBytes,
    ) -> Result<(), VerifyError> {
        if !self.keys.members.contains(signer) && !self.known.contains(signer) {
            return Err(VerifyError::UnknownCertificate(signer.clone()));
        }
        self.keys.verify_packet(signer, purpose, message, signature)
    }

    fn packet_made_by(&self, signer: &NodeId, signature: &SignatureBytes) -> Option<NodeId> {
        self.keys.packet_made_by(signer, signature)
    }
}

/// The right to sign as one key.
#[derive(Clone)]
pub(crate) struct FakeSigner {
    id: NodeId,
    secret: u64,
    /// Counts the signing subkeys.
    subkey: u8,
}

impl FakeSigner {
    /// The number of the subkey that signs.
    pub(crate) fn subkey(&self) -> u8 {
        self.subkey
    }

    /// Signs with a fresh subkey from now on.
    pub(crate) fn renew(&mut self) {
        self.subkey = self.subkey.saturating_add(1);
    }
}

impl std::fmt::Debug for FakeSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FakeSigner({})", self.id)
    }
}

impl Sign for FakeSigner {
    fn id(&self) -> &NodeId {
        &self.id
    }

    /// A third of what may be signed in batches is signed under a root over up to nine messages,
    /// by honest and by Byzantine keys alike. The message alone decides, so that nothing is drawn.
    fn sign(&self, purpose: Purpose, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let sign = |purpose: Purpose, message: &[u8]| {
            SignatureBytes::new(tag(self.secret, self.subkey, purpose, message))
                .map_err(|e| SignError(e.to_string()))
        };
        let chance = Mix::new(0).bytes(message).finish();
        if !purpose.may_be_batched() || !chance.is_multiple_of(3) {
            return sign(purpose, message);
        }
        // The others differ from it behind their first two fields only.
        let other = |number: u8| [message, &[number]].concat();
        let mut messages: Vec<Vec<u8>> =
            (0..=(chance >> 8).to_le_bytes()[0] % 8).map(other).collect();
        let place = usize::try_from(chance >> 16).unwrap_or_default() % (messages.len() + 1);
        messages.insert(place, message.to_vec());
        Ok(sign_batch(purpose, &messages, sign)?.swap_remove(place))
    }
}

/// A signature: the number of the subkey, then what only its owner can make.
fn tag(secret: u64, subkey: u8, purpose: Purpose, message: &[u8]) -> [u8; 9] {
    let domain = purpose.domain().as_str().as_bytes();
    let mix = Mix::new(secret).number(u64::from(subkey)).bytes(domain).bytes(message);
    let [a, b, c, d, e, f, g, h] = mix.finish().to_be_bytes();
    [subkey, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_good_for_one_key_purpose_and_message() {
        let id = |i| NodeId::from_bytes(&[i; 20]).unwrap();
        let keys = FakeKeys::new(7, BTreeSet::new());
        let signature = keys.signer(&id(1)).sign(Purpose::Share, b"m").unwrap();
        assert!(keys.verify(&id(1), Purpose::Share, b"m", &signature).is_ok());
        assert!(keys.verify(&id(2), Purpose::Share, b"m", &signature).is_err());
        assert!(keys.verify(&id(1), Purpose::Time, b"m", &signature).is_err());
        assert!(keys.verify(&id(1), Purpose::Share, b"n", &signature).is_err());
    }
}
