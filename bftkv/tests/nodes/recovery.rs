//! A node that lost its memory, or got an old copy of it back: notices it by itself, takes a fresh
//! signing key, reads what it lost from the others, and then takes part again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::path::Path;
use std::time::Duration;

use crate::support::Cluster;
use bftkv::protocol::Store as _;
use bftkv::roaming::client::Problem;
use bftkv::roaming::{Password, Stretching};
use bftkv::{Client, GetOptions, Node, PasswordOptions, PutOptions, RunningNode, Value, Variable};

fn x() -> Variable {
    Variable::new("x").unwrap()
}

async fn put(client: &Client, text: &str) -> u64 {
    let value = Value::new(text.as_bytes()).unwrap();
    client.put(&x(), value, PutOptions::default()).await.unwrap().timestamp.get()
}

async fn get(client: &Client) -> String {
    get_from(client, &x()).await
}

async fn get_from(client: &Client, variable: &Variable) -> String {
    let found = client.get(variable, GetOptions::default()).await.unwrap();
    assert!(found.culprits.is_empty(), "{:?}", found.culprits);
    String::from_utf8(found.entry.unwrap().entry().value.as_bytes().to_vec()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Four nodes and Alice, who has written "one".
struct Scene {
    cluster: Cluster,
    nodes: Vec<RunningNode>,
    alice: Client,
    key: Vec<u8>,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Cluster::new(4, &["Alice <alice@example.org>"])).await
    }

    async fn with(cluster: Cluster) -> Self {
        let mut nodes = Vec::new();
        for i in 0..4 {
            nodes.push(cluster.serve(i).await);
        }
        let alice = cluster.client(4).await;
        put(&alice, "one").await;
        let key = Self::key_of(&cluster);
        Self { cluster, nodes, alice, key }
    }

    fn key_of(cluster: &Cluster) -> Vec<u8> {
        std::fs::read(cluster.home_path(0).join("key.pgp")).unwrap()
    }

    /// Stops the first node and waits until its store is closed, which writes.
    async fn stop_first(&mut self) {
        self.nodes.remove(0).shutdown().await.unwrap();
        let lock = std::fs::File::open(self.cluster.home_path(0).join("store/lock")).unwrap();
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts the first node and waits until it speaks.
    async fn start_first(&mut self) {
        let node = Node::open(&self.cluster.home(0)).unwrap();
        self.nodes.insert(0, node.serve().await.unwrap());
        tokio::time::timeout(Duration::from_secs(60), node.ready()).await.unwrap();
    }

    /// The first node has a fresh key, and is needed: another one is gone, and the client that ran
    /// all the time accepts its shares.
    async fn check_recovered(mut self, last: &str) {
        assert_ne!(Self::key_of(&self.cluster), self.key, "it has a fresh key");
        self.nodes.pop().unwrap().shutdown().await.unwrap();
        assert_eq!(get(&self.alice).await, last);
        put(&self.alice, "after").await;
        assert_eq!(get(&self.alice).await, "after");
        let key = Self::key_of(&self.cluster);
        self.stop_first().await;
        self.start_first().await;
        assert_eq!(Self::key_of(&self.cluster), key, "an ordinary restart changes nothing");
        put(&self.alice, "again").await;
        for node in self.nodes {
            node.shutdown().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_store_is_noticed_and_read_back() {
    let mut scene = Scene::new().await;
    scene.stop_first().await;
    std::fs::remove_dir_all(scene.cluster.home_path(0).join("store")).unwrap();
    scene.start_first().await;
    scene.check_recovered("one").await;
}

/// Alice asks this node by sealed messages.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_store_is_noticed() {
    let users = ["Alice <alice@example.org>"];
    let mut scene = Scene::with(Cluster::mixed(4, &users, |i| i == 0)).await;
    scene.stop_first().await;
    let (store, aside) =
        (scene.cluster.home_path(0).join("store"), scene.cluster.home_path(0).join("aside"));
    copy(&store, &aside);
    scene.start_first().await;
    put(&scene.alice, "two").await;
    scene.stop_first().await;
    std::fs::remove_dir_all(&store).unwrap();
    copy(&aside, &store);
    scene.start_first().await;
    scene.check_recovered("two").await;
}

/// An old copy of the store would have more attempts left than were left last. The node notices that
/// its memory is old, and evaluates nothing until attempts come back: day by day, or from the owner.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_store_gives_no_attempts_at_a_password() {
    let mut scene = Scene::new().await;
    let (safe, right) = (Variable::new("safe").unwrap(), Password::new("right").unwrap());
    let options = PasswordOptions { stretching: Stretching::LEAST, ..PasswordOptions::default() };
    scene.alice.put_with_password(&safe, b"secret", &right, options).await.unwrap();
    scene.stop_first().await;
    let home = scene.cluster.home_path(0);
    let (store, aside) = (home.join("store"), home.join("aside"));
    copy(&store, &aside);
    scene.start_first().await;
    for _ in 0..3 {
        let wrong = Password::new("wrong").unwrap();
        scene.alice.get_with_password(&safe, &wrong, None).await.unwrap_err();
    }
    scene.stop_first().await;
    std::fs::remove_dir_all(&store).unwrap();
    copy(&aside, &store);
    scene.start_first().await;
    // With another one gone, the first is needed, and does not answer: no attempts are left there.
    scene.nodes.pop().unwrap().shutdown().await.unwrap();
    let deadline = Some(Duration::from_secs(5));
    let error = scene.alice.get_with_password(&safe, &right, deadline).await.unwrap_err();
    let bftkv::Error::Password(failure) = &error else { panic!("{error}") };
    assert!(matches!(failure.problem, Problem::TooFew { have: 2, need: 3, .. }), "{error}");
    assert!(failure.culprits.is_empty());
    // It holds its share all the same: the owner gives the attempts back, and it answers.
    assert_eq!(scene.alice.reset_attempts(&safe).await.unwrap().len(), 3);
    let opened = scene.alice.get_with_password(&safe, &right, None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"secret");
    for node in scene.nodes {
        node.shutdown().await.unwrap();
    }
}

/// What Alice has written to `y`.
const TREASURE: &str = "a value that is easily found on a disk";

fn y() -> Variable {
    Variable::new("y").unwrap()
}

/// One bit of the entry is changed on the first node's disk, in every copy of it.
fn damage(store: &Path) {
    // What moved on from the log is still there until something is written over it.
    for file in ["data.redb", "data.log"] {
        let file = store.join(file);
        let mut bytes = std::fs::read(&file).unwrap();
        let wanted = TREASURE.as_bytes();
        let found = bytes.windows(wanted.len()).enumerate().filter(|(_, part)| *part == wanted);
        let places: Vec<usize> = found.map(|(place, _)| place).collect();
        assert!(!places.is_empty(), "the store does not hold the entry");
        places.iter().for_each(|place| bytes[*place] ^= 1);
        std::fs::write(file, bytes).unwrap();
    }
}

/// One entry of one node is damaged at rest. The node does not serve it. Salvaged, it keeps what is
/// sound, gets the entry back from the others, and its old key signs no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_salvaged_and_completed_from_the_others() {
    let mut scene = Scene::new().await;
    let value = Value::new(TREASURE.as_bytes()).unwrap();
    scene.alice.put(&y(), value, PutOptions::default()).await.unwrap();
    scene.stop_first().await;
    let home = scene.cluster.home_path(0);
    damage(&home.join("store"));
    // Started as it is, it serves nothing wrong: the others suffice.
    if let Ok(node) = Node::open(&scene.cluster.home(0)) {
        let running = node.serve().await.unwrap();
        assert_eq!(get_from(&scene.alice, &y()).await, TREASURE);
        running.shutdown().await.unwrap();
    }
    let (node, salvage) = Node::open_salvaging(&scene.cluster.home(0)).unwrap();
    let salvage = salvage.expect("it is damaged");
    assert!(salvage.copied > 0 && !salvage.is_complete, "{salvage:?}");
    assert_eq!(salvage.incomplete, [y()], "{salvage:?}");
    assert!(home.join("store.damaged-1").is_dir());
    scene.nodes.insert(0, node.serve().await.unwrap());
    tokio::time::timeout(Duration::from_secs(60), node.ready()).await.unwrap();
    drop(node);
    scene.stop_first().await;
    let store = scene.cluster.home(0).store().unwrap();
    let entry = store.load(&y()).unwrap().latest.expect("it came back");
    assert_eq!(entry.entry().value.as_bytes(), TREASURE.as_bytes());
    drop(store);
    scene.start_first().await;
    for i in 0..5 {
        let certificates = scene.cluster.home(i).certificates().unwrap();
        assert!(certificates.revoked().convicted().is_empty(), "somebody honest was convicted");
    }
    scene.check_recovered("one").await;
}

/// The whole home comes from a backup, key and notes included: only the others can know.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_whole_home_is_noticed_by_the_others() {
    let mut scene = Scene::new().await;
    scene.stop_first().await;
    let (home, aside) = (scene.cluster.home_path(0), scene.cluster.home_path(99));
    copy(&home, &aside);
    scene.start_first().await;
    put(&scene.alice, "two").await;
    assert_eq!(Scene::key_of(&scene.cluster), scene.key, "an ordinary restart changes nothing");
    scene.stop_first().await;
    std::fs::remove_dir_all(&home).unwrap();
    copy(&aside, &home);
    scene.start_first().await;
    scene.check_recovered("two").await;
}

