//! Detached signatures of files that carry the signer's quorum certificate.
//!
//! Paper: "Signature" ("the BFTKV signature scheme tags the certificate with the signature value").

use std::collections::BTreeSet;
use std::io::{self, Read, Write as _};
use std::time::{Duration, SystemTime};

use bftkv_protocol::{Address, CertificateBytes, NodeId, Purpose, Realm};
use sequoia_openpgp::armor::{Kind, Reader, ReaderMode, Writer};
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::signature::subpacket::{
    NotationDataFlags, Subpacket, SubpacketTag, SubpacketValue,
};
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::{Fingerprint, KeyID, Packet};

use crate::certificate::{PublicKey, names};
use crate::record::{node_id, strip, strip_unknown};
use crate::signature::{check_kind, context, parse, template, verify_hashed};
use crate::{
    Certificate, CertificateError, CertificateRecord, Identity, KeyError, OwnKey, Standing,
};

/// The notation in the hashed area whose value is the realm in which the signature counts.
pub const REALM_NOTATION: &str = "realm@bftkv";

/// The subpacket that holds a certificate: a zero, then the packets. GnuPG writes it with
/// `--include-key-block` and reads it with `--auto-key-import`; all others skip it.
/// draft-koch-librepgp, "Key Block".
const KEY_BLOCK: SubpacketTag = SubpacketTag::Reserved(38);

/// GnuPG reads no more than 30,000 bytes of hashed subpackets.
const MAX_KEY_BLOCK_BYTES: usize = 29_000;

