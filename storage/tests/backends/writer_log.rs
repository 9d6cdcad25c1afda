//! A writer never signs two values at one timestamp, whatever happens to its home.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::common::disk::{Fault, Lost, TestDisk};
use crate::common::{at, name};
use bftkv_protocol::{EntryHash, EntryId, Timestamp};
use bftkv_storage::{ReserveError, WriterLog, WriterLogError};
use tempfile::{TempDir, tempdir};

type Outcome = Result<EntryId, ReserveError<()>>;

fn reserve(log: &WriterLog, variable: &str, t: u64) -> Outcome {
    log.reserve(&name(variable), at(t), || Ok(EntryHash::from_bytes([1; 32])))
}

fn used(mark: u64) -> Outcome {
    Err(ReserveError::Used { mark: at(mark) })
}

#[test]
fn a_timestamp_is_reserved_once_and_only_upwards() {
    let home = tempdir().unwrap();
    let log = WriterLog::open(home.path()).unwrap();
    reserve(&log, "x", 5).unwrap();
    assert_eq!(reserve(&log, "x", 5), used(5));
    assert_eq!(reserve(&log, "x", 4), used(5));
    reserve(&log, "y", 1).unwrap();
    reserve(&log, "x", 6).unwrap();
    drop(log);
    let log = WriterLog::open(home.path()).unwrap();
    assert_eq!(reserve(&log, "x", 6), used(6));
    assert_eq!(log.mark(&name("x")).unwrap(), at(6));
    assert_eq!(log.mark(&name("z")).unwrap(), Timestamp::ZERO);
    for t in [0, u64::MAX] {
        assert_eq!(reserve(&log, "z", t), Err(ReserveError::Unusable(at(t))));
    }
}

#[test]
fn nothing_is_signed_at_a_used_timestamp_and_a_failed_signature_uses_none() {
    let home = tempdir().unwrap();
    let log = WriterLog::open(home.path()).unwrap();
    reserve(&log, "x", 5).unwrap();
    let outcome: Outcome = log.reserve(&name("x"), at(5), || panic!("signed at a used timestamp"));
    assert_eq!(outcome, used(5));
    let outcome = log.reserve(&name("x"), at(9), || Err("no passphrase"));
    assert_eq!(outcome, Err(ReserveError::Make("no passphrase")));
    reserve(&log, "x", 6).unwrap();
}

#[test]
fn an_attempt_is_either_assembled_or_abandoned() {
    let home = tempdir().unwrap();
    let log = WriterLog::open(home.path()).unwrap();
    let (first, second) = (reserve(&log, "x", 1).unwrap(), reserve(&log, "x", 2).unwrap());
    log.assembled(&first).unwrap();
    log.assembled(&first).unwrap();
    assert_eq!(log.abandon(&first), Err(WriterLogError::Assembled(at(1))));
    log.abandon(&second).unwrap();
    log.abandon(&second).unwrap();
    assert_eq!(log.assembled(&second), Err(WriterLogError::NotOpen(at(2))));
    drop(log);
    let log = WriterLog::open(home.path()).unwrap();
    assert_eq!(log.unknown(&name("x")).unwrap(), std::slice::from_ref(&first));
    assert_eq!(log.abandonable(&name("x")).unwrap(), std::slice::from_ref(&second));
    assert_eq!(log.abandonable(&name("y")).unwrap(), []);
    log.settled(&first).unwrap();
    log.settled(&second).unwrap();
    log.settled(&second).unwrap();
    assert_eq!(log.assembled(&first), Err(WriterLogError::NotOpen(at(1))));
    drop(log);
    let log = WriterLog::open(home.path()).unwrap();
    assert!(log.unknown(&name("x")).unwrap().is_empty());
    assert!(log.abandonable(&name("x")).unwrap().is_empty());
    assert_eq!(reserve(&log, "x", 2), used(2));
}

