//! Opening: the wrong folder, the wrong kind, two processes, a read-only disk, a kill.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::common::{ON_DISK, at, config, mark, marks, name, open_sound, put};
use bftkv_protocol::{Store, StoreError};
use bftkv_storage::{
    Disk, DiskFile, DiskLock, MemoryBackend, OpenError, OpenMode, RealDisk, RecordStore,
    StorageConfig, StorageKind, open, open_on,
};
use tempfile::tempdir;

fn refusal(config: &StorageConfig) -> OpenError {
    open(config).unwrap_err()
}

#[test]
fn a_missing_parent_folder_is_named() {
    let folder = tempdir().unwrap();
    for kind in ON_DISK {
        let missing = folder.path().join("no");
        assert_eq!(refusal(&config(kind, &missing)), OpenError::NoFolder(missing));
    }
}

#[test]
fn a_store_of_another_kind_is_named() {
    for made in ON_DISK {
        let folder = tempdir().unwrap();
        drop(open_sound(made, folder.path()));
        for wanted in ON_DISK.into_iter().filter(|wanted| *wanted != made) {
            let error = refusal(&config(wanted, folder.path()));
            let path = folder.path().join("store");
            let (found, wanted) = (made.name(), wanted.name());
            assert_eq!(error, OpenError::OtherKind { path, found, wanted });
        }
        open_sound(made, folder.path());
    }
}

#[test]
fn a_folder_or_file_of_something_else_is_left_alone() {
    let folder = tempdir().unwrap();
    let config = config(StorageKind::Redb, folder.path());
    fs::create_dir(&config.path).unwrap();
    fs::write(config.path.join("letter.txt"), "Dear Bob").unwrap();
    assert_eq!(refusal(&config), OpenError::NotAStore(config.path.clone()));
    fs::remove_dir_all(&config.path).unwrap();
    fs::write(&config.path, "a file").unwrap();
    assert!(open(&config).is_err());
    assert_eq!(fs::read(&config.path).unwrap(), b"a file");
}

/// A changed byte in the definition of the one table there is. It was taken for an error of the disk.
#[test]
fn a_table_of_another_form_is_damage() {
    let folder = tempdir().unwrap();
    drop(open_sound(StorageKind::Redb, folder.path()));
    let config = config(StorageKind::Redb, folder.path());
    let database = redb::Database::open(config.path.join("data.redb")).unwrap();
    let change = database.begin_write().unwrap();
    let ours: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("records");
    assert!(change.delete_table(ours).unwrap());
    let other: redb::TableDefinition<'_, &[u8], u64> = redb::TableDefinition::new("records");
    change.open_table(other).unwrap();
    change.commit().unwrap();
    drop(database);
    let found = match open(&config) {
        Err(OpenError::Store(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(store) => store.wait_checked().unwrap_err(),
    };
    assert!(matches!(found, StoreError::Corrupt { .. }), "{found:?}");
}

#[test]
fn a_store_of_a_newer_version_is_named() {
    let folder = tempdir().unwrap();
    let config = config(StorageKind::Redb, folder.path());
    drop(open(&config).unwrap());
    for marker in ["bftkv-store 2 redb\n", "bftkv-store 1 cloud\n"] {
        fs::write(config.path.join("kind"), marker).unwrap();
        assert_eq!(refusal(&config), OpenError::Newer(config.path.clone()));
    }
    fs::write(config.path.join("kind"), "something else").unwrap();
    assert_eq!(refusal(&config), OpenError::NotAStore(config.path.clone()));
}

#[test]
fn a_store_is_open_only_once() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        let config = config(kind, folder.path());
        let store = open(&config).unwrap();
        assert_eq!(refusal(&config), OpenError::Locked(config.path.clone()));
        drop(store);
        open(&config).unwrap();
    }
}

/// A disk that can be read only; tests run as root, whom permissions do not stop.
#[derive(Debug)]
struct ReadOnly;

impl ReadOnly {
    fn refuse<T>() -> io::Result<T> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

impl Disk for ReadOnly {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        if mode == OpenMode::Read { RealDisk.open(path, mode) } else { Self::refuse() }
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Self::refuse()
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Self::refuse()
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(folder)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealDisk.exists(path)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() { Ok(()) } else { Self::refuse() }
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Self::refuse()
    }
    fn lock(&self, _: &Path) -> io::Result<Option<DiskLock>> {
        Self::refuse()
    }
}

#[test]
fn a_read_only_disk_is_named() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        let config = config(kind, folder.path());
        let refused = || open_on(&config, Arc::new(ReadOnly)).unwrap_err();
        assert_eq!(refused(), OpenError::ReadOnly(config.path.clone()));
        drop(open(&config).unwrap());
        assert_eq!(refused(), OpenError::ReadOnly(config.path.clone()));
    }
}

#[test]
fn a_store_that_fell_back_to_an_older_state_may_not_sign() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        let config = config(kind, folder.path());
        let store = open_sound(kind, folder.path());
        store.commit(put(&name("x"), 1, b"v")).unwrap();
        drop(store);
        let backup = tempdir().unwrap();
        copy(&config.path, &backup.path().join("store"));
        let store = open_sound(kind, folder.path());
        store.commit(mark(&name("x"), 9)).unwrap();
        drop(store);
        // Everything goes back, but not the anchor.
        fs::copy(config.path.join("anchor"), backup.path().join("store/anchor")).unwrap();
        let old = open(&StorageConfig { path: backup.path().join("store"), ..config }).unwrap();
        let error = old.wait_checked().unwrap_err();
        assert!(error.to_string().contains("fell back"), "{}: {error}", kind.name());
        assert_eq!(old.commit(mark(&name("x"), 2)), Err(error));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            fs::copy(item.path(), target).unwrap();
        }
    }
}