/// How much a signer's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Why a file's signature was not made, or does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileSignatureError {
    /// It is not a signature at all.
    #[error("not an OpenPGP signature")]
    NotASignature,
    /// It is not a signature of this kind. The fault of whoever made it.
    #[error("not a bftkv signature of a file: {0}")]
    Malformed(&'static str),
    /// It is an OpenPGP signature, but has no certificate in it.
    #[error(
        "it carries no quorum certificate: it is an ordinary OpenPGP signature, for `gpg --verify`"
    )]
    NoCertificate,
    /// The certificate in it cannot be used.
    #[error("the certificate in it: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate is too large to be carried along: certified by too many, or too often.
    #[error("the quorum certificate has {0} bytes; GnuPG reads at most {MAX_KEY_BLOCK_BYTES}")]
    TooLarge(usize),
    /// The signer's certificate does not count.
    #[error("the certificate of the signer {id} is {standing}")]
    Standing {
        /// The signer.
        id: NodeId,
        /// "revoked", "expired", or what is wrong.
        standing: String,
    },
    /// The certificate has no such key, or it may not sign now.
    #[error("the key that made it is no signing key of {0}, or is not one any more")]
    Key(NodeId),
    /// Its time is in the future, or it has expired.
    #[error("it is {0}")]
    Time(&'static str),
    /// The file or the signature is another one.
    #[error("the file is not the one that was signed, or the signature was changed")]
    Changed,
    /// The file could not be read.
    #[error("the file cannot be read: {0}")]
    Read(io::Error),
    /// The own key cannot sign. Ours to mend.
    #[error(transparent)]
    Own(#[from] KeyError),
}

/// A detached OpenPGP signature of a file. In its hashed area stand the purpose, the realm and the
/// signer's certificate with the certifications of clique members: so it is checked offline with
/// the certificates of the clique alone, and by `gpg --verify` as any other.
#[derive(Debug, Clone)]
pub struct FileSignature {
    signature: Signature,
    maker: Fingerprint,
    realm: Realm,
    certificate: CertificateRecord,
}

impl FileSignature {
    /// How long a file with a signature may be, in bytes.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Whether a certificate is small enough to be carried along.
    #[must_use]
    pub fn can_carry(certificate: &CertificateRecord) -> bool {
        certificate.bytes().as_bytes().len() <= MAX_KEY_BLOCK_BYTES
    }

    /// Whether bytes begin like an OpenPGP signature, armored or binary.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        let is_packet = matches!(bytes.first(), Some(0xc2 | 0x88..=0x8b));
        is_packet || bytes.trim_ascii_start().starts_with(b"-----BEGIN PGP SIGNATURE-----")
    }

    /// Reads a signature, armored or binary. Nothing is verified.
    ///
    /// # Errors
    /// [`FileSignatureError`]: the fault of whoever made it.
    pub fn read(bytes: &[u8]) -> Result<Self, FileSignatureError> {
        if !Self::is_one(bytes) || bytes.len() > Self::MAX_BYTES {
            return Err(FileSignatureError::NotASignature);
        }
        let packet = dearmored(bytes)?;
        let signature = parse(&packet).map_err(FileSignatureError::Malformed)?;
        let certificate = key_block(&signature)?;
        check_kind(&signature, Purpose::File).map_err(FileSignatureError::Malformed)?;
        let maker = maker(&signature)?;
        let realm = realm(&signature)?;
        Ok(Self { signature, maker, realm, certificate })
    }

    /// The signature in ASCII armor.
    ///
    /// # Errors
    /// Never for a signature that was read or made here.
    pub fn armored(&self) -> Result<String, FileSignatureError> {
        let armored = || -> sequoia_openpgp::Result<String> {
            let mut writer = Writer::new(Vec::new(), Kind::Signature)?;
            writer.write_all(&Packet::from(self.signature.clone()).to_vec()?)?;
            Ok(String::from_utf8(writer.finalize()?)?)
        };
        armored().map_err(|error| KeyError::crypto(error).into())
    }

    /// The signer's certificate as it was when the signature was made, with the certifications of
    /// members. It says nothing until it was verified.
    #[must_use]
    pub fn certificate(&self) -> &CertificateRecord {
        &self.certificate
    }

    /// The key that is named as the maker: the certificate's primary key or a subkey.
    ///
    /// # Errors
    /// It is of no known version.
    pub fn key(&self) -> Result<NodeId, FileSignatureError> {
        Ok(node_id(&self.maker)?)
    }

    /// The realm in which it counts.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// When it was made, by the signer's clock.
    #[must_use]
    pub fn made(&self) -> Option<SystemTime> {
        self.signature.signature_creation_time()
    }

    /// Checks that a key of `certificate` that may sign at `now` has signed the file. It says
    /// nothing of who vouches for the certificate. What the certificate was at the alleged time of
    /// the signature is of no use: a thief would choose it.
    ///
    /// # Errors
    /// [`FileSignatureError`].
    pub fn verify(
        &self,
        certificate: &Certificate,
        file: &mut dyn Read,
        now: SystemTime,
    ) -> Result<(), FileSignatureError> {
        check_standing(certificate, now)?;
        let no_key = || FileSignatureError::Key(certificate.id().clone());
        let key = certificate.signing_key(&self.maker).ok_or_else(no_key)?;
        if !certificate.present(now).may_sign(&self.maker) {
            return Err(no_key());
        }
        self.check_time(now)?;
        let mut hash = context(&self.signature).map_err(FileSignatureError::Malformed)?;
        io::copy(file, &mut hash).map_err(FileSignatureError::Read)?;
        verify_hashed(&self.signature, key, hash).map_err(|_| FileSignatureError::Changed)
    }

    fn check_time(&self, now: SystemTime) -> Result<(), FileSignatureError> {
        if self.made().is_none_or(|made| made > now + CLOCK_SKEW) {
            return Err(FileSignatureError::Time("of the future"));
        }
        match self.signature.signature_expiration_time() {
            Some(end) if end <= now => Err(FileSignatureError::Time("expired")),
            _ => Ok(()),
        }
    }
}

