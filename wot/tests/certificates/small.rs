//! The cases that a trust graph must judge, in a keyring made by GnuPG (`make-keyrings.sh`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bftkv_protocol::{Group, NodeId, Realm};
use bftkv_wot::{
    ConfigurationOptions, Keyring, KeyringOptions, Origin, Standing, derive_configuration,
    graph_report, quorum_cliques, read_file, read_folder,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/small")
}

/// 2026-01-01 00:00:00 UTC, when the keys were made; certified a day later, revoked after two.
const MADE: u64 = 1_767_225_600;
const DAY: u64 = 86_400;

fn ring_on_day(days: u64) -> Keyring {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(MADE + days * DAY + 3600);
    let ring = Keyring::new(KeyringOptions { time: Some(time), ..KeyringOptions::default() });
    for record in read_file(&folder().join("all.pgp")).unwrap().certificates {
        ring.add(record, Origin::Local).unwrap();
    }
    ring
}

/// a1, a2, ... by their URLs.
fn id(ring: &Keyring, name: &str) -> NodeId {
    let (kind, number) = name.split_at(1);
    let port: u16 = number.parse().unwrap();
    let port = match kind {
        "a" => port,
        "t" => 9 + port,
        "x" => 10 + port,
        other => panic!("{other}"),
    };
    let url = format!("http://127.0.0.1:{port}");
    let claims = |record: &bftkv_wot::CertificateRecord| {
        record.claims().iter().any(|claim| claim.address.as_str() == url)
    };
    let records = ring.records();
    records.iter().find(|(record, _)| claims(record)).unwrap().0.id().clone()
}

fn group(ring: &Keyring, names: &[&str]) -> Group {
    Group::new(names.iter().map(|name| id(ring, name)))
}

#[test]
fn what_does_not_count_is_no_edge() {
    let ring = ring_on_day(30);
    let (graph, a4) = (ring.graph(), id(&ring, "a4"));
    let to_a4 = |name: &str| graph.certifies(&id(&ring, name), &a4);
    let from_a4 = |name: &str| graph.certifies(&a4, &id(&ring, name));
    assert!(to_a4("a1") && from_a4("a1"), "good both ways");
    assert!(!to_a4("a5") && from_a4("a5"), "one way");
    assert!(!to_a4("a6") && from_a4("a6"), "expired certification");
    assert!(to_a4("a7") && !from_a4("a7"), "revoked certification");
    assert!(!to_a4("a8") && !from_a4("a8"), "revoked key");
    assert!(!to_a4("a9") && from_a4("a9"), "SHA-1 certification");
    let a8 = ring.certificate(&id(&ring, "a8")).unwrap();
    assert_eq!(a8.standing(ring.now()), Standing::Revoked);
}

#[test]
fn the_same_keyring_is_judged_by_its_time() {
    let (early, a4) = (ring_on_day(1), id(&ring_on_day(1), "a4"));
    let graph = early.graph();
    assert!(graph.certifies(&id(&early, "a6"), &a4), "not expired yet");
    assert!(graph.certifies(&a4, &id(&early, "a7")), "not revoked yet");
    assert!(!graph.certifies(&id(&early, "a9"), &a4), "SHA-1 never counts");
    let earlier = ring_on_day(0);
    assert!(!earlier.graph().certifies(&id(&earlier, "a1"), &a4), "certified a day later");
}

#[test]
fn a_traitor_cannot_widen_the_clique_with_made_up_nodes() {
    let ring = ring_on_day(30);
    let realm = Realm::new("small").unwrap();
    let options = ConfigurationOptions::default();
    let a1 = id(&ring, "a1");
    let derived = derive_configuration(&ring.graph(), &a1, realm.clone(), &options).unwrap();
    assert_eq!(derived.cliques(), [group(&ring, &["a1", "a2", "a3", "a4"])]);
    assert!(derived.everyone().iter().all(|id| ring.url(id).is_some()), "no users");

    // The second maximal clique exists; whoever trusts t1, x1 and x2 directly sees it.
    let a2 = id(&ring, "a2");
    let found = quorum_cliques(&ring.graph(), &a2, &Default::default()).unwrap().cliques;
    let other = group(&ring, &["a2", "a3", "a4", "t1", "x1", "x2"]);
    assert_eq!(found.first().map(|clique| &clique.group), Some(&other));
    assert_eq!(found.len(), 1, "the first clique shares members with it");

    let report = graph_report(&ring.graph(), &a1, realm, &options);
    let a5 = report.outsiders.iter().find(|one| one.node == id(&ring, "a5")).unwrap();
    assert_eq!(a5.missing, [(id(&ring, "a5"), id(&ring, "a4"))]);
}

#[test]
fn a_folder_is_read_file_by_file_and_bad_files_are_named() {
    let found = read_folder(&folder()).unwrap();
    assert_eq!((found.certificates.len(), found.refused.len()), (13, 0));
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(folder().join("all.pgp"), copy.path().join("a.pgp")).unwrap();
    std::fs::write(copy.path().join("b.asc"), b"no certificate").unwrap();
    std::fs::write(copy.path().join("readme.txt"), b"not looked at").unwrap();
    let found = read_folder(copy.path()).unwrap();
    assert_eq!((found.certificates.len(), found.refused.len()), (13, 1));
    assert!(found.refused.iter().any(|error| error.to_string().contains("b.asc")));
    assert!(read_folder(&copy.path().join("missing")).is_err());
}
