//! Certificates as they are kept: bytes with a fingerprint, not parsed further.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bftkv_protocol::{CertificateBytes, NodeId};
use sequoia_openpgp::cert::raw::{RawCert, RawCertParser};
use sequoia_openpgp::packet::{Signature, Tag};
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::{Cert, Fingerprint, KeyHandle, Packet};

use crate::email_proof::is_email_proof;
use crate::{CertificateError, Identity, IdentityKind};

/// The greatest certificate that is looked into to strip what is not needed. A flooded one is
/// larger; to parse that would stall a node.
pub const MAX_RAW_BYTES: usize = 1024 * 1024;
/// The greatest number of user IDs: nobody's name changed so often.
pub const MAX_USER_IDS: usize = 32;
/// The greatest number of subkeys: a new set every year for ten years.
pub const MAX_SUBKEYS: usize = 32;
/// The greatest number of packets in a certificate of at most 64 KiB. Each may cost a hash for
/// each user ID.
pub const MAX_PACKETS: usize = 1024;

/// A certificate that is kept unparsed: its fingerprint, and what its user IDs claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRecord {
    id: NodeId,
    bytes: CertificateBytes,
    claims: Vec<Identity>,
    subkeys: Vec<NodeId>,
}

impl CertificateRecord {
    /// Takes one binary certificate.
    ///
    /// # Errors
    /// [`CertificateError`]: the sender's fault.
    pub fn new(bytes: &CertificateBytes) -> Result<Self, CertificateError> {
        let mut all = split(bytes.as_bytes())?;
        match (all.pop(), all.len()) {
            (Some(only), 0) => only,
            (None, _) => Err(CertificateError::Count(0)),
            (Some(_), more) => Err(CertificateError::Count(more.saturating_add(1))),
        }
    }

    /// The fingerprint.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// The certificate.
    #[must_use]
    pub fn bytes(&self) -> &CertificateBytes {
        &self.bytes
    }

    /// The identities that the user IDs claim. Nothing is verified: not even that the
    /// certificate's own key made them.
    #[must_use]
    pub fn claims(&self) -> &[Identity] {
        &self.claims
    }

    /// Whether it claims to be a node.
    #[must_use]
    pub fn claims_node(&self) -> bool {
        self.claims.iter().any(|claim| claim.kind == IdentityKind::Node)
    }

    /// The fingerprints of the subkeys that it claims.
    pub(crate) fn subkeys(&self) -> &[NodeId] {
        &self.subkeys
    }

    fn from_raw(raw: &RawCert<'_>) -> Result<Self, CertificateError> {
        check_counts(raw)?;
        if require_keepable(raw).is_err() {
            return Self::from_cert(&strip(parse(raw.as_bytes())?)?);
        }
        Self::keep(raw)
    }

    /// Keeps a parsed certificate, without secrets.
    pub(crate) fn from_cert(cert: &Cert) -> Result<Self, CertificateError> {
        let bytes = if has_unknown_secrets(cert) {
            drop_unknown_secrets(cert.clone())?.to_vec()
        } else {
            cert.to_vec()
        };
        // What is kept is read by others, and by us after the next start: it must be in the form
        // that is then kept as it is.
        let bytes = bytes.map_err(CertificateError::malformed)?;
        let raw = RawCert::from_bytes(&bytes).map_err(CertificateError::malformed)?;
        require_keepable(&raw)?;
        if raw.as_bytes() != bytes {
            return Err(CertificateError::malformed("it cannot be written as one certificate"));
        }
        Self::keep(&raw)
    }

    /// Keeps a certificate as it is.
    fn keep(raw: &RawCert<'_>) -> Result<Self, CertificateError> {
        let length = raw.as_bytes().len();
        let bytes = CertificateBytes::new(raw.as_bytes());
        let bytes = bytes.map_err(|_| CertificateError::too_large(length))?;
        let claims = raw.userids().filter_map(|id| Identity::parse(id.value()).ok()).collect();
        let subkeys = raw.keys().subkeys().filter_map(|key| node_id(&key.fingerprint()).ok());
        let subkeys = subkeys.collect();
        Ok(Self { id: node_id(&raw.fingerprint())?, bytes, claims, subkeys })
    }
}