impl OwnKey {
    /// Signs a file of any length. `certificate` is the own one with the certifications that go
    /// along: see [`Certificate::quorum_certificate`].
    ///
    /// # Errors
    /// The file cannot be read, the key cannot sign, or the certificate is too large.
    pub fn sign_file(
        &self,
        realm: &Realm,
        certificate: &CertificateRecord,
        file: &mut dyn Read,
    ) -> Result<FileSignature, FileSignatureError> {
        if !FileSignature::can_carry(certificate) {
            return Err(FileSignatureError::TooLarge(certificate.bytes().as_bytes().len()));
        }
        let now = SystemTime::now();
        check_standing(&Certificate::from_record(certificate)?, now)?;
        let key = self.signer(now)?;
        let mut key = &*key;
        let builder = builder(realm, certificate, key.public())
            .and_then(|builder| builder.pre_sign(&key))
            .map_err(KeyError::crypto)?;
        let hash = builder.hash_algo().context().map_err(KeyError::crypto)?;
        let mut hash = hash.for_signature(builder.version());
        if let Some(salt) = builder.prefix_salt() {
            hash.update(salt);
        }
        io::copy(file, &mut hash).map_err(FileSignatureError::Read)?;
        let signature = builder.sign_hash(&mut key, hash).map_err(KeyError::crypto)?;
        let packet = Packet::from(signature).to_vec().map_err(KeyError::crypto)?;
        FileSignature::read(&packet)
    }
}

impl Certificate {
    /// This certificate with what proves that `certifiers` vouch for its user IDs with one of
    /// `addresses`, and the keys to sign and to encrypt: no other user IDs, keys and statements.
    ///
    /// # Errors
    /// Never for a certificate that was read here.
    pub fn quorum_certificate(
        &self,
        addresses: &BTreeSet<Address>,
        certifiers: &BTreeSet<NodeId>,
    ) -> Result<CertificateRecord, CertificateError> {
        let wanted =
            |id: &[u8]| Identity::parse(id).is_ok_and(|one| addresses.contains(&one.address));
        let cert = strip(self.cert().clone())?
            .retain_user_attributes(|_| false)
            .retain_userids(|ua| wanted(ua.userid().value()))
            .retain_subkeys(|subkey| {
                subkey.self_signatures().filter_map(|signature| signature.key_flags()).any(
                    |flags| {
                        flags.for_signing()
                            || flags.for_transport_encryption()
                            || flags.for_storage_encryption()
                    },
                )
            });
        let named = |issuer: &_| certifiers.iter().any(|id| names(issuer, id));
        CertificateRecord::from_cert(&strip_unknown(cert, named)?)
    }
}

fn check_standing(certificate: &Certificate, now: SystemTime) -> Result<(), FileSignatureError> {
    let standing = match certificate.standing(now) {
        Standing::Valid => return Ok(()),
        Standing::Revoked => "revoked".to_owned(),
        Standing::Expired => "expired, or not valid yet".to_owned(),
        Standing::Invalid(reason) => format!("invalid: {reason}"),
    };
    Err(FileSignatureError::Standing { id: certificate.id().clone(), standing })
}

fn builder(
    realm: &Realm,
    certificate: &CertificateRecord,
    signer: &PublicKey,
) -> sequoia_openpgp::Result<SignatureBuilder> {
    let (version, signer) = (signer.version(), signer.fingerprint());
    let flags = NotationDataFlags::empty().set_human_readable();
    let body = [&[0], certificate.bytes().as_bytes()].concat();
    let block = Subpacket::new(SubpacketValue::Unknown { tag: KEY_BLOCK, body }, false)?;
    let key_id = KeyID::from(&signer);
    let builder = template(Purpose::File, signer)?;
    // GnuPG takes the certificate out of a signature only if it names its maker in the old way, too.
    let builder = if version == 4 { builder.set_issuer(key_id)? } else { builder };
    builder.set_notation(REALM_NOTATION, realm.as_str(), flags, false)?.modify_hashed_area(
        |mut area| {
            area.add(block)?;
            Ok(area)
        },
    )
}

/// The packet in an armored signature, and nothing else.
fn dearmored(bytes: &[u8]) -> Result<Vec<u8>, FileSignatureError> {
    if !bytes.trim_ascii_start().starts_with(b"-") {
        return Ok(bytes.to_vec());
    }
    let mut reader = Reader::from_bytes(bytes, ReaderMode::Tolerant(Some(Kind::Signature)));
    let mut packet = Vec::new();
    reader.read_to_end(&mut packet).map_err(|_| FileSignatureError::NotASignature)?;
    Ok(packet)
}

