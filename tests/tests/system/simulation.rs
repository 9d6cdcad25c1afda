//! The simulation in every test run: seeds of every shape, one seed twice, and bugs put in on
//! purpose that must be found.

use std::sync::atomic::{AtomicUsize, Ordering};

use bftkv_tests::sim::{Counts, Fault, Faults, Plant, Settings, Shape, run};

/// How many seeds each shape gets; eight shapes make the 5,000 of the plan.
const SEEDS_PER_SHAPE: usize = 625;

/// How many seeds each fault gets on top.
const SEEDS_PER_FAULT: u64 = 25;

/// How many seeds there are with changing members.
const SEEDS_OF_CHANGES: u64 = 400;

/// How many seeds there are of each kind of changing members besides.
const SEEDS_OF_EACH_KIND: u64 = 100;

/// How many seeds a planted bug may survive.
const SEEDS_PER_PLANT: u64 = 1_500;

/// The invariants that a run with these settings violates.
fn violated(seed: u64, settings: &Settings) -> Vec<&'static str> {
    run(seed, settings).violations.into_iter().map(|violation| violation.invariant).collect()
}

/// Whether one of the first seeds shows that this planted bug violates this invariant.
fn finds(plant: Plant, invariant: &str) -> bool {
    finds_one_of(plant, &[invariant])
}

/// Whether one of the first seeds shows that this planted bug violates one of these invariants.
fn finds_one_of(plant: Plant, invariants: &[&str]) -> bool {
    let settings = Settings { plant: Some(plant), faults: plant.faults(), ..Settings::default() };
    (0..SEEDS_PER_PLANT)
        .any(|seed| violated(seed, &settings).iter().any(|found| invariants.contains(found)))
}

#[test]
fn nothing_is_violated_in_five_thousand_seeds_of_every_shape() {
    let next = AtomicUsize::new(0);
    let all = SEEDS_PER_SHAPE * Shape::ALL.len();
    let work = || {
        let mut counts = Counts::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= all {
                return counts;
            }
            let (seed, index) = (number / Shape::ALL.len(), number % Shape::ALL.len());
            let settings = Settings { shape: Some(Shape::ALL[index]), ..Settings::default() };
            let report = run(seed.try_into().unwrap(), &settings);
            assert!(
                report.violations.is_empty(),
                "{:?}\nreplay: cargo run --release -p bftkv-tests --bin explore -- \
                 --seed {seed} --shape {index} --verbose",
                report.violations
            );
            counts = counts.plus(report.counts);
        }
    };
    let counts = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().fold(Counts::default(), |sum, t| sum.plus(t.join().unwrap()))
    });
    println!("{all} seeds: {counts:?}");
    assert!(counts.written > 1000 && counts.read > 1000 && counts.unknown > 0, "{counts:?}");
    assert!(counts.shared > 100 && counts.together > 1000, "{counts:?}");
}

/// Seeds in which a made-up signer had the key of the one who closes the run, so that a false
/// signature looked like one of somebody honest.
#[test]
fn made_up_signers_are_nobody_else() {
    for seed in [5_003_177, 5_011_384, 5_021_392] {
        assert_eq!(violated(seed, &Settings::default()), Vec::<&str>::new(), "seed {seed}");
    }
}

/// A slot that was read back from others was signed as if the node only repeated itself.
#[test]
fn what_was_read_back_is_not_signed_again() {
    let settings = Settings { faults: Faults::With(Fault::LostDisk), ..Settings::default() };
    assert_eq!(violated(14_311, &settings), Vec::<&str>::new());
}

/// Two of four nodes lose their disks one after the other. An old version that they held was
/// acknowledged, and each read only the newest one back.
#[test]
fn old_versions_survive_disks_that_are_lost_one_after_the_other() {
    let settings = Settings { faults: Faults::With(Fault::LostDisk), ..Settings::default() };
    for seed in (72_000..72_400).chain([72_113]) {
        assert_eq!(violated(seed, &settings), Vec::<&str>::new(), "seed {seed}");
    }
}

