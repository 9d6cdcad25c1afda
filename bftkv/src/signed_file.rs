//! Signatures of files outside of the store, which anybody checks offline who knows the clique.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::SystemTime;

use bftkv_protocol::{Address, Configuration, Group, NodeId, Realm};
use bftkv_wot::{
    Certificate, CertificateRecord, FileSignature, FileSignatureError, Identity, Origin, OwnKey,
    QuorumCertificates,
};

use crate::Certificates;

/// Why a file was not signed, or its signature does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignedFileError {
    /// The signature by itself: what is wrong with it, or with the signer's certificate.
    #[error(transparent)]
    Signature(#[from] FileSignatureError),
    /// It counts in another realm.
    #[error("it was made for the realm {found}, and this home is in {expected}")]
    Realm {
        /// The realm that it names.
        found: Realm,
        /// The realm of whoever asks.
        expected: Realm,
    },
    /// The signer was cut out of the web of trust.
    #[error("the signer {0} was cut out of the web of trust")]
    Cut(NodeId),
    /// The signer's certificate is not known here. The caller's.
    #[error("the certificate {0} is not known here")]
    Unknown(NodeId),
    /// Too few members vouch for the signer.
    #[error(
        "{signer} has no quorum certificate: {have} members of a clique of {n} certify it, and {need} must"
    )]
    NoQuorumCertificate {
        /// The signer.
        signer: NodeId,
        /// Distinct members of one clique that certify one of its user IDs, valid now.
        have: usize,
        /// How many must: one more than may be faulty.
        need: usize,
        /// Members of that clique.
        n: usize,
    },
}

/// Who has signed a file: what a verified signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedFile {
    /// The signer's certificate.
    pub signer: NodeId,
    /// The key of it that made the signature.
    pub key: NodeId,
    /// When, by the signer's clock.
    pub made: Option<SystemTime>,
    /// Whose certificate it is, and which members say so: user IDs that a quorum of every clique vouches for.
    pub identities: BTreeMap<Identity, BTreeSet<NodeId>>,
}

/// Signs a file of any length with the own key. The signature carries the own certificate with the
/// certifications of the configuration's members, and nothing else of it.
///
/// # Errors
/// The members do not vouch for the own certificate, the key cannot sign, or the file cannot be read.
pub fn sign_file(
    key: &OwnKey,
    certificates: &Certificates,
    configuration: &Configuration,
    file: &mut dyn Read,
) -> Result<FileSignature, SignedFileError> {
    let id = key.certificate().id();
    let certificate = certificates.keyring().certificate(id);
    let certificate = certificate.ok_or_else(|| SignedFileError::Unknown(id.clone()))?;
    let identities = vouched_for(&certificate, certificates, configuration)?;
    let carried = quorum_certificate(&certificate, &identities, configuration)?;
    Ok(key.sign_file(configuration.realm(), &carried, file)?)
}

/// Checks the signature of a file, offline: with the certificate in it, with what is known of that
/// certificate besides (revocations above all), and with the certificates of the configuration's
/// members. All of them are judged as they are now. The signer's certificate is known afterwards,
/// in memory, as a stranger's.
///
/// # Errors
/// [`SignedFileError`]: the fault of whoever made or changed the file or the signature.
pub fn verify_file(
    signature: &FileSignature,
    certificates: &Certificates,
    configuration: &Configuration,
    file: &mut dyn Read,
) -> Result<SignedFile, SignedFileError> {
    let (found, expected) = (signature.realm(), configuration.realm());
    if found != expected {
        let (found, expected) = (found.clone(), expected.clone());
        return Err(SignedFileError::Realm { found, expected });
    }
    let keyring = certificates.keyring();
    let record = signature.certificate().clone();
    let signer = record.id().clone();
    keyring.add(record, Origin::Stranger).map_err(FileSignatureError::Certificate)?;
    let certificate = keyring.certificate(&signer);
    let certificate = certificate.ok_or_else(|| SignedFileError::Unknown(signer.clone()))?;
    signature.verify(&certificate, file, keyring.now())?;
    let identities = vouched_for(&certificate, certificates, configuration)?;
    Ok(SignedFile { key: signature.key()?, signer, made: signature.made(), identities })
}

