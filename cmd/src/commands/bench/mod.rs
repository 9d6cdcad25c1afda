//! `bftkv bench`.

mod homes;
mod process_stat;
mod report;
mod store;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use self::homes::BenchHomes;
use self::report::ClusterReport;
use self::workload::Bench;
use super::put::parse_seconds;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::Processes;
use crate::progress::Progress;

/// Measure throughput, latency, CPU and messages.
///
/// Runs a cluster of real processes in a temporary folder, puts and gets with several clients at
/// once, and sums the CPU time of all nodes and of the clients. CPU time is the figure to compare:
/// throughput and latency depend on how many processors the machine has for all of them together.
/// Messages and bytes are those that the clients send and receive: nodes talk to clients only.
///
/// Examples:
///
///   bftkv bench
///   bftkv bench --nodes 7 --store 0 --clients 16 --seconds 20 --json
///   bftkv bench --keys wot/testdata/gnupg-rsa2048     # keys that GnuPG made
///   bftkv bench --sealed                              # keys without TLS, to compare
///   bftkv bench --clients 1 --batch 256               # puts and gets of 256 at once
///   bftkv bench store --backend leveldb
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

    /// Variables in each put and get: with more than one, clients put and get many at once, and
    /// the figures are those of one variable.
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,

    /// How long to put, and how long to get.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,

    /// The size of values.
    #[arg(long, value_name = "BYTES", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    value_bytes: u32,
}

pub(crate) fn run(args: &BenchArgs, context: &Context) -> Result<Exit, Failure> {
    if let Some(What::Store(args)) = &args.what {
        return store::run(args, context);
    }
    let homes = BenchHomes::prepare(&args.cluster)?;
    let report = context.block_on(measure(&homes, &args.cluster))?;
    context.output().show(&report)?;
    Ok(Exit::Done)
}

async fn measure(homes: &BenchHomes, args: &ClusterArgs) -> Result<ClusterReport, Failure> {
    let mut processes = Processes::start(&homes.nodes, |_| {}).await?;
    let measured = measure_running(homes, args, &processes).await;
    processes.stop().await;
    measured
}

async fn measure_running(
    homes: &BenchHomes,
    args: &ClusterArgs,
    processes: &Processes,
) -> Result<ClusterReport, Failure> {
    let size = usize::try_from(args.value_bytes).map_err(Failure::failed)?;
    let bench = Bench::open(&homes.user, processes.pids(), args.clients, size, args.batch).await?;
    let configuration = bench.configuration()?;
    let mut progress = Progress::new("measuring", 3);
    bench.warm_up().await?;
    progress.step();
    let put = bench.put(args.seconds).await?;
    progress.step();
    let get = bench.get(args.seconds, put.per_client()).await?;
    drop(progress);
    Ok(ClusterReport {
        keys: homes.keys.clone(),
        authority: configuration.authority().len(),
        store: configuration.store().len(),
        clients: args.clients,
        value_bytes: args.value_bytes,
        put: put.figures,
        get: get.figures,
        resident_mb: bench.resident_mb(),
    })
}
