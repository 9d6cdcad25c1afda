//! Keys as TLS wants them.

use std::fmt;
use std::sync::Arc;

use bftkv_protocol::{Channel, ChannelKey};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};

/// What stands before the point of an Ed25519 key in a `SubjectPublicKeyInfo`. RFC 8410.
const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A raw public key as it travels: a `SubjectPublicKeyInfo`.
pub(super) fn to_spki(key: &ChannelKey) -> Vec<u8> {
    [PREFIX.as_slice(), key.as_bytes()].concat()
}

/// The key in a `SubjectPublicKeyInfo`; `None` if it is of another kind.
pub(super) fn from_spki(spki: &[u8]) -> Option<ChannelKey> {
    let point = spki.strip_prefix(&PREFIX)?;
    Some(ChannelKey::from_bytes(point.try_into().ok()?))
}

/// The own key, for handshakes. The secret stays where it is.
pub(super) fn own(channel: Arc<dyn Channel>) -> Arc<CertifiedKey> {
    let spki = to_spki(&channel.own_key());
    let key = Arc::new(Own { channel, spki: spki.clone() });
    Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], key))
}

#[derive(Clone)]
struct Own {
    channel: Arc<dyn Channel>,
    spki: Vec<u8>,
}

impl SigningKey for Own {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as _)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(self.spki.as_slice()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Own {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed = self.channel.sign(message);
        signed.map(Vec::from).map_err(|error| Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({}, ..)", self.channel.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_nothing_else_is_one() {
        let key = ChannelKey::from_bytes([7; 32]);
        let spki = to_spki(&key);
        assert_eq!(from_spki(&spki), Some(key));
        assert_eq!(from_spki(&spki[..43]), None);
        assert_eq!(from_spki(&[spki.clone(), vec![0]].concat()), None);
        for position in 0..PREFIX.len() {
            let mut other = spki.clone();
            other[position] ^= 1;
            assert_eq!(from_spki(&other), None, "{position}");
        }
    }
}
