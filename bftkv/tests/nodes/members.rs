//! Members come and go while people read and write: real nodes over loopback HTTP, real disks.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may fail"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::Cluster;
use bftkv::protocol::server::Standing;
use bftkv::protocol::{ChangeKind, Objection, Refusal, Sign as _};
use bftkv::wot::{CertificateRecord, Statement, generate_key};
use bftkv::{
    ChangeFailure, Client, GetOptions, Node, Place, PutOptions, RunningNode, Value, Variable,
};

/// How long a step may take at most, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

fn variable(name: &str) -> Variable {
    Variable::new(name.as_bytes()).unwrap()
}

fn value(number: u64) -> Value {
    Value::new(number.to_string()).unwrap()
}

/// A command of the operator's has changed a certificate's file since the node read it.
#[test]
fn what_was_put_into_a_certificates_file_meanwhile_is_not_overwritten() {
    let cluster = Cluster::new(4, &[]);
    let known = cluster.home(0).certificates().unwrap();
    let [own, other] = [0, 1].map(|i| cluster.keys[i].id().clone());
    cluster.revoke(0, 1);
    assert!(!known.keyring().vouched_for(&own, &other).is_empty(), "it has not read it yet");
    // Now it keeps something else that is new.
    let bob = generate_key("Bob <bob@example.org>", None).unwrap().key;
    known.add(bob.certificate_bytes()).unwrap();
    let (bytes, url) = (known.bytes(&other).unwrap(), known.url(&other).unwrap());
    let certified = bob.certify(&bytes, &url, Statement::Certify { valid_for: None }).unwrap();
    known.add(&certified).unwrap();
    assert!(known.keyring().vouched_for(&own, &other).is_empty(), "it has read it now");
    known.keep(bob.id()).unwrap();
    let found = cluster.home(0).certificates().unwrap();
    assert!(found.keyring().vouched_for(&own, &other).is_empty(), "the revocation is lost");
    assert!(found.keyring().vouched_for(bob.id(), &other).contains(&url), "what was new is lost");
    // A file that is no certificate any more has nothing to say.
    let path = cluster.home_path(0).join("certs").join(format!("{other}.pgp"));
    assert!(path.is_file());
    std::fs::write(&path, "nonsense").unwrap();
    found.import(CertificateRecord::new(&bytes).unwrap()).unwrap();
    let found = cluster.home(0).certificates().unwrap();
    assert_eq!(found.keyring().vouched_for(bob.id(), &other).len(), 1);
}

async fn change(client: &Client, kind: ChangeKind, cluster: &Cluster, who: usize) {
    let member = cluster.keys[who].id();
    let changed = client.change_members(kind, member, Place::Clique, PATIENCE, |_| {}).await;
    if let Err(error) = changed {
        panic!("{kind:?} {who}: {error} {error:?}");
    }
}

/// The web of trust of a new node shows no clique: three of the four members have withdrawn their
/// certification of the fourth, and two have certified the new one. It waits as a guest and answers nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sees_no_clique_begins_as_a_guest() {
    let mut cluster = Cluster::new(4, &["Alice <alice@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..3 {
        nodes.push(cluster.serve(i).await);
    }
    let alice = cluster.client(4).await;
    alice.put(&variable("x"), value(1), PutOptions::default()).await.unwrap();
    let guest = cluster.add_guest(&[0, 1]);
    for by in 0..3 {
        cluster.revoke(by, 3);
        cluster.import(guest, by);
    }
    let realm = cluster.home(guest).config().realm.clone();
    let certificates = cluster.home(guest).certificates().unwrap();
    let seen = certificates.configuration(cluster.keys[guest].id(), &realm);
    assert!(seen.unwrap_err().to_string().contains("no authority clique"));

    let node = Node::open(&cluster.home(guest)).unwrap();
    assert!(node.is_waiting());
    assert_eq!(node.standing(), Standing::Guest);
    let file = cluster.home_path(guest).join(bftkv::Home::MEMBERS);
    assert!(!file.exists(), "what stands in for a configuration is not kept");
    let above = bftkv::protocol::Request::Configurations { above: 0 };
    let sender = cluster.keys[4].id().clone();
    let told = node.handler().handle(sender.clone(), above).await.outcome;
    assert_eq!(told, Err(Refusal::NotMember), "nor told to others");

    let read = bftkv::protocol::Request::Read { variable: variable("x"), at: None };
    let answer = node.handler().handle(sender, read).await.outcome;
    assert!(answer.is_err(), "a guest answers no reads: {answer:?}");
    for running in nodes {
        running.shutdown().await.unwrap();
    }
}

