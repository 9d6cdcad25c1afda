//! What a node had signed that was cut out stays readable, and is certified again in the background.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may fail"
)]

use std::collections::BTreeSet;

use crate::in_memory::{
    ALICE, BOB, Cluster, certificates, configurations, entry, id, key, share, statement, until,
    variable,
};
use bftkv::protocol::Store as _;
use bftkv::protocol::{
    Answer, Backing, CertifiedEntry, EquivocationProof, NodeId, Refusal, Request, SignedEntry,
    Timestamp, verify_certified,
};
use bftkv::{GetOptions, ProofFile, PutOptions, Value};

/// n4 gave a share for each of two values.
fn proof_against_n4() -> EquivocationProof {
    let side = |value| {
        let entry = entry(BOB, "trap", 1, value);
        (statement(&entry), share(&entry, 3).signature)
    };
    EquivocationProof::of_shares(id(3), side("one"), side("two"), certificates().keyring()).unwrap()
}

/// Signed by n1, n2 and n4.
async fn with_n4(cluster: &Cluster, entry: &SignedEntry) -> CertifiedEntry {
    cluster.signed_by(entry, &[0, 1], &[3]).await
}

async fn store(cluster: &Cluster, at: &[usize], entry: &CertifiedEntry) {
    for node in at {
        let request = Request::Store { entry: entry.clone() };
        assert_eq!(cluster.ask(*node, BOB, request).await, Ok(Answer::Done));
    }
}

fn backing(cluster: &Cluster, node: usize, name: &str, t: u64) -> Option<Backing> {
    let stored = cluster.stores[node].version(&variable(name), Timestamp::new(t)).unwrap();
    stored.map(|entry| Backing::of(&entry, &configurations(), &BTreeSet::from([id(3)])))
}

fn all_full(cluster: &Cluster, name: &str, t: u64) -> bool {
    (0..3).all(|node| backing(cluster, node, name, t) == Some(Backing::Full))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cut_signer_had_signed_is_certified_again_by_the_other_three() {
    let mut cluster = Cluster::new();
    let mut entries = Vec::new();
    for number in 0..20 {
        let name = format!("x{number}");
        for t in [1, 2] {
            let certified = with_n4(&cluster, &entry(ALICE, &name, t, "value")).await;
            // n3 has it not: it lags behind.
            store(&cluster, &[0, 1, 3], &certified).await;
            entries.push(certified);
        }
    }
    let accusation = Request::Accuse(Box::new(proof_against_n4()));
    assert_eq!(cluster.ask(0, BOB, accusation).await, Ok(Answer::Done));
    cluster.until_cut(&[0, 1, 2], 3).await;

    // n = 4 with one node cut goes on with the other three.
    let alice = cluster.client(ALICE).await;
    alice.join().await;
    let found = alice.get(&variable("x0"), GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, Value::new("value").unwrap());
    let value = Value::new("new").unwrap();
    alice.put(&variable("y"), value, PutOptions::default()).await.unwrap();

    until(|| entries.iter().all(|e| all_full(&cluster, &name_of(e), e.timestamp().get()))).await;
    let status = alice.repair(std::time::Duration::from_secs(60), |_| {}).await.unwrap();
    assert_eq!(status.len(), 3, "who was cut out is not asked");
    let said: Vec<_> = status.values().map(|said| said.unwrap()).collect();
    assert!(said.iter().all(|said| said.done && said.open == 0 && said.alone == 0), "{said:?}");
    let repaired: u64 = said.iter().map(|said| said.repaired).sum();
    assert!(repaired >= 40, "each at least once: {said:?}");

    // It is a proof for everybody, without n4, and nobody was accused.
    let options = GetOptions { proof: true, ..GetOptions::default() };
    let found = alice.get(&variable("x0"), options).await.unwrap().entry.unwrap();
    assert!(found.collective.shares().iter().all(|vouch| vouch.signer != id(3)));
    let keys = certificates();
    let file = ProofFile::new(found).to_bytes();
    let proof = ProofFile::verify(&file, &configurations(), keys.keyring()).unwrap();
    for one in proof.detached_signatures() {
        assert!(matches!(one.domain.as_str(), "bftkv 1 entry" | "bftkv 1 vouch"));
    }
    assert_eq!(alice.convicted(), BTreeSet::from([id(3)]));
    assert!((0..3).all(|node| cluster.cut_at(node) == [id(3)]));

    // A node that starts anew finds that nothing is left: what was done is in the entries.
    cluster.restart(0);
    until(|| cluster.nodes[0].repair_progress().done).await;
    assert_eq!(cluster.nodes[0].repair_progress().repaired, 0);
    assert_eq!(alice.history(&variable("x0"), None, 9).await.unwrap().len(), 2);
}

fn name_of(entry: &CertifiedEntry) -> String {
    String::from_utf8(entry.variable().as_bytes().to_vec()).unwrap()
}

/// With n3 away, two are left of three that are needed: what is left over is said, and done when n3 is
/// back. Meanwhile everything is readable that a quorum can answer for.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_waits_for_a_quorum_and_says_so() {
    let mut cluster = Cluster::new();
    let certified = with_n4(&cluster, &entry(ALICE, "x", 1, "value")).await;
    store(&cluster, &[0, 1, 3], &certified).await;
    cluster.stop(2);
    let accusation = Request::Accuse(Box::new(proof_against_n4()));
    assert_eq!(cluster.ask(0, BOB, accusation).await, Ok(Answer::Done));
    cluster.until_cut(&[0, 1], 3).await;
    until(|| (0..2).all(|node| cluster.nodes[node].repair_progress().open == 1)).await;
    assert!(!cluster.nodes[0].repair_progress().done);
    assert_eq!(backing(&cluster, 0, "x", 1), Some(Backing::Thin));

    cluster.restart(2);
    cluster.until_cut(&[2], 3).await;
    let alice = cluster.client(ALICE).await;
    alice.join().await;
    let status = alice.repair(std::time::Duration::from_secs(60), |_| {}).await.unwrap();
    assert!(status.values().all(|said| said.unwrap().done), "{status:?}");
    assert!(all_full(&cluster, "x", 1));
}

