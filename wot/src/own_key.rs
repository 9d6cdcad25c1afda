//! The own secret key.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use bftkv_protocol::{
    CertificateBytes, ChannelKey, ChannelStanding, NodeId, Purpose, Sign, SignError, SignatureBytes,
};
use sequoia_openpgp::crypto::Password;
use sequoia_openpgp::packet::key::SecretKeyMaterial;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::{Cert, KeyHandle, Packet};
use zeroize::Zeroizing;

use crate::certificate::channel_key;
use crate::read::read_limited;
use crate::record::node_id;
use crate::secret_key::SecretKey;
use crate::signature::template;
use crate::{Certificate, CertificateRecord, KeyError, ReadError};

/// A passphrase. It is encrypted in memory while it is not used, zeroized after, and never shown.
#[derive(Clone)]
pub struct Passphrase(Password);

impl Passphrase {
    /// Takes a passphrase from a prompt or a file descriptor; the buffer is zeroized.
    #[must_use]
    pub fn new(passphrase: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Self(Password::from(passphrase.into().as_slice()))
    }

    pub(crate) fn password(&self) -> &Password {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// Asks for the passphrase of a key; `None` if there is nobody to ask.
pub type AskPassphrase<'a> = &'a dyn Fn(&NodeId) -> Option<Passphrase>;

/// For keys without passphrase.
#[must_use]
pub fn no_passphrase(_: &NodeId) -> Option<Passphrase> {
    None
}

/// The own certificate with its secret keys. Cheap to clone: clones share the secrets, which are
/// zeroized when the last clone is dropped. With the Rust backend keys on Curve25519 lie in memory
/// as they are; others are encrypted there while they are not used.
#[derive(Clone)]
pub struct OwnKey {
    secrets: Arc<Secrets>,
}

struct Secrets {
    certificate: Certificate,
    record: CertificateRecord,
    /// The certificate with its secrets as they were read: still protected by their passphrase.
    stored: Cert,
    keys: Vec<Arc<SecretKey>>,
    /// The same key with a fresh signing subkey that took over while the program runs.
    renewed: RwLock<Option<OwnKey>>,
}

impl OwnKey {
    /// Reads a secret key from a file: what `gpg --export-secret-keys` prints, binary or armored.
    /// A file that holds secrets without a passphrase must not be readable by others.
    ///
    /// # Errors
    /// [`KeyError`]: the caller's.
    pub fn load(path: &Path, ask: AskPassphrase<'_>) -> Result<Self, KeyError> {
        let bytes = Zeroizing::new(read_limited(path).map_err(io)?);
        let cert = parse_secret(&bytes)?;
        if has_open_secret(&cert) {
            check_permissions(path)?;
        }
        Self::from_cert(cert, ask)
    }

    /// Reads a secret key from memory.
    ///
    /// # Errors
    /// [`KeyError`]: the caller's.
    pub fn from_bytes(bytes: &[u8], ask: AskPassphrase<'_>) -> Result<Self, KeyError> {
        Self::from_cert(parse_secret(bytes)?, ask)
    }

    pub(crate) fn from_cert(stored: Cert, ask: AskPassphrase<'_>) -> Result<Self, KeyError> {
        let public = stored.clone().strip_secret_key_material();
        let record = CertificateRecord::from_cert(&public)?;
        let certificate = Certificate::from_cert(public)?;
        let keys = secret_keys(&stored, certificate.id(), ask)?;
        let renewed = RwLock::default();
        Ok(Self { secrets: Arc::new(Secrets { certificate, record, stored, keys, renewed }) })
    }

    /// The own certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.secrets.certificate
    }

    /// The own certificate, to be handed to others. As it was in the secret key's file: it may
    /// lack certifications that were made later; a keyring merges them.
    #[must_use]
    pub fn record(&self) -> &CertificateRecord {
        &self.secrets.record
    }

    /// The own certificate's bytes.
    #[must_use]
    pub fn certificate_bytes(&self) -> &CertificateBytes {
        self.secrets.record.bytes()
    }

    /// Lets the signing subkey of `renewed`, which is this key with a fresh one, sign from now on,
    /// for all clones of this key. Certificates and decryption stay as they were read.
    pub fn adopt(&self, renewed: Self) {
        *self.secrets.renewed.write().unwrap_or_else(PoisonError::into_inner) = Some(renewed);
    }

    pub(crate) fn stored(&self) -> &Cert {
        &self.secrets.stored
    }

    /// The key that signs now: the newest signing subkey that may, or the primary key.
    pub(crate) fn signer(&self, time: SystemTime) -> Result<Arc<SecretKey>, KeyError> {
        let renewed = self.secrets.renewed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(renewed) = renewed.as_ref() {
            return renewed.signer(time);
        }
        let present = self.certificate().present(time);
        let may = |key: &&Arc<SecretKey>| present.may_sign(&key.public().fingerprint());
        self.newest(self.secrets.keys.iter().filter(may), "signing")
    }

    /// The primary key, if it may certify now.
    pub(crate) fn certifier(&self, time: SystemTime) -> Result<Arc<SecretKey>, KeyError> {
        let present = self.certificate().present(time);
        let primary = present.certifying_key().map(|key| key.fingerprint());
        let same = |key: &&Arc<SecretKey>| Some(key.public().fingerprint()) == primary;
        self.newest(self.secrets.keys.iter().filter(same), "certification")
    }

    /// The newest authentication subkey that counts now and whose secret is here, with its point.
    pub(crate) fn authenticator(&self, time: SystemTime) -> Option<(ChannelKey, Arc<SecretKey>)> {
        let counts = |key: &Arc<SecretKey>| {
            let point = channel_key(key.public().mpis())?;
            let standing = self.certificate().channel_standing(&point, time);
            (standing == ChannelStanding::Valid).then(|| (point, Arc::clone(key)))
        };
        let keys = self.secrets.keys.iter().filter_map(counts);
        keys.max_by_key(|(_, key)| key.public().creation_time())
    }

    /// The key that a message names as its recipient. Expired keys still open what was sent.
    pub(crate) fn decryptor(&self, recipient: &KeyHandle) -> Option<&Arc<SecretKey>> {
        let named = |key: &&Arc<SecretKey>| key.public().key_handle().aliases(recipient);
        let can = |key: &&Arc<SecretKey>| key.public().pk_algo().for_encryption();
        self.secrets.keys.iter().filter(can).find(named)
    }

    fn newest<'a>(
        &self,
        keys: impl Iterator<Item = &'a Arc<SecretKey>>,
        what: &'static str,
    ) -> Result<Arc<SecretKey>, KeyError> {
        let primary = self.certificate().cert().fingerprint();
        let rank = |key: &&Arc<SecretKey>| {
            (key.public().fingerprint() != primary, key.public().creation_time())
        };
        let id = || self.certificate().id().clone();
        keys.max_by_key(rank).cloned().ok_or_else(|| KeyError::Unusable { id: id(), what })
    }
}

