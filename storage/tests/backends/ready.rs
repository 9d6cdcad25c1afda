//! A store that may sign before all of it is checked signs by what is right, whatever is damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use crate::common::disk::{Lost, TestDisk};
use crate::common::{contents, entry, mark, marks, name, put};
use bftkv_protocol::{Store, StoreError, VariableState};
use bftkv_storage::{
    Disk, DiskFile, DiskLock, OpenMode, RecordStore, StorageConfig, StorageKind, open_on,
};

/// A disk on which the check of the whole file waits until it is let go.
#[derive(Debug, Clone)]
struct SlowCheck(TestDisk, Arc<(Mutex<bool>, Condvar)>);

impl SlowCheck {
    fn new(disk: TestDisk) -> Self {
        Self(disk, Arc::default())
    }

    fn let_go(&self) {
        *self.1.0.lock().unwrap() = true;
        self.1.1.notify_all();
    }
}

/// Lets the check go at the end of a test, also of one that fails: a store waits for its check.
struct EndOfTest(SlowCheck);

impl Drop for EndOfTest {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

#[derive(Debug)]
struct SlowFile(Box<dyn DiskFile>, SlowCheck);

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if std::thread::current().name() == Some("storage-check") {
            let gate = self.1.1.0.lock().unwrap();
            drop(self.1.1.1.wait_while(gate, |is_open| !*is_open).unwrap());
        }
        self.0.read_at(offset, buffer)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        panic!("the check writes");
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        panic!("the check writes");
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
    fn sync(&self) -> io::Result<()> {
        panic!("the check writes");
    }
}

impl Disk for SlowCheck {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.0.open(path, mode)?;
        // Only the check opens the file for reading.
        let is_check = mode == OpenMode::Read && path.ends_with("data.redb");
        if is_check { Ok(Box::new(SlowFile(file, self.clone()))) } else { Ok(file) }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(folder)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.0.create_folder(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.sync_folder(folder)
    }
    fn lock(&self, path: &Path) -> io::Result<Option<DiskLock>> {
        self.0.lock(path)
    }
}

fn config() -> StorageConfig {
    let path = Path::new("/test/store").to_owned();
    StorageConfig { kind: StorageKind::Redb, path, cache_bytes: 1 << 20, log_bytes: 16 << 10 }
}

const NAMES: u64 = 40;

fn x(n: u64) -> bftkv_protocol::Variable {
    name(format!("variable {n:03}"))
}

/// A store of several levels of pages, as a kill or a clean end leaves it.
fn filled(is_clean: bool) -> TestDisk {
    let disk = TestDisk::with_folder(Path::new("/test"));
    let store = open_on(&config(), Arc::new(disk.clone())).unwrap();
    store.wait_checked().unwrap();
    for t in 1..=4 {
        for n in 0..NAMES {
            let mut batch = put(&x(n), t, &[0x5a; 300]);
            batch.marks = vec![(x(n), marks(t))];
            store.commit(batch).unwrap();
        }
    }
    if is_clean {
        drop(store);
        disk
    } else {
        disk.after_power_cut(Lost::Nothing)
    }
}

fn expected(n: u64) -> VariableState {
    VariableState { latest: Some(entry(&x(n), 4, &[0x5a; 300])), marks: marks(4) }
}

/// Everything that a signer could be told is right or an error, also after it has committed.
/// Gives whether any error was met.
fn sign_everywhere(store: &RecordStore) -> bool {
    let mut met = false;
    for n in 0..NAMES {
        for round in 0..2 {
            let before = store.load(&x(n));
            met |= before.is_err();
            if let Ok(state) = before {
                let right = VariableState { marks: marks(4 + round), ..expected(n) };
                assert_eq!(state, right, "a signer was told what is wrong");
            }
            // What is read once more, for the commit, must be right as well.
            if round == 0 && store.commit(mark(&x(n), 5)).is_err() {
                return true;
            }
        }
    }
    met |= store.load(&name("never seen")).map_or(true, |state| {
        assert_eq!(state, VariableState::default());
        false
    });
    met
}

#[test]
fn commits_go_on_during_the_check_and_do_not_disturb_it() {
    for is_clean in [true, false] {
        let disk = SlowCheck::new(filled(is_clean));
        let store = open_on(&config(), Arc::new(disk.clone())).unwrap();
        let _end = EndOfTest(disk.clone());
        store.wait_ready().unwrap();
        assert!(!sign_everywhere(&store));
        for n in 0..NAMES {
            store.commit(put(&x(n), 5, &[0x66; 2000])).unwrap();
        }
        disk.let_go();
        store.wait_checked().unwrap();
        let before = contents(&*store);
        store.scrub().unwrap();
        drop(store);
        let store = open_on(&config(), Arc::new(disk)).unwrap();
        store.wait_checked().unwrap();
        assert_eq!(contents(&*store), before);
    }
}

/// Bits of pages by which keys are looked up: a reader of everything still finds every record when
/// one of them is wrong, but who looks one up does not.
fn in_branches(file: &[u8]) -> impl Iterator<Item = usize> {
    const BRANCH: u8 = 2;
    let pages = file.chunks(4096).enumerate().filter(|(_, page)| page[0] == BRANCH);
    let used = pages.flat_map(|(n, page)| {
        let length = page.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        (1..length).map(move |at| n * 4096 + at)
    });
    let bits: Vec<usize> = used.map(|at| at * 8 + at % 8).collect();
    let step = bits.len().div_ceil(150).max(1);
    bits.into_iter().step_by(step)
}

#[test]
fn a_signature_before_the_whole_check_depends_on_nothing_damaged() {
    const PLACES: usize = 160;
    let path = Path::new("/test/store/data.redb");
    for is_clean in [true, false] {
        let disk = filled(is_clean);
        let bytes = disk.bytes(path);
        let anywhere = (0..PLACES).map(|n| bytes.len() * 8 / PLACES * n + n % 8);
        let (mut early, mut late, mut harmless) = (0, 0, 0);
        for bit in anywhere.chain(in_branches(&bytes)) {
            let damaged = disk.after_power_cut(Lost::Nothing);
            damaged.flip(path, bit);
            let slow = SlowCheck::new(damaged);
            let Ok(store) = open_on(&config(), Arc::new(slow.clone())) else {
                early += 1;
                continue;
            };
            let _end = EndOfTest(slow.clone());
            let met = store.wait_ready().is_err() || sign_everywhere(&store);
            slow.let_go();
            match store.wait_checked() {
                _ if met => early += 1,
                Ok(()) => harmless += 1,
                Err(error) => {
                    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
                    late += 1;
                }
            }
        }
        println!("clean {is_clean}: {early} before signing, {late} by the check, {harmless} not");
        assert!(early > 0 && late > 0);
    }
}
