//! The formats of `docs/storage.md`: what is on disks out there must stay readable.
//!
//! After a deliberate change of format, `BFTKV_WRITE_GOLDEN=1 cargo test -p bftkv-storage --test backends golden::` writes
//! the files anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{at, config, contents, entry, marks, name, proof};
use bftkv_protocol::{Batch, EntryHash, Store};
use bftkv_storage::{
    Backend, Change, MemoryBackend, Pair, RecordStore, StorageKind, WriterLog, open,
};
use tempfile::tempdir;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

fn is_writing() -> bool {
    std::env::var_os("BFTKV_WRITE_GOLDEN").is_some()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).unwrap().try_into().unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// One of everything, under a name with a NUL.
fn batch() -> Batch {
    let x = name(b"a\0b");
    Batch {
        entries: vec![entry(&x, 1, b""), entry(&x, 258, b"value")],
        marks: vec![(x, marks(258))],
        proofs: vec![proof(4)],
        ..Batch::default()
    }
}

#[test]
fn keys_and_records_are_as_written_down() {
    let backend = MemoryBackend::default();
    RecordStore::over(backend.clone(), 0).unwrap().commit(batch()).unwrap();
    let pairs = backend.scan(&[], &[0xff], 100).unwrap();
    let text: String =
        pairs.iter().map(|(key, value)| format!("{} {}\n", hex(key), hex(value))).collect();
    let file = testdata().join("records.txt");
    if is_writing() {
        fs::write(&file, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    // And they are read, as a store that was written elsewhere.
    let elsewhere = MemoryBackend::default();
    let golden: Vec<Pair> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(key, value)| (unhex(key), unhex(value)))
        .collect();
    let changes = golden.into_iter().map(|(key, value)| Change { key, value: Some(value) });
    elsewhere.commit(changes.collect()).unwrap();
    let store = RecordStore::over(elsewhere, 0).unwrap();
    store.wait_checked().unwrap();
    let x = name(b"a\0b");
    assert_eq!(store.load(&x).unwrap().latest, Some(entry(&x, 258, b"value")));
    assert_eq!(store.versions(&x, None, 9).unwrap(), [at(258), at(1)]);
    assert_eq!(store.load(&x).unwrap().marks, marks(258));
    assert_eq!(store.proofs().unwrap(), [proof(4)]);
}

/// A whole folder that this version, or an older one, wrote. redb and LevelDB have formats of
/// their own, which their makers keep.
#[test]
fn a_folder_of_plain_files_is_read() {
    let golden = testdata().join("files");
    if is_writing() {
        let _ = fs::remove_dir_all(&golden);
        let folder = tempdir().unwrap();
        let config = config(StorageKind::Files, folder.path());
        open(&config).unwrap().commit(batch()).unwrap();
        copy(&config.path, &golden);
    }
    let folder = tempdir().unwrap();
    let config = config(StorageKind::Files, folder.path());
    copy(&golden, &config.path);
    let store = open(&config).unwrap();
    store.wait_checked().unwrap();
    let written = RecordStore::over(MemoryBackend::default(), 0).unwrap();
    written.commit(batch()).unwrap();
    assert_eq!(contents(&*store), contents(&written));
}

#[test]
fn a_writers_log_is_read() {
    let golden = testdata().join("writer");
    if is_writing() {
        let _ = fs::remove_dir_all(&golden);
        fs::create_dir(&golden).unwrap();
        let log = WriterLog::open(&golden).unwrap();
        let sign = || Ok::<_, ()>(EntryHash::from_bytes([7; 32]));
        let reserve = |t| log.reserve(&name(b"a\0b"), at(t), sign).unwrap();
        let attempts: Vec<_> = (1..=4).map(reserve).collect();
        log.assembled(&attempts[0]).unwrap();
        log.assembled(&attempts[1]).unwrap();
        log.settled(&attempts[1]).unwrap();
        log.abandon(&attempts[2]).unwrap();
        fs::remove_file(golden.join("writer.lock")).unwrap();
    }
    let home = tempdir().unwrap();
    for file in ["writer.log", "writer.anchor"] {
        fs::copy(golden.join(file), home.path().join(file)).unwrap();
    }
    let log = WriterLog::open(home.path()).unwrap();
    let x = name(b"a\0b");
    let times = |ids: Vec<bftkv_protocol::EntryId>| -> Vec<u64> {
        ids.iter().map(|id| id.timestamp.get()).collect()
    };
    assert_eq!(log.mark(&x).unwrap(), at(4));
    assert_eq!(times(log.unknown(&x).unwrap()), [1]);
    assert_eq!(times(log.abandonable(&x).unwrap()), [3, 4]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else if item.file_name() != "lock" {
            fs::copy(item.path(), target).unwrap();
        }
    }
}
