//! Keys for connections: the authentication subkeys of certificates.

use std::fmt;
use std::sync::Arc;

use bftkv_protocol::{
    CertificateBytes, Channel, ChannelKey, ChannelStanding, NodeId, Sign, SignError,
};

use crate::secret_key::SecretKey;
use crate::{Certificate, Keyring, OwnKey};

/// The own authentication subkey, and a keyring that knows those of others.
///
/// The secret stays here: whoever makes connections asks for signatures. It is zeroized when the
/// last holder of the own key is gone.
#[derive(Clone)]
pub struct ChannelKeys {
    keyring: Keyring,
    id: NodeId,
    point: ChannelKey,
    secret: Arc<SecretKey>,
}

impl ChannelKeys {
    /// `None` if the own certificate holds no Ed25519 subkey that is for authentication alone and
    /// valid now, or its secret is elsewhere (on a card). Then one asks, and is asked, by sealed
    /// messages.
    #[must_use]
    pub fn of(keyring: Keyring, own: &OwnKey) -> Option<Self> {
        let (point, secret) = own.authenticator(keyring.now())?;
        Some(Self { keyring, id: own.id().clone(), point, secret })
    }

    fn has_channel(&self, node: &NodeId) -> bool {
        let certificate = self.keyring.certificate(node);
        certificate.is_some_and(|one| one.offers_tls(self.keyring.now()))
    }
}

impl Channel for ChannelKeys {
    fn id(&self) -> &NodeId {
        &self.id
    }

    fn own_key(&self) -> ChannelKey {
        self.point
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.secret.sign_channel(message).map_err(|error| SignError(error.to_string()))
    }

    fn offers(&self, node: &NodeId) -> bool {
        let own = self.standing(&self.id, &self.point);
        // A key that is in use need not be in one's own keyring.
        !matches!(own, ChannelStanding::NotValidNow) && self.has_channel(node)
    }

    fn standing(&self, node: &NodeId, key: &ChannelKey) -> ChannelStanding {
        let certificate = self.keyring.certificate(node);
        certificate.map_or(ChannelStanding::Unknown, |certificate| {
            certificate.channel_standing(key, self.keyring.now())
        })
    }

    fn standing_in(
        &self,
        node: &NodeId,
        key: &ChannelKey,
        certificate: &CertificateBytes,
    ) -> ChannelStanding {
        match Certificate::parse(certificate) {
            Ok(certificate) if certificate.id() == node => {
                certificate.channel_standing(key, self.keyring.now())
            }
            _ => ChannelStanding::Unknown,
        }
    }
}

impl fmt::Debug for ChannelKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelKeys({}, ..)", self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::testing::{key, keyring_of};
    use crate::{KeyringOptions, Origin, generate_key, generate_sealing_key};

    fn ring(key: &OwnKey, time: Option<SystemTime>) -> Keyring {
        let ring = Keyring::new(KeyringOptions { time, ..KeyringOptions::default() });
        ring.add(key.record().clone(), Origin::Local).unwrap();
        ring
    }

    #[test]
    fn a_new_key_has_one_and_a_key_without_such_a_subkey_has_none() {
        let own = generate_key("a <a@b.c>", None).unwrap().key;
        let channel = ChannelKeys::of(ring(&own, None), &own).unwrap();
        assert_eq!(channel.standing(own.id(), &channel.own_key()), ChannelStanding::Valid);
        assert!(channel.offers(own.id()));
        let sealing = generate_sealing_key("b <b@b.c>", None).unwrap().key;
        assert!(ChannelKeys::of(ring(&sealing, None), &sealing).is_none());
        let of_gnupg = |folder: &str| ChannelKeys::of(keyring_of(folder), &key(folder));
        assert!(of_gnupg("gnupg-ed25519/n1").is_some(), "made by `gpg --quick-add-key`");
        assert!(of_gnupg("gnupg-rsa2048/a01").is_none(), "it has no such subkey");
    }

    #[test]
    fn a_key_counts_for_its_own_certificate_only() {
        let [a, b] = ["a <a@b.c>", "b <b@b.c>"].map(|n| generate_key(n, None).unwrap().key);
        let keyring = ring(&a, None);
        let channel = ChannelKeys::of(keyring.clone(), &a).unwrap();
        let key_of_b = ChannelKeys::of(ring(&b, None), &b).unwrap().own_key();
        assert_eq!(channel.standing(b.id(), &key_of_b), ChannelStanding::Unknown, "not met yet");
        let brought = |id| channel.standing_in(id, &key_of_b, b.certificate_bytes());
        assert_eq!(brought(b.id()), ChannelStanding::Valid, "he brings his certificate");
        assert_eq!(brought(a.id()), ChannelStanding::Unknown, "somebody else's");
        keyring.add_stranger(b.certificate_bytes()).unwrap();
        assert_eq!(channel.standing(b.id(), &key_of_b), ChannelStanding::Valid);
        assert_eq!(channel.standing(a.id(), &key_of_b), ChannelStanding::Unknown);
    }

    #[test]
    fn a_revoked_certificate_and_one_of_the_future_do_not_count() {
        let new = generate_key("a <a@b.c>", None).unwrap();
        let own = &new.key;
        let keyring = ring(own, None);
        let channel = ChannelKeys::of(keyring.clone(), own).unwrap();
        let standing = |keys: &ChannelKeys| keys.standing(own.id(), &keys.own_key());
        assert_eq!(standing(&channel), ChannelStanding::Valid);
        keyring.import(&new.revocation).unwrap().pop().unwrap().unwrap();
        assert_eq!(standing(&channel), ChannelStanding::NotValidNow);
        assert!(!channel.offers(own.id()));
        let earlier = SystemTime::now() - Duration::from_secs(1000);
        assert!(ChannelKeys::of(ring(own, Some(earlier)), own).is_none());
    }

    #[test]
    fn it_signs_messages_as_they_are() {
        let own = generate_key("a <a@b.c>", None).unwrap().key;
        let channel = ChannelKeys::of(ring(&own, None), &own).unwrap();
        let (one, same) = (channel.sign(&[1; 130]).unwrap(), channel.sign(&[1; 130]).unwrap());
        assert_eq!(one, same, "Ed25519 is deterministic");
        assert_ne!(one, channel.sign(&[1; 129]).unwrap());
        #[cfg(feature = "crypto-rust")]
        {
            let key = ed25519_dalek::VerifyingKey::from_bytes(channel.own_key().as_bytes());
            let signature = ed25519_dalek::Signature::from_bytes(&one);
            assert!(key.unwrap().verify_strict(&[1; 130], &signature).is_ok());
        }
        assert!(!format!("{channel:?}").contains("secret"));
    }
}
