//! A damaged store is put aside, and what is intact is copied into a new one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{ON_DISK, at, config, contents, entry, marks, name, open_sound, proof, put};
use bftkv_protocol::{Batch, Store};
use bftkv_storage::{OpenError, StorageKind, open, open_salvaging};
use tempfile::tempdir;

const NAMES: u64 = 100;

fn x(n: u64) -> bftkv_protocol::Variable {
    name(format!("variable {n:03}"))
}

fn fill(kind: StorageKind, folder: &Path) -> String {
    let store = open_sound(kind, folder);
    for t in 1..=3 {
        let mut batch = Batch { proofs: vec![proof(3)], ..Batch::default() };
        for n in 0..NAMES {
            batch.entries.push(entry(&x(n), t, &[0x5a; 300]));
            batch.marks.push((x(n), marks(t)));
        }
        store.commit(batch).unwrap();
    }
    contents(&*store)
}

/// The largest file of a store: where its records are.
fn largest(folder: &Path) -> PathBuf {
    let mut files = vec![folder.to_owned()];
    let mut found = (0, PathBuf::new());
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        } else {
            found = found.max((fs::metadata(&path).unwrap().len(), path));
        }
    }
    found.1
}

fn damage(path: &Path, at: usize, count: usize) {
    let mut bytes = fs::read(path).unwrap();
    let length = bytes.len();
    bytes[at.min(length - 1)..(at + count).min(length)].iter_mut().for_each(|b| *b ^= 0x55);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_sound_store_is_opened_as_ever() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        let before = fill(kind, folder.path());
        let (store, salvage) = open_salvaging(&config(kind, folder.path())).unwrap();
        assert_eq!((contents(&*store), salvage), (before, None));
        assert_eq!(store.generation(), 2);
    }
}

#[test]
fn what_is_intact_is_copied_and_the_rest_is_named() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        fill(kind, folder.path());
        let config = config(kind, folder.path());
        let identity = open_sound(kind, folder.path()).identity();
        // Some entries; LevelDB loses the whole block.
        let victim = largest(&config.path);
        let bytes = fs::read(&victim).unwrap();
        let places = (0..bytes.len()).filter(|n| bytes[*n..].starts_with(b"variable 050"));
        let mut places: Vec<usize> = places.collect();
        // Where two are near, changing both would change one back.
        places.dedup_by(|next, place| *next < *place + 600);
        if kind != StorageKind::Redb {
            places = vec![places.pop().unwrap_or(bytes.len() / 2)];
        }
        // redb leaves older copies of its pages behind, so all are damaged.
        places.iter().for_each(|place| damage(&victim, *place, 600));
        let (store, salvage) = open_salvaging(&config).unwrap();
        let salvage = salvage.unwrap();
        println!("{}: {} copied, {:?}", kind.name(), salvage.copied, salvage.incomplete);
        assert!(!salvage.is_complete && salvage.set_aside.is_dir());
        assert_ne!(store.identity(), identity, "the old key could be used again");
        let names = store.known(None, 1000).unwrap();
        let mut lost = Vec::new();
        for n in 0..NAMES {
            let state = store.load(&x(n)).unwrap();
            for t in 1..=3 {
                let kept = store.version(&x(n), at(t)).unwrap();
                assert!(kept.is_none() || kept == Some(entry(&x(n), t, &[0x5a; 300])));
            }
            let is_whole = state.latest.is_some_and(|latest| latest.timestamp() == at(3))
                && state.marks == marks(3);
            if !is_whole && names.contains(&x(n)) {
                lost.push(x(n));
            }
        }
        for variable in &lost {
            assert!(salvage.incomplete.contains(variable), "{}: {variable}", kind.name());
        }
        if kind != StorageKind::LevelDb {
            assert!(lost.len() < 10 && names.len() > 95, "{}: {}", kind.name(), lost.len());
        }
        store.commit(put(&x(1), 9, b"v")).unwrap();
        drop(store);
        open_sound(kind, folder.path());
    }
}

#[test]
fn a_redb_file_that_cannot_be_opened_is_salvaged_nevertheless() {
    let folder = tempdir().unwrap();
    let before = fill(StorageKind::Redb, folder.path());
    let config = config(StorageKind::Redb, folder.path());
    damage(&config.path.join("data.redb"), 0, 4096);
    assert!(open(&config).is_err());
    let (store, salvage) = open_salvaging(&config).unwrap();
    assert!(salvage.unwrap().is_complete);
    assert_eq!(contents(&*store), before);
}

