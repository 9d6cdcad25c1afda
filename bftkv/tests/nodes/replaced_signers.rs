//! Signers of old values are replaced one after the other and then cut out, so that hardly a signer is
//! left: real nodes over loopback HTTP, real disks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may fail"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::Cluster;
use bftkv::protocol::{
    Address, Answer, CertifiedEntry, ChangeKind, CollectiveSignature, Configuration, Entry,
    Outcome, Purpose, Refusal, Request, ShareStatement, Sign as _, SignatureShare, SignedEntry,
    WriterSignature,
};
use bftkv::{Client, GetOptions, Node, Place, PutOptions, RunningNode, Timestamp, Value, Variable};

const ALICE: usize = 4;
const BOB: usize = 5;
const PATIENCE: Duration = Duration::from_secs(90);

fn variable(name: &str) -> Variable {
    Variable::new(name.as_bytes()).unwrap()
}

/// Nodes that run, by number.
type Nodes = BTreeMap<usize, (Node, RunningNode)>;

async fn start(cluster: &Cluster, nodes: &mut Nodes, number: usize) {
    let node = Node::open(&cluster.home(number)).unwrap();
    let running = node.serve().await.unwrap();
    nodes.insert(number, (node, running));
}

async fn ask(cluster: &Cluster, nodes: &Nodes, number: usize, request: Request) -> Outcome {
    let sender = cluster.keys[ALICE].id().clone();
    nodes[&number].0.handler().handle(sender, request).await.outcome
}

/// Alice's entry with the shares of the first three nodes.
fn certified(cluster: &Cluster, first: &Configuration, name: &str, t: u64) -> CertifiedEntry {
    let key = &cluster.keys[ALICE];
    let entry = Entry {
        realm: first.realm().clone(),
        variable: variable(name),
        timestamp: Timestamp::new(t),
        value: Value::new(format!("{name} {t}")).unwrap(),
        is_final: false,
        writer: key.id().clone(),
        owner: Address::new("alice@example.org").unwrap(),
    };
    let signature = key.sign(Purpose::Entry, &entry.signed_bytes()).unwrap();
    let signed = SignedEntry { entry, signature: WriterSignature::new(signature) };
    let statement = ShareStatement {
        realm: first.realm().clone(),
        configuration: first.digest(),
        variable: variable(name),
        timestamp: Timestamp::new(t),
        entry: signed.hash(),
    };
    let share = |key: &bftkv::wot::OwnKey| SignatureShare {
        signer: key.id().clone(),
        signature: key.sign(Purpose::Share, &statement.signed_bytes()).unwrap(),
    };
    let shares = cluster.keys[..3].iter().map(share).collect();
    CertifiedEntry { signed, collective: CollectiveSignature::new(first.digest(), shares) }
}

async fn store(cluster: &Cluster, nodes: &Nodes, at: &[usize], entry: &CertifiedEntry) {
    for number in at {
        let request = Request::Store { entry: entry.clone() };
        assert_eq!(ask(cluster, nodes, *number, request).await, Ok(Answer::Done), "{number}");
    }
}

async fn change(client: &Client, kind: ChangeKind, cluster: &Cluster, who: usize) {
    let member = cluster.keys[who].id();
    let changed = client.change_members(kind, member, Place::Clique, PATIENCE, |_| {}).await;
    if let Err(error) = changed {
        panic!("{kind:?} {who}: {error} {error:?}");
    }
}

/// A new node takes the place of `old`: added, then `old` is removed because all others have withdrawn
/// their certifications. The operator of node 2 does it.
async fn replace(cluster: &mut Cluster, nodes: &mut Nodes, old: usize) -> usize {
    let members: Vec<usize> = nodes.keys().copied().collect();
    let new = cluster.add_guest(&members);
    cluster.import(new, 2);
    start(cluster, nodes, new).await;
    cluster.import(2, new);
    change(&cluster.client(2).await, ChangeKind::Add, cluster, new).await;
    for by in nodes.keys().copied().filter(|by| *by != old) {
        cluster.revoke(by, old);
        cluster.import(2, by);
    }
    change(&cluster.client(2).await, ChangeKind::Remove, cluster, old).await;
    let (_, running) = nodes.remove(&old).unwrap();
    running.shutdown().await.unwrap();
    new
}