/// n1 and n4 were cut out, more than four nodes tolerate: the entry of n1, n2 and n4 has one signer
/// left. Who has it acknowledges it, who lacks it takes it on the word of two others that have it, and
/// not on the word of one, nor of one who was cut out.
#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_entry_is_taken_on_the_word_of_two_others_only() {
    let cluster = Cluster::new();
    let certified = with_n4(&cluster, &entry(ALICE, "x", 1, "value")).await;
    store(&cluster, &[0, 1], &certified).await;
    for node in 0..4 {
        for cut in [0, 3] {
            cluster.nodes[node].certificates().revoked().command(&id(cut), "sold").unwrap();
        }
    }
    let ask = |node: usize, request: Request| cluster.ask(node, BOB, request);
    let store = || Request::Store { entry: certified.clone() };
    assert_eq!(ask(1, store()).await, Ok(Answer::Done), "it is on disk");
    assert_eq!(ask(2, store()).await, Err(Refusal::Lapsed));
    let vouch = |by: &[usize]| {
        let bytes =
            bftkv::protocol::VouchStatement::about(&certified.signed, configurations().newest());
        let sign = |who: &usize| bftkv::protocol::SignatureShare {
            signer: id(*who),
            signature: bftkv::protocol::Sign::sign(
                key(*who),
                bftkv::protocol::Purpose::Vouch,
                &bytes.signed_bytes(),
            )
            .unwrap(),
        };
        let vouches = bftkv::protocol::CollectiveSignature::new(
            configurations().newest().vouched(),
            by.iter().map(sign).collect(),
        );
        Request::Vouch { entry: Box::new(certified.clone()), vouches }
    };
    for few in [&[][..], &[1], &[1, 0], &[0, 3]] {
        assert_eq!(ask(2, vouch(few)).await, Err(Refusal::Lapsed), "{few:?}");
    }
    assert!(matches!(ask(1, vouch(&[])).await, Ok(Answer::Vouch(vouch)) if vouch.signer == id(1)));
    assert!(
        matches!(ask(2, vouch(&[1, 2])).await, Ok(Answer::Vouch(vouch)) if vouch.signer == id(2))
    );
    let stored = cluster.stores[2].version(&variable("x"), Timestamp::new(1)).unwrap().unwrap();
    assert_eq!(stored, certified);
    let keys = certificates();
    assert_eq!(verify_certified(&stored, &configurations(), keys.keyring()), Ok(()));
    let nobody: Vec<NodeId> = Vec::new();
    assert_eq!(cluster.stores[2].proofs().unwrap().len(), nobody.len());
}
