//! A cluster and its client in one process, so that one profiler sees all of them.
//!
//! ```text
//! bftkv cluster create --nodes 4 --store 0 /tmp/c
//! cargo build --release -p bftkv --example allinone
//! taskset -c 1 target/release/examples/allinone /tmp/c puts 2000 32 1
//! valgrind --tool=callgrind target/release/examples/allinone /tmp/c puts 8 1 256
//! ```
//!
//! The numbers are: how many operations, how many of them at once, of how many variables each is,
//! and how long a value is.
#![allow(clippy::print_stdout, reason = "a measurement, not a library")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftkv::{Client, GetOptions, Home, Node, PutOptions, RunningNode, Value, Variable};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// What every operation is like.
#[derive(Clone, Copy)]
struct Work {
    gets: bool,
    batch: u64,
    bytes: usize,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: allinone CLUSTER puts|gets COUNT AT_ONCE BATCH [BYTES]";
    let mut next = || arguments.next().ok_or(usage);
    let (cluster, what) = (next()?, next()?);
    let (count, at_once): (u64, u64) = (next()?.parse()?, next()?.parse()?);
    let batch = next()?.parse()?;
    let bytes = next().unwrap_or_else(|_| "100".to_owned()).parse()?;
    let work = Work { gets: what == "gets", batch, bytes };
    let nodes = serve(Path::new(&cluster)).await?;
    let client = Client::open(&Home::open(Path::new(&cluster).join("u1"))?).await?;
    operation(&client, Work { gets: false, ..work }, 0).await?;
    let (cpu, began) = (cpu()?, Instant::now());
    let todo = Arc::new(AtomicU64::new(1));
    let mut tasks = JoinSet::new();
    for _ in 0..at_once {
        tasks.spawn(take(client.clone(), work, Arc::clone(&todo), count));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    client.finish(Duration::from_secs(10)).await;
    report(count.saturating_mul(batch), cpu, began)?;
    for node in nodes {
        node.shutdown().await?;
    }
    Ok(())
}

async fn serve(cluster: &Path) -> Result<Vec<RunningNode>, Failure> {
    let mut nodes = Vec::new();
    for n in 1.. {
        let folder = cluster.join(format!("n{n}"));
        if !folder.exists() {
            break;
        }
        nodes.push(Node::open(&Home::open(folder)?)?.serve().await?);
    }
    Ok(nodes)
}

async fn take(client: Client, work: Work, todo: Arc<AtomicU64>, count: u64) -> Result<(), Failure> {
    loop {
        let n = todo.fetch_add(1, Ordering::Relaxed);
        if n > count {
            return Ok(());
        }
        operation(&client, work, if work.gets { 0 } else { n }).await?;
    }
}

async fn operation(client: &Client, work: Work, n: u64) -> Result<(), Failure> {
    let name = |part| Variable::new(format!("one/{}/{n}/{part}", std::process::id()));
    let value = Value::new(vec![b'v'; work.bytes])?;
    match (work.gets, work.batch) {
        (true, 1) => drop(client.get(&name(0)?, GetOptions::default()).await?),
        (false, 1) => drop(client.put(&name(0)?, value, PutOptions::default()).await?),
        (true, batch) => {
            let names: Result<Vec<_>, _> = (0..batch).map(name).collect();
            let found = client.get_many(names?, GetOptions::default()).await?;
            found.into_iter().try_for_each(|one| one.map(drop))?;
        }
        (false, batch) => {
            let entry = |part| name(part).map(|name| (name, value.clone()));
            let entries: Result<Vec<_>, _> = (0..batch).map(entry).collect();
            let written = client.put_many(entries?, PutOptions::default()).await?;
            written.into_iter().try_for_each(|one| one.map(drop))?;
        }
    }
    Ok(())
}

fn report(count: u64, before: Duration, began: Instant) -> Result<(), Failure> {
    let each = |time: Duration| time.as_secs_f64() * 1000.0 / count.max(1) as f64;
    let used = cpu()?.saturating_sub(before);
    println!("{count}: CPU {:.3} ms each, time {:.3} ms each", each(used), each(began.elapsed()));
    Ok(())
}

/// CPU time of this process. The kernel counts in hundredths of a second.
fn cpu() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
}
