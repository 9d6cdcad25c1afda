//! Passwords in the simulator: several devices of one owner put, get and change at once, strangers guess, and
//! everything goes wrong that can go wrong there.

use std::sync::atomic::{AtomicU64, Ordering};

use bftkv_tests::sim::{Counts, Fault, Faults, Plant, Settings, run};

/// A seed has about eight runs of Argon2id, 20 ms each; `explore --passwords` plays as many as one likes.
const SEEDS: u64 = 48;

/// Faults that leave something to be done; with all at once no password is ever used.
const FAULTS: [Fault; 8] = [
    Fault::Halves,
    Fault::OneWay,
    Fault::IsolateOne,
    Fault::Bridge,
    Fault::Flapping,
    Fault::Duplicates,
    Fault::LongDelays,
    Fault::SlowNode,
];

/// How many seeds a planted bug may survive.
const SEEDS_PER_PLANT: u64 = 300;

/// The invariants that a run with these settings violates.
fn violated(seed: u64, settings: &Settings) -> Vec<&'static str> {
    run(seed, settings).violations.into_iter().map(|violation| violation.invariant).collect()
}

/// Whether one of the first seeds shows that this planted bug violates this invariant.
fn finds(plant: Plant, invariant: &str) -> bool {
    let settings = Settings { plant: Some(plant), passwords: true, ..Settings::default() };
    (0..SEEDS_PER_PLANT).any(|seed| violated(seed, &settings).contains(&invariant))
}

#[test]
fn nothing_is_violated_where_people_use_passwords() {
    let next = AtomicU64::new(0);
    let work = || {
        let mut counts = Counts::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return counts;
            }
            // Every second one has a fault of its own besides what the seed draws.
            let named = FAULTS.get(usize::try_from(seed / 2).unwrap() % FAULTS.len());
            let named = named.filter(|_| seed % 2 == 1);
            let faults = named.map_or(Faults::Drawn, |fault| Faults::With(*fault));
            let settings = Settings { passwords: true, faults, ..Settings::default() };
            let report = run(seed, &settings);
            assert_eq!(report.violations, [], "explore --passwords --seed {seed} ({faults:?})");
            counts = counts.plus(report.counts);
        }
    };
    let counts = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().fold(Counts::default(), |sum, t| sum.plus(t.join().unwrap()))
    });
    println!("{SEEDS} seeds: {counts:?}");
    assert!(counts.opened > SEEDS && counts.changed > 5 && counts.guessed > 10, "{counts:?}");
}

#[test]
fn one_seed_of_passwords_twice_is_one_trace() {
    let settings = Settings { passwords: true, ..Settings::default() };
    let hash = |seed| run(seed, &settings).trace_hash;
    let (first, second): (Vec<u64>, Vec<u64>) =
        ((0..4).map(hash).collect(), (0..4).map(hash).collect());
    assert_eq!(first, second);
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "different seeds differ");
}

/// A crash between the answer and the sync gives the attempt back.
#[test]
fn an_evaluation_that_leaves_before_its_attempt_is_counted_is_found() {
    assert!(finds(Plant::EvaluateBeforeSync, "guesses at a password are counted"));
}

#[test]
fn a_signature_over_a_record_without_its_share_is_found() {
    let name = "what is newest is opened by its password, if all its shares were dealt";
    assert!(finds(Plant::SignWithoutShare, name));
}

#[test]
fn a_record_that_is_evaluated_after_it_was_replaced_is_found() {
    let name = "an old password opens nothing after it was changed";
    assert!(finds(Plant::OldRecords, name));
}

/// Silence at a login is no lie.
#[test]
fn a_device_that_blames_the_silent_is_found() {
    assert!(finds(Plant::BlameTheSilent, "nobody honest is accused"));
}
