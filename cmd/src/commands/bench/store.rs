//! `bftkv bench store`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bftkv::protocol::{
    Address, Batch, CollectiveSignature, ConfigurationDigest, Entry, Marks, Realm, SignatureBytes,
    SignatureShare, SignedEntry, Store, WriterSignature,
};
use bftkv::storage::{RecordStore, StorageConfig, StorageKind};
use bftkv::{CertifiedEntry, NodeId, Timestamp, Value, Variable};
use clap::Args;
use serde::Serialize;

use crate::commands::put::parse_seconds;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::new_home::parse_kind;

/// How many writers at once are measured.
const WRITERS: [u64; 3] = [1, 8, 32];

/// Measure synced writes of a store alone.
///
/// Each write is what a node stores for one put: an entry of 300 bytes with three shares, and the
/// variable's marks. It counts when it is synced to disk. A store is as fast as the disk under
/// its folder: by default the system's folder for temporary files.
///
/// Example: bftkv bench store --backend leveldb --seconds 3
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    /// The store: redb, leveldb, files or memory.
    #[arg(long, value_name = "KIND", default_value = "redb", value_parser = parse_kind)]
    backend: StorageKind,

    /// How long, for each number of writers.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    seconds: Duration,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    backend: &'static str,
    puts: Vec<Puts>,
}

/// With so many writers at once.
#[derive(Debug, Serialize)]
struct Puts {
    writers: u64,
    per_second: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.puts.iter().try_for_each(|Puts { writers, per_second }| {
            writeln!(f, "{} {writers:3} writers  {per_second:8.0} synced puts/s", self.backend)
        })
    }
}

pub(super) fn run(args: &StoreArgs, context: &Context) -> Result<Exit, Failure> {
    let measured = WRITERS.map(|writers| measure(args, writers)).into_iter();
    let puts = measured.collect::<Result<_, _>>()?;
    context.output().show(&Report { backend: args.backend.name(), puts })?;
    Ok(Exit::Done)
}

fn measure(args: &StoreArgs, writers: u64) -> Result<Puts, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let path = folder.path().join("store");
    let config = StorageConfig { kind: args.backend, path, ..StorageConfig::default() };
    let store = bftkv::storage::open(&config).map_err(Failure::failed)?;
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let done = std::thread::scope(|scope| {
        let spawn = |writer| {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || write_until(store, writer, is_over))
        };
        let threads: Vec<_> = (0..writers).map(spawn).collect();
        std::thread::sleep(args.seconds);
        is_over.store(true, Ordering::Relaxed);
        let joined = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Failure::failed("a writer panicked")))
        });
        joined.sum::<Result<u64, Failure>>()
    })?;
    Ok(Puts { writers, per_second: done as f64 / began.elapsed().as_secs_f64() })
}

/// Commits until the time is over; gives how many.
fn write_until(store: &RecordStore, writer: u64, is_over: &AtomicBool) -> Result<u64, Failure> {
    let mut done = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        store.commit(batch(writer, done)?).map_err(Failure::failed)?;
        done = done.saturating_add(1);
    }
    Ok(done)
}

/// One put as a node stores it. The signatures are of the right size and of no value.
fn batch(writer: u64, n: u64) -> Result<Batch, Failure> {
    let variable = Variable::new(format!("bench/{n:08}/{writer}")).map_err(Failure::failed)?;
    let shares = [1, 2, 3]
        .into_iter()
        .map(|signer| Ok(SignatureShare { signer: node(signer)?, signature: signature()? }));
    let shares = shares.collect::<Result<_, Failure>>()?;
    let entry = Entry {
        realm: Realm::new("bench").map_err(Failure::failed)?,
        variable: variable.clone(),
        timestamp: Timestamp::new(1),
        value: Value::new(vec![b'v'; 300]).map_err(Failure::failed)?,
        is_final: false,
        writer: node(9)?,
        owner: Address::new("alice@example.org").map_err(Failure::failed)?,
    };
    let signed = SignedEntry { entry, signature: WriterSignature::new(signature()?) };
    let digest = ConfigurationDigest::from_bytes([7; 32]);
    let collective = CollectiveSignature::new(digest, shares);
    let marks = Marks { seen: Timestamp::new(1), ..Marks::default() };
    Ok(Batch {
        entries: vec![CertifiedEntry { signed, collective }],
        marks: vec![(variable, marks)],
        proofs: Vec::new(),
        vaults: Vec::new(),
    })
}

fn node(n: u8) -> Result<NodeId, Failure> {
    NodeId::from_bytes(&[n; 20]).map_err(Failure::failed)
}

/// As long as an Ed25519 signature packet with its notation.
fn signature() -> Result<SignatureBytes, Failure> {
    SignatureBytes::new(vec![0x5a; 224]).map_err(Failure::failed)
}