/// The same new node learns what the realm has from q members. While only two of the four are there it
/// goes on waiting: one of them may lie. (What it takes has the same members as what stands in for a
/// configuration while it waits, which once kept it waiting for ever.)
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_learns_the_configuration_from_a_quorum() {
    let mut cluster = Cluster::new(4, &[]);
    let mut members = Vec::new();
    for i in 0..3 {
        members.push(cluster.serve(i).await);
    }
    members.pop().unwrap().shutdown().await.unwrap();
    let new = cluster.add_guest(&[0, 1]);
    for by in 0..3 {
        cluster.revoke(by, 3);
        cluster.import(new, by);
    }

    let guest = Node::open(&cluster.home(new)).unwrap();
    let running = guest.serve().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(guest.is_waiting(), "two of four are no quorum");

    let third = Node::open(&cluster.home(2)).unwrap();
    members.push(third.serve().await.unwrap());
    let until = Instant::now() + PATIENCE;
    while guest.is_waiting() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!guest.is_waiting(), "a quorum says what the realm has");
    assert_eq!(guest.configuration().digest(), third.configuration().digest());
    assert_eq!(guest.standing(), Standing::Guest, "it is no member yet");
    assert!(cluster.home_path(new).join(bftkv::Home::MEMBERS).exists(), "and remembers it");
    running.shutdown().await.unwrap();
    for running in members {
        running.shutdown().await.unwrap();
    }
}

async fn read(client: &Client, x: &Variable) -> Option<Value> {
    let found = client.get(x, GetOptions::default()).await.unwrap();
    assert!(found.culprits.is_empty(), "{:?}", found.culprits);
    found.entry.map(|entry| entry.entry().value.clone())
}

