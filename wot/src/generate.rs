//! New keys and certifications.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bftkv_protocol::{Address, CertificateBytes};
use sequoia_openpgp::armor::{Kind, Writer};
use sequoia_openpgp::cert::{CertBuilder, CipherSuite};
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::{Features, KeyFlags, ReasonForRevocation, SignatureType};
use sequoia_openpgp::{Packet, Profile};
use zeroize::Zeroizing;

use crate::own_key::{OwnKey, Passphrase};
use crate::record::CertificateRecord;
use crate::{Certificate, CertificateError, Identity, KeyError};

/// A new key, and what revokes it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Generated {
    /// The key.
    pub key: OwnKey,
    /// The key's certificate with its revocation, to be kept in a safe place and published if the
    /// key is lost or stolen. It revokes; it cannot sign.
    pub revocation: Vec<u8>,
}

impl Generated {
    /// The revocation as a file that explains itself, like those that GnuPG keeps in its folder
    /// `openpgp-revocs.d`. `gpg --import` of it revokes the key.
    ///
    /// # Errors
    /// [`CertificateError`], never for a key that was just made.
    pub fn revocation_file(&self) -> Result<String, CertificateError> {
        let certificate = CertificateBytes::new(self.revocation.clone())
            .map_err(|_| CertificateError::too_large(self.revocation.len()))?;
        let text = format!(
            "This is a revocation certificate for the OpenPGP key\n\n    {}\n\n\
             Keep it in a safe place, away from the key. Whoever publishes it declares the key\n\
             lost or stolen, for ever: nobody accepts anything from it any more. To publish it:\n\n    \
             bftkv cert revoke --self FILE        (tells the nodes of the realm)\n    \
             gpg --import FILE                    (for GnuPG)\n\n",
            self.key.certificate().id()
        );
        Ok(text + &armor(&certificate)?)
    }
}

/// Makes a key that GnuPG can read: version 4, an Ed25519 primary key that certifies and signs, a
/// Cv25519 encryption subkey, an Ed25519 authentication subkey for connections (TLS).
///
/// # Errors
/// [`KeyError::UserId`] when the user ID is no identity; [`KeyError::Crypto`] is ours.
pub fn generate_key(user_id: &str, passphrase: Option<&Passphrase>) -> Result<Generated, KeyError> {
    generate(new_key(user_id)?.add_authentication_subkey(), passphrase)
}

/// The same without an authentication subkey: whoever has such a key asks, and is asked, by sealed
/// messages.
///
/// # Errors
/// As [`generate_key`].
pub fn generate_sealing_key(
    user_id: &str,
    passphrase: Option<&Passphrase>,
) -> Result<Generated, KeyError> {
    generate(new_key(user_id)?, passphrase)
}

fn new_key(user_id: &str) -> Result<CertBuilder<'_>, KeyError> {
    Identity::parse(user_id.as_bytes())?;
    let builder = CertBuilder::new()
        .set_profile(Profile::RFC4880)
        .map_err(KeyError::crypto)?
        // GnuPG cannot open messages in the newer container, so the key must not ask for it.
        .set_features(Features::empty().set_seipdv1())
        .map_err(KeyError::crypto)?
        .set_cipher_suite(CipherSuite::Cv25519)
        .add_userid(user_id)
        .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
        .add_subkey(
            KeyFlags::empty().set_transport_encryption().set_storage_encryption(),
            None,
            None,
        );
    Ok(builder)
}

fn generate(
    mut builder: CertBuilder<'_>,
    passphrase: Option<&Passphrase>,
) -> Result<Generated, KeyError> {
    if let Some(passphrase) = passphrase {
        builder = builder.set_password(Some(passphrase.password().clone()));
    }
    let (cert, revocation) = builder.generate().map_err(KeyError::crypto)?;
    let public = cert.clone().strip_secret_key_material();
    let revoked = public.insert_packets(revocation).map_err(KeyError::crypto)?.0;
    let key = OwnKey::from_cert(cert, &|_| passphrase.cloned())?;
    Ok(Generated { key, revocation: revoked.to_vec().map_err(KeyError::crypto)? })
}

/// What a statement about a user ID says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statement<'a> {
    /// "This address belongs to this key", for ever or for a time.
    Certify {
        /// How long it holds.
        valid_for: Option<Duration>,
    },
    /// "I no longer say so": cuts the edge of the trust graph.
    Revoke {
        /// Why, in a few words; everybody can read it.
        reason: &'a str,
    },
}

