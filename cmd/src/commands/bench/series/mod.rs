//! `bftkv bench series`.

mod cell;
mod recorded;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use self::cell::{Cell, Workload, cells};
use super::homes::BenchHomes;
use super::measure;
use crate::commands::put::parse_seconds;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::Progress;

pub(super) use self::recorded::Series;

/// Measure many clusters one after the other, for plots.
///
/// Each number of nodes is measured over TLS and with sealed messages, with one client, with 32 and
/// with one that puts 256 at once, also mixes of gets and puts; then values of each size with one
/// client on the smallest cluster. Everything goes into one JSON file, which is written anew after
/// every cluster: stop whenever you like, and plot what is there. All lists can be shorter.
///
/// All of it takes about twelve minutes. Run it on a machine that has nothing else to do.
///
/// Examples:
///
///   bftkv bench series figures.json
///   bftkv bench series figures.json --nodes 4,7 --loads 1,32 --seconds 2   # a short one
///   bftkv bench series figures.json --messages tls --bytes 100 --reads 95
///   bftkv bench plot figures.json --out docs/benchmarks
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct SeriesArgs {
    /// The file that is written.
    #[arg(value_name = "FILE.json")]
    file: PathBuf,

    /// Clusters of so many nodes, which all sign and store.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "4,7,10,13")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: Vec<u16>,

    /// Clients at once, or clients and how many variables each of their operations is about: 1x256.
    #[arg(long, value_name = "CLIENTS[xBATCH],...", value_delimiter = ',')]
    #[arg(default_value = "1,32,1x256")]
    loads: Vec<Workload>,

    /// Sizes of values. The first is that of all measurements over nodes.
    #[arg(long, value_name = "BYTES,...", value_delimiter = ',')]
    #[arg(default_value = "100,1024,16384,131072,1048576")]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    bytes: Vec<u32>,

    /// How messages travel.
    #[arg(
        long,
        value_name = "tls|sealed,...",
        value_delimiter = ',',
        default_value = "tls,sealed"
    )]
    messages: Vec<Messages>,

    /// Mixes of which so many of a hundred operations are gets; measured over nodes.
    #[arg(long, value_name = "PERCENT,...", value_delimiter = ',', default_value = "95,50")]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
    reads: Vec<u8>,

    /// How long to put, to get, and to do each mix, for every cluster.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    seconds: Duration,
}

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Messages {
    Tls,
    Sealed,
}

pub(super) fn run(args: &SeriesArgs, context: &Context) -> Result<Exit, Failure> {
    let cells = cells(args);
    let mut series = Series::begin(args.seconds);
    // A place that cannot be written is not found out at the end.
    series.write(&args.file)?;
    let mut progress = Progress::new("clusters", cells.len());
    for (number, cell) in cells.iter().enumerate() {
        progress.tell(&format!("{} of {}: {cell}", number.saturating_add(1), cells.len()));
        match measure_cell(cell, args, context) {
            Ok(report) => series.reports.push(report),
            // A busy machine may miss a deadline. What is measured is not lost by it.
            Err(failure) => {
                progress.tell(&format!("  failed: {}", failure.message()));
                series.failed.push(format!("{cell}: {}", failure.message()));
            }
        }
        series.note_load();
        series.write(&args.file)?;
        progress.step();
    }
    drop(progress);
    finish(&series, &args.file, context)
}

fn finish(series: &Series, file: &Path, context: &Context) -> Result<Exit, Failure> {
    if series.reports.is_empty() {
        let mut failure = Failure::failed("no cluster could be measured");
        for failed in &series.failed {
            failure = failure.hint(failed.clone());
        }
        return Err(failure);
    }
    context.output().show(&series.summary(file))?;
    Ok(Exit::Done)
}

fn measure_cell(
    cell: &Cell,
    args: &SeriesArgs,
    context: &Context,
) -> Result<super::report::ClusterReport, Failure> {
    let cluster = cell.cluster(args.seconds);
    let homes = BenchHomes::prepare(&cluster)?;
    context.block_on(measure(&homes, &cluster))
}