/// The user IDs that more than b members of every clique certify now, and who does; at least one.
fn vouched_for(
    certificate: &Certificate,
    certificates: &Certificates,
    configuration: &Configuration,
) -> Result<BTreeMap<Identity, BTreeSet<NodeId>>, SignedFileError> {
    let keyring = certificates.keyring();
    let signer = certificate.id();
    if keyring.is_cut(signer) {
        return Err(SignedFileError::Cut(signer.clone()));
    }
    let members = QuorumCertificates::of_all(keyring.clone(), configuration);
    let mut vouched = BTreeMap::new();
    let mut most = BTreeSet::new();
    for identity in certificate.identities(keyring.now()) {
        let certifiers = members.certifiers(signer, &identity.address);
        if short_clique(configuration, &certifiers).is_none() {
            vouched.insert(identity, certifiers);
        } else if certifiers.len() >= most.len() {
            most = certifiers;
        }
    }
    match short_clique(configuration, &most) {
        Some(clique) if vouched.is_empty() => Err(SignedFileError::NoQuorumCertificate {
            signer: signer.clone(),
            have: clique.count(&most),
            need: clique.thresholds().one_honest(),
            n: clique.len(),
        }),
        _ => Ok(vouched),
    }
}

/// A clique of which too few are among the certifiers.
fn short_clique<'a>(
    configuration: &'a Configuration,
    certifiers: &BTreeSet<NodeId>,
) -> Option<&'a Group> {
    let short = |clique: &&Group| clique.count(certifiers) < clique.thresholds().one_honest();
    configuration.cliques().iter().find(short)
}

