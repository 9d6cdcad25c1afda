//! Parsed certificates.

use std::time::SystemTime;

use bftkv_protocol::{Address, CertificateBytes, NodeId};
use sequoia_openpgp::cert::ValidCert;
use sequoia_openpgp::cert::amalgamation::ValidAmalgamation;
use sequoia_openpgp::packet::key::{PublicParts, UnspecifiedRole};
use sequoia_openpgp::packet::{Key, UserID};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::stream::Recipient;
use sequoia_openpgp::types::{PublicKeyAlgorithm, RevocationStatus};
use sequoia_openpgp::{Cert, Fingerprint, KeyHandle};

use crate::record::{CertificateRecord, node_id, parse};
use crate::signature::is_strong;
use crate::{CertificateError, Identity, IdentityKind};

/// Sequoia's judgement of what is too weak (SHA-1, short RSA keys). It is used where the present
/// counts; what was certified is judged without it (rule R4).
pub(crate) static POLICY: StandardPolicy<'static> = StandardPolicy::new();

/// RSA keys below this size are refused. NIST SP 800-131A.
const MIN_RSA_BITS: usize = 2048;

/// A public key of somebody.
pub(crate) type PublicKey = Key<PublicParts, UnspecifiedRole>;

/// Why a certificate does not count at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It counts.
    Valid,
    /// It is expired, or not yet valid.
    Expired,
    /// Its owner has revoked it.
    Revoked,
    /// Its own signatures do not hold, or are too weak.
    Invalid(String),
}

/// A parsed certificate, about 28 KiB in memory.
#[derive(Debug, Clone)]
pub struct Certificate {
    id: NodeId,
    cert: Cert,
    signing: Vec<PublicKey>,
}

impl Certificate {
    /// Parses a certificate.
    ///
    /// # Errors
    /// [`CertificateError`]: the fault of whoever made or sent it.
    pub fn parse(bytes: &CertificateBytes) -> Result<Self, CertificateError> {
        // The record checks the limits before anything is parsed.
        Self::from_record(&CertificateRecord::new(bytes)?)
    }

    pub(crate) fn from_record(record: &CertificateRecord) -> Result<Self, CertificateError> {
        Self::from_cert(parse(record.bytes().as_bytes())?)
    }

    pub(crate) fn from_cert(cert: Cert) -> Result<Self, CertificateError> {
        let signing = signing_keys(&cert);
        Ok(Self { id: node_id(&cert.fingerprint())?, cert, signing })
    }

    /// The fingerprint.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Whether it counts at `time`, and if not, why.
    #[must_use]
    pub fn standing(&self, time: SystemTime) -> Standing {
        match self.cert.with_policy(&POLICY, time) {
            Ok(valid) => standing_of(&valid),
            Err(_) if self.expired_by_binding(time) => Standing::Expired,
            Err(error) => Standing::Invalid(error.to_string()),
        }
    }

    /// The identities in its user IDs that are valid at `time`: bound by its own key, not
    /// revoked. Empty if the certificate does not count.
    #[must_use]
    pub fn identities(&self, time: SystemTime) -> Vec<Identity> {
        self.bound_identities(time).into_iter().map(|(_, identity)| identity).collect()
    }

    /// The URL, if it is a node at `time`: the first in the order of its user IDs.
    #[must_use]
    pub fn url(&self, time: SystemTime) -> Option<Address> {
        let mut identities = self.identities(time).into_iter();
        identities.find(|one| one.kind == IdentityKind::Node).map(|one| one.address)
    }

    pub(crate) fn cert(&self) -> &Cert {
        &self.cert
    }

    /// The user IDs that hold an identity and are valid at `time`.
    pub(crate) fn bound_identities(&self, time: SystemTime) -> Vec<(UserID, Identity)> {
        let Some(valid) = self.valid(time) else { return Vec::new() };
        let revoked = |status: RevocationStatus<'_>| matches!(status, RevocationStatus::Revoked(_));
        valid
            .userids()
            .filter(|ua| !revoked(ua.revocation_status()))
            .filter_map(|ua| {
                let identity = Identity::parse(ua.userid().value()).ok()?;
                Some((ua.userid().clone(), identity))
            })
            .collect()
    }

