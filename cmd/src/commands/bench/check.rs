//! `bftkv bench check`: instructions instead of seconds, for machines that are never quiet.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::steps::Walked;
use crate::commands::cluster::ClusterSize;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limited_read;
use crate::new_home::NewSettings;
use crate::progress::Progress;

/// How many operations are counted. What every run does besides them is taken off.
const PUTS: u16 = 50;
const GETS: u16 = 1_000;

/// The largest file of figures that is read.
const MAX_FILE_BYTES: usize = 64 * 1024;

/// Count the instructions of one write and one read, and compare them with figures in a file.
///
/// Four nodes and a client run in one process under `valgrind --tool=callgrind`. Counts move by up to
/// 5 percent from run to run, also on a busy machine, so a slow change is seen; they say
/// nothing about waiting and the kernel. Syncs and messages are counted too, and not compared.
///
/// Examples:
///
///   bftkv bench check docs/benchmarks/instructions.json
///   bftkv bench check docs/benchmarks/instructions.json --write
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CheckArgs {
    /// The file of figures.
    figures: PathBuf,

    /// Write what is counted to the file instead of comparing.
    #[arg(long)]
    write: bool,

    /// How much more than in the file is too much.
    #[arg(long, value_name = "PERCENT", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=100))]
    tolerance: u8,
}

/// Instructions, of all nodes and the client together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Instructions {
    /// Of one write.
    put: u64,
    /// Of one read.
    get: u64,
}

/// What one operation takes besides, as far as it can be counted: with a program that runs so slowly,
/// a few more are asked than would be otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Besides {
    /// Files and folders that are synced, by all nodes and the client together.
    syncs: f64,
    /// Requests and answers.
    messages: f64,
}

/// What was counted, and what it was compared with.
#[derive(Debug, Serialize)]
struct CheckReport {
    counted: Instructions,
    expected: Option<Instructions>,
    put: Besides,
    get: Besides,
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Run {
    instructions: u64,
    walked: Walked,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let put = ("put", (|i| i.put) as fn(&Instructions) -> u64, self.put);
        for (name, of, besides) in [put, ("get", |i| i.get, self.get)] {
            let counted = of(&self.counted);
            let Besides { syncs, messages } = besides;
            write!(f, "{name}  {syncs:.1} syncs, {messages:.1} messages, {counted} instructions")?;
            if let Some(expected) = self.expected.as_ref().map(of) {
                let percent = (counted as f64 / expected.max(1) as f64 - 1.0) * 100.0;
                write!(f, ", {percent:+.1} % against {expected}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &CheckArgs, context: &Context) -> Result<Exit, Failure> {
    let report = count()?;
    let counted = report.counted;
    if args.write {
        let text = serde_json::to_string_pretty(&counted).map_err(Failure::failed)?;
        std::fs::write(&args.figures, text + "\n")
            .map_err(|error| Failure::file(&args.figures, &error))?;
        context.output().show(&report)?;
        return Ok(Exit::Done);
    }
    let text = limited_read::read(&args.figures, MAX_FILE_BYTES)?;
    let expected: Instructions = serde_json::from_slice(&text).map_err(|error| {
        Failure::usage(format!("{}: {error}", args.figures.display()))
            .hint("make the file with --write")
    })?;
    context.output().show(&CheckReport { expected: Some(expected), ..report })?;
    if counted.exceeds(&expected, args.tolerance) {
        let message = format!("more than {} % above the figures", args.tolerance);
        return Err(Failure::failed(message).hint(
            "find out why with `valgrind --tool=callgrind`, or write the new figures with --write",
        ));
    }
    Ok(Exit::Done)
}

impl Instructions {
    fn exceeds(&self, expected: &Self, percent: u8) -> bool {
        let too_many = |counted: u64, expected: u64| {
            u128::from(counted) * 100 > u128::from(expected) * (100 + u128::from(percent))
        };
        too_many(self.put, expected.put) || too_many(self.get, expected.get)
    }
}

/// Three runs: with few operations, with more puts, with more gets. The differences count.
fn count() -> Result<CheckReport, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let size = ClusterSize { authority: 4, store: 0 };
    let cluster = folder.path().join("cluster");
    size.create(&cluster, 1, None, NewSettings::default(), false)?;
    let mut progress = Progress::new("counting", 3);
    let mut step = |puts, gets| {
        let run = steps(&cluster, puts, gets);
        progress.step();
        run
    };
    let (base, puts, gets) = (step(2, 2)?, step(2 + PUTS, 2)?, step(2, 2 + GETS)?);
    let counted = Instructions { put: puts.above(base, PUTS), get: gets.above(base, GETS) };
    let (put, get) = (puts.besides(base, PUTS), gets.besides(base, GETS));
    Ok(CheckReport { counted, expected: None, put, get })
}

impl Run {
    /// What each of so many operations took that another run had not.
    fn above(self, base: Self, operations: u16) -> u64 {
        self.instructions.saturating_sub(base.instructions) / u64::from(operations)
    }

    fn besides(self, base: Self, operations: u16) -> Besides {
        let each = |more: u64, less: u64| more.saturating_sub(less) as f64 / f64::from(operations);
        Besides {
            syncs: each(self.walked.syncs, base.walked.syncs),
            messages: each(self.walked.messages, base.walked.messages),
        }
    }
}

/// Runs `bench steps` under callgrind.
fn steps(cluster: &Path, puts: u16, gets: u16) -> Result<Run, Failure> {
    let program = std::env::current_exe().map_err(Failure::failed)?;
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    command.arg("--json").arg("--home").arg(cluster.join("u1"));
    command.args(["bench", "steps", "--cluster"]).arg(cluster);
    command.arg("--puts").arg(puts.to_string()).arg("--gets").arg(gets.to_string());
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        Failure::failed(format!("valgrind does not start: {error}"))
            .hint("install it (Debian: apt install valgrind)")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    let walked = serde_json::from_slice(&output.stdout).ok();
    match (output.status.success(), collected(&said), walked) {
        (true, Some(instructions), Some(walked)) => Ok(Run { instructions, walked }),
        _ => Err(Failure::failed("the run under valgrind failed").hint(said.into_owned())),
    }
}

/// The number in valgrind's line `==PID== Collected : N`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line.and_then(|(_, count)| count.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_valgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 26204431\n==7== \n";
        assert_eq!(collected(said), Some(26_204_431));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }

    #[test]
    fn only_what_is_above_the_tolerance_is_too_much() {
        let expected = Instructions { put: 1000, get: 100 };
        let put = |put| Instructions { put, ..expected };
        assert!(!put(1050).exceeds(&expected, 5) && put(1051).exceeds(&expected, 5));
        assert!(Instructions { get: 106, ..expected }.exceeds(&expected, 5));
        assert!(!put(1).exceeds(&expected, 5));
    }

    #[test]
    fn what_an_operation_takes_is_what_more_of_them_take() {
        let run = |instructions, syncs, messages| Run {
            instructions,
            walked: Walked { syncs, messages },
        };
        let (base, more) = (run(1_000, 7, 9), run(6_000, 67, 109));
        assert_eq!(more.above(base, 5), 1_000);
        assert_eq!(more.besides(base, 5), Besides { syncs: 12.0, messages: 20.0 });
    }
}
