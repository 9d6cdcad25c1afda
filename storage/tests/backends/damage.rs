//! Whatever happens to the bytes at rest, a store never gives a wrong answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::common::disk::{Lost, TestDisk};
use crate::common::{ON_DISK, contents, entry, mark, name, proof, put};
use bftkv_protocol::{Batch, Store, StoreError};
use bftkv_storage::{MemoryBackend, RecordStore, ScrubStep, StorageConfig, StorageKind, open_on};

fn config(kind: StorageKind) -> StorageConfig {
    StorageConfig {
        kind,
        path: Path::new("/test/store").to_owned(),
        cache_bytes: 1 << 20,
        log_bytes: 16 << 10,
    }
}

/// A store with some of everything: overwritten marks, several versions, a proof. `is_clean`:
/// whether it was closed, or killed.
fn filled(kind: StorageKind, is_clean: bool) -> (TestDisk, String) {
    let disk = TestDisk::with_folder(Path::new("/test"));
    let store = open_on(&config(kind), Arc::new(disk.clone())).unwrap();
    store.wait_checked().unwrap();
    for t in 1..=6u64 {
        for x in ["a", "b", "c"] {
            store.commit(put(&name(x), t, x.as_bytes())).unwrap();
            store.commit(mark(&name(x), t)).unwrap();
        }
    }
    store.commit(Batch { proofs: vec![proof(1)], ..Default::default() }).unwrap();
    let text = contents(&*store);
    if is_clean {
        drop(store);
        (disk, text)
    } else {
        (disk.after_power_cut(Lost::Nothing), text)
    }
}

/// Detected, or harmless: never a wrong answer.
fn require_right(kind: StorageKind, disk: TestDisk, right: &str, what: &str) -> bool {
    let Ok(store) = open_on(&config(kind), Arc::new(disk)) else { return true };
    match store.wait_checked() {
        Ok(()) => {
            assert_eq!(contents(&*store), right, "{what}: not detected");
            store.commit(put(&name("after"), 1, b"v")).unwrap();
            false
        }
        Err(error) => {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{what}: {error}");
            assert_eq!(store.load(&name("a")), Err(error.clone()), "{what}");
            assert_eq!(store.scan(b"", None, 9), Err(error.clone()), "{what}");
            assert_eq!(store.commit(put(&name("a"), 9, b"v")), Err(error), "{what}");
            true
        }
    }
}

/// Damages each file at many places, evenly spread.
fn damage_everywhere(kind: StorageKind, is_clean: bool, places: usize) {
    let (disk, right) = filled(kind, is_clean);
    let (mut detected, mut harmless) = (0, 0);
    for (path, size) in disk.sizes() {
        let bits = size * 8;
        for place in 0..places.min(bits) {
            let bit = bits / places.min(bits) * place + (place * 5) % 8;
            if bit >= bits {
                continue;
            }
            let damaged = disk.after_power_cut(Lost::Nothing);
            damaged.flip(&path, bit);
            let what = format!("{} bit {bit} of {}", kind.name(), path.display());
            println!("{what}");
            let found = require_right(kind, damaged, &right, &what);
            *(if found { &mut detected } else { &mut harmless }) += 1;
        }
    }
    println!("{} (clean: {is_clean}): {detected} detected, {harmless} harmless", kind.name());
    assert!(detected > 0);
}

#[test]
fn a_flipped_bit_in_redb_is_detected_or_harmless() {
    damage_everywhere(StorageKind::Redb, true, 400);
    damage_everywhere(StorageKind::Redb, false, 400);
}

#[test]
fn a_flipped_bit_in_leveldb_is_detected_or_harmless() {
    damage_everywhere(StorageKind::LevelDb, true, 400);
    damage_everywhere(StorageKind::LevelDb, false, 400);
}

#[test]
fn a_flipped_bit_in_plain_files_is_detected_or_harmless() {
    damage_everywhere(StorageKind::Files, true, 40);
}

#[test]
fn a_lost_or_shortened_file_is_detected_or_harmless() {
    for kind in ON_DISK {
        let (disk, right) = filled(kind, true);
        for (path, size) in disk.sizes() {
            let lost = disk.after_power_cut(Lost::Nothing);
            lost.delete(&path);
            require_right(kind, lost, &right, &format!("no {}", path.display()));
            for cut in [1, 7, 150, 2000, size] {
                let short = disk.after_power_cut(Lost::Nothing);
                short.truncate(&path, size.saturating_sub(cut));
                require_right(kind, short, &right, &format!("-{cut} {}", path.display()));
            }
        }
    }
}