/// Two liars said that a stranger's attempt blocked the variable, while an unfinished write-once value
/// of the owner was all that was in the way: it was never told of it, and never finished it.
#[test]
fn an_owner_learns_of_its_own_final_however_many_may_lie() {
    for seed in (5_324_300..5_324_400).chain([5_324_358]) {
        assert_eq!(violated(seed, &Settings::default()), Vec::<&str>::new(), "seed {seed}");
    }
}

#[test]
fn one_seed_twice_is_one_trace() {
    let of =
        |faults: Faults, seed| run(seed, &Settings { faults, ..Settings::default() }).trace_hash;
    let hashes = |_| {
        let some = |faults| (0..20).map(move |seed| of(faults, seed));
        some(Faults::Drawn).chain(some(Faults::All)).collect::<Vec<_>>()
    };
    let (first, second): (Vec<u64>, Vec<u64>) = (hashes(1), hashes(2));
    assert_eq!(first, second);
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "different seeds differ");
}

#[test]
fn no_fault_breaks_anything_alone_or_together_with_all_others() {
    let faults = Fault::ALL.map(Faults::With).into_iter().chain([Faults::All]);
    let mut counts = Counts::default();
    for faults in faults {
        for seed in 0..SEEDS_PER_FAULT {
            let report = run(seed, &Settings { faults, ..Settings::default() });
            assert_eq!(report.violations, [], "seed {seed} with {faults:?}");
            counts = counts.plus(report.counts);
        }
    }
    assert!(counts.written > 200 && counts.read > 2000, "{counts:?}");
}

/// Members join, leave and are replaced, one at a time, while others read and write.
#[test]
fn nothing_is_violated_while_members_change() {
    let settings = Settings { faults: Faults::With(Fault::Membership), ..Settings::default() };
    let mut counts = Counts::default();
    for seed in 0..SEEDS_OF_CHANGES {
        let report = run(seed, &settings);
        assert_eq!(report.violations, [], "seed {seed} --fault membership");
        counts = counts.plus(report.counts);
    }
    assert!(counts.changes > SEEDS_OF_CHANGES && counts.written > SEEDS_OF_CHANGES, "{counts:?}");
}

/// What happens besides, while members change: two operators and liars who propose; members that are cut
/// out, repair, stolen keys; disks that are lost.
#[test]
fn nothing_is_violated_by_what_happens_while_members_change() {
    let play = |fault: Fault| {
        let mut counts = Counts::default();
        for seed in 1000..1000 + SEEDS_OF_EACH_KIND {
            // Every second one is small: there, members are replaced most often.
            let shape = (seed % 2 == 0).then_some(Shape::Alone(4));
            let faults = Faults::With(fault);
            let report = run(seed, &Settings { shape, faults, ..Settings::default() });
            let name = fault.name();
            assert_eq!(report.violations, [], "seed {seed} --fault {name} with {shape:?}");
            counts = counts.plus(report.counts);
        }
        counts
    };
    let (rivals, cut_out, disks) = std::thread::scope(|scope| {
        let cut_out = scope.spawn(|| play(Fault::CutOut));
        let others = (play(Fault::Rivals), play(Fault::MovingDisks));
        (others.0, cut_out.join().unwrap(), others.1)
    });
    assert!(rivals.split > 0 && rivals.changes > SEEDS_OF_EACH_KIND, "{rivals:?}");
    assert!(cut_out.repaired > SEEDS_OF_EACH_KIND && cut_out.stolen > 0, "{cut_out:?}");
    assert!(disks.changes > SEEDS_OF_EACH_KIND, "{disks:?}");
}

#[test]
fn recording_a_trace_changes_nothing() {
    let silent = run(5, &Settings::default());
    let loud = run(5, &Settings { record: true, ..Settings::default() });
    assert_eq!((silent.trace_hash, silent.counts), (loud.trace_hash, loud.counts));
    assert!(!loud.lines.is_empty());
}

