//! Campaigns: the power is cut at every change of the disk, and single bytes are changed by the
//! thousand. The small ones run with the other tests, the whole ones by
//! `cargo test --release -p bftkv-storage --test backends -- --ignored --nocapture campaign::`.
//! Their figures are in `docs/reliability/storage.md`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::common::disk::{Cut, Lost, TestDisk};
use crate::common::{ON_DISK, at, contents, entry, mark, marks, name, proof, put};
use bftkv_protocol::{Batch, EntryHash, Store, StoreError, Variable};
use bftkv_storage::{OpenError, RecordStore, StorageConfig, StorageKind, WriterLog, open_on};

const HOME: &str = "/test";

fn config(kind: StorageKind, cache_bytes: usize) -> StorageConfig {
    StorageConfig { kind, path: Path::new(HOME).join("store"), cache_bytes, log_bytes: 8 << 10 }
}

fn open(kind: StorageKind, disk: &TestDisk) -> Result<Arc<RecordStore>, OpenError> {
    let store = open_on(&config(kind, 1 << 20), Arc::new(disk.clone()))?;
    store.wait_checked()?;
    Ok(store)
}

/// Writers that commit at once, so that their commits are grouped.
const WRITERS: u64 = 4;

fn x(writer: u64) -> Variable {
    name(format!("x{writer}"))
}

/// The `t`-th put of a writer: an entry and the signer's memory, and an entry of a shared name.
fn batch(writer: u64, t: u64) -> Batch {
    let mut batch = put(&x(writer), t, &[7; 60]);
    batch.entries.push(entry(&name("shared"), t * WRITERS + writer, b"s"));
    batch.marks = vec![(x(writer), marks(t))];
    batch
}

/// What a power cut leaves opens, and holds all that was acknowledged, whole.
fn require_acknowledged(kind: StorageKind, cut: &Cut, lost: Lost, puts: u64) {
    let what = format!("{}, change {}, {lost:?}", kind.name(), cut.change);
    let disk = cut.disk.after_power_cut(lost);
    let store = open(kind, &disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    for writer in 0..WRITERS {
        let acknowledged = cut.acknowledged[usize::try_from(writer).unwrap()];
        let state = store.load(&x(writer)).unwrap();
        let seen = state.marks.seen.get();
        assert!((acknowledged..=puts).contains(&seen), "{what}: {seen} of {acknowledged}");
        let latest = state.latest.map_or(0, |latest| latest.timestamp().get());
        assert_eq!(latest, seen, "{what}: half of a commit");
        // The check after opening has counted all records; a sample is looked at.
        for t in (1..=seen).rev().take(10).chain((1..=seen).step_by(37)) {
            for entry in batch(writer, t).entries {
                let kept = store.version(entry.variable(), entry.timestamp()).unwrap();
                assert_eq!(kept, Some(entry), "{what}");
            }
        }
    }
    store.commit(batch(0, puts + 1)).unwrap();
}

/// Cuts the power before every so many changes of a trace of puts, in each way.
fn cut_everywhere(kind: StorageKind, puts: u64, every: u64) {
    let disk = TestDisk::with_folder(Path::new(HOME));
    let acknowledged: Arc<Vec<AtomicU64>> =
        Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let cuts = disk.cut_at(every, &acknowledged);
    let mut count = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = open(kind, &disk).unwrap();
            std::thread::scope(|writers| {
                for writer in 0..WRITERS {
                    let (store, acknowledged) = (&store, &acknowledged);
                    writers.spawn(move || {
                        for t in 1..=puts {
                            store.commit(batch(writer, t)).unwrap();
                            let place = usize::try_from(writer).unwrap();
                            acknowledged[place].store(t, Ordering::SeqCst);
                        }
                    });
                }
            });
            drop(store);
            disk.end_cuts();
        });
        for cut in cuts {
            for lost in [Lost::Everything, Lost::Torn, Lost::Scattered(cut.change)] {
                require_acknowledged(kind, &cut, lost, puts);
                count += 1;
            }
        }
    });
    println!(
        "{}: {} changes of the disk, {count} power cuts, nothing lost",
        kind.name(),
        disk.changes()
    );
    assert!(count > 0);
}

#[test]
fn power_cuts_at_some_changes_of_a_thousand_puts() {
    cut_everywhere(StorageKind::Redb, 250, 211);
    cut_everywhere(StorageKind::LevelDb, 250, 101);
    cut_everywhere(StorageKind::Files, 250, 1009);
}

