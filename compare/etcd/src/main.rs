//! Clients of an etcd cluster, each with a connection of its own, and what their operations cost.
//!
//! ```text
//! compare-etcd CLIENTS SECONDS ENDPOINT,ENDPOINT,... PID,PID,...
//! ```
//!
//! Prints one line of JSON for puts of 100 bytes and one for linearizable gets of what was put:
//! operations a second, and CPU milliseconds for one operation, of the members alone and with the
//! clients.

use std::error::Error;
use std::time::{Duration, Instant};

use etcd_client::Client;
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// proc(5): clock ticks of 1/100 s.
const TICK_MS: f64 = 10.0;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [clients, seconds, endpoints, pids] = arguments.as_slice() else {
        return Err("usage: compare-etcd CLIENTS SECONDS ENDPOINTS PIDS".into());
    };
    let (clients, seconds): (usize, f64) = (clients.parse()?, seconds.parse()?);
    let endpoints: Vec<&str> = endpoints.split(',').collect();
    let pids: Vec<&str> = pids.split(',').collect();
    let mut connected = Vec::new();
    for (number, endpoint) in endpoints.iter().cycle().take(clients).enumerate() {
        connected.push((number, Client::connect([endpoint], None).await?, 0));
    }
    for kind in ["put", "get"] {
        let (before, own) = (cpu_ms(&pids)?, cpu_ms(&["self"])?);
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, client, written) in connected.drain(..) {
            let time = Duration::from_secs_f64(seconds);
            tasks.spawn(work(kind, client, number, written, began, time));
        }
        let mut operations = 0;
        while let Some(done) = tasks.join_next().await {
            let (number, client, written, done) = done??;
            operations += done;
            connected.push((number, client, written));
        }
        let elapsed = began.elapsed().as_secs_f64();
        let members = (cpu_ms(&pids)? - before) / operations as f64;
        let with_clients = members + (cpu_ms(&["self"])? - own) / operations as f64;
        let per_second = operations as f64 / elapsed;
        println!(
            "{{\"operation\": \"{kind}\", \"per_second\": {per_second:.0}, \
             \"nodes_cpu_ms\": {members:.3}, \"cpu_ms\": {with_clients:.3}}}"
        );
    }
    Ok(())
}

/// One client: puts fresh keys, or gets those that it has put, until the time is over.
async fn work(
    kind: &'static str,
    mut client: Client,
    number: usize,
    mut written: usize,
    began: Instant,
    time: Duration,
) -> Result<(usize, Client, usize, usize), Failure> {
    let mut done = 0;
    while began.elapsed() < time {
        if kind == "put" {
            client.put(format!("bench/{number}/{written}"), vec![b'v'; 100], None).await?;
            written += 1;
        } else {
            let key = format!("bench/{number}/{}", done % written.max(1));
            let found = client.get(key, None).await?;
            if found.kvs().len() != 1 {
                return Err("a key that was put is not there".into());
            }
        }
        done += 1;
    }
    Ok((number, client, written, done))
}

/// CPU time of processes, user and kernel mode.
fn cpu_ms(pids: &[&str]) -> Result<f64, Failure> {
    let mut ticks = 0.0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("/proc is not understood")?;
        for time in rest.split_whitespace().skip(11).take(2) {
            ticks += time.parse::<f64>()?;
        }
    }
    Ok(ticks * TICK_MS)
}