#[test]
fn every_opening_is_counted_and_every_store_has_a_name_of_its_own() {
    let mut identities = BTreeSet::new();
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        let store = open_sound(kind, folder.path());
        let identity = store.identity();
        assert!(identities.insert(identity));
        assert_eq!((store.generation(), store.is_new(), store.commits()), (1, true, 0));
        store.commit(mark(&name("x"), 1)).unwrap();
        drop(store);
        for generation in 2..5 {
            let store = open_sound(kind, folder.path());
            assert_eq!(store.identity(), identity);
            assert_eq!((store.generation(), store.is_new()), (generation, false));
            assert_eq!(store.commits(), 1);
        }
        fs::remove_dir_all(folder.path().join("store")).unwrap();
        let store = open_sound(kind, folder.path());
        assert!(store.is_new() && identities.insert(store.identity()), "a lost store came back");
    }
}

#[test]
fn a_copy_is_told_by_its_generation_or_by_its_commits() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        drop(open_sound(kind, folder.path()));
        let backup = tempdir().unwrap();
        copy(&folder.path().join("store"), &backup.path().join("store"));
        let store = open_sound(kind, folder.path());
        store.commit(mark(&name("x"), 1)).unwrap();
        let (generation, commits) = (store.generation(), store.commits());
        drop(store);
        let old = open_sound(kind, backup.path());
        assert!(old.generation() <= generation && old.commits() < commits);
    }
}

/// A process that commits on and on, and prints what was acknowledged.
#[test]
fn child_that_commits() {
    let Ok(folder) = env::var("BFTKV_TEST_STORE_FOLDER") else { return };
    let kind = env::var("BFTKV_TEST_STORE_KIND").unwrap();
    let kind = ON_DISK.into_iter().find(|known| known.name() == kind).unwrap();
    let store = open_sound(kind, Path::new(&folder));
    let x = name("x");
    let first = store.load(&x).unwrap().latest.map_or(0, |e| e.timestamp().get()) + 1;
    for t in first.. {
        let mut batch = put(&x, t, &[0x33; 20_000]);
        batch.marks = vec![(x.clone(), marks(t))];
        store.commit(batch).unwrap();
        println!("\nacknowledged {t}");
    }
}

fn start_child(kind: StorageKind, folder: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "opening::child_that_commits", "--nocapture"])
        .env("BFTKV_TEST_STORE_FOLDER", folder)
        .env("BFTKV_TEST_STORE_KIND", kind.name())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills the child after about `count` commits; gives the last one that it acknowledged.
fn kill_after(mut child: Child, count: usize) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = 0;
    let mut seen = 0;
    let number = |line: io::Result<String>| line.ok()?.strip_prefix("acknowledged ")?.parse().ok();
    while seen < count {
        if let Some(t) = number(lines.next().unwrap()) {
            (last, seen) = (t, seen + 1);
        }
    }
    child.kill().unwrap();
    // What it had printed before it died was acknowledged too.
    last = lines.filter_map(number).last().unwrap_or(last);
    child.wait().unwrap();
    last
}

#[test]
fn a_killed_process_loses_no_acknowledged_commit() {
    for kind in ON_DISK {
        let folder = tempdir().unwrap();
        for round in 0..5 {
            let last = kill_after(start_child(kind, folder.path()), 3 + 17 * round);
            let store = open_sound(kind, folder.path());
            let state = store.load(&name("x")).unwrap();
            let newest = state.latest.unwrap().timestamp();
            assert!(newest >= at(last) && state.marks.seen == newest, "{}", kind.name());
            let count = usize::try_from(newest.get()).unwrap();
            assert_eq!(store.versions(&name("x"), None, 100_000).unwrap().len(), count);
        }
    }
}

#[test]
fn configurations_name_kinds_in_lower_case() {
    for (text, kind) in [
        ("redb", StorageKind::Redb),
        ("leveldb", StorageKind::LevelDb),
        ("files", StorageKind::Files),
        ("memory", StorageKind::Memory),
    ] {
        assert_eq!(kind.name(), text);
    }
    assert_eq!(StorageConfig::default().kind, StorageKind::Redb);
}

#[test]
fn a_store_in_memory_needs_no_folder() {
    let config = StorageConfig {
        kind: StorageKind::Memory,
        path: PathBuf::from("/does/not/exist"),
        cache_bytes: 0,
        log_bytes: 0,
    };
    let store = open(&config).unwrap();
    store.commit(put(&name("x"), 1, b"v")).unwrap();
    assert_eq!(store.load(&name("x")).unwrap().latest.unwrap().timestamp(), at(1));
}

#[test]
fn memory_that_is_opened_again_is_the_same_store() {
    let backend = MemoryBackend::default();
    let open = || RecordStore::over(backend.clone(), 0).unwrap();
    let (first, second) = (open(), open());
    assert_eq!(first.identity(), second.identity());
    assert_eq!((first.generation(), first.is_new()), (1, true));
    assert_eq!((second.generation(), second.is_new()), (2, false));
}