impl Sign for OwnKey {
    fn id(&self) -> &NodeId {
        self.certificate().id()
    }

    fn sign(&self, purpose: Purpose, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let key = self.signer(SystemTime::now()).map_err(|e| SignError(e.to_string()))?;
        let mut key = &*key;
        let made = template(purpose, key.public().fingerprint())
            .and_then(|builder| builder.sign_message(&mut key, message))
            .and_then(|signature| Packet::from(signature).to_vec());
        let bytes = made.map_err(|error| SignError(error.to_string()))?;
        SignatureBytes::new(bytes).map_err(|error| SignError(error.to_string()))
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnKey({})", self.certificate().id())
    }
}

fn io(error: ReadError) -> KeyError {
    match error {
        ReadError::Io { path, source } => KeyError::Io { path, source },
        other => KeyError::Malformed(other.to_string()),
    }
}

fn parse_secret(bytes: &[u8]) -> Result<Cert, KeyError> {
    let cert = Cert::from_bytes(bytes).map_err(|error| KeyError::Malformed(error.to_string()))?;
    if !cert.is_tsk() {
        let reason = "it has no secret part (export it with `gpg --export-secret-keys`)";
        return Err(KeyError::Malformed(reason.to_owned()));
    }
    Ok(cert)
}

fn has_open_secret(cert: &Cert) -> bool {
    cert.keys().unencrypted_secret().next().is_some()
}

