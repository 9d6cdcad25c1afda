//! The main job, in one process: four real nodes over loopback HTTP, real keys, real disks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::time::Duration;

use crate::support::Cluster;
use bftkv::protocol::Configurations;
use bftkv::{Client, GetOptions, Problem, ProofFile, PutOptions, Value, Variable};
use tokio::task::JoinSet;
use tokio::time::timeout;

fn variable(name: &str) -> Variable {
    Variable::new(name.as_bytes()).unwrap()
}

fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

fn problem(error: &bftkv::Error) -> &Problem {
    match error {
        bftkv::Error::Operation(operation) => &operation.problem,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_put_get_and_go_on_when_one_is_gone() {
    let cluster = Cluster::new(4, &["Alice <alice@example.org>", "Bob <bob@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..4 {
        nodes.push(cluster.serve(i).await);
    }
    let (alice, bob) = (cluster.client(4).await, cluster.client(5).await);
    let x = variable("x");

    let absent = alice.get(&x, GetOptions::default()).await.unwrap();
    assert_eq!(absent.entry, None);
    let first = alice.put(&x, value("one"), PutOptions::default()).await.unwrap();
    let found = bob.get(&x, GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value("one"));
    assert!(found.culprits.is_empty());

    let refused = bob.put(&x, value("mine"), PutOptions::default()).await.unwrap_err();
    assert!(matches!(problem(&refused), Problem::NotOwner(_)), "{refused}");

    nodes.pop().unwrap().shutdown().await.unwrap();
    let second = alice.put(&x, value(""), PutOptions::default()).await.unwrap();
    assert!(second.timestamp > first.timestamp);
    let found = bob.get(&x, GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().value, value(""), "empty is not absent");

    let versions = bob.history(&x, None, 10).await.unwrap();
    let times: Vec<_> = versions.iter().map(|version| version.timestamp).collect();
    assert_eq!(times, [second.timestamp, first.timestamp]);

    let once = PutOptions { once: true, ..PutOptions::default() };
    alice.put(&x, value("last"), once).await.unwrap();
    let refused = alice.put(&x, value("more"), PutOptions::default()).await.unwrap_err();
    assert!(matches!(problem(&refused), Problem::Sealed(_)), "{refused}");
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

/// Whoever waits for it goes on all the same.
#[test]
fn a_put_may_be_given_up_outside_of_the_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = Cluster::new(4, &["Alice <alice@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..4 {
        nodes.push(runtime.block_on(cluster.serve(i)));
    }
    let alice = runtime.block_on(cluster.client(4));
    let (x, y) = (variable("x"), variable("y"));
    let mut first = Box::pin(alice.put(&x, value("given up"), PutOptions::default()));
    let mut second = Box::pin(alice.put(&y, value("waits"), PutOptions::default()));
    runtime.block_on(async {
        // Each begins; the second waits for the first.
        timeout(Duration::ZERO, &mut first).await.unwrap_err();
        timeout(Duration::ZERO, &mut second).await.unwrap_err();
    });
    drop(first);
    runtime.block_on(second).unwrap();
    for node in nodes {
        runtime.block_on(node.shutdown()).unwrap();
    }
}

/// Puts all of these at once, each by itself; tells which were refused.
async fn put_at_once(client: &Client, names: &[String], text: &str) -> Vec<String> {
    let mut puts = JoinSet::new();
    for name in names {
        let (client, name, value) =
            (client.clone(), name.clone(), value(&format!("{text} {name}")));
        puts.spawn(async move {
            let put = client.put(&variable(&name), value, PutOptions::default()).await;
            put.err().map(|error| (name, error))
        });
    }
    let mut refused = Vec::new();
    while let Some(put) = puts.join_next().await {
        if let Some((name, error)) = put.unwrap() {
            assert!(matches!(problem(&error), Problem::NotOwner(_)), "{name}: {error}");
            refused.push(name);
        }
    }
    refused
}

/// What one client puts at once travels together, and is still each for itself: one that is refused,
/// two of one variable, a node that dies. What was signed together is proven like anything else.
#[tokio::test(flavor = "multi_thread")]
async fn puts_at_once_share_signatures_and_each_has_its_own_outcome() {
    let cluster = Cluster::new(4, &["Alice <alice@example.org>", "Bob <bob@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..4 {
        nodes.push(cluster.serve(i).await);
    }
    let (alice, bob) = (cluster.client(4).await, cluster.client(5).await);
    bob.put(&variable("bobs"), value("mine"), PutOptions::default()).await.unwrap();

    let mut names: Vec<String> = (0..30).map(|n| format!("n{n}")).collect();
    names.extend(["n0".to_owned(), "bobs".to_owned()]);
    assert_eq!(put_at_once(&alice, &names, "first").await, ["bobs"]);
    nodes.pop().unwrap().shutdown().await.unwrap();
    assert_eq!(put_at_once(&alice, &names, "second").await, ["bobs"], "without one node");

    let known = Configurations::starting_with((*bob.configuration().unwrap()).clone());
    let (mut by_writer, mut by_members) = (0, 0);
    for name in names.iter().filter(|name| *name != "bobs") {
        let options = GetOptions { proof: true, ..GetOptions::default() };
        let entry = bob.get(&variable(name), options).await.unwrap().entry.unwrap();
        assert_eq!(entry.entry().value, value(&format!("second {name}")));
        by_writer += usize::from(entry.signed.signature.packet().is_batched());
        let batched = |share: &bftkv::protocol::SignatureShare| share.signature.is_batched();
        by_members += usize::from(entry.collective.shares().iter().any(batched));
        let file = ProofFile::new(entry.clone()).to_bytes();
        let proof = ProofFile::verify(&file, &known, bob.certificates().keyring()).unwrap();
        assert_eq!(*proof.entry(), entry);
        let mut other = entry;
        other.signed.entry.value = value("what nobody signed");
        let file = ProofFile::new(other).to_bytes();
        ProofFile::verify(&file, &known, bob.certificates().keyring()).unwrap_err();
    }
    assert!(by_writer >= 10 && by_members >= 10, "{by_writer} and {by_members} of 31 are batched");
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
