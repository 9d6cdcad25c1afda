//! Old versions survive disks that are lost one after the other, and members that are replaced:
//! whoever catches up or takes over reads back every version, not the newest alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may fail"
)]

use std::time::{Duration, Instant};

use crate::support::Cluster;
use bftkv::protocol::server::Standing;
use bftkv::protocol::{ChangeKind, Sign as _, Timestamp};
use bftkv::{Client, GetOptions, Node, Place, PutOptions, RunningNode, Value, Variable};

const PATIENCE: Duration = Duration::from_secs(60);

/// How many versions the variable has.
const VERSIONS: u64 = 40;

fn x() -> Variable {
    Variable::new("x").unwrap()
}

/// Writes that many versions; the value is the number of the version. Gives their timestamps.
async fn write(client: &Client) -> Vec<Timestamp> {
    let mut times = Vec::new();
    for number in 0..VERSIONS {
        let value = Value::new(number.to_string()).unwrap();
        times.push(client.put(&x(), value, PutOptions::default()).await.unwrap().timestamp);
    }
    times
}

/// Every version is found by its timestamp, and the history lists all.
async fn check(client: &Client, times: &[Timestamp]) {
    for (number, time) in times.iter().enumerate() {
        let options = GetOptions { at: Some(*time), ..GetOptions::default() };
        let found = client.get(&x(), options).await.unwrap();
        assert!(found.culprits.is_empty(), "{:?}", found.culprits);
        let entry = found.entry.unwrap_or_else(|| panic!("version {time} is lost"));
        assert_eq!(entry.entry().value.as_bytes(), number.to_string().as_bytes());
    }
    let mut listed = client.history(&x(), None, 1000).await.unwrap();
    listed.sort_by_key(|version| version.timestamp);
    let listed: Vec<Timestamp> = listed.iter().map(|version| version.timestamp).collect();
    assert_eq!(listed, times);
}

/// Three of four nodes lose their stores, one after the other; then the last node that had written
/// the old versions itself is gone.
#[tokio::test(flavor = "multi_thread")]
async fn old_versions_survive_three_disks_lost_one_after_the_other() {
    let cluster = Cluster::new(4, &["Alice <alice@example.org>"]);
    let mut nodes: Vec<Option<RunningNode>> = Vec::new();
    for i in 0..4 {
        nodes.push(Some(cluster.serve(i).await));
    }
    let alice = cluster.client(4).await;
    let times = write(&alice).await;
    for (i, running) in nodes.iter_mut().enumerate().take(3) {
        running.take().unwrap().shutdown().await.unwrap();
        std::fs::remove_dir_all(cluster.home_path(i).join("store")).unwrap();
        let node = Node::open(&cluster.home(i)).unwrap();
        *running = Some(node.serve().await.unwrap());
        tokio::time::timeout(PATIENCE, node.ready()).await.unwrap();
        stay_in_touch(&alice).await;
    }
    nodes.pop().unwrap().unwrap().shutdown().await.unwrap();
    check(&alice, &times).await;
    for node in nodes.into_iter().flatten() {
        node.shutdown().await.unwrap();
    }
}

/// A node is added and an old one leaves, three times; then the last of those who were there when
/// the versions were written is gone.
#[tokio::test(flavor = "multi_thread")]
async fn old_versions_survive_members_that_come_and_go() {
    let mut cluster = Cluster::new(4, &["Alice <alice@example.org>"]);
    let mut nodes: Vec<Option<RunningNode>> = Vec::new();
    for i in 0..4 {
        nodes.push(Some(cluster.serve(i).await));
    }
    let alice = cluster.client(4).await;
    let times = write(&alice).await;
    let mut members = vec![0, 1, 2, 3];
    let (mut guests, mut running) = (Vec::new(), Vec::new());
    for leaver in [3, 2, 1] {
        let guest = cluster.add_guest(&members);
        let node = Node::open(&cluster.home(guest)).unwrap();
        running.push(node.serve().await.unwrap());
        guests.push(node);
        cluster.import(0, guest);
        let operator = cluster.client(0).await;
        change(&operator, ChangeKind::Add, &cluster, guest).await;
        wait_for(&guests, &operator).await;
        let leaving = cluster.client(leaver).await;
        change(&leaving, ChangeKind::Remove, &cluster, leaver).await;
        // Whoever has not taken over yet needs those who leave.
        wait_for(&guests, &leaving).await;
        nodes[leaver].take().unwrap().shutdown().await.unwrap();
        members.retain(|i| *i != leaver);
        members.push(guest);
        stay_in_touch(&alice).await;
    }
    nodes[0].take().unwrap().shutdown().await.unwrap();
    check(&alice, &times).await;
    for node in nodes.into_iter().flatten().chain(running) {
        node.shutdown().await.unwrap();
    }
}

/// A client that slept while all nodes that it knew took fresh keys or left would know nobody. It
/// asks for a variable that nobody has written: so no old version is written back by it.
async fn stay_in_touch(client: &Client) {
    let other = Variable::new("y").unwrap();
    assert_eq!(client.get(&other, GetOptions::default()).await.unwrap().entry, None);
}

async fn change(client: &Client, kind: ChangeKind, cluster: &Cluster, who: usize) {
    let member = cluster.keys[who].id();
    let changed = client.change_members(kind, member, Place::Clique, PATIENCE, |_| {}).await;
    changed.unwrap_or_else(|error| panic!("{kind:?} {who}: {error} {error:?}"));
}

/// Waits until these nodes serve under the newest configuration.
async fn wait_for(nodes: &[Node], operator: &Client) {
    let (newest, began) = (operator.configuration().unwrap(), Instant::now());
    let serves = |node: &Node| {
        node.configuration().digest() == newest.digest() && node.standing() == Standing::Serving
    };
    while !nodes.iter().all(serves) {
        assert!(began.elapsed() < PATIENCE, "some do not take over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