/// The one certificate in the hashed area.
fn key_block(signature: &Signature) -> Result<CertificateRecord, FileSignatureError> {
    let mut blocks = signature.hashed_area().subpackets(KEY_BLOCK);
    let block = blocks.next().ok_or(FileSignatureError::NoCertificate)?;
    if blocks.next().is_some() {
        return Err(FileSignatureError::Malformed("it carries several certificates"));
    }
    let SubpacketValue::Unknown { body, .. } = block.value() else {
        return Err(FileSignatureError::NoCertificate);
    };
    let Some((0, certificate)) = body.split_first() else {
        return Err(FileSignatureError::Malformed("its certificate is of an unknown form"));
    };
    let bytes = CertificateBytes::new(certificate)
        .map_err(|_| FileSignatureError::TooLarge(certificate.len()))?;
    Ok(CertificateRecord::new(&bytes)?)
}

/// The key that is named as the maker by its full fingerprint. A key ID beside it says nothing.
fn maker(signature: &Signature) -> Result<Fingerprint, FileSignatureError> {
    let mut makers = signature.issuer_fingerprints();
    match (makers.next(), makers.next()) {
        (Some(maker), None) => Ok(maker.clone()),
        _ => {
            Err(FileSignatureError::Malformed("it does not name its maker by one full fingerprint"))
        }
    }
}

