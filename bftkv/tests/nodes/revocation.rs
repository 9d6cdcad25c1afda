//! Traitors are caught, proven and cut out, wherever somebody honest sees what they signed; and
//! nobody else is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::in_memory::{
    ALICE, BOB, Cluster, MALLORY, STRANGER, certificates, configurations, entry, entry_in, id, key,
    response, share, statement, until, variable,
};
use bftkv::protocol::Store as _;
use bftkv::protocol::{
    Answer, CertifiedEntry, EquivocationProof, Evidence, NodeId, Realm, Refusal, Request, decode,
    encode,
};
use bftkv::transport::Faults;
use bftkv::{Fault, GetOptions, MaliceFile, Problem, PutOptions, Value};

/// Mallory writes two values at one timestamp. n1 and n2 sign one, n3 the other, as they must; n4
/// is a traitor and signs both. Only the first is certified.
async fn two_values_with_one_traitor(cluster: &Cluster) -> (CertifiedEntry, CertifiedEntry) {
    let (one, two) = (entry(MALLORY, "x", 1, "one"), entry(MALLORY, "x", 1, "two"));
    (cluster.signed_by(&one, &[0, 1], &[3]).await, cluster.signed_by(&two, &[2], &[3]).await)
}

/// With two traitors, one more than four nodes tolerate, both values are certified.
async fn two_values_with_two_traitors(cluster: &Cluster) -> (CertifiedEntry, CertifiedEntry) {
    let (one, two) = (entry(MALLORY, "x", 1, "one"), entry(MALLORY, "x", 1, "two"));
    (cluster.signed_by(&one, &[0], &[2, 3]).await, cluster.signed_by(&two, &[1], &[2, 3]).await)
}

fn store(entry: &CertifiedEntry) -> Request {
    Request::Store { entry: entry.clone() }
}

fn accuse(proof: &EquivocationProof) -> Request {
    Request::Accuse(Box::new(proof.clone()))
}

/// The proof that n4 gave a share for each.
fn proof_against_n4(name: &str) -> EquivocationProof {
    let side = |value| {
        let entry = entry(MALLORY, name, 1, value);
        (statement(&entry), share(&entry, 3).signature)
    };
    let keys = certificates();
    EquivocationProof::of_shares(id(3), side("one"), side("two"), keys.keyring()).unwrap()
}