#[cfg(unix)]
fn check_permissions(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::MetadataExt;
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Other systems have no such mode bits; the folder's access list is up to the user.
#[cfg(not(unix))]
fn check_permissions(_: &Path) -> Result<(), KeyError> {
    Ok(())
}

/// All secret keys that can be used. Stubs of keys kept elsewhere (an offline primary key, a
/// card) are left out; the passphrase is asked once.
fn secret_keys(
    cert: &Cert,
    id: &NodeId,
    ask: AskPassphrase<'_>,
) -> Result<Vec<Arc<SecretKey>>, KeyError> {
    let mut passphrase = None;
    let mut keys = Vec::new();
    for ka in cert.keys().secret() {
        let mut key = ka.key().clone();
        if let SecretKeyMaterial::Encrypted(secret) = key.secret() {
            if !secret.s2k().is_supported() {
                continue;
            }
            if passphrase.is_none() {
                passphrase = ask(id);
            }
            let wrong = || KeyError::Passphrase(id.clone());
            let known = passphrase.as_ref().ok_or_else(wrong)?;
            key = key.decrypt_secret(known.password()).map_err(|_| wrong())?;
        }
        keys.push(Arc::new(SecretKey::new(key.into_keypair().map_err(KeyError::crypto)?)));
    }
    if keys.is_empty() {
        let id = node_id(&cert.fingerprint())?;
        return Err(KeyError::Unusable { id, what: "secret" });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::Verify;
    use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};

    use super::*;
    use crate::testing::{key, keyring, keyring_of};
    use crate::{Keyring, KeyringOptions};

    const PURPOSES: [Purpose; 5] =
        [Purpose::Entry, Purpose::Share, Purpose::Time, Purpose::Abandon, Purpose::Message];

    #[test]
    fn signatures_hold_for_their_signer_purpose_and_message_only() {
        for folder in ["gnupg-ed25519/n1", "gnupg-rsa2048/a01"] {
            let (own, ring) = (key(folder), keyring_of(folder));
            let other =
                ring.records().iter().map(|(r, _)| r.id().clone()).find(|id| id != own.id());
            for purpose in PURPOSES {
                let signature = own.sign(purpose, b"message").unwrap();
                assert_eq!(ring.verify(own.id(), purpose, b"message", &signature), Ok(()));
                assert!(ring.verify(own.id(), purpose, b"massage", &signature).is_err());
                assert!(
                    ring.verify(&other.clone().unwrap(), purpose, b"message", &signature).is_err()
                );
                for wrong in PURPOSES.into_iter().filter(|wrong| *wrong != purpose) {
                    assert!(ring.verify(own.id(), wrong, b"message", &signature).is_err());
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_signature_is_refused() {
        for folder in ["gnupg-ed25519/n1", "gnupg-rsa2048/a01"] {
            let (own, ring) = (key(folder), keyring_of(folder));
            let good = own.sign(Purpose::Share, b"message").unwrap();
            for bit in 0..good.as_bytes().len() * 8 {
                let mut bytes = good.as_bytes().to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let flipped = SignatureBytes::new(bytes).unwrap();
                let result = ring.verify(own.id(), Purpose::Share, b"message", &flipped);
                assert!(result.is_err(), "{folder}: bit {bit} was not noticed");
            }
        }
    }

    #[test]
    fn truncated_extended_and_foreign_packets_are_refused() {
        let (own, ring) = (key("gnupg-ed25519/n1"), keyring_of("gnupg-ed25519/n1"));
        let good = own.sign(Purpose::Share, b"m").unwrap();
        let verify = |bytes: &[u8]| {
            let signature = SignatureBytes::new(bytes).unwrap();
            ring.verify(own.id(), Purpose::Share, b"m", &signature)
        };
        for length in 1..good.as_bytes().len() {
            assert!(verify(&good.as_bytes()[..length]).is_err(), "{length} bytes");
        }
        assert!(verify(&[good.as_bytes(), b"\0"].concat()).is_err());
        assert!(verify(&[good.as_bytes(), good.as_bytes()].concat()).is_err());
        assert!(verify(&keyring("gnupg-ed25519/n1/pubring.gpg")[..900]).is_err());
        assert_eq!(verify(good.as_bytes()), Ok(()));
    }

    #[test]
    fn other_encodings_of_a_good_signature_are_refused() {
        let (own, ring) = (key("gnupg-ed25519/n1"), keyring_of("gnupg-ed25519/n1"));
        let good = own.sign(Purpose::Share, b"m").unwrap();
        let verify = |bytes: Vec<u8>| {
            let signature = SignatureBytes::new(bytes).unwrap();
            ring.verify(own.id(), Purpose::Share, b"m", &signature)
        };
        let body_at = if good.as_bytes()[1] < 192 { 2 } else { 3 };
        let body = &good.as_bytes()[body_at..];
        let length = u8::try_from(body.len() % 256).unwrap();
        let high = u8::try_from(body.len() / 256).unwrap();
        let old_format = [&[0x89, high, length][..], body].concat();
        let long_length = [&[0xC2, 0xFF, 0, 0, high, length][..], body].concat();
        let Packet::Signature(mut signature) = Packet::from_bytes(good.as_bytes()).unwrap() else {
            panic!("not a signature");
        };
        let value = SubpacketValue::PreferredKeyServer(b"http://h".to_vec());
        signature.unhashed_area_mut().add(Subpacket::new(value, false).unwrap()).unwrap();
        let with_unhashed = Packet::from(signature).to_vec().unwrap();
        for (name, bytes) in
            [("old", old_format), ("long", long_length), ("unhashed", with_unhashed)]
        {
            assert!(Packet::from_bytes(&bytes).is_ok(), "{name}: OpenPGP allows it");
            assert!(verify(bytes).is_err(), "{name}");
        }
    }

    #[test]
    fn an_unknown_signer_can_be_mended() {
        let own = key("gnupg-ed25519/n1");
        let signature = own.sign(Purpose::Share, b"m").unwrap();
        let empty = Keyring::new(KeyringOptions::default());
        let result = empty.verify(own.id(), Purpose::Share, b"m", &signature);
        let expected = bftkv_protocol::VerifyError::UnknownCertificate(own.id().clone());
        assert_eq!(result, Err(expected));
        empty.add_stranger(own.certificate_bytes()).unwrap();
        assert_eq!(empty.verify(own.id(), Purpose::Share, b"m", &signature), Ok(()));
    }

    #[cfg(unix)]
    #[test]
    fn an_open_key_must_not_be_readable_by_others() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pgp");
        std::fs::write(&path, keyring("gnupg-ed25519/n1/secring.gpg")).unwrap();
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o640);
        let refused = OwnKey::load(&path, &no_passphrase);
        assert!(matches!(refused, Err(KeyError::Permissions { mode: 0o640, .. })), "{refused:?}");
        set(0o600);
        assert_eq!(OwnKey::load(&path, &no_passphrase).unwrap().id(), key("gnupg-ed25519/n1").id());
    }

    #[test]
    fn what_is_no_secret_key_is_a_typed_error() {
        let public = keyring("gnupg-ed25519/n1/cert.asc");
        for bytes in [b"".as_slice(), b"garbage", &public] {
            let result = OwnKey::from_bytes(bytes, &no_passphrase);
            assert!(matches!(result, Err(KeyError::Malformed(_))), "{result:?}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let shown =
            format!("{:?} {:?}", key("gnupg-ed25519/n1"), Passphrase::new(b"hush".to_vec()));
        assert!(
            shown.starts_with("OwnKey(5B3FCDF0") && shown.ends_with(" Passphrase(..)"),
            "{shown}"
        );
    }
}