/// A writer that counts up until it is told to stop. Gives what it wrote last, and its longest
/// pause between two acknowledgements.
fn keep_writing(
    client: Client,
    x: Variable,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<(u64, Duration)> {
    tokio::spawn(async move {
        let (mut number, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
        while !stop.load(Ordering::Relaxed) {
            client.put(&x, value(number + 1), PutOptions::default()).await.unwrap();
            number += 1;
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        (number, longest)
    })
}

/// A reader that never sees a value older than one that it saw before.
fn keep_reading(
    client: Client,
    x: Variable,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let (mut seen, mut reads) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            if let Some(value) = read(&client, &x).await {
                let now: u64 = std::str::from_utf8(value.as_bytes()).unwrap().parse().unwrap();
                assert!(now >= seen, "{now} after {seen}");
                seen = now;
            }
            reads += 1;
        }
        reads
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn from_four_to_five_and_back_while_others_read_and_write() {
    let mut cluster = Cluster::new(4, &["Alice <alice@example.org>", "Bob <bob@example.org>"]);
    let mut nodes: Vec<Option<RunningNode>> = Vec::new();
    for i in 0..4 {
        nodes.push(Some(cluster.serve(i).await));
    }
    let (alice, bob) = (cluster.client(4).await, cluster.client(5).await);
    let (old, x) = (variable("old"), variable("x"));
    alice.put(&old, value(7), PutOptions::default()).await.unwrap();
    let first = alice.configuration().unwrap();

    // A node whose own web of trust shows five learns that the realm has four, and waits.
    let guest = cluster.add_guest(&[0, 1, 2, 3]);
    let node = Node::open(&cluster.home(guest)).unwrap();
    assert_eq!(node.configuration().everyone().len(), 5);
    let running = node.serve().await.unwrap();
    wait_for(&node, Standing::Guest).await;
    assert_eq!(node.configuration().digest(), first.digest());

    let stop = Arc::new(AtomicBool::new(false));
    let writer = keep_writing(alice.clone(), x.clone(), Arc::clone(&stop));
    let reader = keep_reading(bob.clone(), x.clone(), Arc::clone(&stop));
    cluster.import(0, guest);
    let operator = cluster.client(0).await;
    change(&operator, ChangeKind::Add, &cluster, guest).await;
    assert_eq!(operator.configuration().unwrap().everyone().len(), 5);
    // A quorum may be complete without it; then it follows.
    wait_for(&node, Standing::Serving).await;

    // It was still certified: nobody signs its removal, unless it asks itself.
    let member = cluster.keys[3].id();
    let refused =
        operator.change_members(ChangeKind::Remove, member, Place::Clique, PATIENCE, |_| {}).await;
    let Err(ChangeFailure::Refused { why, .. }) = refused else { panic!("{refused:?}") };
    let reason = Refusal::Objection(Objection::StillCertified(member.clone()));
    assert_eq!(why[cluster.keys[1].id()], Some(reason));
    let leaver = cluster.client(3).await;
    change(&leaver, ChangeKind::Remove, &cluster, 3).await;
    nodes[3].take().unwrap().shutdown().await.unwrap();

    stop.store(true, Ordering::Relaxed);
    let (written, longest) = writer.await.unwrap();
    let reads = reader.await.unwrap();
    println!("{written} writes, {reads} reads, longest pause {longest:?}");
    assert!(written > 0 && reads > 0);

    // Whoever has the first configuration finds the third by himself.
    let last = alice.configuration().unwrap();
    assert_eq!((last.number(), last.everyone().len()), (3, 4));
    assert_eq!(read(&bob, &x).await, Some(value(written)), "what was acknowledged is there");
    assert_eq!(read(&bob, &old).await, Some(value(7)), "certified by the first four");

    // A new one of the first four is gone as well: the newcomer counts.
    nodes[2].take().unwrap().shutdown().await.unwrap();
    alice.put(&x, value(1), PutOptions::default()).await.unwrap();
    assert_eq!(read(&bob, &x).await, Some(value(1)));
    assert_eq!(read(&bob, &old).await, Some(value(7)));

    running.shutdown().await.unwrap();
    for node in nodes.into_iter().flatten() {
        node.shutdown().await.unwrap();
    }
}

async fn wait_for(node: &Node, standing: Standing) {
    let began = Instant::now();
    while node.standing() != standing {
        assert!(began.elapsed() < PATIENCE, "it is {:?}, not {standing:?}", node.standing());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Opens a node whose store an ended task may still hold for a moment.
async fn open_again(cluster: &Cluster, i: usize) -> Node {
    let began = Instant::now();
    loop {
        match Node::open(&cluster.home(i)) {
            Ok(node) => return node,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Its disk died: a new node with a new key is added, then the old one is removed, because its
/// operators have withdrawn their certifications.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_replaced_after_its_disk_died() {
    let mut cluster = Cluster::new(4, &["Alice <alice@example.org>", "Bob <bob@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..4 {
        nodes.push(cluster.serve(i).await);
    }
    let alice = cluster.client(4).await;
    let x = variable("x");
    alice.put(&x, value(1), PutOptions::default()).await.unwrap();
    nodes.pop().unwrap().shutdown().await.unwrap();

    let new = cluster.add_guest(&[0, 1, 2, 3]);
    let replacement = Node::open(&cluster.home(new)).unwrap();
    let running = replacement.serve().await.unwrap();
    cluster.import(0, new);
    change(&cluster.client(0).await, ChangeKind::Add, &cluster, new).await;
    for by in 0..3 {
        cluster.revoke(by, 3);
        cluster.import(0, by);
    }
    cluster.revoke(new, 3);
    cluster.import(0, new);
    // The operator's home brings the others what was withdrawn.
    let operator = cluster.client(0).await;
    change(&operator, ChangeKind::Remove, &cluster, 3).await;
    assert_eq!(operator.configuration().unwrap().number(), 3);
    alice.put(&x, value(2), PutOptions::default()).await.unwrap();

    // A new client, whose home knows only the first certificates, finds its way.
    let bob = cluster.client(5).await;
    assert_eq!(read(&bob, &x).await, Some(value(2)));

    // A restart does not ask the graph again.
    running.shutdown().await.unwrap();
    drop(replacement);
    let replacement = open_again(&cluster, new).await;
    assert_eq!(replacement.standing(), Standing::Serving);
    assert_eq!(replacement.configuration().number(), 3);
    let running = replacement.serve().await.unwrap();
    assert_eq!(read(&bob, &x).await, Some(value(2)));
    running.shutdown().await.unwrap();
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}
