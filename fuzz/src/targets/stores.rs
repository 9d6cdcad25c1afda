//! What lies on disk, damaged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bftkv_protocol::{Batch, EntryHash, Store, StoreError, Variable};
use bftkv_storage::{
    Backend, Change, MemoryBackend, RecordStore, StorageConfig, StorageKind, WriterLog, open_on,
};

use super::input::Input;
use crate::stored::disk::{Lost, TestDisk};
use crate::stored::{ON_DISK, at, entry, mark, marks, name, proof, put};

const NAMES: [&[u8]; 3] = [b"a", b"b", b"a\0c"];

/// Records with good checksums and any contents: read or refused, and what is read is found under
/// its own name.
pub(super) fn record(data: &[u8]) {
    let mut input = Input::new(data);
    let backend = MemoryBackend::default();
    let mut changes = std::collections::BTreeMap::new();
    while !input.is_empty() && changes.len() < 8 {
        let key = key(&mut input);
        let body = [&[1], input.bytes()].concat();
        let checksum = if input.flag() { [0; 4] } else { checksum(&key, &body) };
        changes.insert(key, [&body[..], &checksum].concat());
    }
    let changes = changes.into_iter().map(|(key, value)| Change { key, value: Some(value) });
    backend.commit(changes.collect()).unwrap();
    let Ok(store) = RecordStore::over(backend, 1 << 16) else { return };
    let _ = (store.wait_checked(), store.scrub());
    for variable in NAMES.map(name) {
        use_store(&store, &variable);
    }
    let _ = (store.scan(b"", None, 9), store.proofs());
}

/// A key of the store's own form, or any.
fn key(input: &mut Input<'_>) -> Vec<u8> {
    let variable = NAMES[input.below(NAMES.len())];
    let escaped: Vec<u8> =
        variable.iter().flat_map(|b| if *b == 0 { vec![0, 0xff] } else { vec![*b] }).collect();
    let begin = [&b"v"[..], &escaped, &[0, 1]].concat();
    match input.below(6) {
        0 => b"c".to_vec(),
        1 => [&b"p"[..], &u64::from(input.byte()).to_be_bytes()].concat(),
        2 => [&begin[..], &[0]].concat(),
        3 | 4 => [&begin[..], &[1], &(!u64::from(input.byte())).to_be_bytes()].concat(),
        _ => input.bytes().to_vec(),
    }
}

/// CRC-32 over the length of the key, the key and the body, as in `docs/storage.md`.
fn checksum(key: &[u8], body: &[u8]) -> [u8; 4] {
    let length = u64::try_from(key.len()).unwrap().to_le_bytes();
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    let crc = length.iter().chain(key).chain(body).fold(!0, step);
    (!crc).to_le_bytes()
}

fn use_store(store: &RecordStore, variable: &Variable) {
    if let Ok(state) = store.load(variable)
        && let Some(latest) = state.latest
    {
        assert_eq!(latest.variable(), variable, "an entry of another variable is served");
    }
    for timestamp in store.versions(variable, None, 9).into_iter().flatten() {
        if let Ok(Some(found)) = store.version(variable, timestamp) {
            assert_eq!((found.variable(), found.timestamp()), (variable, timestamp));
        }
    }
}

/// A store of any kind, or a writer's log, whose files were changed, cut, made longer or deleted:
/// the damage is detected, or what is served is right.
pub(super) fn store(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(ON_DISK.len() + 1) {
        kind if kind < ON_DISK.len() => damaged_store(ON_DISK[kind], &mut input),
        _ => damaged_log(&mut input),
    }
}

fn config(kind: StorageKind) -> StorageConfig {
    StorageConfig {
        kind,
        path: PathBuf::from("/home/store"),
        cache_bytes: 1 << 18,
        log_bytes: 8 << 10,
    }
}