#[test]
fn a_store_whose_identity_is_damaged_is_never_taken_for_itself() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        let before = fill(kind, folder.path());
        let config = config(kind, folder.path());
        damage(&config.path.join("identity"), 0, 544);
        assert!(open(&config).is_err());
        let (store, salvage) = open_salvaging(&config).unwrap();
        let salvage = salvage.unwrap();
        if kind == StorageKind::Redb {
            assert!(salvage.is_complete);
            assert_eq!(contents(&*store), before);
        } else {
            // Nothing is copied from a store that does not open: it comes from the other nodes.
            assert!(!salvage.is_complete && salvage.copied == 0);
        }
    }
}

/// The files of a folder, and of those in it.
fn files_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|item| item.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_of(&path))
        } else {
            found.push((path.clone(), fs::read(path).unwrap()))
        }
    }
    found.sort();
    found
}

const FEW: u64 = 20;

/// What one commit brought for a variable.
fn part(n: u64) -> Batch {
    let entries = vec![entry(&x(n), 1, &[0x5a; 300])];
    Batch { entries, marks: vec![(x(n), marks(1))], proofs: vec![proof(3)], ..Batch::default() }
}

/// Writes the files, one byte of one of them changed. Most of a small redb file is zeros of free
/// pages, which nobody misses: other places are preferred.
fn restore(files: &[(PathBuf, Vec<u8>)], below: &mut impl FnMut(usize) -> usize) {
    let mut all: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let places: Vec<usize> = (0..4).map(|_| below(all.len())).collect();
    let place = places.iter().find(|place| all[**place] != 0).unwrap_or(&places[0]);
    all[*place] ^= u8::try_from(1 + below(255)).unwrap();
    let mut rest = &all[..];
    for (path, bytes) in files {
        let (own, behind) = rest.split_at(bytes.len());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, own).unwrap();
        rest = behind;
    }
}

/// A small generator of numbers, the same in every run.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 1_u64;
    move |limit| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    }
}

/// Whatever byte was changed: the store that comes out of it says nothing wrong and names what it
/// lacks; and once that is put back, as the other nodes tell it, it is what it was.
fn change_and_repair(kind: StorageKind, count: usize) {
    let folder = tempdir().unwrap();
    let config = config(kind, folder.path());
    let store = open_sound(kind, folder.path());
    (0..FEW).for_each(|n| store.commit(part(n)).unwrap());
    let right = contents(&*store);
    drop(store);
    let files = files_of(&config.path);
    let mut numbers = numbers();
    let (mut refused, mut sound, mut salvaged) = (0, 0, 0);
    for round in 0..count {
        let what = format!("{} round {round}", kind.name());
        fs::remove_dir_all(folder.path()).unwrap();
        restore(&files, &mut numbers);
        let (store, salvage) = match open_salvaging(&config) {
            Ok(opened) => opened,
            // It does not look like a store of this kind: an operator must look.
            Err(OpenError::NotAStore(_) | OpenError::OtherKind { .. } | OpenError::Newer(_)) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{what}: {error}"),
        };
        let Some(salvage) = salvage else {
            assert_eq!(contents(&*store), right, "{what}");
            sound += 1;
            continue;
        };
        salvaged += 1;
        let known = store.known(None, 1000).unwrap();
        for n in 0..FEW {
            let state = store.load(&x(n)).unwrap();
            let is_whole = state.latest == part(n).entries.pop() && state.marks == marks(1);
            let entry = state.latest.is_none() || state.latest == part(n).entries.pop();
            assert!(
                entry && (state.marks == marks(1) || state.marks == Default::default()),
                "{what}"
            );
            assert!(
                is_whole || !known.contains(&x(n)) || salvage.incomplete.contains(&x(n)),
                "{what}"
            );
            assert!(is_whole || !salvage.is_complete, "{what}");
            store.commit(part(n)).unwrap();
        }
        store.scrub().unwrap();
        assert_eq!(contents(&*store), right, "{what}");
    }
    println!("{}: {salvaged} salvaged, {sound} sound, {refused} refused", kind.name());
    assert!(salvaged > 0);
}

#[test]
fn after_any_changed_byte_the_store_is_sound_or_can_be_made_whole() {
    ON_DISK.into_iter().for_each(|kind| change_and_repair(kind, 15));
}

#[test]
#[ignore = "takes many minutes"]
fn after_a_thousand_changed_bytes_the_store_can_be_made_whole() {
    ON_DISK.into_iter().for_each(|kind| change_and_repair(kind, 1000));
}
