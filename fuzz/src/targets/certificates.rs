//! What OpenPGP brings: certificates, keyrings, sealed messages, user IDs.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bftkv_protocol::{Address, CertificateBytes, NodeId, Realm, Seal, Verify};
use bftkv_wot::{
    CertificateRecord, ConfigurationOptions, Identity, IdentityKind, Keyring, KeyringOptions,
    Origin, OwnKey, QuorumCertificates, Sealer, derive_configuration, no_passphrase,
    read_certificates,
};

use super::input::Input;
use crate::fixtures::one_group;

/// While the committed certificates are valid; the same on every run.
fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn options() -> KeyringOptions {
    KeyringOptions { time: Some(time()), max_strangers: 16, ..KeyringOptions::default() }
}

fn testdata(path: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wot/testdata/gnupg-ed25519");
    std::fs::read(folder.join(path)).unwrap()
}

fn own_key() -> &'static OwnKey {
    static KEY: OnceLock<OwnKey> = OnceLock::new();
    KEY.get_or_init(|| OwnKey::from_bytes(&testdata("n1/secring.gpg"), &no_passphrase).unwrap())
}

/// One certificate that a peer hands over: it is refused, or can be used like any other.
pub(super) fn certificate(data: &[u8]) {
    let Ok(bytes) = CertificateBytes::new(data) else { return };
    let Ok(record) = CertificateRecord::new(&bytes) else { return };
    let again = CertificateRecord::new(record.bytes()).unwrap();
    assert_eq!(again, record, "what is kept reads as what was kept");
    let keyring = Keyring::new(options());
    keyring.add_stranger(&bytes).unwrap();
    use_keyring(&keyring, record.id());
}

/// A file with any number of certificates, binary or armored, beside a known clique.
pub(super) fn keyring(data: &[u8]) {
    let readable = read_certificates(data).into_iter().flatten().flatten().count();
    if readable == 0 {
        return;
    }
    let keyring = Keyring::new(options());
    keyring.import(&testdata("n1/pubring.gpg")).unwrap();
    let before = cliques(&keyring);
    for id in keyring.import(data).into_iter().flatten().flatten() {
        use_keyring(&keyring, &id);
    }
    // Whoever cannot sign for the members cannot enter their clique.
    assert_eq!(cliques(&keyring), before);
}

fn cliques(keyring: &Keyring) -> Vec<bftkv_protocol::Group> {
    let realm = Realm::new("fuzz").unwrap();
    let (graph, own) = (keyring.graph(), own_key().certificate().id());
    let options = ConfigurationOptions::default();
    derive_configuration(&graph, own, realm, &options).unwrap().cliques().to_vec()
}

/// Everything that is done with a certificate once it is in the keyring.
fn use_keyring(keyring: &Keyring, id: &NodeId) {
    let graph = keyring.graph();
    assert!(graph.vertex(id).is_none_or(|vertex| !vertex.is_node || vertex.address.is_some()));
    let Some(record) = keyring.record(id) else { return };
    let own = own_key().certificate().id();
    let identities = QuorumCertificates::new(keyring.clone(), &one_group(), own);
    for identity in record.claims() {
        let _ = identities.certifiers(id, &identity.address);
    }
    let _ = (keyring.url(id), keyring.identities(id), keyring.find(&id.to_string()));
    if keyring.certificate(id).is_some() {
        let sealer = Sealer::new(keyring.clone(), own_key().clone());
        let _ = sealer.seal(std::slice::from_ref(id), b"a message");
        let mut input = Input::new(record.bytes().as_bytes());
        let packet = bftkv_protocol::SignatureBytes::new(input.take(200)).unwrap();
        let verified = keyring.verify(id, bftkv_protocol::Purpose::Entry, b"text", &packet);
        assert!(verified.is_err(), "no certificate begins with a signature");
    }
    keyring.add((*record).clone(), Origin::Local).unwrap();
}

/// Bytes that claim to be a sealed message; the first byte chooses what they are.
pub(super) fn sealed(data: &[u8]) {
    static SEALER: OnceLock<Sealer> = OnceLock::new();
    let sealer = SEALER.get_or_init(|| {
        let keyring = Keyring::new(options());
        keyring.import(&testdata("n1/pubring.gpg")).unwrap();
        Sealer::new(keyring, own_key().clone())
    });
    const LIMIT: usize = 64 * 1024;
    if let Ok(opened) = sealer.open(data, LIMIT) {
        assert!(opened.plaintext.len() <= LIMIT);
    }
    let _ = sealer.open_from(data, LIMIT, own_key().certificate_bytes());
}

/// A user ID is nobody, or has an address with one spelling and no odd characters.
pub(super) fn identity(data: &[u8]) {
    if let Ok(identity) = Identity::parse(data) {
        let address = identity.address.as_str();
        assert!(!address.is_empty() && !address.chars().any(char::is_control));
        assert!(!address.contains(['<', '>', '(', ')', ' ']), "{identity:?}");
        let (open, close) = match identity.kind {
            IdentityKind::Node => ('(', ')'),
            _ => ('<', '>'),
        };
        let again = format!("{} {open}{address}{close}", identity.name);
        if again.len() <= Identity::MAX_BYTES {
            assert_eq!(Identity::parse(again.as_bytes()), Ok(identity), "it has two spellings");
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (Address::new(text), Realm::new(text), text.parse::<NodeId>());
    }
}