impl OwnKey {
    /// States something about the user IDs of a certificate that hold `address`. Returns the
    /// certificate with the new statements.
    ///
    /// # Errors
    /// [`KeyError::Unusable`] when the own primary key may not certify, or the certificate has no
    /// such user ID that is valid now.
    pub fn certify(
        &self,
        certificate: &CertificateBytes,
        address: &Address,
        statement: Statement<'_>,
    ) -> Result<CertificateBytes, KeyError> {
        let now = SystemTime::now();
        let target = Certificate::parse(certificate)?;
        let signer = self.certifier(now)?;
        let mut signer = &*signer;
        let mut statements = Vec::new();
        let present = target.present(now);
        for (user_id, _) in present.identities().iter().filter(|(_, i)| i.address == *address) {
            let primary = target.cert().primary_key();
            let signature = builder(statement)
                .and_then(|b| b.sign_userid_binding(&mut signer, primary.key(), user_id))
                .map_err(KeyError::crypto)?;
            statements.push(Packet::from(user_id.clone()));
            statements.push(Packet::from(signature));
        }
        if statements.is_empty() {
            return Err(KeyError::Unusable { id: target.id().clone(), what: "such user ID" });
        }
        let cert = target.cert().clone().insert_packets(statements).map_err(KeyError::crypto)?.0;
        Ok(CertificateRecord::from_cert(&cert)?.bytes().clone())
    }

    /// Writes the secret key to a new file that only its owner can read (mode 0600), synced. It
    /// stays protected by the passphrase with which it was made or read.
    ///
    /// # Errors
    /// [`KeyError::Io`]; an existing file is never overwritten.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let bytes = self.stored().as_tsk().to_vec().map_err(KeyError::crypto)?;
        let bytes = Zeroizing::new(bytes);
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut file = private_file().open(path).map_err(io)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(io)
    }
}

fn builder(statement: Statement<'_>) -> sequoia_openpgp::Result<SignatureBuilder> {
    match statement {
        Statement::Certify { valid_for: None } => {
            Ok(SignatureBuilder::new(SignatureType::GenericCertification))
        }
        Statement::Certify { valid_for: Some(time) } => {
            SignatureBuilder::new(SignatureType::GenericCertification)
                .set_signature_validity_period(time)
        }
        Statement::Revoke { reason } => {
            SignatureBuilder::new(SignatureType::CertificationRevocation)
                .set_reason_for_revocation(ReasonForRevocation::Unspecified, reason.as_bytes())
        }
    }
}