/// What goes along: the certifications of all members, or, if that is too much, of as few in every
/// clique as are enough.
fn quorum_certificate(
    certificate: &Certificate,
    identities: &BTreeMap<Identity, BTreeSet<NodeId>>,
    configuration: &Configuration,
) -> Result<CertificateRecord, FileSignatureError> {
    let addresses: BTreeSet<Address> = identities.keys().map(|one| one.address.clone()).collect();
    let all: BTreeSet<NodeId> = identities.values().flatten().cloned().collect();
    let carried = certificate.quorum_certificate(&addresses, &all)?;
    if FileSignature::can_carry(&carried) {
        return Ok(carried);
    }
    let enough = identities.values().flat_map(|certifiers| {
        configuration.cliques().iter().flat_map(move |clique| {
            let of_clique = clique.members().filter(|id| certifiers.contains(*id));
            of_clique.take(clique.thresholds().one_honest()).cloned()
        })
    });
    Ok(certificate.quorum_certificate(&addresses, &enough.collect())?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]
mod tests {
    use bftkv_protocol::CertificateBytes;
    use bftkv_wot::{Keyring, KeyringOptions, Statement, generate_key};

    use super::*;
    use crate::RealmConfig;

    const FILE: &[u8] = b"what was signed";

    /// Four nodes that have certified each other, and what somebody knows who knows only them.
    struct Clique {
        nodes: Vec<OwnKey>,
        certificates: Vec<CertificateBytes>,
    }

    impl Clique {
        fn new() -> Self {
            let name = |n| format!("n{n} (http://127.0.0.1:570{n})");
            let nodes: Vec<OwnKey> =
                (1..5).map(|n| generate_key(&name(n), None).unwrap().key).collect();
            let certify = |node: &OwnKey| certified(node.certificate_bytes(), &nodes, node);
            let certificates = nodes.iter().map(certify).collect();
            Self { nodes, certificates }
        }

        fn known(&self) -> Certificates {
            let certificates = Certificates::in_memory(Keyring::new(KeyringOptions::default()));
            for bytes in &self.certificates {
                certificates.import(CertificateRecord::new(bytes).unwrap()).unwrap();
            }
            certificates
        }

        fn configuration(&self, known: &Certificates) -> Configuration {
            known.configuration(self.nodes[0].certificate().id(), &RealmConfig::default()).unwrap()
        }
    }

    /// The certificate with the certifications of these, but for its own key.
    fn certified(bytes: &CertificateBytes, by: &[OwnKey], own: &OwnKey) -> CertificateBytes {
        let record = CertificateRecord::new(bytes).unwrap();
        let address = record.claims()[0].address.clone();
        let statement = Statement::Certify { valid_for: None };
        let others = by.iter().filter(|key| key.certificate().id() != own.certificate().id());
        others.fold(bytes.clone(), |bytes, key| key.certify(&bytes, &address, statement).unwrap())
    }

    fn user(clique: &Clique, certifiers: usize) -> (OwnKey, CertificateRecord) {
        let key = generate_key("Alice <alice@example.org>", None).unwrap().key;
        let bytes = certified(key.certificate_bytes(), &clique.nodes[..certifiers], &key);
        (key, CertificateRecord::new(&bytes).unwrap())
    }

    /// What somebody makes of it who knows nothing but the clique.
    fn verdict(clique: &Clique, signature: &FileSignature) -> Result<SignedFile, SignedFileError> {
        let known = clique.known();
        verify_file(signature, &known, &clique.configuration(&known), &mut &*FILE)
    }

    #[test]
    fn the_clique_alone_is_enough_to_check_a_signature() {
        let clique = Clique::new();
        let known = clique.known();
        let configuration = clique.configuration(&known);
        let (key, record) = user(&clique, 3);
        known.import(record).unwrap();
        let signature = sign_file(&key, &known, &configuration, &mut &*FILE).unwrap();
        let verified = verdict(&clique, &signature).unwrap();
        assert_eq!(verified.signer, *key.certificate().id());
        let (identity, certifiers) = verified.identities.first_key_value().unwrap();
        assert_eq!((identity.address.as_str(), certifiers.len()), ("alice@example.org", 3));
        let changed = verify_file(&signature, &clique.known(), &configuration, &mut &b"else"[..]);
        assert!(
            matches!(changed, Err(SignedFileError::Signature(FileSignatureError::Changed))),
            "{changed:?}"
        );
    }

    /// One member may lie, so one that vouches is not enough: neither to sign nor to be believed.
    #[test]
    fn without_a_quorum_certificate_nobody_signs_and_nobody_is_believed() {
        let clique = Clique::new();
        let known = clique.known();
        let configuration = clique.configuration(&known);
        for (certifiers, counts) in [(0, false), (1, false), (2, true)] {
            let (key, record) = user(&clique, certifiers);
            known.import(record.clone()).unwrap();
            let signed = sign_file(&key, &known, &configuration, &mut &*FILE);
            assert_eq!(signed.is_ok(), counts, "{certifiers}: {signed:?}");
            // A program of his own makes one all the same.
            let forged = key.sign_file(configuration.realm(), &record, &mut &*FILE).unwrap();
            match verdict(&clique, &forged) {
                Ok(_) => assert!(counts),
                Err(SignedFileError::NoQuorumCertificate { have, need: 2, n: 4, .. }) => {
                    assert_eq!((have, counts), (certifiers, false));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Certifications by anybody else count for nothing, however many.
    #[test]
    fn strangers_make_no_quorum_certificate() {
        let (clique, strangers) = (Clique::new(), Clique::new());
        let (key, record) = user(&strangers, 4);
        let known = clique.known();
        let realm = clique.configuration(&known).realm().clone();
        let forged = key.sign_file(&realm, &record, &mut &*FILE).unwrap();
        let refused = verdict(&clique, &forged);
        assert!(
            matches!(refused, Err(SignedFileError::NoQuorumCertificate { have: 0, .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_signature_of_another_realm_does_not_count() {
        let clique = Clique::new();
        let (key, record) = user(&clique, 4);
        let realm = Realm::new("elsewhere").unwrap();
        let signature = key.sign_file(&realm, &record, &mut &*FILE).unwrap();
        let refused = verdict(&clique, &signature);
        assert!(matches!(refused, Err(SignedFileError::Realm { .. })), "{refused:?}");
    }

    /// What is known here of the signer counts, whatever the signature carries.
    #[test]
    fn a_signer_who_was_revoked_or_cut_out_is_refused() {
        let clique = Clique::new();
        let generated = generate_key("Alice <alice@example.org>", None).unwrap();
        let key = generated.key;
        let bytes = certified(key.certificate_bytes(), &clique.nodes, &key);
        let record = CertificateRecord::new(&bytes).unwrap();
        let known = clique.known();
        let configuration = clique.configuration(&known);
        let signature = key.sign_file(configuration.realm(), &record, &mut &*FILE).unwrap();
        verify_file(&signature, &known, &configuration, &mut &*FILE).unwrap();

        let revocation = CertificateBytes::new(generated.revocation).unwrap();
        known.add(&revocation).unwrap();
        let refused = verify_file(&signature, &known, &configuration, &mut &*FILE);
        assert!(refused.is_err_and(|error| error.to_string().contains("revoked")));
        assert!(sign_file(&key, &known, &configuration, &mut &*FILE).is_err());

        let known = clique.known();
        known.keyring().cut_out(key.certificate().id().clone());
        let refused = verify_file(&signature, &known, &configuration, &mut &*FILE);
        assert!(matches!(refused, Err(SignedFileError::Cut(_))), "{refused:?}");
    }

    #[test]
    fn a_member_that_took_its_word_back_no_longer_counts() {
        let clique = Clique::new();
        let (key, record) = user(&clique, 2);
        let known = clique.known();
        let configuration = clique.configuration(&known);
        let signature = key.sign_file(configuration.realm(), &record, &mut &*FILE).unwrap();
        verify_file(&signature, &known, &configuration, &mut &*FILE).unwrap();
        let statement = Statement::Revoke { reason: "left" };
        let address = record.claims()[0].address.clone();
        let revoked = clique.nodes[0].certify(record.bytes(), &address, statement).unwrap();
        known.add(&revoked).unwrap();
        let refused = verify_file(&signature, &known, &configuration, &mut &*FILE);
        assert!(
            matches!(refused, Err(SignedFileError::NoQuorumCertificate { have: 1, .. })),
            "{refused:?}"
        );
    }
}