#[test]
fn the_attempt_of_a_living_process_is_left_alone() {
    let home = tempdir().unwrap();
    let (first, second) =
        (WriterLog::open(home.path()).unwrap(), WriterLog::open(home.path()).unwrap());
    let attempt = reserve(&first, "x", 1).unwrap();
    assert!(first.abandonable(&name("x")).unwrap().is_empty());
    assert!(second.abandonable(&name("x")).unwrap().is_empty());
    assert_eq!(second.abandon(&attempt), Err(WriterLogError::InUse(at(1))));
    first.release(&attempt);
    assert_eq!(first.abandonable(&name("x")).unwrap(), std::slice::from_ref(&attempt));
    assert!(second.abandonable(&name("x")).unwrap().is_empty());
    drop(first);
    assert_eq!(second.abandonable(&name("x")).unwrap(), std::slice::from_ref(&attempt));
    second.abandon(&attempt).unwrap();
}

#[test]
fn two_users_of_one_home_never_reserve_the_same() {
    let home = tempdir().unwrap();
    let reserved: Vec<EntryId> = std::thread::scope(|scope| {
        let worker = || {
            let log = WriterLog::open(home.path()).unwrap();
            let mut mine = Vec::new();
            let mut t = 1;
            while mine.len() < 50 {
                match reserve(&log, "x", t) {
                    Ok(attempt) => mine.push(attempt),
                    Err(ReserveError::Used { mark }) => t = mark.get() + 1,
                    Err(other) => panic!("{other}"),
                }
            }
            mine
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let distinct: BTreeSet<_> = reserved.iter().map(|attempt| attempt.timestamp).collect();
    assert_eq!((reserved.len(), distinct.len()), (200, 200));
}

/// A process that reserves on and on, and prints each timestamp that it got.
#[test]
fn child_that_reserves() {
    let Ok(home) = env::var("BFTKV_TEST_WRITER_HOME") else { return };
    let log = WriterLog::open(Path::new(&home)).unwrap();
    let mut t = 1;
    loop {
        match reserve(&log, "x", t) {
            Ok(attempt) => println!("\nreserved {}", attempt.timestamp),
            Err(ReserveError::Used { mark }) => t = mark.get() + 1,
            Err(other) => panic!("{other}"),
        }
    }
}

fn start_child(home: &TempDir) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "writer_log::child_that_reserves", "--nocapture"])
        .env("BFTKV_TEST_WRITER_HOME", home.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn take_reserved(child: &mut Child, count: usize) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let reserved = lines.filter_map(|line| line.unwrap().strip_prefix("reserved ")?.parse().ok());
    reserved.take(count).collect()
}

#[test]
fn killed_processes_leave_their_reservations_and_their_attempts() {
    let home = tempdir().unwrap();
    let mut all = Vec::new();
    for round in 0..4 {
        let (mut first, mut second) = (start_child(&home), start_child(&home));
        all.extend(take_reserved(&mut first, 5 + round));
        all.extend(take_reserved(&mut second, 5));
        for mut child in [first, second] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let distinct: BTreeSet<_> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "one timestamp was reserved twice");
    let log = WriterLog::open(home.path()).unwrap();
    let open = log.abandonable(&name("x")).unwrap();
    let known: BTreeSet<_> = open.iter().map(|attempt| attempt.timestamp.get()).collect();
    assert!(known.is_superset(&distinct));
    assert!(reserve(&log, "x", *distinct.last().unwrap()).is_err());
}

#[test]
fn a_log_that_grew_is_compacted_under_the_eyes_of_another_user() {
    let home = tempdir().unwrap();
    let other = WriterLog::open(home.path()).unwrap();
    let kept = reserve(&other, "kept", 7).unwrap();
    other.assembled(&kept).unwrap();
    let log = WriterLog::open(home.path()).unwrap();
    let long = "n".repeat(1000);
    let mut shrank = false;
    let mut size = 0;
    for t in 1..=1500 {
        let attempt = reserve(&log, &long, t).unwrap();
        log.settled(&attempt).unwrap();
        let now = fs::metadata(home.path().join("writer.log")).unwrap().len();
        shrank |= now < size;
        size = now;
    }
    assert!(shrank && size < 1_100_000, "{size}");
    assert_eq!(reserve(&other, &long, 1500), used(1500));
    reserve(&other, &long, 1501).unwrap();
    assert_eq!(reserve(&log, &long, 1501), used(1501));
    assert_eq!(reserve(&log, "kept", 7), used(7));
    drop(other);
    assert_eq!(log.unknown(&name("kept")).unwrap(), [kept]);
}

/// The newest acknowledged timestamp after reservations on a disk that fails at its `n`-th change.
fn reserve_until(home: &Path, disk: &TestDisk) -> u64 {
    let Ok(log) = WriterLog::open_on(home, Arc::new(disk.clone())) else { return 0 };
    let mut acknowledged = 0;
    for t in 1..=4 {
        match reserve(&log, "x", t) {
            Ok(attempt) => {
                // A disk without power stays silent: what it says then was told to nobody.
                if disk.has_power() {
                    acknowledged = t;
                }
                let _ = log.assembled(&attempt).and_then(|()| log.settled(&attempt));
            }
            Err(_) => assert_eq!(
                reserve(&log, "x", t + 1),
                Err(ReserveError::Log(WriterLogError::Stopped))
            ),
        }
    }
    acknowledged
}

#[test]
fn after_any_failure_or_power_cut_no_acknowledged_timestamp_is_free() {
    for fault in [Fault::Full, Fault::InputOutput, Fault::Once, Fault::Sync, Fault::Power] {
        for n in 0..60 {
            let home = tempdir().unwrap();
            let disk = TestDisk::with_folder(home.path());
            disk.fail_after(n, fault);
            let acknowledged = reserve_until(home.path(), &disk);
            for lost in Lost::ALL {
                require_kept(&home, &disk.after_power_cut(lost), acknowledged);
            }
        }
    }
}

/// A damaged log is an error; one that opens knows what was acknowledged.
fn require_kept(home: &TempDir, disk: &TestDisk, acknowledged: u64) {
    let log = WriterLog::open_on(home.path(), Arc::new(disk.clone())).unwrap();
    assert!(log.mark(&name("x")).unwrap() >= at(acknowledged));
    reserve(&log, "x", 100).unwrap();
}

#[test]
fn a_flipped_bit_or_a_lost_file_never_frees_a_timestamp() {
    let home = tempdir().unwrap();
    let disk = TestDisk::with_folder(home.path());
    assert_eq!(reserve_until(home.path(), &disk), 4);
    for (path, size) in disk.sizes() {
        for bit in 0..size * 8 {
            let damaged = disk.after_power_cut(Lost::Nothing);
            damaged.flip(&path, bit);
            require_detected(&home, damaged);
        }
        for length in 0..size {
            let damaged = disk.after_power_cut(Lost::Nothing);
            damaged.truncate(&path, length);
            require_detected(&home, damaged);
        }
        let damaged = disk.after_power_cut(Lost::Nothing);
        damaged.delete(&path);
        require_detected(&home, damaged);
    }
}

fn require_detected(home: &TempDir, disk: TestDisk) {
    match WriterLog::open_on(home.path(), Arc::new(disk)) {
        Ok(log) => assert_eq!(log.mark(&name("x")).unwrap(), at(4)),
        Err(error) => assert!(matches!(error, WriterLogError::Damaged { .. }), "{error}"),
    }
}

#[test]
fn an_anchor_is_synced_before_it_is_used_only_if_somebody_else_wrote_it() {
    let home = tempdir().unwrap();
    let disk = TestDisk::with_folder(home.path());
    let open = || WriterLog::open_on(home.path(), Arc::new(disk.clone())).unwrap();
    let syncs_of = |log: &WriterLog, t: u64| {
        let before = disk.syncs();
        reserve(log, "x", t).unwrap();
        disk.syncs() - before
    };
    let (one, other) = (open(), open());
    syncs_of(&one, 1);
    assert_eq!(syncs_of(&one, 2), 2, "the record, and its number");
    syncs_of(&other, 3);
    assert_eq!(syncs_of(&one, 4), 3, "also the number that the other one wrote");
    assert_eq!(syncs_of(&one, 5), 2);
}

fn hash(number: u8) -> EntryHash {
    EntryHash::from_bytes([number; 32])
}

/// Reserves all of these; the hash of each is its place.
fn reserve_many(log: &WriterLog, wanted: &[(&str, u64)]) -> Result<Vec<Outcome>, ReserveError<()>> {
    let wanted: Vec<_> = wanted.iter().map(|(variable, t)| (name(variable), at(*t))).collect();
    let sign = |places: &[usize]| {
        Ok(places.iter().map(|place| hash(u8::try_from(*place).unwrap())).collect())
    };
    log.reserve_many(&wanted, sign)
}

#[test]
fn many_timestamps_are_each_reserved_as_if_alone() {
    let home = tempdir().unwrap();
    let log = WriterLog::open(home.path()).unwrap();
    reserve(&log, "x", 5).unwrap();
    let wanted = [("x", 5), ("y", 1), ("x", 7), ("x", 6), ("z", 0), ("y", 2)];
    let outcomes = reserve_many(&log, &wanted).unwrap();
    let got = |place: u8, variable: &str, t: u64| {
        Ok(EntryId { variable: name(variable), timestamp: at(t), hash: hash(place) })
    };
    let unusable = Err(ReserveError::Unusable(at(0)));
    let each = [used(5), got(1, "y", 1), got(2, "x", 7), used(7), unusable, got(5, "y", 2)];
    assert_eq!(outcomes, each, "each has the hash of its own place");

    let failed = log.reserve_many(&[(name("x"), at(9))], |_| Err("no passphrase"));
    assert_eq!(failed, Err(ReserveError::Make("no passphrase")));
    drop(log);
    let log = WriterLog::open(home.path()).unwrap();
    let marks = ["x", "y", "z"].map(|variable| log.mark(&name(variable)).unwrap());
    assert_eq!(marks, [at(7), at(2), Timestamp::ZERO], "what failed has used none");
    let left: Vec<u64> =
        log.abandonable(&name("y")).unwrap().iter().map(|a| a.timestamp.get()).collect();
    assert_eq!(left, [1, 2]);
}

/// All or some of them are on the disk, but whatever was acknowledged is.
#[test]
fn of_many_that_were_acknowledged_none_is_free_after_any_failure() {
    let wanted = [("x", 1), ("y", 4), ("x", 3)];
    let mut acknowledged = 0;
    for fault in [Fault::Full, Fault::InputOutput, Fault::Once, Fault::Sync, Fault::Power] {
        for n in 0..40 {
            let home = tempdir().unwrap();
            let disk = TestDisk::with_folder(home.path());
            disk.fail_after(n, fault);
            let opened = WriterLog::open_on(home.path(), Arc::new(disk.clone()));
            let outcomes = opened.ok().and_then(|log| reserve_many(&log, &wanted).ok());
            if outcomes.is_none() || !disk.has_power() {
                continue;
            }
            acknowledged += 1;
            for lost in Lost::ALL {
                let after = Arc::new(disk.after_power_cut(lost));
                let log = WriterLog::open_on(home.path(), after).unwrap();
                assert_eq!(reserve(&log, "x", 3), used(3), "{fault:?} {n} {lost:?}");
                assert_eq!(reserve(&log, "y", 4), used(4), "{fault:?} {n} {lost:?}");
            }
        }
    }
    assert!(acknowledged > 0);
}
