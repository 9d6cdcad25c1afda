//! The main job on keyrings that GnuPG made, as they are: real keys, HTTP over loopback, real
//! disks. The URLs with their ports stand in the user IDs, so these tests run one after the other.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::time::Duration;

use crate::support::{Keyrings, PATIENCE, PORTS, problem, value, variable};
use bftkv::{GetOptions, Problem, PutOptions};

const AUTHORITY: [&str; 7] = ["n1", "n2", "n3", "n4", "n5", "n6", "n7"];
const STORE: [&str; 4] = ["s1", "s2", "s3", "s4"];

async fn ed25519() -> Keyrings {
    let mut keyrings = Keyrings::new("gnupg-ed25519", "");
    keyrings.start_all(&AUTHORITY).await;
    keyrings.start_all(&STORE).await;
    keyrings
}

fn put() -> PutOptions {
    PutOptions { deadline: Some(PATIENCE), ..PutOptions::default() }
}

fn get() -> GetOptions {
    GetOptions { deadline: Some(PATIENCE), ..GetOptions::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_the_same_clique_and_store_group() {
    let keyrings = Keyrings::new("gnupg-ed25519", "");
    let mut digests = std::collections::BTreeSet::new();
    for who in AUTHORITY.iter().chain(&STORE).chain(&["alice", "alice2", "bob"]) {
        let home = keyrings.home(who);
        let certificates = home.certificates().unwrap();
        let me = keyrings.id(who);
        let configuration = certificates.configuration(&me, &home.config().realm).unwrap();
        assert_eq!(configuration.cliques().len(), 1, "{who}");
        assert_eq!(configuration.cliques()[0].len(), 7, "{who}");
        assert_eq!(configuration.store().len(), 4, "{who}");
        digests.insert(configuration.digest());
    }
    assert_eq!(digests.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_devices_strangers_and_impostors() {
    let _alone = PORTS.lock().await;
    let mut keyrings = ed25519().await;
    let x = variable("x");
    let alice = keyrings.client("alice").await;
    let first = alice.put(&x, value("from alice"), put()).await.unwrap();

    // The same user ID, another key: a second device.
    let alice2 = keyrings.client("alice2").await;
    let second = alice2.put(&x, value("from alice2"), put()).await.unwrap();
    assert!(second.timestamp > first.timestamp);

    let bob = keyrings.client("bob").await;
    let refused = bob.put(&x, value("from bob"), put()).await.unwrap_err();
    assert!(matches!(problem(&refused), Problem::NotOwner(_)), "{refused}");
    assert!(refused.to_string().contains("alice@example.org"), "{refused}");

    // Mallory claims alice's user ID; nobody has certified her. She has to name the nodes.
    let pinned: Vec<String> = AUTHORITY.iter().map(|n| format!("\"{}\"", keyrings.id(n))).collect();
    let store: Vec<String> = STORE.iter().map(|n| format!("\"{}\"", keyrings.id(n))).collect();
    let settings =
        format!("[realm]\nauthority = [{}]\nstore = [{}]\n", pinned.join(","), store.join(","));
    let impostor = Keyrings::new("gnupg-ed25519", &settings);
    let mallory = impostor.client("mallory").await;
    let refused = mallory.put(&x, value("from mallory"), put()).await.unwrap_err();
    assert!(matches!(problem(&refused), Problem::NoQuorumCertificate { .. }), "{refused}");
    assert!(refused.to_string().contains("quorum certificate"), "{refused}");
    assert!(refused.culprits().is_empty(), "nobody lied");

    let found = bob.get(&x, get()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value("from alice2"));
    assert!(found.culprits.is_empty());
    keyrings.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_seven_may_die_a_third_stops_writes_and_nothing_is_half_done() {
    let _alone = PORTS.lock().await;
    let mut keyrings = ed25519().await;
    let (x, y) = (variable("x"), variable("y"));
    let alice = keyrings.client("alice").await;
    alice.put(&x, value("before"), put()).await.unwrap();

    keyrings.stop("n1").await;
    keyrings.stop("n5").await;
    keyrings.stop("s2").await;
    alice.put(&x, value("two are gone"), put()).await.unwrap();
    let found = alice.get(&x, get()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value("two are gone"));

    keyrings.stop("n3").await;
    let hasty = PutOptions { deadline: Some(Duration::from_secs(3)), ..PutOptions::default() };
    for name in [&x, &y] {
        let failed = alice.put(name, value("three are gone"), hasty).await.unwrap_err();
        let Problem::Unreachable { have, need, missing, .. } = problem(&failed) else {
            panic!("{failed}")
        };
        assert_eq!((*have, *need), (4, 5), "{failed}");
        assert!(missing.contains(&keyrings.id("n3")), "{failed}");
    }
    // What failed is not there, and what was there still is.
    let found = alice.get(&x, get()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value("two are gone"));
    assert_eq!(alice.get(&y, get()).await.unwrap().entry, None);

    keyrings.start_all(&["n1", "n3", "n5", "s2"]).await;
    let bob = keyrings.client("bob").await;
    let found = bob.get(&x, get()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value("two are gone"));
    alice.put(&x, value("all are back"), put()).await.unwrap();
    alice.put(&y, value("y too"), put()).await.unwrap();
    keyrings.stop_all().await;
    keyrings.start_all(&AUTHORITY).await;
    keyrings.start_all(&STORE).await;
    let found = bob.get(&y, get()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value("y too"), "all nodes restarted");
    keyrings.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_size_and_variables_of_every_kind() {
    let _alone = PORTS.lock().await;
    let mut keyrings = ed25519().await;
    let alice = keyrings.client("alice").await;
    let names: [&[u8]; 6] =
        [b"a", b"../../etc/passwd", b"nul\0inside", b"line\nbreak", b"\xff\xfe", b"a/b"];
    for name in names {
        let x = variable(name);
        assert_eq!(alice.get(&x, get()).await.unwrap().entry, None, "absent before it is written");
        for bytes in [vec![], vec![7], name.to_vec()] {
            alice.put(&x, value(&bytes), put()).await.unwrap();
            let found = alice.get(&x, get()).await.unwrap().entry.unwrap();
            assert_eq!(found.entry().value, value(&bytes));
        }
    }
    let longest = variable(vec![b'x'; bftkv::Variable::MAX_BYTES]);
    let largest = value(vec![0x5a; bftkv::Value::MAX_BYTES]);
    alice.put(&longest, largest.clone(), put()).await.unwrap();
    // Once more, with the large entry as evidence on the way.
    alice.put(&longest, largest.clone(), put()).await.unwrap();
    let found = alice.get(&longest, get()).await.unwrap().entry.unwrap();
    assert_eq!(found.entry().value, largest);
    assert!(bftkv::Value::new(vec![0; bftkv::Value::MAX_BYTES + 1]).is_err());
    keyrings.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_keeps_every_version() {
    let _alone = PORTS.lock().await;
    let mut keyrings = ed25519().await;
    let alice = keyrings.client("alice").await;
    let x = variable("x");
    let mut written = Vec::new();
    for i in 0..20 {
        let one = alice.put(&x, value(format!("version {i}")), put()).await.unwrap();
        written.push((one.timestamp, value(format!("version {i}"))));
    }
    written.reverse();
    let versions = alice.history(&x, None, 100).await.unwrap();
    let found: Vec<_> =
        versions.iter().map(|v| (v.timestamp, v.entry.entry().value.clone())).collect();
    assert_eq!(found, written);
    let (third, text) = written[2].clone();
    let at = GetOptions { at: Some(third), ..get() };
    assert_eq!(alice.get(&x, at).await.unwrap().entry.unwrap().entry().value, text);
    let never = GetOptions { at: Some(bftkv::Timestamp::new(1 << 40)), ..get() };
    assert_eq!(alice.get(&x, never).await.unwrap().entry, None);
    keyrings.stop_all().await;
}

/// Nobody of the clique certifies the store nodes, so a list pins them; u01 lacks a04 and learns
/// it by joining; u04 is certified by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn the_rsa_keyrings_of_the_go_project() {
    let _alone = PORTS.lock().await;
    let bare = Keyrings::new("gnupg-rsa2048", "");
    let store: Vec<String> =
        ["rw01", "rw02", "rw03", "rw04"].iter().map(|n| format!("\"{}\"", bare.id(n))).collect();
    let settings = format!("[realm]\nstore = [{}]\n", store.join(","));
    let mut keyrings = Keyrings::new("gnupg-rsa2048", &settings);
    keyrings.start_all(&["a01", "a02", "a03", "a04", "rw01", "rw02", "rw03", "rw04"]).await;
    let x = variable("x");
    let u01 = keyrings.client("u01").await;
    u01.put(&x, value("from u01"), put()).await.unwrap();
    // u02 has the same address: another device of the same owner.
    let u02 = keyrings.client("u02").await;
    u02.put(&x, value("from u02"), put()).await.unwrap();
    let u04 = keyrings.client("u04").await;
    let refused = u04.put(&x, value("from u04"), put()).await.unwrap_err();
    assert!(matches!(problem(&refused), Problem::NoQuorumCertificate { .. }), "{refused}");
    keyrings.stop("a02").await;
    keyrings.stop("rw03").await;
    let found = u01.get(&x, get()).await.unwrap().entry.unwrap();
    assert_eq!(found.entry().value, value("from u02"));
    u01.put(&x, value("one of each is gone"), put()).await.unwrap();
    keyrings.stop_all().await;
}