#[test]
fn nobody_honest_is_accused_however_many_lie_and_many_liars_are_convicted() {
    let settings = Settings { over_budget: true, ..Settings::default() };
    let mut convicted = 0;
    for seed in 0..500 {
        let report = run(seed, &settings);
        assert_eq!(report.violations, [], "seed {seed}");
        convicted += report.counts.convicted;
    }
    assert!(convicted > 0, "no equivocation was ever proven");
}

#[test]
fn a_share_that_leaves_before_its_slot_is_synced_is_found() {
    let name = "an honest node signs one value for one timestamp, and remembers it";
    assert!(finds(Plant::ShareBeforeSync, name));
    assert!(finds(Plant::ShareBeforeSync, "one timestamp has one certificate, and it is genuine"));
}

#[test]
fn a_node_that_forgets_its_marks_is_found() {
    assert!(finds(Plant::ForgetMarks, "one timestamp has one certificate, and it is genuine"));
}

#[test]
fn a_read_without_write_back_is_found() {
    assert!(finds(Plant::NoWriteBack, "what was acknowledged or read is on the disks of a quorum"));
    assert!(finds(Plant::NoWriteBack, "each variable is linearizable"));
}

#[test]
fn an_acknowledgement_before_the_sync_is_found() {
    let name = "what was acknowledged or read is on the disks of a quorum";
    assert!(finds(Plant::AcknowledgeBeforeSync, name));
}

#[test]
fn a_writer_that_abandons_what_it_assembled_is_found() {
    assert!(finds(Plant::AbandonAssembled, "what failed or was abandoned is never seen"));
}

#[test]
fn a_home_without_memory_or_lock_is_found() {
    let name = "an honest writer signs one value for one timestamp, and keeps what it assembled";
    assert!(finds(Plant::ForgetHome, name));
    assert!(finds(Plant::NoHomeLock, name));
}

#[test]
fn a_writer_that_believes_the_largest_time_is_found() {
    let name = "after healing, the owner writes and everybody reads";
    assert!(finds(Plant::MaxTimestamp, name));
}

#[test]
fn nodes_that_believe_every_address_are_found() {
    assert!(finds(Plant::BlindIdentities, "only the owner overwrites"));
}

#[test]
fn a_share_for_somebody_else_is_found() {
    assert!(finds(Plant::ShareForAnybody, "what failed or was abandoned is never seen"));
}

#[test]
fn a_client_that_blames_the_silent_is_found() {
    assert!(finds(Plant::BlameTheSilent, "nobody honest is accused"));
}

/// Clients give each part its own answer, so a node that mixes them up looks like a liar.
#[test]
fn answers_in_another_order_are_found() {
    assert!(finds(Plant::MixesParts, "nobody honest is accused"));
}

#[test]
fn a_member_that_serves_before_it_took_over_is_found() {
    // What is forgotten shows as an old value, as a lost one, or as a second one for a timestamp.
    assert!(finds_one_of(
        Plant::ServeAtOnce,
        &[
            "each variable is linearizable",
            "what was acknowledged or read is found in every quorum, old versions too",
            "one timestamp has one certificate, and it is genuine",
        ],
    ));
}

#[test]
fn a_new_member_without_old_versions_is_found() {
    let name = "what was acknowledged or read is found in every quorum, old versions too";
    assert!(finds(Plant::NewestOnly, name));
}

#[test]
fn a_member_that_answers_on_after_it_stopped_is_found() {
    assert!(finds(Plant::AnswersOn, "nobody honest is accused"));
}

#[test]
fn a_member_that_votes_twice_is_found() {
    assert!(finds(Plant::VotesTwice, "a configuration has one successor"));
}

#[test]
fn a_vouch_for_what_is_not_stored_is_found() {
    assert!(finds(Plant::VouchUnstored, "one timestamp has one certificate, and it is genuine"));
}

#[test]
fn what_nobody_certifies_again_is_found() {
    assert!(finds(Plant::NeverRepairs, "after healing, what has lost signers is certified again"));
}
