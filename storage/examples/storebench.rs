//! Measures stores:
//! `cargo run --release -p bftkv-storage --example storebench [entries] [seconds] [kind]`.
//!
//! For each kind: synced puts per second with 1, 8 and 32 writers, then the time to open a store
//! of `entries` entries (300-byte values), to serve a first read and to allow a first signature,
//! and the memory of the process (Linux only). Every size runs in a process of its own.
//!
//! `... storebench fill HOME ENTRIES` fills the store of a node that has not run yet, so that the
//! node itself can be measured.

use std::env;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftkv_protocol::{
    Address, Batch, CertifiedEntry, CollectiveSignature, ConfigurationDigest, Entry, Marks, NodeId,
    Realm, SignatureBytes, SignatureShare, SignedEntry, Store, Timestamp, Value, Variable,
    WriterSignature,
};
use bftkv_storage::{RecordStore, StorageConfig, StorageKind, open};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const KINDS: [(&str, StorageKind); 4] = [
    ("redb", StorageKind::Redb),
    ("leveldb", StorageKind::LevelDb),
    ("files", StorageKind::Files),
    ("memory", StorageKind::Memory),
];

/// Commits of this many entries fill a store quickly.
const FILL: usize = 1000;

/// More plain files take minutes to make.
const MAX_FILES: u64 = 5_000;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |n: usize, or| arguments.get(n).map_or(Ok(or), |text| text.parse::<u64>());
    if let Some("inside") = arguments.first().map(String::as_str) {
        let kind = arguments.get(1).map_or("redb", String::as_str);
        let folder = arguments.get(2).map_or(".", String::as_str);
        return opening(kind, folder);
    }
    if let [fill, home, entries] = arguments.as_slice()
        && fill == "fill"
    {
        return fill_store(&config(StorageKind::Redb, home.as_ref()), entries.parse()?);
    }
    let (entries, seconds) = (number(0, 100_000)?, number(1, 3)?);
    let chosen = |label: &str| arguments.get(2).is_none_or(|wanted| wanted == label);
    for (label, kind) in KINDS.into_iter().filter(|(label, _)| chosen(label)) {
        for writers in [1, 8, 32] {
            puts(label, kind, writers, Duration::from_secs(seconds))?;
        }
    }
    for (label, kind) in KINDS.into_iter().filter(|(label, _)| chosen(label)) {
        match kind {
            StorageKind::Memory => {}
            // Each record is a synced file of its own.
            StorageKind::Files => filled(label, kind, entries.min(MAX_FILES))?,
            _ => filled(label, kind, entries)?,
        }
    }
    Ok(())
}

fn config(kind: StorageKind, folder: &std::path::Path) -> StorageConfig {
    StorageConfig { kind, path: folder.join("store"), ..StorageConfig::default() }
}

fn puts(label: &str, kind: StorageKind, writers: u64, time: Duration) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let store = open(&config(kind, folder.path()))?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let (started, cpu) = (Instant::now(), cpu_seconds());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..writers)
            .map(|writer| {
                let (store, stop, done) = (&store, &stop, &done);
                scope.spawn(move || write_until(store, writer, stop, done))
            })
            .collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or(Ok(())))
    })?;
    let done = done.into_inner() as f64;
    let rate = done / started.elapsed().as_secs_f64();
    let cpu = (cpu_seconds() - cpu) / done * 1e6;
    println!("{label:8} {writers:3} writers: {rate:8.0} synced puts/s, {cpu:5.0} us of CPU each");
    Ok(())
}

fn write_until(
    store: &RecordStore,
    writer: u64,
    stop: &AtomicBool,
    done: &AtomicU64,
) -> Result<(), Failure> {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        store.commit(batch(writer * 1_000_000_000 + n)?)?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Fills a store, then opens it in a fresh process: once after a clean end, once after a kill.
fn filled(label: &str, kind: StorageKind, entries: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let started = Instant::now();
    fill_store(&config(kind, folder.path()), entries)?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{label:8} filled with {entries} entries and marks in {seconds:.1} s");
    for _ in 0..2 {
        let inside = ["inside", label, &folder.path().display().to_string()];
        let status = Command::new(env::current_exe()?).args(inside).status()?;
        if !status.success() {
            return Err("the measuring process failed".into());
        }
    }
    Ok(())
}

fn fill_store(config: &StorageConfig, entries: u64) -> Result<(), Failure> {
    let store = open(config)?;
    for from in (0..entries).step_by(FILL) {
        let mut all = Batch::default();
        for n in from..entries.min(from + FILL as u64) {
            let one = batch(n)?;
            all.entries.extend(one.entries);
            all.marks.extend(one.marks);
        }
        store.commit(all)?;
    }
    Ok(())
}

fn opening(label: &str, folder: &str) -> Result<(), Failure> {
    let kind = KINDS.into_iter().find(|(name, _)| *name == label).map(|(_, kind)| kind);
    let kind = kind.ok_or("unknown kind")?;
    let started = Instant::now();
    let store = open(&config(kind, folder.as_ref()))?;
    let opened = started.elapsed();
    store.load(&name(77)?)?;
    let read = started.elapsed();
    store.commit(batch(1 << 40)?)?;
    let signed = started.elapsed();
    store.wait_checked()?;
    let checked = started.elapsed();
    let cpu = cpu_seconds();
    let reading = Instant::now();
    for n in 0..100_000u64 {
        store.load(&name(n * 7919 % 100_000)?)?;
    }
    let loads = 100_000.0 / reading.elapsed().as_secs_f64();
    println!(
        "{label:8} opened {opened:.1?}, first read {read:.1?}, first commit {signed:.1?}, wholly \
         checked {checked:.1?} ({cpu:.1} s of CPU), {loads:.0} random loads/s, resident {} MB",
        resident_kib() / 1024
    );
    // Leaves the store as a kill does.
    std::process::exit(0)
}

/// The CPU time of this process so far; 0 where the system does not tell.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn name(n: u64) -> Result<Variable, Failure> {
    // Spread, as real names are.
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Ok(Variable::new(format!("variable/{spread:016x}"))?)
}

/// One write as a server stores it: an entry with three shares, and the variable's marks.
fn batch(n: u64) -> Result<Batch, Failure> {
    let variable = name(n)?;
    let node = |n: u8| NodeId::from_bytes(&[n; 20]);
    let signature = |n: u8| SignatureBytes::new(vec![n; 224]);
    let share = |n: u8| -> Result<SignatureShare, Failure> {
        Ok(SignatureShare { signer: node(n)?, signature: signature(n)? })
    };
    let timestamp = Timestamp::new(1);
    let entry = CertifiedEntry {
        signed: SignedEntry {
            entry: Entry {
                realm: Realm::new("bench")?,
                variable: variable.clone(),
                timestamp,
                value: Value::new(vec![0x42; 300])?,
                is_final: false,
                writer: node(9)?,
                owner: Address::new("alice@example.org")?,
            },
            signature: WriterSignature::new(signature(9)?),
        },
        collective: CollectiveSignature::new(
            ConfigurationDigest::from_bytes([7; 32]),
            vec![share(1)?, share(2)?, share(3)?],
        ),
    };
    let marks = Marks { seen: timestamp, ..Marks::default() };
    Ok(Batch { entries: vec![entry], marks: vec![(variable, marks)], ..Batch::default() })
}