#[test]
#[ignore = "takes many minutes"]
fn power_cuts_at_every_change_of_a_thousand_puts() {
    for kind in chosen() {
        cut_everywhere(kind, 250, 1);
    }
}

/// All kinds, or the one that is named in the environment.
fn chosen() -> impl Iterator<Item = StorageKind> {
    let wanted = std::env::var("BFTKV_CAMPAIGN_KIND").ok();
    ON_DISK.into_iter().filter(move |kind| wanted.as_deref().is_none_or(|w| w == kind.name()))
}

/// Cuts the power before every so many changes of a writer's log.
fn cut_writer_log(operations: u64, every: u64) {
    let home = tempfile::tempdir().unwrap();
    let disk = TestDisk::with_folder(home.path());
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new(vec![AtomicU64::new(0)]);
    let cuts = disk.cut_at(every, &acknowledged);
    let sign = || Ok::<_, ()>(EntryHash::from_bytes([7; 32]));
    let mut count = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let log = WriterLog::open_on(home.path(), Arc::new(disk.clone())).unwrap();
            for t in 1..=operations {
                let attempt = log.reserve(&name("x"), at(t), sign).unwrap();
                acknowledged[0].store(t, Ordering::SeqCst);
                if t % 3 == 0 {
                    log.abandon(&attempt).unwrap();
                } else {
                    log.assembled(&attempt).unwrap();
                }
                log.settled(&attempt).unwrap();
            }
            disk.end_cuts();
        });
        for cut in cuts {
            for lost in [Lost::Everything, Lost::Torn, Lost::Scattered(cut.change)] {
                let home = tempfile::tempdir().unwrap();
                let disk = cut.disk.after_power_cut(lost).moved(&cut_home(&cut), home.path());
                let what = format!("writer's log, change {}, {lost:?}", cut.change);
                let log = WriterLog::open_on(home.path(), Arc::new(disk))
                    .unwrap_or_else(|error| panic!("{what}: {error}"));
                let mark = log.mark(&name("x")).unwrap().get();
                assert!(mark >= cut.acknowledged[0] && mark <= operations, "{what}: {mark}");
                log.reserve(&name("x"), at(mark + 1), sign).unwrap();
                count += 1;
            }
        }
    });
    println!("writer's log: {} changes, {count} power cuts, nothing lost", disk.changes());
}

fn cut_home(cut: &Cut) -> std::path::PathBuf {
    cut.disk.folder()
}

#[test]
fn power_cuts_at_some_changes_of_a_writers_log() {
    cut_writer_log(300, 23);
}

#[test]
#[ignore = "takes minutes"]
fn power_cuts_at_every_change_of_a_writers_log() {
    cut_writer_log(1000, 1);
}

/// A store with some of everything, as its process left it when it was killed or ended.
fn filled(kind: StorageKind, is_clean: bool) -> (TestDisk, String) {
    let disk = TestDisk::with_folder(Path::new(HOME));
    let store = open(kind, &disk).unwrap();
    for t in 1..=8u64 {
        for x in ["a", "b", "c", "d", "e"] {
            store.commit(put(&name(x), t, &[0x5a; 200])).unwrap();
            store.commit(mark(&name(x), t)).unwrap();
        }
    }
    store.commit(Batch { proofs: vec![proof(1)], ..Batch::default() }).unwrap();
    let text = contents(&*store);
    if is_clean {
        drop(store);
        (disk, text)
    } else {
        (disk.after_power_cut(Lost::Nothing), text)
    }
}

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Changes one byte of the whole store, wherever it lies.
fn corrupt(disk: &TestDisk, numbers: &mut Numbers) -> String {
    let sizes = disk.sizes();
    let mut place = numbers.below(sizes.iter().map(|(_, size)| size).sum());
    for (path, size) in sizes {
        if place < size {
            let value = 1 + u8::try_from(numbers.below(255)).unwrap();
            disk.change_byte(&path, place, value);
            return format!("byte {place} of {} xor {value}", path.display());
        }
        place -= size;
    }
    unreachable!()
}

