//! Plays seeds of the simulation and reports what did not hold.
//!
//! ```text
//! explore --seed 17 --verbose          one seed, with its trace
//! explore --seeds 0..200000 --threads 2
//! explore --seeds 0..1000 --shape 3 --plant 2
//! explore --seeds 0..1000 --shape 2 --adversary twin,amnesia
//! explore --seeds 0..6000 --shape 2 --adversary every     each alone and all pairs, in turn
//! ```

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bftkv_tests::adversary::Adversary;
use bftkv_tests::invariants::Violation;
use bftkv_tests::sim::{Counts, Fault, Faults, Plant, Report, Settings, Shape, run};

/// How many lines of a failing trace are shown.
const TAIL: usize = 60;

/// How many failing seeds are shown with their trace before the others get one line each.
const MAX_SHOWN: u64 = 1;

/// What the command line asks for.
struct Wanted {
    first: u64,
    end: u64,
    threads: usize,
    verbose: bool,
    settings: Settings,
    /// Each seed takes the next of these adversaries.
    every: Vec<[Option<Adversary>; 2]>,
    /// The arguments that a replay needs besides the seed.
    extra: String,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(wanted) => explore(&wanted),
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

const USAGE: &str = "usage: explore --seed N | --seeds A..B [--threads N] [--shape 0..7] \
                     [--plant 0..22] [--passwords] \
                     [--adversary NAME[,NAME] | every] [--fault NAME | all] [--over-budget] [--verbose]";

fn parse(arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        first: 0,
        end: 2000,
        threads: 1,
        verbose: false,
        settings: Settings::default(),
        every: Vec::new(),
        extra: String::new(),
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--seed" => {
                wanted.first = number(&value()?)?;
                wanted.end = wanted.first.saturating_add(1);
            }
            "--seeds" => (wanted.first, wanted.end) = range(&value()?)?,
            "--threads" => wanted.threads = choice(&value()?)?.clamp(1, 64),
            "--shape" => {
                let text = value()?;
                wanted.settings.shape =
                    Some(*Shape::ALL.get(choice(&text)?).ok_or("no such shape")?);
                wanted.extra.push_str(&format!(" --shape {text}"));
            }
            "--plant" => {
                let text = value()?;
                wanted.settings.plant =
                    Some(*Plant::ALL.get(choice(&text)?).ok_or("no such plant")?);
                wanted.extra.push_str(&format!(" --plant {text}"));
            }
            "--adversary" => {
                let text = value()?;
                if text == "every" {
                    wanted.every = Adversary::combinations();
                    continue;
                }
                wanted.settings.adversaries = adversaries(&text)?;
                wanted.extra.push_str(&format!(" --adversary {text}"));
            }
            "--fault" => {
                let text = value()?;
                wanted.settings.faults = match Fault::named(&text) {
                    Some(fault) => Faults::With(fault),
                    None if text == "all" => Faults::All,
                    None => {
                        let all: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
                        return Err(format!("there are the faults: all, {}", all.join(", ")));
                    }
                };
                wanted.extra.push_str(&format!(" --fault {text}"));
            }
            "--passwords" => {
                wanted.settings.passwords = true;
                wanted.extra.push_str(" --passwords");
            }
            "--over-budget" => {
                wanted.settings.over_budget = true;
                wanted.extra.push_str(" --over-budget");
            }
            "--verbose" => wanted.verbose = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    Ok(wanted)
}

/// One behaviour, or two with a comma between them.
fn adversaries(text: &str) -> Result<[Option<Adversary>; 2], String> {
    let named = |name: &str| {
        Adversary::named(name).ok_or_else(|| {
            let all: Vec<&str> = Adversary::all().into_iter().map(Adversary::name).collect();
            format!("no adversary is called {name}; there are: {}", all.join(", "))
        })
    };
    match text.split_once(',') {
        Some((first, second)) => Ok([Some(named(first)?), Some(named(second)?)]),
        None => Ok([Some(named(text)?), None]),
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn choice(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (first, end) = text.split_once("..").ok_or("seeds are given as A..B")?;
    Ok((number(first)?, number(end)?))
}

/// What all threads found.
#[derive(Default)]
struct Sum {
    counts: Counts,
    events: u64,
    failed: u64,
    /// How many seeds violated each invariant.
    broken: BTreeMap<&'static str, u64>,
}

fn explore(wanted: &Wanted) -> ExitCode {
    let (begun, next) = (Instant::now(), AtomicU64::new(wanted.first));
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..wanted.threads {
            scope.spawn(|| work(wanted, &next, &sum));
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (seeds, seconds) = (wanted.end.saturating_sub(wanted.first), begun.elapsed().as_secs_f64());
    println!("{seeds} seeds in {seconds:.1} s, {} events, {} failed", sum.events, sum.failed);
    println!("{:?}", sum.counts);
    for (invariant, count) in &sum.broken {
        println!("VIOLATED in {count} seeds: {invariant}");
    }
    if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn work(wanted: &Wanted, next: &AtomicU64, sum: &Mutex<Sum>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= wanted.end {
            return;
        }
        let settings = Settings { record: wanted.verbose, ..settings_of(wanted, seed) };
        let report = run(seed, &settings);
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.counts = sum.counts.plus(report.counts);
        sum.events = sum.events.saturating_add(report.events);
        if !report.violations.is_empty() {
            sum.failed = sum.failed.saturating_add(1);
        }
        for violation in &report.violations {
            let count = sum.broken.entry(violation.invariant).or_default();
            *count = count.saturating_add(1);
        }
        if wanted.verbose || (!report.violations.is_empty() && sum.failed <= MAX_SHOWN) {
            show(wanted, seed, &report);
        } else {
            name(seed, &report);
        }
    }
}

/// The settings of one seed.
fn settings_of(wanted: &Wanted, seed: u64) -> Settings {
    let count = u64::try_from(wanted.every.len()).unwrap_or(0);
    let index = seed.checked_rem(count).and_then(|index| usize::try_from(index).ok());
    let turn = index.and_then(|index| wanted.every.get(index));
    let adversaries = turn.copied().unwrap_or(wanted.settings.adversaries);
    Settings { adversaries, ..wanted.settings }
}

/// Shows a run; one that failed without a trace is played again for its trace.
fn show(wanted: &Wanted, seed: u64, report: &Report) {
    let settings = Settings { record: true, ..settings_of(wanted, seed) };
    let again = if report.lines.is_empty() { run(seed, &settings) } else { report.clone() };
    let skipped = if wanted.verbose { 0 } else { again.lines.len().saturating_sub(TAIL) };
    again.lines.iter().skip(skipped).for_each(|line| println!("{line}"));
    println!("seed {seed}: trace {:016x}, {} events", report.trace_hash, report.events);
    name(seed, report);
    let mut extra = wanted.extra.clone();
    if !wanted.every.is_empty() {
        let names = settings.adversaries.into_iter().flatten().map(Adversary::name);
        extra.push_str(&format!(" --adversary {}", names.collect::<Vec<_>>().join(",")));
    }
    println!(
        "  replay: cargo run --release -p bftkv-tests --bin explore -- --seed {seed}{extra} --verbose"
    );
}

/// One line for each violation.
fn name(seed: u64, report: &Report) {
    for Violation { invariant, at, detail, .. } in &report.violations {
        println!("  seed {seed} VIOLATED at {at:?}: {invariant}: {detail}");
    }
}