/// Splits a keyring, binary or armored, into certificates. Those that cannot be kept are errors
/// at their place, so that one bad certificate does not hide the others.
///
/// # Errors
/// When it is no keyring at all.
pub(crate) fn split(
    bytes: &[u8],
) -> Result<Vec<Result<CertificateRecord, CertificateError>>, CertificateError> {
    let parser = RawCertParser::from_bytes(bytes).map_err(CertificateError::malformed)?;
    let record = |raw: sequoia_openpgp::Result<RawCert<'_>>| {
        CertificateRecord::from_raw(&raw.map_err(CertificateError::malformed)?)
    };
    Ok(parser.map(record).collect())
}

/// The fingerprint as the protocol knows it.
pub(crate) fn node_id(fingerprint: &Fingerprint) -> Result<NodeId, CertificateError> {
    NodeId::from_bytes(fingerprint.as_bytes()).map_err(CertificateError::malformed)
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Cert, CertificateError> {
    Cert::from_bytes(bytes).map_err(CertificateError::malformed)
}

fn check_counts(raw: &RawCert<'_>) -> Result<(), CertificateError> {
    let length = raw.as_bytes().len();
    if length > MAX_RAW_BYTES {
        return Err(CertificateError::too_large(length));
    }
    let count = |wanted: &[Tag]| raw.packets().filter(|p| wanted.contains(&p.tag())).count();
    if count(&[Tag::UserID, Tag::UserAttribute]) > MAX_USER_IDS {
        return Err(CertificateError::TooMany { what: "user IDs", max: MAX_USER_IDS });
    }
    if count(&[Tag::PublicSubkey, Tag::SecretSubkey]) > MAX_SUBKEYS {
        return Err(CertificateError::TooMany { what: "subkeys", max: MAX_SUBKEYS });
    }
    let most = MAX_PACKETS.saturating_mul(16);
    if raw.count() > most {
        return Err(CertificateError::TooMany { what: "packets", max: most });
    }
    Ok(())
}

/// Whether it can be kept as it is.
fn require_keepable(raw: &RawCert<'_>) -> Result<(), CertificateError> {
    let length = raw.as_bytes().len();
    if length > CertificateBytes::MAX_BYTES {
        return Err(CertificateError::too_large(length));
    }
    if raw.count() > MAX_PACKETS {
        return Err(CertificateError::TooMany { what: "packets", max: MAX_PACKETS });
    }
    if has_secrets(raw) {
        return Err(CertificateError::malformed("a secret key in it cannot be dropped"));
    }
    Ok(())
}

fn has_secrets(raw: &RawCert<'_>) -> bool {
    raw.packets().any(|packet| is_secret(packet.tag()))
}

fn is_secret(tag: Tag) -> bool {
    matches!(tag, Tag::SecretKey | Tag::SecretSubkey)
}

/// Whether it has secret keys that Sequoia cannot read: it carries them along as they are.
fn has_unknown_secrets(cert: &Cert) -> bool {
    cert.unknowns().any(|unknown| is_secret(unknown.component().tag()))
}

/// Drops secret keys that Sequoia cannot read, with the signatures that follow them.
fn drop_unknown_secrets(cert: Cert) -> Result<Cert, CertificateError> {
    let mut is_dropping = false;
    let keep = |packet: &Packet| {
        if !matches!(packet, Packet::Signature(_)) {
            is_dropping = matches!(packet, Packet::Unknown(unknown) if is_secret(unknown.tag()));
        }
        !is_dropping
    };
    let packets: Vec<Packet> = cert.into_packets().filter(keep).collect();
    Cert::from_packets(packets.into_iter()).map_err(CertificateError::malformed)
}

/// Drops what no rule needs: secrets, pictures, user IDs, e-mail proofs and subkeys that the
/// certificate's own key has not bound (anybody can append some), and of the certifications by one
/// issuer on one user ID or e-mail proof all but the newest.
pub(crate) fn strip(cert: Cert) -> Result<Cert, CertificateError> {
    let cert = cert
        .strip_secret_key_material()
        .retain_user_attributes(|ua| {
            is_email_proof(ua.user_attribute()) && ua.self_signatures().next().is_some()
        })
        .retain_userids(|ua| ua.self_signatures().next().is_some())
        .retain_subkeys(|subkey| subkey.self_signatures().next().is_some());
    let own = KeyHandle::from(cert.fingerprint());
    let mut newest: BTreeMap<StatementKey, Option<SystemTime>> = BTreeMap::new();
    let mut note = |about: &About, signature: &Signature| {
        let created = signature.signature_creation_time();
        let known = newest.entry(statement_key(about, signature)).or_insert(created);
        *known = (*known).max(created);
    };
    for ua in cert.userids() {
        let about = (Tag::UserID, ua.userid().value().to_vec());
        ua.certifications().chain(ua.other_revocations()).for_each(|s| note(&about, s));
    }
    for ua in cert.user_attributes() {
        let about = (Tag::UserAttribute, ua.user_attribute().value().to_vec());
        ua.certifications().chain(ua.other_revocations()).for_each(|s| note(&about, s));
    }
    let mut about = (Tag::Reserved, Vec::new());
    let keep = |packet: &Packet| match packet {
        Packet::UserID(id) => {
            about = (Tag::UserID, id.value().to_vec());
            true
        }
        Packet::UserAttribute(attribute) => {
            about = (Tag::UserAttribute, attribute.value().to_vec());
            true
        }
        Packet::Signature(signature) => {
            let by_owner = signature.get_issuers().iter().any(|issuer| issuer.aliases(&own));
            let found = newest.get(&statement_key(&about, signature));
            by_owner || found.is_none_or(|newest| *newest == signature.signature_creation_time())
        }
        _ => true,
    };
    let packets: Vec<Packet> = cert.into_packets().filter(keep).collect();
    Cert::from_packets(packets.into_iter()).map_err(CertificateError::malformed)
}

/// Drops the statements of others whose alleged maker is not `known`.
pub(crate) fn strip_unknown(
    cert: Cert,
    known: impl Fn(&KeyHandle) -> bool,
) -> Result<Cert, CertificateError> {
    let own = KeyHandle::from(cert.fingerprint());
    let keep = |packet: &Packet| match packet {
        Packet::Signature(signature) => {
            signature.get_issuers().iter().any(|issuer| issuer.aliases(&own) || known(issuer))
        }
        _ => true,
    };
    let packets: Vec<Packet> = cert.into_packets().filter(keep).collect();
    Cert::from_packets(packets.into_iter()).map_err(CertificateError::malformed)
}

/// A user ID or a user attribute.
type About = (Tag, Vec<u8>);

/// What a statement is about, and its alleged issuers.
type StatementKey = (About, Vec<Vec<u8>>);

fn statement_key(about: &About, signature: &Signature) -> StatementKey {
    let issuers = signature.get_issuers();
    (about.clone(), issuers.iter().map(|issuer| issuer.as_bytes().to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use sequoia_openpgp::packet::UserID;
    use sequoia_openpgp::packet::signature::subpacket::{Subpacket, SubpacketValue};

    use super::*;
    use crate::testing;

    #[test]
    fn a_keyring_of_gnupg_is_split_and_kept_as_it_is() {
        let records = split(&testing::keyring("gnupg-ed25519/n1/pubring.gpg")).unwrap();
        let records: Vec<_> = records.into_iter().collect::<Result<_, _>>().unwrap();
        assert_eq!(records.len(), 14);
        assert_eq!(records.iter().filter(|record| record.claims_node()).count(), 11);
        let total: usize = records.iter().map(|record| record.bytes().as_bytes().len()).sum();
        assert_eq!(total, testing::keyring("gnupg-ed25519/n1/pubring.gpg").len());
    }

    #[test]
    fn secrets_are_dropped() {
        let secret = testing::keyring("gnupg-ed25519/n1/secring.gpg");
        let record = split(&secret).unwrap().pop().unwrap().unwrap();
        let raw = RawCert::from_bytes(record.bytes().as_bytes()).unwrap();
        assert!(!has_secrets(&raw));
    }

    /// Found by fuzzing: its user ID became a secret subkey of no known version.
    #[test]
    fn secrets_that_cannot_be_read_are_dropped_and_what_is_kept_is_kept_for_good() {
        let found = "certificate/a-secret-subkey-of-no-known-version";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/regressions");
        let bytes = std::fs::read(std::path::Path::new(path).join(found)).unwrap();
        let record = CertificateRecord::new(&CertificateBytes::new(bytes).unwrap()).unwrap();
        let raw = RawCert::from_bytes(record.bytes().as_bytes()).unwrap();
        assert!(!has_secrets(&raw));
        assert_eq!(CertificateRecord::new(record.bytes()), Ok(record));
    }

    /// The owner's file may hold keys of a later time; nobody else may see them.
    #[test]
    fn an_own_secret_key_that_cannot_be_read_is_not_handed_out() {
        let mut file = testing::keyring("gnupg-ed25519/n1/secring.gpg");
        let secret = b"a secret subkey of no version";
        file.extend([0xc0 | 7, u8::try_from(secret.len()).unwrap()]);
        file.extend(secret);
        let key = crate::OwnKey::from_bytes(&file, &crate::no_passphrase).unwrap();
        let raw = RawCert::from_bytes(key.certificate_bytes().as_bytes()).unwrap();
        assert!(!has_secrets(&raw) && raw.userids().count() == 1);
    }

    #[test]
    fn floods_are_typed_errors() {
        let cert = parse(&testing::keyring("gnupg-ed25519/n1/cert.asc")).unwrap();
        let mut many = cert.to_vec().unwrap();
        for n in 0..10_000 {
            many.extend(Packet::from(UserID::from(format!("u{n}"))).to_vec().unwrap());
        }
        let result = split(&many).unwrap().pop().unwrap();
        assert_eq!(result, Err(CertificateError::TooMany { what: "user IDs", max: 32 }));

        let mut huge = cert.to_vec().unwrap();
        let padding = Packet::from(UserID::from(vec![b'x'; 10_000_000])).to_vec().unwrap();
        huge.extend(padding);
        let result = split(&huge).unwrap().pop().unwrap();
        assert!(matches!(result, Err(CertificateError::TooLarge { .. })), "{result:?}");
    }

    #[test]
    fn repeated_certifications_are_stripped() {
        let ring = split(&testing::keyring("gnupg-ed25519/n1/pubring.gpg")).unwrap();
        let record = ring.into_iter().next().unwrap().unwrap();
        let packets: Vec<Packet> =
            parse(record.bytes().as_bytes()).unwrap().into_packets().collect();
        let at = packets.iter().position(|p| matches!(p, Packet::UserID(_))).unwrap();
        let foreign = packets[at + 2].clone();
        // The same certification again and again, each time with other unhashed subpackets.
        let copies = (0..1000u32).map(|n| {
            let Packet::Signature(mut signature) = foreign.clone() else { panic!() };
            let area = signature.unhashed_area_mut();
            let value = SubpacketValue::PreferredKeyServer(n.to_string().into_bytes());
            area.add(Subpacket::new(value, false).unwrap()).unwrap();
            Packet::Signature(signature)
        });
        let mut flooded = packets[..=at + 1].to_vec();
        flooded.extend(copies);
        flooded.extend_from_slice(&packets[at + 2..]);
        let bytes: Vec<u8> = flooded.iter().flat_map(|p| p.to_vec().unwrap()).collect();
        assert!(bytes.len() > CertificateBytes::MAX_BYTES);
        let stripped = split(&bytes).unwrap().pop().unwrap();
        assert_eq!(stripped.unwrap().id(), record.id());
    }
}
