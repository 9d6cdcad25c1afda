//! Broken networks between real clients and real nodes.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use bftkv::{Client, GetOptions, PutOptions, Value, Variable};
use tokio::time::sleep;

use crate::block_on;
use crate::homes::{Homes, Plan};
use crate::process::Process;
use crate::proxy::{Faults, Proxy};

/// A cluster behind proxies.
struct World {
    nodes: Vec<Process>,
    proxies: Vec<Proxy>,
    homes: Homes,
    client: Client,
    written: u64,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    async fn new() -> Self {
        Self::with("deadline_ms = 20000\nround_ms = 500").await
    }

    async fn with(client_settings: &str) -> Self {
        let fronts: Vec<TcpListener> =
            (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports = fronts.iter().map(|front| front.local_addr().unwrap().port()).collect();
        let client_settings = client_settings.to_owned();
        let homes = Homes::new(&Plan { fronts: ports, client_settings, ..Plan::default() });
        let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
        for (i, front) in fronts.into_iter().enumerate() {
            nodes.push(Process::node(&homes.node_path(i)).await);
            proxies.push(Proxy::start(front, homes.node(i).config().node.listen.unwrap()));
        }
        let client = homes.client(0).await;
        Self { nodes, proxies, homes, client, written: 0 }
    }

    fn set(&self, nodes: &[usize], faults: Faults) {
        nodes.iter().for_each(|i| self.proxies[*i].set(faults));
    }

    fn heal(&self) {
        self.proxies.iter().for_each(Proxy::heal);
    }

    /// Writes a new value.
    async fn put(&mut self, deadline: Option<Duration>) -> Result<(), bftkv::Error> {
        self.written += 1;
        let value = Value::new(self.written.to_string().as_bytes()).unwrap();
        let options = PutOptions { deadline, ..PutOptions::default() };
        self.client.put(&variable(), value, options).await.map(drop)
    }

    async fn get(&self) -> Result<Option<String>, bftkv::Error> {
        let found = self.client.get(&variable(), GetOptions::default()).await?;
        assert!(
            found.culprits.is_empty(),
            "a broken network is nobody's lie: {:?}",
            found.culprits
        );
        let text = |entry: bftkv::CertifiedEntry| {
            String::from_utf8(entry.entry().value.as_bytes().to_vec()).unwrap()
        };
        Ok(found.entry.map(text))
    }

    /// Writes and reads as if nothing were broken.
    async fn works(&mut self) {
        self.put(None).await.expect("a write goes through");
        assert_eq!(self.get().await.unwrap(), Some(self.written.to_string()));
        self.nobody_was_hurt();
    }

    fn nobody_was_hurt(&mut self) {
        for (i, node) in self.nodes.iter_mut().enumerate() {
            assert!(!node.has_ended(), "node {i} has crashed");
        }
        assert!(self.client.convicted().is_empty(), "somebody honest is convicted");
    }

    /// How long after the network is whole again until a write goes through.
    async fn heals(&mut self) -> Duration {
        self.heal();
        let begun = Instant::now();
        while self.put(Some(SECOND)).await.is_err() {
            assert!(begun.elapsed() < 60 * SECOND, "it does not heal");
        }
        assert_eq!(self.get().await.unwrap(), Some(self.written.to_string()));
        self.nobody_was_hurt();
        begun.elapsed()
    }
}

fn variable() -> Variable {
    Variable::new(&b"x"[..]).unwrap()
}

#[test]
fn a_damaged_message_is_refused_and_nobody_crashes_or_is_accused() {
    block_on(async {
        let mut world = World::new().await;
        let damage = Faults { corrupts_requests: 3, corrupts_answers: 4, ..Faults::default() };
        world.set(&[1], damage);
        for _ in 0..5 {
            world.works().await;
        }
        // All of them: some operations fail, what succeeds is right.
        world.set(&[0, 1, 2, 3], Faults { corrupts_requests: 17, corrupts_answers: 13, ..damage });
        for _ in 0..10 {
            let put = world.put(Some(5 * SECOND)).await;
            if let (Ok(()), Ok(read)) = (put, world.get().await) {
                assert_eq!(read, Some(world.written.to_string()));
            }
        }
        assert!(world.proxies.iter().all(|proxy| proxy.pieces() > 20), "little came by");
        world.heals().await;
    });
}

#[test]
fn repeated_late_and_broken_off_messages_change_nothing() {
    block_on(async {
        let mut world = World::new().await;
        world.set(&[0, 1, 2, 3], Faults { repeats: true, ..Faults::default() });
        for _ in 0..5 {
            world.works().await;
        }
        world.set(&[0, 1, 2, 3], Faults { delay: Duration::from_millis(50), ..Faults::default() });
        world.works().await;
        world.set(&[0, 1, 2, 3], Faults { resets: 5, ..Faults::default() });
        for _ in 0..5 {
            let _ = world.put(Some(5 * SECOND)).await;
            world.nobody_was_hurt();
        }
        world.heals().await;
    });
}

#[test]
fn one_node_may_be_cut_off_in_any_way() {
    block_on(async {
        let mut world = World::new().await;
        for (i, faults) in [
            Faults { drops_requests: true, ..Faults::default() },
            Faults { drops_answers: true, ..Faults::default() },
            Faults { is_down: true, ..Faults::default() },
            Faults { bytes_per_second: 1024, ..Faults::default() },
        ]
        .into_iter()
        .enumerate()
        {
            world.set(&[i], faults);
            world.works().await;
            world.heal();
        }
        // Flapping: up and down faster than any operation.
        for flap in 0..40 {
            world.set(&[flap % 4], Faults { is_down: flap % 8 < 4, ..Faults::default() });
            if flap % 4 == 0 {
                let _ = world.put(Some(5 * SECOND)).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
        world.heals().await;
        world.nodes[2].signal("STOP").await;
        world.works().await;
        world.nodes[2].signal("CONT").await;
        world.works().await;
    });
}

#[test]
fn no_quorum_no_answer_and_a_healed_partition_goes_on() {
    block_on(async {
        let mut world = World::new().await;
        world.works().await;
        for faults in [
            Faults { is_down: true, ..Faults::default() },
            Faults { drops_requests: true, ..Faults::default() },
            // A bridge: two nodes hear the client, the other two are heard by it.
            Faults { drops_answers: true, ..Faults::default() },
        ] {
            world.set(&[2, 3], faults);
            let refused = world.put(Some(2 * SECOND)).await;
            assert!(refused.is_err(), "two of four are no quorum: {faults:?}");
            let read = GetOptions { deadline: Some(SECOND), ..GetOptions::default() };
            assert!(world.client.get(&variable(), read).await.is_err());
            println!("healed after {} ms", world.heals().await.as_millis());
        }
        let other = world.homes.client(0).await;
        let found = other.get(&variable(), GetOptions::default()).await.unwrap();
        let value = found.entry.unwrap().entry().value.as_bytes().to_vec();
        assert_eq!(value, world.written.to_string().as_bytes(), "two clients read the same");
    });
}

/// `cargo test --release -p bftkv-tests --test chaos -- --ignored --nocapture slow_node`
///
/// Prints what one slow or stopped node of four costs.
#[test]
#[ignore = "a measurement"]
fn slow_node_costs_little() {
    block_on(async {
        let operations =
            std::env::var("CHAOS_OPERATIONS").map_or(300, |text| text.parse().unwrap());
        let mut world = World::with("deadline_ms = 10000").await;
        measure(&mut world, "warming up", operations, None).await;
        let base = measure(&mut world, "all well", operations, None).await;
        for (name, faults) in [
            ("one node at 1 KB/s", Faults { bytes_per_second: 1024, ..Faults::default() }),
            ("one node 10 s late", Faults { delay: 10 * SECOND, ..Faults::default() }),
            ("one node silent", Faults { drops_answers: true, ..Faults::default() }),
            ("one node down", Faults { is_down: true, ..Faults::default() }),
        ] {
            world.set(&[3], faults);
            measure(&mut world, name, operations, Some(base)).await;
            world.heals().await;
        }
        world.nodes[3].signal("STOP").await;
        measure(&mut world, "one node stopped (SIGSTOP)", operations, Some(base)).await;
        world.nodes[3].signal("CONT").await;
        measure(&mut world, "all well again", operations, Some(base)).await;
    });
}

/// `cargo test --release -p bftkv-tests --test chaos -- --ignored --nocapture gets_in_turn`
///
/// What a get costs with one slow node of four, in turn with all well, so that whatever else the machine
/// does is in both: blocks of 250 gets, and the p50 and p99 of all blocks of each kind together.
#[test]
#[ignore = "a measurement"]
fn gets_in_turn_with_a_slow_node_and_without() {
    block_on(async {
        let blocks = std::env::var("CHAOS_BLOCKS").map_or(4, |text| text.parse().unwrap());
        let mut world = World::with("deadline_ms = 10000").await;
        world.works().await;
        gets(&world, &mut Vec::new()).await;
        for (name, faults) in [
            ("at 1 KB/s", Faults { bytes_per_second: 1024, ..Faults::default() }),
            ("10 s late", Faults { delay: 10 * SECOND, ..Faults::default() }),
            ("silent", Faults { drops_answers: true, ..Faults::default() }),
            ("down", Faults { is_down: true, ..Faults::default() }),
        ] {
            let (mut well, mut slow) = (Vec::new(), Vec::new());
            for block in 0..blocks {
                gets(&world, &mut well).await;
                world.set(&[block % 4], faults);
                gets(&world, &mut slow).await;
                world.heals().await;
            }
            let [well, slow] = [well, slow].map(|mut times: Vec<u128>| {
                times.sort_unstable();
                [50, 99].map(|share| times[(times.len() - 1) * share / 100])
            });
            let ratio = |i: usize| slow[i] as f64 / well[i] as f64;
            println!(
                "one node {name}: get p50 {} us, well {} us ({:.2}x); p99 {} us, well {} us ({:.2}x)",
                slow[0],
                well[0],
                ratio(0),
                slow[1],
                well[1],
                ratio(1)
            );
        }
    });
}

async fn gets(world: &World, times: &mut Vec<u128>) {
    for _ in 0..250 {
        let begun = Instant::now();
        world.get().await.unwrap();
        times.push(begun.elapsed().as_micros());
    }
}

/// p50 and p99 of puts and gets, in microseconds.
type Percentiles = [u128; 4];

async fn measure(
    world: &mut World,
    what: &str,
    operations: usize,
    base: Option<Percentiles>,
) -> Percentiles {
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..operations {
        let begun = Instant::now();
        world.put(None).await.unwrap();
        puts.push(begun.elapsed().as_micros());
        let begun = Instant::now();
        world.get().await.unwrap();
        gets.push(begun.elapsed().as_micros());
    }
    let at = |times: &mut Vec<u128>, share: usize| {
        times.sort_unstable();
        times[(times.len() - 1) * share / 100]
    };
    let found = [at(&mut puts, 50), at(&mut puts, 99), at(&mut gets, 50), at(&mut gets, 99)];
    let ratio = |i: usize| {
        let base = base.unwrap_or(found);
        found[i] as f64 / base[i] as f64
    };
    println!(
        "{what}: put p50 {} us ({:.2}x), p99 {} us ({:.2}x); get p50 {} us ({:.2}x), p99 {} us ({:.2}x)",
        found[0],
        ratio(0),
        found[1],
        ratio(1),
        found[2],
        ratio(2),
        found[3],
        ratio(3)
    );
    found
}
