//! Nodes and writers are killed, again and again, at every durable step and at any moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftkv::{Client, PutOptions, Value, Variable};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::sleep;

use crate::block_on;
use crate::homes::{Homes, Plan};
use crate::journal::{Journal, check_shares};
use crate::points::{OF_NODES, OF_WRITERS};
use crate::process::{Orders, PATIENCE, Process, TRIES};
use crate::restart::{Listening, Restart};

/// All of these together let all nodes be down at once.
const PERMITS: u32 = 4;
/// How many nodes may be down at once, from one check to the next; b is 1.
const DOWN_AT_ONCE: [u32; 5] = [1, 2, 1, 4, 1];
/// A node that takes longer until it serves counts as late.
const SERVING_WITHIN: Duration = Duration::from_secs(5);
/// Users: writers, and at last the one who checks.
const WRITERS: usize = 2;

#[derive(Default)]
struct Count {
    kills: AtomicU64,
    writer_kills: AtomicU64,
    by_point: Mutex<BTreeMap<String, u64>>,
    restarts: Mutex<Vec<Restart>>,
}

struct Campaign {
    homes: Homes,
    journal: Journal,
    count: Count,
    listening: Listening,
    target: u64,
    /// Whoever kills holds permits until its node serves again.
    down: Semaphore,
    /// How many permits one killer needs.
    weight: AtomicU64,
}

#[test]
fn a_hundred_kills_lose_nothing_and_nobody_signs_twice() {
    block_on(campaign(100, 40));
}

/// `CHAOS_KILLS=10000 cargo test --release -p bftkv-tests --test chaos -- --ignored --nocapture
/// kills_without_end`
#[test]
#[ignore = "runs as long as one likes"]
fn kills_without_end() {
    let kills = std::env::var("CHAOS_KILLS").map_or(10_000, |text| text.parse().unwrap());
    block_on(campaign(kills, 250));
}

/// Kills so many node processes; after each `between` all acknowledged values are read.
async fn campaign(target: u64, between: u64) {
    let kinds = vec!["redb", "redb", "leveldb", "files"];
    // A put that meets dead nodes shall give up soon, not after the default of ten seconds.
    let client_settings = "deadline_ms = 8000\nround_ms = 500\nbackoff_ms = 10".to_owned();
    let users = WRITERS + 1;
    let plan = Plan { kinds, users, client_settings, ..Plan::default() };
    let homes = Homes::new(&plan);
    let campaign = Arc::new(Campaign {
        homes,
        journal: Journal::default(),
        count: Count::default(),
        listening: Listening::nobody(4),
        target,
        down: Semaphore::new(PERMITS as usize),
        weight: AtomicU64::new(u64::from(PERMITS)),
    });
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..campaign.homes.ids.len() {
        tasks.spawn(kill_node(Arc::clone(&campaign), i));
    }
    for i in 0..WRITERS {
        tasks.spawn(kill_writer(Arc::clone(&campaign), i));
    }
    // A node that starts at the end needs the others: none is killed before all have started.
    let mut running = campaign.check_now_and_then(between, &mut tasks).await;
    let rest = tokio::time::timeout(PATIENCE, tasks.join_all());
    running.extend(rest.await.expect("they do not end"));
    for node in running.iter_mut().flatten() {
        node.kill().await;
    }
    campaign.judge().await;
    campaign.report(begun.elapsed()).await;
}

impl Campaign {
    fn is_over(&self) -> bool {
        self.count.kills.load(Ordering::SeqCst) >= self.target
    }

