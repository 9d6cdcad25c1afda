//! `bftkv bench`.

mod check;
mod homes;
mod load;
mod phase;
mod plot;
mod process_stat;
mod report;
mod series;
mod shape;
mod steps;
mod store;
mod worker;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::homes::BenchHomes;
use self::load::Load;
use self::phase::{Phase, Work};
use self::process_stat::Process;
use self::report::{ClusterReport, Figures, Mix, Used};
use self::shape::Shape;
use super::put::parse_seconds;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::Processes;
use crate::progress::Progress;
use crate::public_home::PublicHome;

/// Measure throughput, latency, CPU, messages, syncs and memory.
///
/// Runs a cluster of real processes in a temporary folder, puts and gets with several clients at
/// once, and sums the CPU time of all nodes and of the clients. CPU time is the figure to compare:
/// throughput and latency depend on how many processors the machine has for all of them together.
/// Messages and bytes are those that the clients send and receive: nodes talk to clients only. Syncs
/// are those of all nodes and of the clients' own logs: what waits for a disk.
///
/// Examples:
///
///   bftkv bench
///   bftkv bench --nodes 7 --store 0 --clients 16 --seconds 20 --json
///   bftkv bench --keys wot/testdata/gnupg-rsa2048     # keys that GnuPG made
///   bftkv bench --sealed                              # keys without TLS, to compare
///   bftkv bench --clients 32 --processes 4 --reads 95 # many programs, mostly reading
///   bftkv bench --rate 50 --clients 16                # 50 operations a second, come what may
///   bftkv bench --clients 1 --batch 256               # puts and gets of 256 at once
///   bftkv bench --clients 32 --reads 95,50            # two mixes, one after the other
///   bftkv bench --variables 100                       # each client puts its 100 over and over
///   bftkv bench store --backend leveldb
///   bftkv bench check docs/benchmarks/instructions.json
///   bftkv bench series figures.json                   # many clusters, for plots
///   bftkv bench plot figures.json --out docs/benchmarks
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    Store(store::StoreArgs),
    Check(check::CheckArgs),
    Series(series::SeriesArgs),
    Plot(plot::PlotArgs),
    #[command(hide = true)]
    Steps(steps::StepsArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Which cluster, and how much work.
#[derive(Debug, Args)]
struct ClusterArgs {
    /// Nodes that sign.
    #[arg(long, value_name = "N", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: u16,

    /// Nodes that only store.
    #[arg(long, value_name = "M", default_value_t = 4)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=100))]
    store: u16,

    /// Fresh keys (ed25519), or a folder of GnuPG exports: one folder for each party, with
    /// pubring.gpg and secring.gpg. Their nodes listen where their user IDs say.
    #[arg(long, value_name = "ed25519|FOLDER", default_value = "ed25519")]
    keys: PathBuf,

    /// Make keys without authentication subkeys: sealed messages instead of TLS.
    #[arg(long)]
    #[arg(conflicts_with_all = ["keys", "cluster"])]
    sealed: bool,

    /// Run this folder's cluster (`bftkv cluster create`) instead of a temporary one.
    #[arg(long, value_name = "DIR")]
    cluster: Option<PathBuf>,

    /// Clients at once.
    #[arg(long, value_name = "C", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,

    /// Spread the clients over so many processes, each with the home of a user of its own.
    #[arg(long, value_name = "P", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    processes: u16,

    /// Begin so many operations a second, all clients together, instead of one when the last has
    /// ended. Latency then counts from when an operation was due.
    #[arg(long, value_name = "PER_SECOND", value_parser = parse_rate)]
    rate: Option<f64>,

    /// Also measure mixes of which so many of a hundred operations are gets.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: Vec<u8>,

    #[command(flatten)]
    shape: Shape,

    /// How long to put, and how long to get.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
}

pub(crate) fn run(args: &BenchArgs, context: &Context) -> Result<Exit, Failure> {
    match &args.what {
        Some(What::Store(args)) => return store::run(args, context),
        Some(What::Check(args)) => return check::run(args, context),
        Some(What::Series(args)) => return series::run(args, context),
        Some(What::Plot(args)) => return plot::run(args, context),
        Some(What::Steps(args)) => return steps::run(args, context),
        Some(What::Worker(args)) => return worker::run(args, context),
        None => {}
    }
    if args.cluster.clients < args.cluster.processes {
        return Err(Failure::usage("--clients: each process needs at least one client"));
    }
    let homes = BenchHomes::prepare(&args.cluster)?;
    let report = context.block_on(measure(&homes, &args.cluster))?;
    context.output().show(&report)?;
    Ok(Exit::Done)
}

async fn measure(homes: &BenchHomes, args: &ClusterArgs) -> Result<ClusterReport, Failure> {
    let mut processes = Processes::start(&homes.nodes, |_| {}).await?;
    let measured = measure_running(homes, args, &mut processes).await;
    processes.stop().await;
    measured
}

async fn measure_running(
    homes: &BenchHomes,
    args: &ClusterArgs,
    processes: &mut Processes,
) -> Result<ClusterReport, Failure> {
    let configuration = match homes.users.first() {
        Some(user) => PublicHome::open(user)?.configuration()?,
        None => return Err(Failure::failed("no home of a user")),
    };
    let mut load = Load::start(&homes.users, args).await?;
    let mut progress = Progress::new("measuring", args.reads.len().saturating_add(3));
    load.warm_up().await?;
    progress.step();
    let (put, _) = phase(&mut load, processes, args, Work::Put).await?;
    progress.step();
    let (get, mut client_bytes) = phase(&mut load, processes, args, Work::Get).await?;
    progress.step();
    let mut mixes = Vec::new();
    for reads in args.reads.iter().copied() {
        let (figures, bytes) = phase(&mut load, processes, args, Work::Mix { reads }).await?;
        mixes.push(Mix { reads, figures });
        client_bytes = bytes;
        progress.step();
    }
    drop(progress);
    let resident = nodes_of(processes).into_iter().filter_map(|node| node.resident_bytes());
    Ok(ClusterReport {
        keys: homes.keys.clone(),
        authority: configuration.authority().len(),
        store: configuration.store().len(),
        clients: args.clients,
        processes: args.processes,
        value_bytes: args.shape.value_bytes,
        batch: args.shape.batch,
        sealed: args.sealed,
        rate: args.rate,
        put,
        get,
        mixes,
        resident_mb: resident.map(megabytes).collect(),
        client_resident_mb: megabytes(client_bytes),
    })
}

/// Measures one phase: what the clients say, and what the nodes use meanwhile. Gives also how many bytes the
/// largest process of clients has in memory at its end.
async fn phase(
    load: &mut Load,
    processes: &mut Processes,
    args: &ClusterArgs,
    work: Work,
) -> Result<(Figures, u64), Failure> {
    let every = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.clients) / rate));
    let before = used_by(processes).await?;
    let outcome = load.run(Phase { work, time: args.seconds, every }).await?;
    let resident_bytes = outcome.resident_bytes;
    let used = used_by(processes).await?.since(before);
    Ok((Figures::of(outcome, used), resident_bytes))
}

async fn used_by(processes: &mut Processes) -> Result<Used, Failure> {
    let syncs = processes.syncs().await?;
    let add = |sum: Duration, node: Process| Ok::<_, Failure>(sum.saturating_add(node.cpu()?));
    let cpu = nodes_of(processes).into_iter().try_fold(Duration::ZERO, add)?;
    Ok(Used { cpu, syncs })
}

fn nodes_of(processes: &Processes) -> Vec<Process> {
    processes.pids().into_iter().map(Process::other).collect()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A rate that a pause can be computed from.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.1..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.1 to 1000000".to_owned()),
    }
}