/// Reads all; `None` if any read failed, which must then say that something is damaged.
fn read(store: &dyn Store) -> Option<String> {
    let mut text = String::new();
    let damaged = |error: StoreError| match error {
        StoreError::Corrupt { .. } | StoreError::Stopped => {}
        // redb reads no more after it has met damage, and says so as an error of reading.
        StoreError::Io(_) => {}
        other => panic!("{other}"),
    };
    for variable in store.scan(b"", None, 99).map_err(damaged).ok()? {
        let state = store.load(&variable).map_err(damaged).ok()?;
        text += &format!("{variable} latest {:?}\n", state.latest.map(|e| e.hash()));
        text += &format!("{:?}\n", state.marks);
        for t in store.versions(&variable, None, 99).map_err(damaged).ok()? {
            let version = store.version(&variable, t).map_err(damaged).ok()??;
            text += &format!("  {t} {}\n", version.hash());
        }
    }
    Some(text + &format!("{:?}", store.proofs().map_err(damaged).ok()?))
}

/// How damage at rest is met: by whom it is found first.
fn at_rest(kind: StorageKind, disk: &TestDisk, right: &str, what: &str) -> &'static str {
    let store = match open_on(&config(kind, 1 << 20), Arc::new(disk.clone())) {
        Ok(store) => store,
        Err(OpenError::Store(StoreError::Io(error))) => panic!("{what}: {error}"),
        Err(_) => return "1 at open",
    };
    if store.wait_ready().is_err() {
        return "1 at open";
    }
    if let Some(text) = read(&*store) {
        assert_eq!(text, right, "{what}: served");
    }
    match store.wait_checked() {
        Err(StoreError::Corrupt { .. }) => "2 by the check after opening",
        Err(error) => panic!("{what}: {error}"),
        Ok(()) => {
            assert_eq!(read(&*store).as_deref(), Some(right), "{what}: served");
            store.scrub().unwrap();
            "5 harmless"
        }
    }
}

/// How damage under a running store is met; nothing is cached.
fn while_running(
    kind: StorageKind,
    disk: &TestDisk,
    right: &str,
    numbers: &mut Numbers,
) -> &'static str {
    let store = open_on(&config(kind, 0), Arc::new(disk.clone())).unwrap();
    store.wait_checked().unwrap();
    let what = corrupt(disk, numbers);
    for x in ["a", "b", "c", "d", "e"] {
        // What a signer decides by is never wrong, whatever happens to the files.
        if let Ok(state) = store.load(&name(x)) {
            assert_eq!(state.latest, Some(entry(&name(x), 8, &[0x5a; 200])), "{what}: served");
            assert_eq!(state.marks, marks(8), "{what}: served");
        }
    }
    let text = read(&*store);
    let is_short = text.as_ref().is_some_and(|text| text != right);
    // LevelDB leaves out what a damaged block holds, redb what lies behind a damaged branch; lists
    // of names and versions are then short until a scrub finds it.
    assert!(!is_short || kind != StorageKind::Files, "{} {what}: served", kind.name());
    match (text, store.scrub()) {
        (_, Err(_)) if is_short => "4 by scrub, lists were short",
        (Some(_), Ok(())) if is_short => panic!("{what}: not found"),
        (None, _) => "3 at read",
        (Some(_), Err(_)) => "4 by scrub",
        (Some(_), Ok(())) => "5 harmless",
    }
}

fn corrupt_often(kind: StorageKind, count: usize) {
    let mut rest: BTreeMap<&str, usize> = BTreeMap::new();
    let mut running: BTreeMap<&str, usize> = BTreeMap::new();
    for is_clean in [true, false] {
        let (disk, right) = filled(kind, is_clean);
        let mut numbers = Numbers(1);
        for _ in 0..count / 2 {
            let damaged = disk.after_power_cut(Lost::Nothing);
            let what = corrupt(&damaged, &mut numbers);
            let what = format!("{} {what}", kind.name());
            *rest.entry(at_rest(kind, &damaged, &right, &what)).or_default() += 1;
            let damaged = disk.after_power_cut(Lost::Nothing);
            *running.entry(while_running(kind, &damaged, &right, &mut numbers)).or_default() += 1;
        }
    }
    println!("{} at rest: {rest:?}", kind.name());
    println!("{} while running: {running:?}", kind.name());
}

#[test]
fn some_hundred_changed_bytes_are_detected_or_harmless() {
    ON_DISK.into_iter().for_each(|kind| corrupt_often(kind, 300));
}

#[test]
#[ignore = "takes minutes"]
fn ten_thousand_changed_bytes_are_detected_or_harmless() {
    chosen().for_each(|kind| corrupt_often(kind, 10_000));
}
