//! Whatever happens to the bytes at rest, a store never gives a wrong answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use bftkv_protocol::{Store, StoreError};
use bftkv_storage::{MemoryBackend, RecordStore, StorageConfig, StorageKind, open_on};
use common::disk::{Lost, TestDisk};
use common::{ON_DISK, contents, mark, name, proof, put};

fn config(kind: StorageKind) -> StorageConfig {
    StorageConfig { kind, path: Path::new("/test/store").to_owned(), cache_bytes: 1 << 20 }
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
    store.commit(bftkv_protocol::Batch { proofs: vec![proof(1)], ..Default::default() }).unwrap();
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
    common::marks(6)
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

/// Without anybody asking, also when nobody reads what was damaged.
#[test]
fn a_store_that_looks_after_itself_finds_damage() {
    for kind in ON_DISK {
        let (disk, _) = filled(kind, true);
        let store = open_on(&config(kind), Arc::new(disk.clone())).unwrap();
        store.wait_checked().unwrap();
        let (told, heard) = std::sync::mpsc::channel();
        let tell = move |step: &Result<_, _>| drop(told.send(step.clone()));
        store.scrub_by_itself(std::time::Duration::from_millis(1), tell).unwrap();
        let patience = std::time::Duration::from_secs(60);
        let sound = heard.recv_timeout(patience).unwrap().unwrap();
        assert!(sound.is_last && sound.damaged.is_empty(), "{sound:?}");
        for (path, size) in disk.sizes().into_iter().filter(|(path, _)| is_data(path)) {
            (size / 4..size).step_by(97).for_each(|place| disk.flip(&path, place * 8));
        }
        let is_damage = |step: &Result<bftkv_storage::ScrubStep, StoreError>| match step {
            Ok(step) => !step.damaged.is_empty(),
            Err(error) => matches!(error, StoreError::Corrupt { .. }),
        };
        assert!(heard.iter().any(|step| is_damage(&step)), "{}", kind.name());
        assert!(store.commit(put(&name("a"), 9, b"v")).is_err());
        drop(store);
        // The thread ends with the store, and with it the channel.
        assert!(heard.recv_timeout(patience).is_err() || heard.iter().count() < 1000);
    }
}

/// Files that hold records.
fn is_data(path: &Path) -> bool {
    let text = path.display().to_string();
    [".redb", ".ldb", "/files/"].iter().any(|part| text.contains(part))
}
