//! Parsed certificates.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bftkv_protocol::{Address, CertificateBytes, ChannelKey, ChannelStanding, NodeId};
use sequoia_openpgp::cert::amalgamation::ValidAmalgamation;
use sequoia_openpgp::cert::{Preferences, ValidCert};
use sequoia_openpgp::crypto::mpi;
use sequoia_openpgp::packet::key::{PublicParts, UnspecifiedRole};
use sequoia_openpgp::packet::{Key, UserID};
use sequoia_openpgp::policy::StandardPolicy;
use sequoia_openpgp::serialize::stream::Recipient;
use sequoia_openpgp::types::{Curve, Features, KeyFlags, PublicKeyAlgorithm, RevocationStatus};
use sequoia_openpgp::{Cert, Fingerprint, KeyHandle};

use crate::record::{CertificateRecord, node_id, parse};
use crate::signature::is_strong;
use crate::verification_key::VerificationKey;
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
#[derive(Debug)]
pub struct Certificate {
    id: NodeId,
    cert: Cert,
    signing: Vec<VerificationKey>,
    /// The keys that were ever bound for authentication.
    channel: Vec<ChannelKey>,
    present: Mutex<Option<(u64, Arc<Present>)>>,
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
        let id = node_id(&cert.fingerprint())?;
        let signing = signing_keys(&cert).into_iter().map(VerificationKey::new).collect();
        let channel = channel_keys(&cert);
        Ok(Self { id, cert, signing, channel, present: Mutex::default() })
    }

    /// The fingerprint.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Whether it counts at `time`, and if not, why.
    #[must_use]
    pub fn standing(&self, time: SystemTime) -> Standing {
        self.present(time).standing.clone()
    }

    /// The identities in its user IDs that are valid at `time`: bound by its own key, not
    /// revoked. Empty if the certificate does not count.
    #[must_use]
    pub fn identities(&self, time: SystemTime) -> Vec<Identity> {
        self.present(time).identities.iter().map(|(_, identity)| identity.clone()).collect()
    }

    /// The URL, if it is a node at `time`: the first in the order of its user IDs.
    #[must_use]
    pub fn url(&self, time: SystemTime) -> Option<Address> {
        let present = self.present(time);
        let mut identities = present.identities.iter().map(|(_, identity)| identity);
        identities.find(|one| one.kind == IdentityKind::Node).map(|one| one.address.clone())
    }

    /// Whether it holds a key for connections at `time`: an Ed25519 subkey for authentication alone.
    #[must_use]
    pub fn offers_tls(&self, time: SystemTime) -> bool {
        !self.present(time).channel.is_empty()
    }

    /// What the key is to this certificate at `time`.
    pub(crate) fn channel_standing(&self, key: &ChannelKey, time: SystemTime) -> ChannelStanding {
        if self.present(time).channel.contains(key) {
            ChannelStanding::Valid
        } else if self.channel.contains(key) {
            ChannelStanding::NotValidNow
        } else {
            ChannelStanding::Unknown
        }
    }

    pub(crate) fn cert(&self) -> &Cert {
        &self.cert
    }

    /// Whether a signature packet names one of the signing keys, wherever in it: the packet is not
    /// read, which is done when the signature is verified.
    pub(crate) fn is_maker(&self, signature: &[u8]) -> bool {
        self.signing.iter().any(|key| {
            let fingerprint = key.public().fingerprint();
            let name = fingerprint.as_bytes();
            signature.windows(name.len().max(1)).any(|part| part == name)
        })
    }

    /// The key that made a signature, if it was ever bound for signing. Independent of expiry and
    /// revocation: what was certified stays valid everywhere (rule R4).
    pub(crate) fn signing_key(&self, fingerprint: &Fingerprint) -> Option<&VerificationKey> {
        self.signing.iter().find(|key| key.public().fingerprint() == *fingerprint)
    }

    /// What it is good for at `time`. Times in OpenPGP are whole seconds, so one answer holds for
    /// a second; working it out takes longer than a signature.
    pub(crate) fn present(&self, time: SystemTime) -> Arc<Present> {
        let second = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut known = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, present)) = known.as_ref()
            && *at == second
        {
            return Arc::clone(present);
        }
        let present = Arc::new(Present::of(&self.cert, UNIX_EPOCH + Duration::from_secs(second)));
        *known = Some((second, Arc::clone(&present)));
        present
    }
}

