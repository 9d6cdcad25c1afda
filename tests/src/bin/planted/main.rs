//! Puts every known bug in, one at a time, and says what finds it.
//!
//! ```text
//! planted                     all of them; fails if one is not found
//! planted NAME...             only these
//! planted --seeds 20000       how many seeds each bug may survive
//! ```
//!
//! Needs `--features planted`; nothing that ships can be built with that.

mod cases;
mod checks;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftkv_protocol::planted::plant;
use bftkv_tests::sim::{Settings, run};
use cases::{Case, Planted, Search, cases};

/// How many seeds a bug may survive unless the command says otherwise.
const SEEDS: u64 = 5_000;

/// How many threads look.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let (mut seeds, mut names) = (SEEDS, BTreeSet::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--seeds" {
            seeds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
        } else {
            names.insert(argument);
        }
    }
    let wanted = |case: &Case| names.is_empty() || names.contains(&case.name());
    println!("| bug | row | found by | after | time |\n|---|---|---|---|---|");
    let (mut count, mut missed) = (0_u32, 0_u32);
    for case in cases().into_iter().filter(wanted) {
        count = count.saturating_add(1);
        if !try_case(&case, seeds) {
            missed = missed.saturating_add(1);
        }
    }
    println!("\n{count} bugs, {missed} not found");
    if missed == 0 && count > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Looks for one bug, and prints its row.
fn try_case(case: &Case, seeds: u64) -> bool {
    let begun = Instant::now();
    let found = find(case, seeds);
    let took = begun.elapsed();
    let (by, after) = found.clone().unwrap_or(("NOTHING".to_owned(), format!("{seeds} seeds")));
    row(case, &by, &after, took);
    found.is_some()
}

fn row(case: &Case, by: &str, after: &str, took: Duration) {
    println!(
        "| {} | {} | {by} | {after} | {:.2} s |",
        case.name(),
        case.source,
        took.as_secs_f64()
    );
}

/// What finds the bug, and after how much.
fn find(case: &Case, seeds: u64) -> Option<(String, String)> {
    match case.search {
        Search::Runs(settings) => {
            let (seed, by) = first_violation(case, &settings, seeds)?;
            Some((by, format!("{} seeds", seed.saturating_add(1))))
        }
        Search::Check(name, check) => {
            if let Err(reason) = check() {
                println!("the check fails without a bug: {reason}");
                return None;
            }
            put_in(case);
            let failed = check().is_err();
            plant(None);
            failed.then(|| (name.to_owned(), "a check".to_owned()))
        }
    }
}

fn put_in(case: &Case) {
    match case.planted {
        Planted::Rule(bug) => plant(Some(bug)),
        Planted::Driver(_) => plant(None),
    }
}

/// The first seed in which an invariant does not hold, and which.
fn first_violation(case: &Case, settings: &Settings, seeds: u64) -> Option<(u64, String)> {
    let next = AtomicU64::new(0);
    let first: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let lock = || first.lock().unwrap_or_else(PoisonError::into_inner);
    let look = || {
        put_in(case);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_late = lock().as_ref().is_some_and(|(found, _)| *found < seed);
            if seed >= seeds || is_late {
                return;
            }
            if let Some(violation) = run(seed, settings).violations.first() {
                let mut first = lock();
                if first.as_ref().is_none_or(|(found, _)| seed < *found) {
                    *first = Some((seed, violation.invariant.to_owned()));
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(look);
        }
    });
    first.into_inner().unwrap_or_else(PoisonError::into_inner)
}
