//! A store goes on without a restart once the cause of a failure is gone, and has lost nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use crate::common::disk::{Fault, Lost, TestDisk};
use crate::common::{ON_DISK, at, entry, marks, name, put};
use bftkv_protocol::{Batch, Store, StoreError};
use bftkv_storage::{RecordStore, StorageConfig, StorageKind, open_on};

fn open(kind: StorageKind, disk: &TestDisk) -> Arc<RecordStore> {
    let path = Path::new("/test/store").to_owned();
    // No cache: what is read is read from the disk.
    // A few of these commits fit into the log.
    let config = StorageConfig { kind, path, cache_bytes: 0, log_bytes: 128 << 10 };
    let store = open_on(&config, Arc::new(disk.clone())).unwrap();
    store.wait_checked().unwrap();
    store
}

fn batch(t: u64) -> Batch {
    let mut batch = put(&name("x"), t, &[7; 30_000]);
    batch.entries.push(entry(&name(format!("y{}", t % 3)), t, b"y"));
    batch.marks = vec![(name("x"), marks(t))];
    batch
}

/// Every read is right or fails: never a wrong answer. Gives whether all were answered.
fn read(store: &RecordStore, acknowledged: u64, last: u64) -> bool {
    let mut is_answered = true;
    let mut expect = |outcome: Result<bool, StoreError>| match outcome {
        Ok(is_right) => assert!(is_right, "a wrong answer"),
        Err(StoreError::Io(_)) => is_answered = false,
        Err(other) => panic!("{other}"),
    };
    let range = acknowledged..=last;
    expect(store.load(&name("x")).map(|state| range.contains(&state.marks.seen.get())));
    for t in 1..=acknowledged {
        for entry in batch(t).entries {
            let kept = store.version(entry.variable(), at(t));
            expect(kept.map(|kept| kept == Some(entry)));
        }
    }
    expect(store.load(&name("never seen")).map(|state| state == Default::default()));
    expect(store.scan(b"", None, 9).map(|names| names.len() > 1));
    is_answered
}