pub(crate) fn private_file() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// The certificate in ASCII armor, as `gpg --export --armor` prints it.
///
/// # Errors
/// [`CertificateError`], never for a certificate that was read by us.
pub fn armor(certificate: &CertificateBytes) -> Result<String, CertificateError> {
    let mut writer =
        Writer::new(Vec::new(), Kind::PublicKey).map_err(CertificateError::malformed)?;
    writer.write_all(certificate.as_bytes()).map_err(CertificateError::malformed)?;
    let bytes = writer.finalize().map_err(CertificateError::malformed)?;
    String::from_utf8(bytes).map_err(CertificateError::malformed)
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Purpose, Sign, Verify};

    use super::*;
    use crate::own_key::no_passphrase;
    use crate::{Keyring, KeyringOptions, Origin, Standing};

    fn generate(user_id: &str) -> Generated {
        generate_key(user_id, None).unwrap()
    }

    #[test]
    fn a_new_key_signs_and_survives_its_file() {
        let key = generate("n1 (http://127.0.0.1:1)").key;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pgp");
        key.save(&path).unwrap();
        assert!(matches!(key.save(&path), Err(KeyError::Io { .. })), "never overwritten");
        let loaded = OwnKey::load(&path, &no_passphrase).unwrap();
        let ring = Keyring::new(KeyringOptions::default());
        ring.add(key.record().clone(), Origin::Local).unwrap();
        let signature = loaded.sign(Purpose::Entry, b"m").unwrap();
        assert_eq!(ring.verify(key.id(), Purpose::Entry, b"m", &signature), Ok(()));
        assert_eq!(ring.url(key.id()).unwrap().as_str(), "http://127.0.0.1:1");
    }

    #[test]
    fn a_passphrase_protects_the_file() {
        let right = Passphrase::new(b"right".to_vec());
        let key = generate_key("a <a@b.c>", Some(&right)).unwrap().key;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pgp");
        key.save(&path).unwrap();
        let wrong = |_: &bftkv_protocol::NodeId| Some(Passphrase::new(b"wrong".to_vec()));
        assert!(matches!(OwnKey::load(&path, &no_passphrase), Err(KeyError::Passphrase(_))));
        assert!(matches!(OwnKey::load(&path, &wrong), Err(KeyError::Passphrase(_))));
        let loaded = OwnKey::load(&path, &|_| Some(right.clone())).unwrap();
        assert!(loaded.sign(Purpose::Entry, b"m").is_ok());
    }

    #[test]
    fn odd_user_ids_get_no_key() {
        assert!(matches!(generate_key("a@b <c@d>", None), Err(KeyError::UserId(_))));
    }

    #[test]
    fn a_certification_is_an_edge_until_it_is_revoked_or_expires() {
        let (a, b) = (generate("a (http://h:1)").key, generate("b (http://h:2)").key);
        let address = Address::new("http://h:2").unwrap();
        let edge = |certificate: &CertificateBytes, later: u64| {
            let time = SystemTime::now() + Duration::from_secs(later);
            let ring =
                Keyring::new(KeyringOptions { time: Some(time), ..KeyringOptions::default() });
            ring.add(a.record().clone(), Origin::Local).unwrap();
            ring.add_stranger(certificate).unwrap();
            ring.graph().certifies(a.id(), b.id())
        };
        let bytes = b.certificate_bytes();
        assert!(!edge(bytes, 0));
        let certified = a.certify(bytes, &address, Statement::Certify { valid_for: None }).unwrap();
        assert!(edge(&certified, 0) && edge(&certified, 1_000_000));
        let valid_for = Some(Duration::from_secs(3600));
        let short = a.certify(bytes, &address, Statement::Certify { valid_for }).unwrap();
        assert!(edge(&short, 0) && !edge(&short, 3700));
        let revoke = Statement::Revoke { reason: "it lied" };
        let cut = a.certify(&certified, &address, revoke).unwrap();
        assert!(!edge(&cut, 0), "a revocation of the same second wins");
        let other = Address::new("http://h:3").unwrap();
        let nothing = a.certify(bytes, &other, Statement::Certify { valid_for: None });
        assert!(matches!(nothing, Err(KeyError::Unusable { .. })));
    }

    /// With the check planted away, the spoilt signature is an edge.
    #[test]
    fn a_certification_with_a_spoilt_signature_is_no_edge() {
        let (a, b) = (generate("a (http://h:1)").key, generate("b (http://h:2)").key);
        let address = Address::new("http://h:2").unwrap();
        let forever = Statement::Certify { valid_for: None };
        let good = a.certify(b.certificate_bytes(), &address, forever).unwrap();
        let (before, mut bytes) = (b.certificate_bytes().as_bytes(), good.as_bytes().to_vec());
        let same = before.iter().zip(&bytes).take_while(|(x, y)| x == y).count();
        let end_of_signature = same + bytes.len() - before.len();
        bytes[end_of_signature - 4] ^= 1;
        let spoilt = CertificateBytes::new(bytes).unwrap();
        let is_edge = |certificate: &CertificateBytes| {
            let ring = Keyring::new(KeyringOptions::default());
            ring.add(a.record().clone(), Origin::Local).unwrap();
            ring.add_stranger(certificate).unwrap();
            ring.graph().certifies(a.id(), b.id())
        };
        assert!(is_edge(&good) && !is_edge(&spoilt));
        crate::testing::be_gullible(true);
        let believed = is_edge(&spoilt);
        crate::testing::be_gullible(false);
        assert!(believed, "the test would find a graph that does not look at signatures");
    }

    #[test]
    fn a_revoked_key_has_no_edges_but_what_it_signed_stays_valid() {
        let (a, b) = (generate("a (http://h:1)"), generate("b (http://h:2)").key);
        let address = Address::new("http://h:2").unwrap();
        let forever = Statement::Certify { valid_for: None };
        let certified = a.key.certify(b.certificate_bytes(), &address, forever).unwrap();
        let signature = a.key.sign(Purpose::Share, b"m").unwrap();
        let ring = Keyring::new(KeyringOptions::default());
        ring.add(a.key.record().clone(), Origin::Local).unwrap();
        ring.add_stranger(&certified).unwrap();
        assert!(ring.graph().certifies(a.key.id(), b.id()));
        ring.import(&a.revocation).unwrap().pop().unwrap().unwrap();
        let certificate = ring.certificate(a.key.id()).unwrap();
        assert_eq!(certificate.standing(SystemTime::now()), Standing::Revoked);
        assert!(!ring.graph().certifies(a.key.id(), b.id()), "revoked: no edge");
        assert_eq!(ring.url(a.key.id()), None, "revoked: no node");
        let verdict = ring.verify(a.key.id(), Purpose::Share, b"m", &signature);
        assert_eq!(verdict, Ok(()), "rule R4");
    }

    #[test]
    fn an_expired_key_has_no_edges_and_no_messages_but_what_it_signed_stays_valid() {
        use bftkv_protocol::Seal as _;
        let hour = Duration::from_secs(3600);
        let short = new_key("a (http://h:1)").unwrap().set_validity_period(hour);
        let a = super::generate(short.add_authentication_subkey(), None).unwrap().key;
        let b = generate("b (http://h:2)").key;
        let (of_a, of_b) =
            (Address::new("http://h:1").unwrap(), Address::new("http://h:2").unwrap());
        let forever = Statement::Certify { valid_for: None };
        let certified_a = b.certify(a.certificate_bytes(), &of_a, forever).unwrap();
        let certified_b = a.certify(b.certificate_bytes(), &of_b, forever).unwrap();
        let signature = a.sign(Purpose::Share, b"m").unwrap();
        for (later, is_alive) in [(Duration::ZERO, true), (hour + hour, false)] {
            let time = SystemTime::now() + later;
            let ring =
                Keyring::new(KeyringOptions { time: Some(time), ..KeyringOptions::default() });
            ring.add_stranger(&certified_a).unwrap();
            ring.add_stranger(&certified_b).unwrap();
            let certificate = ring.certificate(a.id()).unwrap();
            let standing = if is_alive { Standing::Valid } else { Standing::Expired };
            assert_eq!(certificate.standing(time), standing);
            assert_eq!(ring.graph().certifies(a.id(), b.id()), is_alive, "what it certified");
            assert_eq!(ring.graph().certifies(b.id(), a.id()), is_alive, "who certified it");
            assert_eq!(ring.url(a.id()).is_some(), is_alive, "whether it is a node");
            let sealed = crate::Sealer::new(ring.clone(), b.clone()).seal(&[a.id().clone()], b"x");
            assert_eq!(sealed.is_ok(), is_alive, "whether messages are sealed to it: {sealed:?}");
            let verdict = ring.verify(a.id(), Purpose::Share, b"m", &signature);
            assert_eq!(verdict, Ok(()), "rule R4");
        }
    }

    #[test]
    fn the_file_of_a_revocation_explains_itself_and_can_be_read() {
        let new = generate("a <a@b.c>");
        let text = new.revocation_file().unwrap();
        assert!(text.starts_with("This is a revocation certificate"));
        assert!(!text.contains("PRIVATE"), "it revokes; it cannot sign");
        let read = crate::read_certificates(text.as_bytes()).unwrap().pop().unwrap().unwrap();
        let certificate = Certificate::from_record(&read).unwrap();
        assert_eq!(certificate.id(), new.key.certificate().id());
        assert_eq!(certificate.standing(SystemTime::now()), Standing::Revoked);
    }

    #[test]
    fn who_was_cut_out_has_no_edges_and_vouches_for_nobody() {
        let keys = ["a (http://h:1)", "b (http://h:2)", "c (http://h:3)"].map(|n| generate(n).key);
        let ring = Keyring::new(KeyringOptions::default());
        for (n, key) in (1..).zip(&keys) {
            let address = Address::new(format!("http://h:{n}")).unwrap();
            let mut bytes = key.certificate_bytes().clone();
            for other in
                keys.iter().filter(|other| other.certificate().id() != key.certificate().id())
            {
                bytes = other
                    .certify(&bytes, &address, Statement::Certify { valid_for: None })
                    .unwrap();
            }
            ring.add_stranger(&bytes).unwrap();
        }
        let [a, b, c] = keys.each_ref().map(|key| key.certificate().id());
        let edges = |ring: &Keyring| {
            let graph = ring.graph();
            [(a, b), (b, a), (a, c), (c, a), (b, c)].map(|(from, to)| graph.certifies(from, to))
        };
        assert_eq!(edges(&ring), [true; 5]);
        assert!(ring.cut_out(a.clone()) && !ring.cut_out(a.clone()));
        assert_eq!(edges(&ring), [false, false, false, false, true]);
        assert!(!ring.graph().nodes().any(|node| node == a), "no node any more");
        assert_eq!(ring.vouched_for(b, a).len(), 1, "an edge that b should revoke");

        let reason = "signed two values for one timestamp";
        let address = Address::new("http://h:1").unwrap();
        let known = ring.record(a).unwrap().bytes().clone();
        let revoked = keys[1].certify(&known, &address, Statement::Revoke { reason }).unwrap();
        ring.add_stranger(&revoked).unwrap();
        assert!(ring.vouched_for(b, a).is_empty(), "b has revoked it");
        assert_eq!(edges(&ring), [false, false, false, false, true], "cut for ever");
    }

    #[test]
    fn armor_can_be_read_again() {
        let key = generate("a <a@b.c>").key;
        let text = armor(key.certificate_bytes()).unwrap();
        assert!(text.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        let twice = format!("{text}\n{text}");
        let read = crate::read_certificates(twice.as_bytes()).unwrap();
        assert_eq!(read.len(), 2, "several armored blocks in one file");
        assert_eq!(read[1].as_ref().unwrap().bytes(), key.certificate_bytes());
    }
}