fn guilty(refusal: &Refusal) -> BTreeSet<NodeId> {
    match refusal {
        Refusal::Equivocation(proofs) => proofs.iter().map(|p| p.guilty().clone()).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traitor_is_caught_on_storing_and_the_other_three_go_on() {
    let cluster = Cluster::new();
    let (one, two) = two_values_with_one_traitor(&cluster).await;
    assert_eq!(cluster.ask(0, MALLORY, store(&one)).await, Ok(Answer::Done));
    let refused = cluster.ask(0, MALLORY, store(&two)).await.unwrap_err();
    assert_eq!(guilty(&refused), BTreeSet::from([id(3)]));

    // n1 tells the others, who check the proof and cut n4 out as well. Nobody else is cut.
    cluster.until_cut(&[0, 1, 2], 3).await;
    for node in 0..3 {
        assert_eq!(cluster.cut_at(node), [id(3)]);
        let graph = cluster.nodes[node].certificates().keyring().graph();
        assert_eq!(graph.certified_by(&id(3)).count() + graph.certifiers_of(&id(3)).count(), 0);
        assert_eq!(cluster.nodes[node].configuration().store().len(), 4, "it stays in n");
    }

    // A client hears of it when it joins, and asks n4 no more; three of four are enough.
    let asked = Arc::new(AtomicUsize::new(0));
    let (counter, inner) = (Arc::clone(&asked), cluster.nodes[3].handler());
    cluster.replace(3, move |sender, request| {
        counter.fetch_add(1, Ordering::SeqCst);
        let inner = Arc::clone(&inner);
        async move { inner.handle(sender, request).await }
    });
    let alice = cluster.client(ALICE).await;
    alice.join().await;
    assert_eq!(alice.convicted(), BTreeSet::from([id(3)]));
    asked.store(0, Ordering::SeqCst);
    let value = Value::new("still here").unwrap();
    alice.put(&variable("y"), value.clone(), PutOptions::default()).await.unwrap();
    let found = alice.get(&variable("y"), GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value);
    // What the traitor had co-signed stays readable.
    assert!(alice.get(&variable("x"), GetOptions::default()).await.unwrap().entry.is_some());
    assert_eq!(asked.load(Ordering::SeqCst), 0, "who was cut out is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn traitors_are_caught_on_signing() {
    let cluster = Cluster::new();
    let (one, two) = two_values_with_two_traitors(&cluster).await;
    assert_eq!(cluster.ask(0, MALLORY, store(&one)).await, Ok(Answer::Done));
    let evidence = Evidence { latest: Some(Box::new(two)), times: Vec::new() };
    let request = Request::Sign { entry: entry(MALLORY, "x", 2, "three"), evidence };
    let refused = cluster.ask(0, MALLORY, request).await.unwrap_err();
    assert_eq!(guilty(&refused), BTreeSet::from([id(2), id(3), id(MALLORY)]));
    cluster.until_cut(&[0, 1], MALLORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traitor_is_caught_on_reading() {
    let cluster = Cluster::new();
    let (one, two) = two_values_with_one_traitor(&cluster).await;
    for node in [0, 1] {
        assert_eq!(cluster.ask(node, MALLORY, store(&one)).await, Ok(Answer::Done));
    }
    let inner = cluster.nodes[3].handler();
    cluster.replace(3, move |sender, request| {
        let (inner, shown) = (Arc::clone(&inner), Box::new(two.clone()));
        async move {
            match request {
                Request::Read { .. } | Request::Digest { .. } => {
                    response(Ok(Answer::Entry(Some(shown))))
                }
                other => inner.handle(sender, other).await,
            }
        }
    });
    // Without n3 a read needs all of the others.
    cluster.network.set_faults(&id(2), Faults::down());
    let alice = cluster.client(ALICE).await;
    let found = alice.get(&variable("x"), GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, Value::new("one").unwrap());
    assert_eq!(found.culprits.get(&id(3)), Some(&Fault::Equivocation));
    assert_eq!(alice.convicted(), BTreeSet::from([id(3)]));
    cluster.until_cut(&[0, 1], 3).await;
    // n3 was away. It is told until it has heard.
    cluster.network.heal();
    cluster.until_cut(&[2], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traitors_are_caught_on_writing_back() {
    let cluster = Cluster::new();
    let (one, two) = two_values_with_two_traitors(&cluster).await;
    assert_eq!(cluster.ask(0, MALLORY, store(&one)).await, Ok(Answer::Done));
    assert_eq!(cluster.ask(1, MALLORY, store(&two)).await, Ok(Answer::Done));
    // Only n1 could contradict, and its answers to reads say nothing.
    let inner = cluster.nodes[0].handler();
    cluster.replace(0, move |sender, request| {
        let inner = Arc::clone(&inner);
        async move {
            match request {
                Request::Read { .. } | Request::Digest { .. } => response(Ok(Answer::Entry(None))),
                other => inner.handle(sender, other).await,
            }
        }
    });
    cluster.network.set_faults(&id(3), Faults::down());
    let alice = cluster.client(ALICE).await;
    let options =
        GetOptions { deadline: Some(std::time::Duration::from_secs(4)), ..GetOptions::default() };
    let error = alice.get(&variable("x"), options).await.unwrap_err();
    assert_eq!(error.culprits().get(&id(2)), Some(&Fault::Equivocation));
    assert_eq!(alice.convicted(), BTreeSet::from([id(2), id(3), id(MALLORY)]));
    cluster.until_cut(&[0, 1], MALLORY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conviction_survives_restarts_and_reaches_who_was_away() {
    let mut cluster = Cluster::new();
    cluster.stop(2);
    let proof = proof_against_n4("x");
    assert_eq!(cluster.ask(0, BOB, accuse(&proof)).await, Ok(Answer::Done));
    cluster.until_cut(&[0, 1], 3).await;
    cluster.stop(1);
    cluster.restart(0);
    assert_eq!(cluster.cut_at(0), [id(3)], "from its store, before it has asked anybody");
    cluster.stop(0);
    cluster.restart(1);
    // n3 asks at its start; n1, who told it in vain, is gone, and n2 tells nobody any more.
    cluster.nodes[1].stop();
    cluster.restart(2);
    cluster.until_cut(&[2], 3).await;
    assert_eq!(cluster.stores[2].proofs().unwrap().len(), 1, "and stores it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_keeps_what_it_learned_in_its_home() {
    let cluster = Cluster::new();
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("revoked");
    let proof = proof_against_n4("x");
    assert_eq!(cluster.ask(0, BOB, accuse(&proof)).await, Ok(Answer::Done));
    let alice = cluster.client_with(ALICE, certificates().with_revoked(&home).unwrap()).await;
    alice.join().await;
    let again = certificates().with_revoked(&home).unwrap();
    assert!(again.keyring().is_cut(&id(3)));
    assert_eq!(again.revoked().proof(&id(3)), Some(proof));
    // A damaged file cuts nobody.
    let path = home.join(format!("{}.malice", id(3)));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.pop();
    std::fs::write(&path, bytes).unwrap();
    assert!(!certificates().with_revoked(&home).unwrap().keyring().is_cut(&id(3)));
}

/// An accusation needs two valid signatures of one member's key in this realm that contradict each
/// other. Whatever else is sent convicts nobody: neither whom it names nor who sent it.
#[tokio::test(flavor = "multi_thread")]
async fn a_false_accusation_proves_nothing_and_names_nobody() {
    let cluster = Cluster::new();
    let keys = certificates();
    let of_shares = |signer: usize, entries: [&_; 2]| {
        let [a, b] = entries.map(|entry| (statement(entry), share(entry, signer).signature));
        EquivocationProof::of_shares(id(signer), a, b, keys.keyring())
    };
    let (one, two) = (entry(MALLORY, "x", 1, "one"), entry(MALLORY, "x", 1, "two"));
    assert!(of_shares(0, [&one, &one]).is_err(), "a share and its replay");
    assert!(of_shares(0, [&one, &entry(MALLORY, "x", 2, "two")]).is_err(), "two timestamps");
    assert!(of_shares(0, [&one, &entry(MALLORY, "y", 1, "two")]).is_err(), "two variables");

    let true_one = proof_against_n4("x");
    // A true one with another name on it: the fingerprint of n4 is where it begins.
    let mut framing = encode(&true_one);
    let place = framing.windows(20).position(|bytes| *bytes == *id(3).as_bytes()).unwrap();
    framing[place..place + 20].copy_from_slice(id(0).as_bytes());
    let realm = Realm::new("elsewhere").unwrap();
    let elsewhere = ["one", "two"].map(|v| entry_in(realm.clone(), MALLORY, "x", 1, v));
    let mut false_ones = vec![
        decode(&framing).unwrap(),
        of_shares(3, [&elsewhere[0], &elsewhere[1]]).unwrap(),
        of_shares(STRANGER, [&one, &two]).unwrap(),
    ];
    let length = encode(&true_one).len();
    for position in (0..length).step_by(7) {
        let mut bytes = encode(&true_one);
        bytes[position] ^= 1;
        false_ones.extend(decode(&bytes).ok());
    }
    assert!(false_ones.len() > 20);
    for proof in &false_ones {
        let refused = cluster.ask(0, 3, accuse(proof)).await;
        let no_proof = matches!(refused, Err(Refusal::Malformed | Refusal::UnknownWriter(_)));
        assert!(no_proof, "{proof:?}: {refused:?}");
    }
    assert!(cluster.cut_at(0).is_empty());
    assert!(cluster.stores[0].proofs().unwrap().is_empty());
    assert_eq!(cluster.ask(0, 3, accuse(&true_one)).await, Ok(Answer::Done));
}

/// Proofs are kept once for each of the guilty, and only of members and writers: a traitor can
/// make any number of proofs against itself, and keys that sign everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_proofs_fills_no_disk() {
    let cluster = Cluster::new();
    for number in 0..20 {
        let proof = proof_against_n4(&format!("x{number}"));
        assert_eq!(cluster.ask(0, MALLORY, accuse(&proof)).await, Ok(Answer::Done));
    }
    assert_eq!(cluster.stores[0].proofs().unwrap().len(), 1);
    let answer = cluster.ask(0, ALICE, Request::Revocations { after: None }).await.unwrap();
    assert!(matches!(answer, Answer::Proofs { proofs, more: false } if proofs.len() == 1));
    let behind = Request::Revocations { after: Some(id(3)) };
    let answer = cluster.ask(0, ALICE, behind).await.unwrap();
    assert!(matches!(answer, Answer::Proofs { proofs, more: false } if proofs.is_empty()));
}

/// What a convicted writer left behind on an empty variable blocks nobody, and what it still has
/// in its pocket overtakes nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_convicted_writer_blocks_and_overtakes_nobody() {
    let mut cluster = Cluster::new();
    let lurking = entry(MALLORY, "empty", 7, "mine, later");
    let lurking = cluster.signed_by(&lurking, &[0, 1, 2], &[]).await;
    let bob = cluster.client(BOB).await;
    let value = || Value::new("bob's").unwrap();
    let short =
        PutOptions { deadline: Some(std::time::Duration::from_secs(2)), ..PutOptions::default() };
    let blocked = bob.put(&variable("empty"), value(), short).await.unwrap_err();
    let bftkv::Error::Operation(error) = &blocked else { panic!("{blocked}") };
    assert!(matches!(error.problem, Problem::Blocked { .. }), "{blocked}");

    let (one, two) = two_values_with_two_traitors(&cluster).await;
    let keys = certificates();
    let proofs = EquivocationProof::of_certified(&one, &two, &configurations(), keys.keyring());
    let against_mallory = proofs.iter().find(|proof| *proof.guilty() == id(MALLORY)).unwrap();
    assert_eq!(cluster.ask(0, BOB, accuse(against_mallory)).await, Ok(Answer::Done));
    cluster.until_cut(&[0, 1, 2, 3], MALLORY).await;
    (0..4).for_each(|node| cluster.restart(node));

    let written = bob.put(&variable("empty"), value(), PutOptions::default()).await.unwrap();
    assert!(written.timestamp > lurking.timestamp());
    for node in 0..4 {
        assert_eq!(cluster.ask(node, MALLORY, store(&lurking)).await, Ok(Answer::Done));
    }
    let found = bob.get(&variable("empty"), GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value());
    // The convicted writes nothing any more.
    let request =
        Request::Sign { entry: entry(MALLORY, "new", 1, "v"), evidence: Evidence::default() };
    let refused = cluster.ask(0, MALLORY, request).await;
    assert!(matches!(refused, Err(Refusal::NoQuorumCertificate { .. })), "{refused:?}");
}

/// The file that convicts is canonical, holds offline, and no byte of it can change.
#[test]
fn a_proof_of_malice_holds_offline_and_no_byte_of_it_can_change() {
    let (keys, known) = (certificates(), configurations());
    let file = MaliceFile::new(proof_against_n4("x"));
    let bytes = file.to_bytes();
    let verify = |bytes: &[u8]| MaliceFile::verify(bytes, &known, keys.keyring());
    assert_eq!(verify(&bytes).unwrap().to_bytes(), bytes, "canonical: the same bytes again");
    for position in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[position] ^= change;
            assert!(verify(&changed).is_err(), "byte {position} changed by {change:#x}");
        }
    }
    for length in 0..bytes.len() {
        assert!(verify(&bytes[..length]).is_err());
    }
    assert!(verify(&[&bytes[..], &[0]].concat()).is_err());
}

/// The cut edge is an ordinary OpenPGP revocation, handed out with the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn gpg_shows_the_cut_edges_in_the_certificate_that_is_handed_out() {
    let cluster = Cluster::new();
    assert_eq!(cluster.ask(0, BOB, accuse(&proof_against_n4("x"))).await, Ok(Answer::Done));
    let revoked_by = |certificate: &bftkv::protocol::CertificateBytes| {
        let ring = certificates();
        ring.add(certificate).unwrap();
        (0..3).filter(|by| ring.keyring().vouched_for(&id(*by), &id(3)).is_empty()).count()
    };
    let shown = || cluster.nodes[0].certificates().bytes(&id(3)).unwrap();
    until(|| revoked_by(&shown()) == 1).await;
    let list = cluster.ask(0, ALICE, Request::Certificates { ids: vec![id(3)] }).await.unwrap();
    let Answer::Certificates(list) = list else { panic!("{list:?}") };
    assert_eq!(list, [shown()]);

    if Command::new("gpg").arg("--version").output().is_err() {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "gpg is missing, and CI=true");
        eprintln!("\n*** skipped: gpg missing ***\n");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let gpg = |arguments: &[&str]| {
        let output = Command::new("gpg")
            .env("GNUPGHOME", home.path())
            .args(["--batch", "--no-tty", "--no-auto-check-trustdb"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for (name, bytes) in [("n1", key(0).certificate_bytes().clone()), ("n4", shown())] {
        let path = home.path().join(name);
        std::fs::write(&path, bytes.as_bytes()).unwrap();
        gpg(&["--import", path.to_str().unwrap()]);
    }
    let lines = gpg(&["--with-colons", "--check-sigs", &id(3).to_string()]);
    let key_id = id(0).to_string().split_off(24);
    let cut = |line: &str| line.starts_with("rev:!:") && line.contains(&key_id);
    assert!(lines.lines().any(cut), "{lines}");
}