/// What a certificate is good for at one time. Empty if it does not count then.
#[derive(Debug)]
pub(crate) struct Present {
    standing: Standing,
    /// The user IDs that hold an identity.
    identities: Vec<(UserID, Identity)>,
    /// The keys that may sign messages.
    signing: Vec<Fingerprint>,
    /// The primary key, if it may certify others.
    certifying: Option<PublicKey>,
    /// The newest key to which messages are encrypted, and which containers it can open.
    encryption: Option<(PublicKey, Features)>,
    /// The subkeys for authentication.
    channel: Vec<ChannelKey>,
}

impl Present {
    fn of(cert: &Cert, time: SystemTime) -> Self {
        match cert.with_policy(&POLICY, time) {
            Ok(valid) => match standing_of(&valid) {
                Standing::Valid => Self::of_valid(&valid),
                other => Self::nothing(other),
            },
            Err(_) if time < cert.primary_key().key().creation_time() => {
                Self::nothing(Standing::Expired)
            }
            Err(error) => Self::nothing(Standing::Invalid(error.to_string())),
        }
    }

    fn nothing(standing: Standing) -> Self {
        let (identities, signing, channel) = (Vec::new(), Vec::new(), Vec::new());
        Self { standing, identities, signing, certifying: None, encryption: None, channel }
    }

    fn of_valid(valid: &ValidCert<'_>) -> Self {
        let keys = || valid.keys().supported().alive().revoked(false);
        let primary = valid.cert().fingerprint();
        let certifying = keys().for_certification().find(|ka| ka.key().fingerprint() == primary);
        let encryption = keys()
            .for_transport_encryption()
            .max_by_key(|ka| ka.key().creation_time())
            .map(|ka| (ka.key().clone(), valid.features().unwrap_or_else(Features::empty)));
        Self {
            standing: Standing::Valid,
            identities: identities_of(valid),
            signing: keys().for_signing().map(|ka| ka.key().fingerprint()).collect(),
            certifying: certifying.map(|ka| ka.key().clone()),
            encryption,
            channel: keys()
                .subkeys()
                .filter(|ka| ka.key_flags().is_some_and(|flags| for_channels(&flags)))
                .filter_map(|ka| channel_key(ka.key().mpis()))
                .collect(),
        }
    }

    /// The user IDs that hold an identity.
    pub(crate) fn identities(&self) -> &[(UserID, Identity)] {
        &self.identities
    }

    /// The primary key, if it may certify others.
    pub(crate) fn certifying_key(&self) -> Option<&PublicKey> {
        self.certifying.as_ref()
    }

    /// Whether the key may sign messages.
    pub(crate) fn may_sign(&self, fingerprint: &Fingerprint) -> bool {
        self.signing.contains(fingerprint)
    }

    /// The key to encrypt messages to, and which containers it opens.
    pub(crate) fn encryption(&self) -> Option<&(PublicKey, Features)> {
        self.encryption.as_ref()
    }

    /// The same, as Sequoia's streaming writer wants it.
    pub(crate) fn recipient(&self) -> Option<Recipient<'_>> {
        let (key, features) = self.encryption.as_ref()?;
        let handle: KeyHandle =
            if features.supports_seipdv2() { key.fingerprint().into() } else { key.keyid().into() };
        Some(Recipient::new(features.clone(), handle, key))
    }
}

fn identities_of(valid: &ValidCert<'_>) -> Vec<(UserID, Identity)> {
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

/// The subkeys that the certificate's own key has ever bound for authentication.
fn channel_keys(cert: &Cert) -> Vec<ChannelKey> {
    let binds = |sig: &sequoia_openpgp::packet::Signature| {
        sig.key_flags().is_some_and(|flags| for_channels(&flags))
    };
    let subkeys = cert.keys().subkeys().filter(|ka| ka.self_signatures().any(binds));
    subkeys.filter_map(|ka| channel_key(ka.key().mpis())).collect()
}

/// A key for connections is for nothing else, so that what is signed for one purpose can never be
/// taken for the other.
fn for_channels(flags: &KeyFlags) -> bool {
    flags.for_authentication() && !flags.for_signing() && !flags.for_certification()
}

/// The point of an Ed25519 key of either version; `None` for other keys.
pub(crate) fn channel_key(key: &mpi::PublicKey) -> Option<ChannelKey> {
    let point = match key {
        mpi::PublicKey::EdDSA { curve: Curve::Ed25519, q } => {
            q.decode_point(&Curve::Ed25519).ok()?.0.try_into().ok()?
        }
        mpi::PublicKey::Ed25519 { a } => *a,
        _ => return None,
    };
    Some(ChannelKey::from_bytes(point))
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