/// One of the others is needed and not there: the node stays silent, and goes on once it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_forgot_is_silent_until_enough_others_told_it() {
    let mut scene = Scene::new().await;
    scene.stop_first().await;
    scene.nodes.pop().unwrap().shutdown().await.unwrap();
    std::fs::remove_dir_all(scene.cluster.home_path(0).join("store")).unwrap();
    let node = Node::open(&scene.cluster.home(0)).unwrap();
    let running = node.serve().await.unwrap();
    let early = tokio::time::timeout(Duration::from_secs(3), node.ready()).await;
    assert!(early.is_err(), "two others cannot tell it everything");
    // It is stopped in the middle, and goes on where it was.
    running.shutdown().await.unwrap();
    drop(node);
    scene.nodes.push(scene.cluster.serve(3).await);
    scene.start_first().await;
    scene.check_recovered("one").await;
}

/// It looks for the others ever more seldom, but it hears when they come.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_others_speaks_as_soon_as_they_are_there() {
    let mut cluster = crate::in_memory::Cluster::new();
    (0..4).for_each(|node| cluster.stop(node));
    cluster.restart(0);
    let begun = std::time::Instant::now();
    // It has looked after 1.55 s and would do so again 1.6 s later.
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert!(tokio::time::timeout(Duration::ZERO, cluster.nodes[0].ready()).await.is_err());
    cluster.restart(1);
    cluster.restart(2);
    cluster.nodes[0].ready().await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(2_900), "it spoke after {took:?} only");
}