#[test]
fn what_is_intact_can_be_salvaged() {
    let (disk, _) = filled(StorageKind::Files, true);
    let victim = disk
        .sizes()
        .into_iter()
        .find(|(path, _)| path.file_name().unwrap().to_string_lossy().starts_with("vb%00%01"));
    let (path, size) = victim.unwrap();
    disk.flip(&path, size * 8 - 1);
    let store = open_on(&config(StorageKind::Files), Arc::new(disk)).unwrap();
    assert!(store.wait_checked().is_err());
    let target = RecordStore::over(MemoryBackend::default(), 1 << 20).unwrap();
    let damaged = store.salvage(&target).unwrap();
    assert_eq!(damaged.damaged.len(), 1);
    assert!(damaged.damaged[0].record.starts_with("b at t="), "{damaged:?}");
    assert!(!damaged.is_complete && damaged.incomplete == [name("b")]);
    assert_eq!(target.versions(&name("a"), None, 99).unwrap().len(), 6);
    assert_eq!(target.versions(&name("b"), None, 99).unwrap().len(), 5);
    assert_eq!(target.load(&name("b")).unwrap().marks, store_marks());
    assert_eq!(target.proofs().unwrap(), [proof(1)]);
}

fn store_marks() -> bftkv_protocol::Marks {
    crate::common::marks(6)
}

#[test]
fn a_scrub_finds_what_was_damaged_meanwhile() {
    let (disk, _) = filled(StorageKind::Files, true);
    let store = open_on(&config(StorageKind::Files), Arc::new(disk.clone())).unwrap();
    store.scrub().unwrap();
    let (path, size) =
        disk.sizes().into_iter().find(|(p, _)| p.starts_with("/test/store/files")).unwrap();
    disk.flip(&path, size * 8 - 1);
    assert!(matches!(store.scrub(), Err(StoreError::Corrupt { .. })));
    assert!(store.commit(put(&name("a"), 9, b"v")).is_err());
}

/// What nobody asks for, with names and values that are easily found in a file.
fn text(n: u64) -> Vec<u8> {
    format!("this is value {n:03}. ").repeat(50).into_bytes()
}

/// Changes one bit of each copy of a value, wherever it lies.
fn damage_value(disk: &TestDisk, n: u64) {
    let (value, mut copies) = (text(n), 0);
    for (path, _) in disk.sizes() {
        let bytes = disk.bytes(&path);
        let places = bytes.windows(value.len()).enumerate().filter(|(_, part)| *part == value);
        for (place, _) in places {
            disk.flip(&path, (place + 500) * 8);
            copies += 1;
        }
    }
    assert!(copies > 0);
}

/// Without anybody asking, also when nobody reads what was damaged, and when a cache would go on
/// serving what was there before.
#[test]
fn a_store_that_looks_after_itself_finds_one_changed_bit() {
    const VALUES: u64 = 200;
    for kind in ON_DISK {
        // LevelDB cannot look past its cache, so here it has none to speak of.
        let cache_bytes = if kind == StorageKind::LevelDb { 0 } else { 1 << 20 };
        let config = StorageConfig { cache_bytes, ..config(kind) };
        let disk = TestDisk::with_folder(Path::new("/test"));
        let store = open_on(&config, Arc::new(disk.clone())).unwrap();
        let entries = (0..VALUES).map(|n| entry(&name(format!("{n:03}")), 1, &text(n)));
        store.commit(Batch { entries: entries.collect(), ..Batch::default() }).unwrap();
        drop(store);
        let store = open_on(&config, Arc::new(disk.clone())).unwrap();
        store.wait_checked().unwrap();
        (0..VALUES).for_each(|n| drop(store.load(&name(format!("{n:03}"))).unwrap()));
        let (told, heard) = std::sync::mpsc::channel();
        let tell = move |step: &Result<_, _>| drop(told.send(step.clone()));
        store.scrub_by_itself(Duration::from_millis(1), tell).unwrap();
        let next = || heard.recv_timeout(Duration::from_secs(60));
        let sound = next().unwrap().unwrap();
        assert!(sound.is_last && sound.damaged.is_empty(), "{}: {sound:?}", kind.name());
        damage_value(&disk, 150);
        // The pass that was under way when it happened may have been past that place.
        let is_damage = |step: Result<ScrubStep, StoreError>| match step {
            Ok(step) => !step.damaged.is_empty(),
            Err(error) => matches!(error, StoreError::Corrupt { .. }),
        };
        assert!((0..2).any(|_| is_damage(next().unwrap())), "{}", kind.name());
        let refused = store.commit(put(&name("a"), 9, b"v"));
        assert!(matches!(refused, Err(StoreError::Corrupt { .. })), "{refused:?}");
        // The thread ends with the store, and with it the channel.
        drop(store);
        while next().map_err(|e| assert_eq!(e, RecvTimeoutError::Disconnected)).is_ok() {}
    }
}