    /// Gives the nodes whose killers have ended.
    async fn check_now_and_then(
        &self,
        between: u64,
        tasks: &mut tokio::task::JoinSet<Option<Process>>,
    ) -> Vec<Option<Process>> {
        let mut running = Vec::new();
        let checker = self.homes.client(WRITERS).await;
        let mut next = between.min(self.target);
        let mut check = 0;
        while !self.is_over() || next <= self.target {
            if let Some(ended) = tasks.try_join_next() {
                running.push(ended.expect("a killer met a fault"));
                assert!(self.is_over(), "a killer gave up");
            }
            if self.count.kills.load(Ordering::SeqCst) < next {
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            // All nodes are up as long as this is held.
            let all = self.down.acquire_many(PERMITS).await.unwrap();
            let began = Instant::now();
            write_again(&checker, check).await;
            let healed = began.elapsed();
            self.journal.check(&checker).await;
            let kills = self.count.kills.load(Ordering::SeqCst);
            let acknowledged = self.journal.acknowledged();
            println!(
                "{kills} kills, {acknowledged} acknowledged; a write {} ms after the last restart",
                healed.as_millis()
            );
            report_restarts(&self.count.restarts.lock().await);
            check += 1;
            let down = DOWN_AT_ONCE[check % DOWN_AT_ONCE.len()];
            self.weight.store(u64::from(PERMITS / down), Ordering::SeqCst);
            next += between;
            drop(all);
        }
        running
    }

    /// A node's life that ends at a point, or from outside if it never comes there. Returns which.
    async fn live_and_die(&self, i: usize, point: &str, life: Duration) -> bool {
        let path = self.homes.node_path(i);
        let mut armed = Process::start(&Orders { point: Some(point), ..Orders::node(&path) });
        // It may die before it listens.
        let listens = armed.listening().await.is_some();
        self.listening.set(i, listens);
        let died = !listens || armed.death(life).await.is_some();
        self.listening.set(i, false);
        armed.kill().await;
        died
    }

    async fn killed(&self, how: &str) {
        self.count.kills.fetch_add(1, Ordering::SeqCst);
        *self.count.by_point.lock().await.entry(how.to_owned()).or_default() += 1;
    }

    /// What the disks say in the end.
    async fn judge(&self) {
        assert!(self.journal.acknowledged() > 0, "nothing was ever written");
        for i in 0..self.homes.ids.len() {
            let home = self.homes.node(i);
            let store = home.store().unwrap();
            store.wait_checked().unwrap();
            let proofs = bftkv::protocol::Store::proofs(&*store).unwrap();
            assert!(proofs.is_empty(), "node {i} convicts {proofs:?}");
            let signed = check_shares(&home.path().join("shares"));
            println!("node {i} ({}) signed {signed} values", home.config().storage.kind.name());
        }
    }

    async fn report(&self, took: Duration) {
        let (kills, writers) = (&self.count.kills, &self.count.writer_kills);
        println!(
            "{} kills of nodes, {} of writers, in {} s",
            kills.load(Ordering::SeqCst),
            writers.load(Ordering::SeqCst),
            took.as_secs()
        );
        report_restarts(&self.count.restarts.lock().await);
        println!("acknowledged writes: {}", self.journal.acknowledged());
        println!("{:?}", self.count.by_point.lock().await);
    }
}

/// Writes down how long the restarts took, and what the late ones waited for.
fn report_restarts(restarts: &[Restart]) {
    if restarts.is_empty() {
        return;
    }
    let print = |what: &str, of: fn(&Restart) -> Duration| {
        let mut all: Vec<Duration> = restarts.iter().map(of).collect();
        all.sort_unstable();
        let [p50, p99, max] = [500, 990, 1000].map(|share| all[(all.len() - 1) * share / 1000]);
        let late = all.iter().filter(|took| **took > SERVING_WITHIN).count();
        println!(
            "{what}: p50 {} ms, p99 {} ms, max {} ms; {late} of {} took more than {} s",
            p50.as_millis(),
            p99.as_millis(),
            max.as_millis(),
            all.len(),
            SERVING_WITHIN.as_secs()
        );
    };
    print("from start to serving", |one| one.took);
    print("of it while enough others listened", Restart::own);
    print("until it listened", |one| one.listened);
    print("on a processor", |one| one.ran);
    print("waiting for a processor", |one| one.queued);
    for late in restarts.iter().filter(|one| one.took > SERVING_WITHIN) {
        println!("late: {late:?}");
    }
}

/// Kills one node again and again.
async fn kill_node(campaign: Arc<Campaign>, i: usize) -> Option<Process> {
    let path = campaign.homes.node_path(i);
    let mut random = StdRng::seed_from_u64(i as u64);
    let mut node = Process::node(&path).await;
    campaign.listening.set(i, true);
    while !campaign.is_over() {
        let weight = u32::try_from(campaign.weight.load(Ordering::SeqCst)).unwrap();
        let permit = campaign.down.acquire_many(weight).await.unwrap();
        sleep(Duration::from_millis(random.random_range(0..40))).await;
        assert!(!node.has_ended(), "node {i} died by itself");
        campaign.listening.set(i, false);
        node.kill().await;
        campaign.killed("from outside").await;
        for _ in 0..random.random_range(1..5) {
            let name = *OF_NODES.choose(&mut random).unwrap();
            let life = Duration::from_millis(random.random_range(100..600));
            let point = format!("{name}/{}", random.random_range(0..12));
            let died = campaign.live_and_die(i, &point, life).await;
            campaign.killed(if died { name } else { "from outside" }).await;
        }
        node = Process::start(&Orders::node(&path));
        // If others are down as well, it has to wait for them.
        let restart = Restart::of(&mut node, i, &campaign.listening).await;
        campaign.count.restarts.lock().await.push(restart);
        drop(permit);
    }
    Some(node)
}

/// A write must go through when all nodes are up. It is tried again because the machine may have
/// been stopped for longer than its deadline, while the others used it.
async fn write_again(client: &Client, number: usize) {
    let variable = Variable::new(&b"of the checker"[..]).unwrap();
    let value = Value::new(number.to_string().as_bytes()).unwrap();
    for _ in 0..TRIES {
        if client.put(&variable, value.clone(), PutOptions::default()).await.is_ok() {
            return;
        }
    }
    panic!("it does not heal");
}

/// Kills one writer again and again.
async fn kill_writer(campaign: Arc<Campaign>, i: usize) -> Option<Process> {
    let path = campaign.homes.user_path(i);
    let prefix = format!("w{i}-");
    let mut random = StdRng::seed_from_u64(100 + i as u64);
    while !campaign.is_over() {
        let name = *OF_WRITERS.choose(&mut random).unwrap();
        let point = format!("{name}/{}", random.random_range(0..60));
        let orders = Orders { role: "writer", home: &path, point: Some(&point), prefix: &prefix };
        let mut writer = Process::start(&orders);
        let life = Duration::from_millis(random.random_range(0..4000));
        let end = tokio::time::Instant::now() + life;
        while let Ok(Some(line)) = tokio::time::timeout_at(end, writer.line()).await {
            campaign.journal.note(&line);
        }
        writer.kill().await;
        // What it said before it died.
        while let Some(line) = writer.line().await {
            campaign.journal.note(&line);
        }
        campaign.count.writer_kills.fetch_add(1, Ordering::SeqCst);
    }
    None
}