    /// The certificate's view at `time`, if it counts then.
    pub(crate) fn valid(&self, time: SystemTime) -> Option<ValidCert<'_>> {
        let valid = self.cert.with_policy(&POLICY, time).ok()?;
        (standing_of(&valid) == Standing::Valid).then_some(valid)
    }

    /// The primary key, if it may certify others at `time`.
    pub(crate) fn certifying_key(&self, time: SystemTime) -> Option<PublicKey> {
        let valid = self.valid(time)?;
        let primary = self.cert.fingerprint();
        let mut keys = valid.keys().supported().alive().revoked(false).for_certification();
        keys.find(|ka| ka.key().fingerprint() == primary).map(|ka| ka.key().clone())
    }

    /// The key that made a signature, if it was ever bound for signing. Independent of expiry and
    /// revocation: what was certified stays valid everywhere (rule R4).
    pub(crate) fn signing_key(&self, fingerprint: &Fingerprint) -> Option<&PublicKey> {
        self.signing.iter().find(|key| key.fingerprint() == *fingerprint)
    }

    /// Whether the key may sign messages at `time`.
    pub(crate) fn may_sign(&self, fingerprint: &Fingerprint, time: SystemTime) -> bool {
        self.valid(time).is_some_and(|valid| {
            let mut keys = valid.keys().supported().alive().revoked(false).for_signing();
            keys.any(|ka| ka.key().fingerprint() == *fingerprint)
        })
    }

    /// The newest key to which messages are encrypted at `time`.
    pub(crate) fn recipient(&self, time: SystemTime) -> Option<Recipient<'_>> {
        self.valid(time)?;
        let keys = self.cert.keys().with_policy(&POLICY, time).supported().alive().revoked(false);
        keys.for_transport_encryption()
            .max_by_key(|ka| ka.key().creation_time())
            .map(Recipient::from)
    }

    fn expired_by_binding(&self, time: SystemTime) -> bool {
        time < self.cert.primary_key().key().creation_time()
    }
}

fn standing_of(valid: &ValidCert<'_>) -> Standing {
    if matches!(valid.revocation_status(), RevocationStatus::Revoked(_)) {
        Standing::Revoked
    } else if valid.alive().is_err() {
        Standing::Expired
    } else {
        Standing::Valid
    }
}

/// All keys that the certificate's own key has ever bound for signing, with a strong hash (and,
/// for subkeys, the subkey's agreement). More signatures can only add keys, so two copies of one
/// certificate never disagree on what a valid signature is for longer than one is fetched.
fn signing_keys(cert: &Cert) -> Vec<PublicKey> {
    let signs = |sig: &sequoia_openpgp::packet::Signature| {
        is_strong(sig.hash_algo()) && sig.key_flags().is_some_and(|flags| flags.for_signing())
    };
    let mut keys = Vec::new();
    let primary = cert.primary_key();
    let by_user_id = cert.userids().any(|ua| ua.self_signatures().any(signs));
    if by_user_id || primary.self_signatures().any(signs) {
        keys.push(primary.key().clone().role_into_unspecified());
    }
    for subkey in cert.keys().subkeys() {
        if subkey.self_signatures().any(signs) {
            keys.push(subkey.key().clone().role_into_unspecified());
        }
    }
    keys.retain(is_acceptable);
    keys
}

fn is_acceptable(key: &PublicKey) -> bool {
    use PublicKeyAlgorithm as Algorithm;
    #[allow(deprecated, reason = "old RSA key types still name RSA keys")]
    match key.pk_algo() {
        Algorithm::RSAEncryptSign | Algorithm::RSASign => {
            key.mpis().bits().is_some_and(|bits| bits >= MIN_RSA_BITS)
        }
        Algorithm::EdDSA | Algorithm::ECDSA | Algorithm::Ed25519 | Algorithm::Ed448 => true,
        _ => false,
    }
}

/// Whether a signature's issuer names this certificate's primary key.
pub(crate) fn names(handle: &KeyHandle, id: &NodeId) -> bool {
    match handle {
        KeyHandle::Fingerprint(fingerprint) => fingerprint.as_bytes() == id.as_bytes(),
        KeyHandle::KeyID(key_id) => key_id.as_bytes() == key_id_of(id),
    }
}

/// The 64-bit key ID in a fingerprint: its end (version 4) or its beginning (version 6).
pub(crate) fn key_id_of(id: &NodeId) -> &[u8] {
    let bytes = id.as_bytes();
    let half = if bytes.len() == 20 { bytes.last_chunk::<8>() } else { bytes.first_chunk::<8>() };
    half.map_or(&[], |bytes| bytes.as_slice())
}
