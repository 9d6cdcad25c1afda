//! A disk that fails or loses its power never costs an acknowledged commit.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use crate::common::disk::{Fault, Lost, TestDisk};
use crate::common::{ON_DISK, at, entry, marks, name, put};
use bftkv_protocol::{Batch, Store, StoreError};
use bftkv_storage::{OpenError, RecordStore, StorageConfig, StorageKind, open_on};

const HOME: &str = "/test";

fn open(kind: StorageKind, disk: &TestDisk) -> Result<Arc<RecordStore>, OpenError> {
    let path = Path::new(HOME).join("store");
    let store = open_on(
        &StorageConfig { kind, path, cache_bytes: 1 << 20, log_bytes: 16 << 10 },
        disk_of(disk),
    )?;
    store.wait_checked()?;
    Ok(store)
}

fn disk_of(disk: &TestDisk) -> Arc<TestDisk> {
    Arc::new(disk.clone())
}

fn new_disk() -> TestDisk {
    TestDisk::with_folder(Path::new(HOME))
}

/// The `t`-th commit of a run. Its value is large enough that LevelDB makes tables on the way.
fn batch(t: u64, value_bytes: usize) -> Batch {
    let x = name("x");
    let mut batch = put(&x, t, &vec![t.to_le_bytes()[0]; value_bytes]);
    batch.entries.push(entry(&name(format!("y{}", t % 3)), t, b"y"));
    batch.marks = vec![(x, marks(t))];
    batch
}

/// Commits until `last` or the first failure; gives the last acknowledged commit, and requires
/// that after a failure nothing is written and reads go on.
fn run(kind: StorageKind, disk: &TestDisk, last: u64, value_bytes: usize) -> u64 {
    let Ok(store) = open(kind, disk) else { return 0 };
    let mut acknowledged = 0;
    for t in 1..=last {
        let outcome = store.commit(batch(t, value_bytes));
        if !disk.has_power() {
            // What the process says after its machine is off, nobody hears.
            break;
        }
        if outcome.is_ok() {
            acknowledged = t;
            continue;
        }
        let later = store.commit(batch(t + 1, value_bytes));
        assert_eq!(later, Err(StoreError::Stopped));
        require(&*store, acknowledged, t, value_bytes);
        break;
    }
    acknowledged
}

/// All commits up to `acknowledged` are there, and none of which only a part is there.
fn require(store: &dyn Store, acknowledged: u64, last: u64, value_bytes: usize) {
    let state = store.load(&name("x")).unwrap();
    let newest = state.marks.seen.get();
    assert!((acknowledged..=last).contains(&newest), "{newest} of {acknowledged}..={last}");
    for t in 1..=newest {
        for entry in batch(t, value_bytes).entries {
            assert_eq!(store.version(entry.variable(), at(t)).unwrap(), Some(entry));
        }
    }
    for x in ["x", "y0", "y1", "y2"] {
        let newest_kept = store.load(&name(x)).unwrap().latest.map_or(0, |e| e.timestamp().get());
        assert!(newest_kept <= newest, "{x} is ahead of its commit");
    }
}

/// How many changes of the disk a whole run takes.
fn changes_of(kind: StorageKind, last: u64, value_bytes: usize) -> u64 {
    let disk = new_disk();
    assert_eq!(run(kind, &disk, last, value_bytes), last);
    disk.changes()
}

/// Runs into the fault at so many places, evenly spread, then starts the machine again.
fn fail_everywhere(
    kinds: &[StorageKind],
    fault: Fault,
    last: u64,
    value_bytes: usize,
    places: u64,
) {
    for &kind in kinds {
        let changes = changes_of(kind, last, value_bytes);
        let step = usize::try_from(changes / places).unwrap().max(1);
        for n in (0..changes).step_by(step) {
            let disk = new_disk();
            disk.fail_after(n, fault);
            let acknowledged = run(kind, &disk, last, value_bytes);
            for lost in Lost::ALL {
                let disk = disk.after_power_cut(lost);
                let store = open(kind, &disk).unwrap_or_else(|error| {
                    panic!("{}, change {n}, {fault:?}, {lost:?}: {error}", kind.name())
                });
                println!("{}, change {n}, {fault:?}, {lost:?}", kind.name());
                require(&*store, acknowledged, last, value_bytes);
                store.commit(batch(last + 1, value_bytes)).unwrap();
                drop(store);
                open(kind, &disk).unwrap();
            }
        }
    }
}

#[test]
fn a_full_disk_stops_writing_and_loses_nothing() {
    fail_everywhere(&ON_DISK, Fault::Full, 4, 50, u64::MAX);
}

#[test]
fn an_input_output_error_stops_writing_and_loses_nothing() {
    fail_everywhere(&ON_DISK, Fault::InputOutput, 4, 50, u64::MAX);
}

#[test]
fn a_passing_error_stops_writing_and_loses_nothing() {
    fail_everywhere(&ON_DISK, Fault::Once, 4, 50, u64::MAX);
}

#[test]
fn a_failed_sync_stops_writing_and_loses_nothing() {
    fail_everywhere(&ON_DISK, Fault::Sync, 4, 50, u64::MAX);
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing() {
    fail_everywhere(&ON_DISK, Fault::Power, 4, 50, u64::MAX);
}

#[test]
fn faults_while_tables_are_made_and_compacted_lose_nothing() {
    for fault in [Fault::Full, Fault::InputOutput, Fault::Once, Fault::Sync, Fault::Power] {
        fail_everywhere(&[StorageKind::LevelDb], fault, 50, 40_000, 120);
    }
}

#[test]
fn reads_go_on_from_a_store_that_is_larger_than_its_cache() {
    fail_everywhere(&[StorageKind::Redb], Fault::InputOutput, 40, 40_000, 15);
}

#[test]
fn every_commit_is_synced() {
    for kind in ON_DISK {
        let disk = new_disk();
        let store = open(kind, &disk).unwrap();
        for t in 1..=5 {
            let before = disk.syncs();
            store.commit(batch(t, 50)).unwrap();
            assert!(disk.syncs() > before, "{} did not sync", kind.name());
        }
    }
}