async fn read(client: &Client, name: &str, at: Option<u64>) -> Option<CertifiedEntry> {
    let deadline = Some(Duration::from_secs(30));
    let options = GetOptions { at: at.map(Timestamp::new), deadline, ..GetOptions::default() };
    let found = client.get(&variable(name), options).await.unwrap();
    assert!(found.culprits.is_empty(), "{:?}", found.culprits);
    found.entry
}

#[tokio::test(flavor = "multi_thread")]
async fn values_stay_readable_when_their_signers_were_replaced_and_cut() {
    let users = ["Alice <alice@example.org>", "Bob <bob@example.org>"];
    let mut cluster = Cluster::new(4, &users);
    let mut nodes = Nodes::new();
    for number in 0..4 {
        start(&cluster, &mut nodes, number).await;
    }
    let first: Arc<Configuration> = nodes[&0].0.configuration();
    for number in 0..4 {
        nodes[&number].0.ready().await;
    }
    for t in [1, 2] {
        store(&cluster, &nodes, &[0, 1, 2, 3], &certified(&cluster, &first, "x", t)).await;
    }
    let (new, newer) = {
        let new = replace(&mut cluster, &mut nodes, 0).await;
        (new, replace(&mut cluster, &mut nodes, 1).await)
    };
    let members = [2, 3, new, newer];
    assert_eq!(nodes.keys().copied().collect::<Vec<_>>(), members);
    // Two have z, so it may have been acknowledged; one has w, which is not complete.
    store(&cluster, &nodes, &[2, 3], &certified(&cluster, &first, "z", 1)).await;
    store(&cluster, &nodes, &[2], &certified(&cluster, &first, "w", 1)).await;
    let bob = cluster.client(BOB).await;
    assert!(read(&bob, "x", None).await.is_some());

    // Of three signers two are cut out, and the writer as well.
    for number in members {
        for who in [0, 1, ALICE] {
            let id = cluster.keys[who].id();
            nodes[&number].0.certificates().revoked().command(id, "sold").unwrap();
        }
    }
    let lapsed = certified(&cluster, &first, "another", 1);
    let refused = ask(&cluster, &nodes, 3, Request::Store { entry: lapsed }).await;
    assert_eq!(refused, Err(Refusal::Lapsed));
    // No read hangs, whether it comes before the nodes have seen to it, or after.
    let found = read(&bob, "z", None).await.unwrap();
    assert_eq!(found.entry().value, Value::new("z 1").unwrap());
    assert_eq!(read(&bob, "w", None).await, None);
    assert_eq!(read(&bob, "x", Some(1)).await.unwrap().timestamp(), Timestamp::new(1));

    let mut steps = 0;
    let status = bob.repair(PATIENCE, |_| steps += 1).await.unwrap();
    assert!(steps > 0);
    assert!(status.values().all(|said| said.is_some_and(|said| said.done)), "{status:?}");
    let alone = |number: usize| status[cluster.keys[number].id()].unwrap().alone;
    assert_eq!(members.map(alone), [1, 0, 0, 0], "w, which only node 2 has");
    let vouched = nodes[&2].0.configuration().vouched();
    for (name, at) in [("x", 1), ("x", 2), ("z", 1)] {
        for number in members {
            let at = Some(Timestamp::new(at));
            let request = Request::Read { variable: variable(name), at };
            let answer = ask(&cluster, &nodes, number, request).await;
            let Ok(Answer::Entry(Some(entry))) = answer else {
                panic!("{name} {number} {answer:?}")
            };
            assert_eq!(entry.collective.configuration(), vouched, "{name} {at:?} at {number}");
        }
    }
    // Everything else goes on; what is written is seen.
    let put = bob.put(&variable("y"), Value::new("v").unwrap(), PutOptions::default()).await;
    put.unwrap();
    assert!(read(&bob, "y", None).await.is_some());
    assert_eq!(bob.history(&variable("x"), None, 9).await.unwrap().len(), 2);
    for (_, (_, running)) in nodes {
        running.shutdown().await.unwrap();
    }
}
