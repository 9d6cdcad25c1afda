//! The main job, in one process: four real nodes over loopback HTTP, real keys, real disks.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod support;

use bftkv::{GetOptions, Problem, PutOptions, Value, Variable};
use support::Cluster;

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
