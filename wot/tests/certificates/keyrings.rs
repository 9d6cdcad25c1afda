//! The keyrings that GnuPG made, as they are.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::path::{Path, PathBuf};

use bftkv_protocol::{Address, Group, Identities, NodeId, Realm};
use bftkv_wot::{
    ConfigurationOptions, DeriveError, Keyring, KeyringOptions, LookupError, Origin,
    QuorumCertificates, derive_configuration, read_file,
};

const ED25519: [&str; 15] = [
    "n1", "n2", "n3", "n4", "n5", "n6", "n7", "s1", "s2", "s3", "s4", "alice", "alice2", "bob",
    "mallory",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

fn load(name: &str) -> Keyring {
    let keyring = Keyring::new(KeyringOptions::default());
    let found = read_file(&path(name)).unwrap();
    assert!(found.refused.is_empty(), "{:?}", found.refused);
    found.certificates.into_iter().for_each(|one| {
        keyring.add(one, Origin::Local).unwrap();
    });
    keyring
}

fn own_id(folder: &str) -> NodeId {
    let found = read_file(&path(&format!("{folder}/secring.gpg"))).unwrap();
    found.certificates[0].id().clone()
}

fn ids(keyring: &Keyring, addresses: impl IntoIterator<Item = String>) -> Vec<NodeId> {
    addresses.into_iter().map(|address| keyring.find(&address).unwrap()).collect()
}

fn realm() -> Realm {
    Realm::new("test").unwrap()
}

fn ports(host: &str, ports: std::ops::RangeInclusive<u16>) -> Vec<String> {
    ports.map(|port| format!("http://{host}:{port}")).collect()
}

#[test]
fn every_view_of_the_ed25519_keyrings_gives_the_same_configuration() {
    let mut digests = Vec::new();
    for name in ED25519 {
        let keyring = load(&format!("gnupg-ed25519/{name}/pubring.gpg"));
        let clique = Group::new(ids(&keyring, ports("127.0.0.1", 5701..=5707)));
        let store = Group::new(ids(&keyring, ports("127.0.0.1", 5601..=5604)));
        let start = own_id(&format!("gnupg-ed25519/{name}"));
        let options = ConfigurationOptions::default();
        let derived = derive_configuration(&keyring.graph(), &start, realm(), &options);
        let configuration = match derived {
            Ok(configuration) => configuration,
            Err(error) => panic!("{name}: {error}"),
        };
        assert_eq!(configuration.cliques(), [clique], "{name}");
        assert_eq!(configuration.store(), &store, "{name}");
        digests.push(configuration.digest());
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
}

#[test]
fn the_rsa_keyrings_need_a_pinned_store_group() {
    let keyring = load("gnupg-rsa2048/u01/pubring.gpg");
    let start = own_id("gnupg-rsa2048/u01");
    let mut options = ConfigurationOptions::default();
    let too_early = derive_configuration(&keyring.graph(), &start, realm(), &options);
    assert!(too_early.is_err(), "a04 is not known yet: {too_early:?}");

    // Joining brings a04.
    let a01 = load("gnupg-rsa2048/a01/pubring.gpg");
    for certificate in a01.for_join(&[], usize::MAX) {
        keyring.add_stranger(&certificate).unwrap();
    }
    let clique = Group::new(ids(&keyring, ports("localhost", 5701..=5704)));
    let alone = derive_configuration(&keyring.graph(), &start, realm(), &options).unwrap();
    assert_eq!((alone.cliques(), alone.store()), ([clique.clone()].as_slice(), &clique));

    options.store = ids(&keyring, ports("localhost", 5601..=5604));
    let pinned = derive_configuration(&keyring.graph(), &start, realm(), &options).unwrap();
    assert_eq!(pinned.store(), &Group::new(options.store.clone()));

    options.authority = ids(&keyring, ports("localhost", 5701..=5704));
    let both = derive_configuration(&keyring.graph(), &start, realm(), &options).unwrap();
    assert_eq!(both.digest(), pinned.digest());
}

#[test]
fn a_pinned_list_must_be_a_clique_of_known_nodes() {
    let keyring = load("gnupg-ed25519/n1/pubring.gpg");
    let start = own_id("gnupg-ed25519/n1");
    let try_with = |authority: Vec<NodeId>| {
        let options = ConfigurationOptions { authority, ..Default::default() };
        derive_configuration(&keyring.graph(), &start, realm(), &options)
    };
    let mut pinned = ids(&keyring, ports("127.0.0.1", 5702..=5705));
    assert_eq!(try_with(pinned.clone()).unwrap().cliques(), [Group::new(pinned.clone())]);
    pinned.push(keyring.find("http://127.0.0.1:5707").unwrap());
    pinned.push(keyring.find("http://127.0.0.1:5602").unwrap());
    assert!(matches!(try_with(pinned.clone()), Err(DeriveError::NotMutual { .. })));
    pinned.push(keyring.find("bob@example.org").unwrap());
    let user = try_with(pinned.clone());
    assert_eq!(user, Err(DeriveError::UnknownNode(keyring.find("bob@example.org").unwrap())));
}

#[test]
fn writers_have_quorum_certificates_or_not() {
    let keyring = load("gnupg-ed25519/n1/pubring.gpg");
    let mallory = read_file(&path("gnupg-ed25519/mallory/cert.asc")).unwrap();
    let mallory = mallory.certificates.into_iter().next().unwrap();
    let mallory_id = mallory.id().clone();
    keyring.add_stranger(mallory.bytes()).unwrap();

    let own = own_id("gnupg-ed25519/n1");
    let graph = keyring.graph();
    let configuration =
        derive_configuration(&graph, &own, realm(), &ConfigurationOptions::default()).unwrap();
    let writers = QuorumCertificates::new(keyring.clone(), &configuration, &own);
    let alice = Address::new("alice@example.org").unwrap();
    let bob = Address::new("bob@example.org").unwrap();
    let id = |name: &str| own_id(&format!("gnupg-ed25519/{name}"));

    assert!(writers.has_quorum_certificate(&id("alice"), &alice));
    assert!(writers.has_quorum_certificate(&id("alice2"), &alice));
    assert!(writers.has_quorum_certificate(&id("bob"), &bob));
    assert!(!writers.has_quorum_certificate(&id("bob"), &alice), "not his address");
    assert!(!writers.has_quorum_certificate(&mallory_id, &alice), "certified by nobody");
    assert!(
        writers.is_known(&mallory_id) && !writers.is_known(&NodeId::from_bytes(&[7; 20]).unwrap())
    );
    assert_eq!(writers.certifiers(&id("alice"), &alice).len(), 5);
}

/// Answers are remembered within a second; the time stands still here, so only changes count.
#[test]
fn what_is_remembered_of_writers_follows_every_change() {
    let full = load("gnupg-ed25519/n1/pubring.gpg");
    let (alice, own) = (own_id("gnupg-ed25519/alice"), own_id("gnupg-ed25519/n1"));
    let time = Some(std::time::SystemTime::now());
    let keyring = Keyring::new(KeyringOptions { time, ..KeyringOptions::default() });
    for (record, _) in full.records().into_iter().filter(|(record, _)| *record.id() != alice) {
        keyring.add((*record).clone(), Origin::Local).unwrap();
    }
    let options = ConfigurationOptions::default();
    let configuration = derive_configuration(&keyring.graph(), &own, realm(), &options).unwrap();
    let writers = QuorumCertificates::new(keyring.clone(), &configuration, &own);
    let address = Address::new("alice@example.org").unwrap();
    let has = || writers.has_quorum_certificate(&alice, &address);

    assert!(!has(), "nobody knows her");
    keyring.add((*full.record(&alice).unwrap()).clone(), Origin::Local).unwrap();
    assert!(has() && has(), "her certificate came");
    let mut certifiers = writers.certifiers(&alice, &address).into_iter();
    let last = certifiers.next_back().unwrap();
    certifiers.for_each(|one| assert!(keyring.cut_out(one)));
    assert!(!has(), "one certifier is left, and two are needed");
    assert_eq!(writers.certifiers(&alice, &address).into_iter().collect::<Vec<_>>(), [last]);
}

#[test]
fn rsa_writers_share_an_address_and_two_certifiers_are_enough() {
    let keyring = load("gnupg-rsa2048/a03/pubring.gpg");
    for user in ["u01", "u04"] {
        let ring = load(&format!("gnupg-rsa2048/{user}/pubring.gpg"));
        let own = ring.record(&own_id(&format!("gnupg-rsa2048/{user}"))).unwrap();
        keyring.add_stranger(own.bytes()).unwrap();
    }
    let own = own_id("gnupg-rsa2048/a03");
    let configuration =
        derive_configuration(&keyring.graph(), &own, realm(), &ConfigurationOptions::default())
            .unwrap();
    let writers = QuorumCertificates::new(keyring, &configuration, &own);
    let address = Address::new("foo@example.com").unwrap();
    assert!(writers.has_quorum_certificate(&own_id("gnupg-rsa2048/u01"), &address));
    assert!(!writers.has_quorum_certificate(&own_id("gnupg-rsa2048/u04"), &address));
}

#[test]
fn lookups_refuse_ambiguity() {
    let keyring = load("gnupg-ed25519/n1/pubring.gpg");
    let alice = own_id("gnupg-ed25519/alice");
    assert_eq!(keyring.find(&alice.to_string()), Ok(alice.clone()));
    assert_eq!(keyring.find("CEBB42083595CB43"), Ok(alice.clone()));
    assert_eq!(keyring.find("0xcebb42083595cb43"), Ok(alice));
    assert_eq!(keyring.find("http://127.0.0.1:5701"), Ok(own_id("gnupg-ed25519/n1")));
    let ambiguous = keyring.find("alice@example.org");
    assert!(
        matches!(ambiguous, Err(LookupError::Ambiguous { ref matches, .. }) if matches.len() == 2)
    );
    assert!(matches!(keyring.find("nobody@example.org"), Err(LookupError::Unknown(_))));
}

#[test]
fn what_is_expired_does_not_count_and_what_is_in_the_future_neither() {
    // Before the keys were made there is no graph.
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let options = KeyringOptions { time: Some(past), ..Default::default() };
    let keyring = Keyring::new(options);
    keyring.import(&std::fs::read(path("gnupg-ed25519/n1/pubring.gpg")).unwrap()).unwrap();
    let graph = keyring.graph();
    assert_eq!(graph.nodes().count(), 0);
    assert_eq!(graph.certified_by(&own_id("gnupg-ed25519/n1")).count(), 0);
}