/// Runs into a fault `n` changes after the third commit, goes on after it, and loses its power.
/// Gives whether there was a failure.
fn fail_and_resume(kind: StorageKind, fault: Fault, n: u64) -> bool {
    let what = format!("{} {fault:?} after {n}", kind.name());
    println!("{what}");
    let disk = TestDisk::with_folder(Path::new("/test"));
    let store = open(kind, &disk);
    (1..=3).for_each(|t| store.commit(batch(t)).unwrap());
    disk.fail_after(n, fault);
    let mut acknowledged = 3;
    let mut error = None;
    while acknowledged < 8 && error.is_none() {
        match store.commit(batch(acknowledged + 1)) {
            Ok(()) => acknowledged += 1,
            Err(e) => error = Some(e),
        }
    }
    let last = acknowledged + 1;
    let is_answered = read(&store, acknowledged, last);
    let met = error.is_some() || !is_answered;
    let writes_fail = matches!(fault, Fault::Full | Fault::InputOutput | Fault::Sync);
    if let Some(error) = error {
        assert!(matches!(error, StoreError::Io(_)), "{what}: {error}");
        assert!(is_answered || matches!(fault, Fault::TooManyFiles | Fault::Read), "{what}");
        assert_eq!(store.commit(batch(last)), Err(StoreError::Stopped), "{what}");
        if writes_fail {
            assert!(matches!(store.resume(), Err(StoreError::Io(_))), "{what}");
            assert!(read(&store, acknowledged, last), "{what}: reads stopped");
        }
    }
    disk.heal();
    store.resume().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(read(&store, acknowledged, last), "{what}");
    for t in last..last + 3 {
        store.commit(batch(t)).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    store.wait_checked().unwrap();
    assert!(read(&store, last + 2, last + 2), "{what}");
    // Only what is really on the disk is found by the next process.
    let store = open(kind, &disk.after_power_cut(Lost::Everything));
    assert!(read(&store, last + 2, last + 2), "{what}: after a power cut");
    met
}

fn everywhere(fault: Fault) {
    for kind in ON_DISK {
        let met = (0..40).filter(|n| fail_and_resume(kind, fault, *n)).count();
        println!("{} {fault:?}: {met} failures", kind.name());
        assert!(met > 0 || fault == Fault::TooManyFiles);
    }
}

#[test]
fn after_a_full_disk() {
    everywhere(Fault::Full);
}

#[test]
fn after_an_input_output_error() {
    everywhere(Fault::InputOutput);
    everywhere(Fault::Once);
}

#[test]
fn after_a_failed_sync() {
    everywhere(Fault::Sync);
}

#[test]
fn after_a_sync_that_lost_what_it_should_have_written() {
    everywhere(Fault::LostSync);
}

#[test]
fn after_too_many_open_files() {
    everywhere(Fault::TooManyFiles);
}

#[test]
fn after_a_disk_that_could_not_be_read() {
    everywhere(Fault::Read);
}

#[test]
fn a_store_that_watches_itself_goes_on_by_itself() {
    let disk = TestDisk::with_folder(Path::new("/test"));
    let store = open(StorageKind::Redb, &disk);
    let (report, reports) = std::sync::mpsc::channel();
    store.resume_by_itself(move |outcome| drop(report.send(outcome.clone()))).unwrap();
    store.commit(batch(1)).unwrap();
    disk.fail_after(0, Fault::Full);
    assert!(store.commit(batch(2)).is_err());
    assert!(reports.recv().unwrap().is_err());
    disk.heal();
    while reports.recv().unwrap().is_err() {}
    store.commit(batch(2)).unwrap();
    assert!(read(&store, 2, 2));
}

/// A failure while nobody but the scrub reads: commits stop, and go on when it is over.
#[test]
fn after_a_scrub_that_could_not_read() {
    for kind in ON_DISK {
        let disk = TestDisk::with_folder(Path::new("/test"));
        let store = open(kind, &disk);
        (1..=3).for_each(|t| store.commit(batch(t)).unwrap());
        disk.fail_after(0, Fault::Read);
        assert!(matches!(store.scrub(), Err(StoreError::Io(_))), "{}", kind.name());
        assert_eq!(store.commit(batch(4)), Err(StoreError::Stopped), "{}", kind.name());
        assert!(matches!(store.resume(), Err(StoreError::Io(_))), "{}", kind.name());
        disk.heal();
        assert!(read(&store, 3, 3), "{}", kind.name());
        store.resume().unwrap();
        store.commit(batch(4)).unwrap();
        store.scrub().unwrap();
        assert!(read(&store, 4, 4), "{}", kind.name());
    }
}

/// Reading fails at any moment of opening: that is an error, or the store goes on later.
#[test]
fn after_a_check_that_could_not_read() {
    let mut opened = 0;
    for kind in ON_DISK {
        let full = TestDisk::with_folder(Path::new("/test"));
        let store = open(kind, &full);
        (1..=3).for_each(|t| store.commit(batch(t)).unwrap());
        drop(store);
        for n in 0..30 {
            let disk = full.after_power_cut(Lost::Everything);
            disk.fail_after(n, Fault::Read);
            let path = Path::new("/test/store").to_owned();
            let config = StorageConfig { kind, path, cache_bytes: 0, log_bytes: 8 << 10 };
            let Ok(store) = open_on(&config, Arc::new(disk.clone())) else { continue };
            let checked = store.wait_checked();
            opened += usize::from(checked.is_err());
            assert!(matches!(checked, Ok(()) | Err(StoreError::Io(_))), "{checked:?}");
            disk.heal();
            store.resume().unwrap();
            store.commit(batch(4)).unwrap();
            assert!(read(&store, 4, 4), "{} after {n}", kind.name());
        }
    }
    assert!(opened > 0, "no check met the failure");
}