/// The one realm in the hashed area.
fn realm(signature: &Signature) -> Result<Realm, FileSignatureError> {
    let malformed = FileSignatureError::Malformed("it does not name one realm");
    let mut values = signature.notation(REALM_NOTATION);
    match (values.next(), values.next()) {
        (Some(value), None) => match std::str::from_utf8(value).map(Realm::new) {
            Ok(Ok(realm)) => Ok(realm),
            _ => Err(malformed),
        },
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use bftkv_protocol::Sign as _;

    use super::*;
    use crate::testing::{key, keyring_of};

    const FILE: &[u8] = b"what was signed";

    fn sign(folder: &str) -> FileSignature {
        let own = key(folder);
        let certificate = keyring_of(folder).certificate(own.id()).unwrap();
        let identities = certificate.identities(SystemTime::now()).into_iter();
        let addresses = identities.map(|identity| identity.address).collect();
        let members = keyring_of(folder).records().iter().map(|(r, _)| r.id().clone()).collect();
        let carried = certificate.quorum_certificate(&addresses, &members).unwrap();
        own.sign_file(&Realm::new("test").unwrap(), &carried, &mut &*FILE).unwrap()
    }

    fn check(bytes: &[u8], mut file: &[u8]) -> Result<(), FileSignatureError> {
        let signature = FileSignature::read(bytes)?;
        let certificate = Certificate::from_record(signature.certificate())?;
        signature.verify(&certificate, &mut file, SystemTime::now())
    }

    #[test]
    fn a_signature_is_good_for_its_file_in_either_form_with_the_certificate_in_it() {
        for folder in ["gnupg-ed25519/n1", "gnupg-rsa2048/a01"] {
            let armored = sign(folder).armored().unwrap();
            let packet = dearmored(armored.as_bytes()).unwrap();
            for form in [armored.as_bytes(), &packet] {
                check(form, FILE).unwrap();
                let other = check(form, b"what was singed");
                assert!(matches!(other, Err(FileSignatureError::Changed)), "{other:?}");
                assert!(check(form, &FILE[1..]).is_err() && check(form, b"").is_err());
            }
        }
    }

    /// So nobody can put another certificate, another realm or another time into it.
    #[test]
    fn every_changed_byte_of_a_signature_is_refused() {
        let packet = dearmored(sign("gnupg-ed25519/n1").armored().unwrap().as_bytes()).unwrap();
        for place in 0..packet.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = packet.clone();
                changed[place] ^= change;
                assert!(check(&changed, FILE).is_err(), "byte {place} changed by {change:#x}");
            }
        }
        for length in 0..packet.len() {
            assert!(check(&packet[..length], FILE).is_err(), "{length} bytes");
        }
        assert!(check(&[&packet[..], &packet].concat(), FILE).is_err());
        assert!(check(&[&packet[..], b"\0"].concat(), FILE).is_err());
    }

    /// What a user signed with gpg, or a node for the protocol, is no signature of a file.
    #[test]
    fn a_signature_of_another_purpose_is_none() {
        let own = key("gnupg-ed25519/n1");
        for purpose in [Purpose::Entry, Purpose::Share, Purpose::File] {
            let made = own.sign(purpose, FILE).unwrap();
            let refused = FileSignature::read(made.as_bytes());
            assert!(matches!(refused, Err(FileSignatureError::NoCertificate)), "{refused:?}");
        }
        let mut builder = template(Purpose::Entry, key_of(&own).public().fingerprint()).unwrap();
        let block = sign("gnupg-ed25519/n1").signature.hashed_area().clone();
        for subpacket in block.subpackets(KEY_BLOCK) {
            builder = builder
                .modify_hashed_area(|mut area| {
                    area.add(subpacket.clone())?;
                    Ok(area)
                })
                .unwrap();
        }
        let made = builder.sign_message(&mut &*key_of(&own), FILE).unwrap();
        let refused = FileSignature::read(&Packet::from(made).to_vec().unwrap());
        assert!(
            matches!(refused, Err(FileSignatureError::Malformed("made for another purpose"))),
            "{refused:?}"
        );
    }

    fn key_of(own: &OwnKey) -> std::sync::Arc<crate::secret_key::SecretKey> {
        own.signer(SystemTime::now()).unwrap()
    }

    #[test]
    fn a_signature_of_the_future_or_of_a_key_that_does_not_count_is_refused() {
        let signature = sign("gnupg-ed25519/n1");
        let certificate = Certificate::from_record(signature.certificate()).unwrap();
        let at = |time| signature.verify(&certificate, &mut &*FILE, time);
        let now = SystemTime::now();
        at(now).unwrap();
        let early = at(now - Duration::from_secs(3600));
        assert!(matches!(early, Err(FileSignatureError::Time("of the future"))), "{early:?}");
        let late = at(now + Duration::from_secs(100 * 365 * 86_400));
        assert!(
            late.is_ok() || matches!(late, Err(FileSignatureError::Standing { .. })),
            "an expired certificate is named as the reason: {late:?}"
        );
        let before = at(SystemTime::UNIX_EPOCH);
        assert!(matches!(before, Err(FileSignatureError::Standing { .. })), "{before:?}");
    }

    #[test]
    fn a_quorum_certificate_has_the_wanted_statements_and_no_others() {
        let own = key("gnupg-ed25519/n1");
        let ring = keyring_of("gnupg-ed25519/n1");
        let certificate = ring.certificate(own.id()).unwrap();
        let identities = certificate.identities(ring.now()).into_iter();
        let addresses: BTreeSet<Address> = identities.map(|one| one.address).collect();
        let others = certificate.cert().userids().next().unwrap();
        let others: BTreeSet<NodeId> = others
            .certifications()
            .flat_map(|signature| signature.issuer_fingerprints())
            .filter_map(|issuer| node_id(issuer).ok())
            .collect();
        let one: BTreeSet<NodeId> = others.iter().take(1).cloned().collect();
        assert!(others.len() > 1);
        let count = |certifiers: &BTreeSet<NodeId>| {
            let record = certificate.quorum_certificate(&addresses, certifiers).unwrap();
            let small = Certificate::from_record(&record).unwrap();
            assert_eq!(small.id(), own.id());
            small.cert().userids().map(|ua| ua.certifications().count()).sum::<usize>()
        };
        assert_eq!((count(&one), count(&BTreeSet::new())), (1, 0));
        assert_eq!(count(&others), others.len());
    }
}
