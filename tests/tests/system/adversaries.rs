//! Every behaviour of the library of adversaries, alone and in all pairs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::sync::atomic::{AtomicUsize, Ordering};

use bftkv_tests::adversary::Adversary;
use bftkv_tests::sim::{Counts, Settings, Shape, run};

/// n = 7, b = 2: the smallest clique in which two different liars fit.
const SEVEN: Shape = Shape::Alone(7);

/// Plays all of these; every one must go well.
fn play(runs: &[(u64, Shape, [Option<Adversary>; 2])]) -> Counts {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut counts = Counts::default();
        while let Some((seed, shape, adversaries)) = runs.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let settings =
                Settings { shape: Some(*shape), adversaries: *adversaries, ..Settings::default() };
            let report = run(*seed, &settings);
            let names: Vec<&str> =
                adversaries.iter().flatten().map(|adversary| adversary.name()).collect();
            let index = Shape::ALL.iter().position(|known| known == shape).unwrap();
            assert!(
                report.violations.is_empty(),
                "{:?}\nreplay: cargo run --release -p bftkv-tests --bin explore -- \
                 --seed {seed} --shape {index} --adversary {} --verbose",
                report.violations,
                names.join(",")
            );
            counts = counts.plus(report.counts);
        }
        counts
    };
    std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().fold(Counts::default(), |sum, t| sum.plus(t.join().unwrap()))
    })
}

#[test]
fn each_adversary_alone_breaks_nothing_in_any_shape() {
    let runs: Vec<_> = Adversary::all()
        .into_iter()
        .flat_map(|one| {
            (0..).zip(Shape::ALL).map(move |(seed, shape)| (seed, shape, [Some(one), None]))
        })
        .collect();
    let counts = play(&runs);
    assert!(counts.written > 300 && counts.read > 3000, "{counts:?}");
}

#[test]
fn no_two_adversaries_together_break_anything() {
    let runs: Vec<_> =
        (0..).zip(Adversary::combinations()).map(|(n, two)| (n, SEVEN, two)).collect();
    assert!(runs.len() > 500, "{} combinations", runs.len());
    let counts = play(&runs);
    assert!(counts.written > 500 && counts.convicted > 0, "{counts:?}");
}

#[test]
fn every_adversary_has_one_name() {
    let all = Adversary::all();
    let mut names: Vec<&str> = all.iter().map(|adversary| adversary.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len());
    assert!(names.iter().all(|name| Adversary::named(name).is_some()));
}