fn fill(kind: StorageKind) -> TestDisk {
    let disk = TestDisk::with_folder(Path::new("/home"));
    let store = open_on(&config(kind), Arc::new(disk.clone())).unwrap();
    store.wait_checked().unwrap();
    for (n, variable) in NAMES.map(name).iter().enumerate() {
        for t in 1..4 {
            store.commit(put(variable, t, &[u8::try_from(n).unwrap(); 40])).unwrap();
        }
        store.commit(mark(variable, 9)).unwrap();
    }
    store.commit(Batch { proofs: vec![proof(1)], ..Batch::default() }).unwrap();
    drop(store);
    disk
}

/// The same disk for every input: made once, it is copied.
fn filled(kind: StorageKind) -> TestDisk {
    static DISKS: [OnceLock<TestDisk>; 3] = [const { OnceLock::new() }; 3];
    let place = ON_DISK.iter().position(|known| *known == kind).unwrap();
    DISKS[place].get_or_init(|| fill(kind)).after_power_cut(Lost::Nothing)
}

/// One place of one file is changed, or cut off with all that follows, or a file is deleted.
fn damage(disk: &TestDisk, input: &mut Input<'_>) {
    let files = disk.sizes();
    if files.is_empty() {
        return;
    }
    let (path, size) = &files[input.below(files.len())];
    let place = input.short() << 8 | usize::from(input.byte());
    match input.below(8) {
        0 => disk.truncate(path, place % (size + 1)),
        1 if *size > 0 => disk.overwrite(path, place % size, input.bytes()),
        2 => disk.overwrite(path, *size, input.bytes()),
        3 => disk.delete(path),
        _ if *size > 0 => disk.flip(path, place % (size * 8)),
        _ => {}
    }
}

fn damaged_store(kind: StorageKind, input: &mut Input<'_>) {
    let disk = filled(kind);
    let more = input.below(4);
    (0..=more).for_each(|_| damage(&disk, input));
    let Ok(store) = open_on(&config(kind), Arc::new(disk)) else { return };
    let sound = store.wait_checked();
    if let Err(error) = &sound {
        assert!(matches!(error, StoreError::Corrupt { .. } | StoreError::Io(_)), "{error}");
        assert!(store.commit(put(&name("a"), 9, b"v")).is_err(), "a damaged store commits");
    }
    for (n, variable) in NAMES.map(name).iter().enumerate() {
        let value = [u8::try_from(n).unwrap(); 40];
        if let Ok(state) = store.load(variable) {
            let is_known = |t| state.latest == Some(entry(variable, t, &value));
            assert!(state.latest.is_none() || (1..4).any(is_known), "forged");
            // Two faults at once may hide each other; one must be noticed.
            if more == 0 && sound.is_ok() {
                assert!(is_known(3) && state.marks == marks(9), "the signer forgot");
            }
        }
        for t in 1..4 {
            let found = store.version(variable, at(t)).ok().flatten();
            assert!(found.is_none_or(|found| found == entry(variable, t, &value)), "forged");
        }
    }
}

/// A writer's home and its log, made once.
fn filled_log() -> &'static (tempfile::TempDir, TestDisk) {
    static LOG: OnceLock<(tempfile::TempDir, TestDisk)> = OnceLock::new();
    LOG.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let disk = TestDisk::with_folder(folder.path());
        let log = WriterLog::open_on(folder.path(), Arc::new(disk.clone())).unwrap();
        for t in 1..4 {
            let hash = || Ok::<_, ()>(EntryHash::from_bytes([7; 32]));
            let attempt = log.reserve(&name("x"), at(t), hash).unwrap();
            log.assembled(&attempt).unwrap();
            if t < 3 {
                log.settled(&attempt).unwrap();
            }
        }
        drop(log);
        (folder, disk)
    })
}

/// The writer's log: a reservation that is forgotten lets a writer sign two values.
fn damaged_log(input: &mut Input<'_>) {
    let (folder, disk) = filled_log();
    let disk = disk.after_power_cut(Lost::Nothing);
    damage(&disk, input);
    let Ok(log) = WriterLog::open_on(folder.path(), Arc::new(disk)) else { return };
    if let Ok(mark) = log.mark(&name("x")) {
        assert!(mark >= at(3), "the log forgot a reservation and did not notice: {mark:?}");
    }
}
