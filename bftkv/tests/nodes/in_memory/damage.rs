//! One byte of a store at rest is changed, anywhere, and its node starts again: what it then holds and
//! serves is what was certified, read back from the quorum where it was damaged.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bftkv::Home;
use bftkv::protocol::{Answer, CertifiedEntry, Request, Store};
use bftkv::storage::{StorageConfig, StorageKind, open, open_salvaging};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::in_memory::{ALICE, Cluster, Memory, entry, key, variable};

/// How long a node may take from its start until it speaks.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many variables there are, and how many versions of each.
const VARIABLES: usize = 5;
const VERSIONS: u64 = 3;

/// The kinds of stores that hold files.
const KINDS: [StorageKind; 3] = [StorageKind::Redb, StorageKind::LevelDb, StorageKind::Files];

/// A cluster whose first node was stopped: the home of that node, and what the others hold.
struct Base {
    folder: tempfile::TempDir,
    kind: StorageKind,
    others: Vec<Arc<Memory>>,
    entries: Vec<CertifiedEntry>,
}

/// What a start over a changed byte came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The store opened as sound, and was.
    Harmless,
    /// The store was put aside, what was sound copied, the rest read back.
    Salvaged,
    /// Nothing of the store could be used: an operator puts it away, and all is read back.
    Replaced,
}

/// What became of the changed bytes.
#[derive(Debug, Default)]
struct Count {
    outcomes: BTreeMap<Outcome, u64>,
    /// From the start of a node until it speaks.
    slowest: Duration,
    /// What went wrong: which byte, and what it did.
    wrong: Vec<String>,
}

impl Count {
    fn tried(&self) -> u64 {
        self.outcomes.values().sum::<u64>() + self.wrong.len() as u64
    }

    fn detected(&self) -> u64 {
        let detected = [Outcome::Salvaged, Outcome::Replaced];
        detected.iter().filter_map(|outcome| self.outcomes.get(outcome)).sum()
    }
}

fn config(kind: StorageKind, home: &Path) -> StorageConfig {
    StorageConfig { kind, path: home.join(Home::STORE), cache_bytes: 1 << 20, log_bytes: 8 << 10 }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for found in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(found.file_name());
        if found.file_type().unwrap().is_dir() {
            copy(&found.path(), &target);
        } else {
            std::fs::copy(found.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut all = Vec::new();
    for found in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if found.file_type().unwrap().is_dir() {
            all.extend(files(&found.path()));
        } else {
            all.push((found.path(), found.metadata().unwrap().len()));
        }
    }
    all.sort();
    all
}

/// Changes one byte, each of the store's being as likely as any other. Tells which.
fn change_a_byte(store: &Path, rng: &mut StdRng) -> String {
    let all = files(store);
    let mut place = rng.random_range(0..all.iter().map(|(_, length)| length).sum::<u64>());
    for (file, length) in all {
        if place < length {
            let mut bytes = std::fs::read(&file).unwrap();
            let flip: u8 = rng.random_range(1..=255);
            bytes[usize::try_from(place).unwrap()] ^= flip;
            std::fs::write(&file, bytes).unwrap();
            return format!("{} byte {place} ^ {flip}", file.display());
        }
        place -= length;
    }
    unreachable!("the place is within one of the files")
}

impl Base {
    async fn new(kind: StorageKind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir_all(&home).unwrap();
        key(0).save(&home.join(Home::KEY)).unwrap();
        let others: Vec<Arc<Memory>> = (1..4).map(|_| Memory::new()).collect();
        let first = open(&config(kind, &home)).unwrap();
        first.wait_checked().unwrap();
        let first: Arc<dyn Store> = first;
        let cluster = Cluster::over(&first, &others, &home);
        cluster.nodes[0].ready().await;
        let mut entries = Vec::new();
        for number in 0..VARIABLES {
            for t in 1..=VERSIONS {
                let value = "v".repeat(40 * number + 7);
                let signed = entry(ALICE, &format!("x{number}"), t, &format!("{value}{t}"));
                let certified = cluster.signed_by(&signed, &[0, 1, 2], &[]).await;
                for node in 0..4 {
                    let request = Request::Store { entry: certified.clone() };
                    assert_eq!(cluster.ask(node, ALICE, request).await, Ok(Answer::Done));
                }
                entries.push(certified);
            }
        }
        // An attempt that was signed and never stored.
        cluster.signed_by(&entry(ALICE, "open", 1, "pending"), &[0, 1, 2], &[]).await;
        cluster.end();
        let base = Self { folder, kind, others, entries };
        base.close(first).await;
        base
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The tasks of the node let go of the store a moment after it was stopped.
    async fn close(&self, store: Arc<dyn Store>) {
        let begun = Instant::now();
        while Arc::strong_count(&store) > 1 && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(Arc::strong_count(&store), 1, "somebody still holds the store");
    }

    /// Changes one byte, starts the node, and compares. Tells what came of it, and how long the node was silent.
    async fn try_one(&self, what: &str, rng: &mut StdRng) -> (String, Outcome, Duration) {
        let work = tempfile::tempdir().unwrap();
        copy(&self.home(), work.path());
        let what = format!("{what}: {}", change_a_byte(&work.path().join(Home::STORE), rng));
        let config = config(self.kind, work.path());
        let (store, outcome) = match open_salvaging(&config) {
            Ok((store, None)) => (store, Outcome::Harmless),
            Ok((store, Some(_))) => (store, Outcome::Salvaged),
            Err(_) => {
                std::fs::remove_dir_all(&config.path).unwrap();
                (open(&config).unwrap(), Outcome::Replaced)
            }
        };
        let store: Arc<dyn Store> = store;
        let begun = Instant::now();
        let cluster = Cluster::over(&store, &self.others, work.path());
        let ready = tokio::time::timeout(PATIENCE, cluster.nodes[0].ready()).await;
        assert!(ready.is_ok(), "{what}: it stays silent");
        let silent = begun.elapsed();
        self.compare(&cluster, &*store, &what).await;
        cluster.end();
        (what, outcome, silent)
    }

    /// What the node holds and serves is what was certified, and all of it.
    async fn compare(&self, cluster: &Cluster, store: &dyn Store, what: &str) {
        for wanted in &self.entries {
            let (x, t) = (wanted.variable().clone(), wanted.timestamp());
            let held = store.version(&x, t).unwrap().map(|entry| entry.hash());
            assert_eq!(held, Some(wanted.hash()), "{what}: {x} {t} on disk");
            let at = (t.get() < VERSIONS).then_some(t);
            let request = Request::Read { variable: x.clone(), at };
            match cluster.ask(0, ALICE, request).await {
                Ok(Answer::Entry(Some(served))) => {
                    assert_eq!(served.hash(), wanted.hash(), "{what}: {x} {t} is served");
                }
                other => panic!("{what}: {x} {t}: {other:?}"),
            }
            let seen = store.load(&x).unwrap().marks.seen;
            assert!(seen.get() >= VERSIONS, "{what}: {x}: the signer's mark is {seen}");
        }
        // What it signed and nobody stored it must not sign again, nor may another owner be given it.
        let open = store.load(&variable("open")).unwrap().marks;
        assert!(open.seen.get() >= 1 && !open.slots.is_empty(), "{what}: the attempt is forgotten");
        assert!(cluster.cut_at(1).is_empty(), "{what}: somebody honest was convicted");
    }
}

/// Tries every `lanes`-th seed, beginning with `lane`, over a store of its own: most of the time a node
/// that starts waits for the disk and for the others.
async fn try_each(
    kind: StorageKind,
    seeds: Range<u64>,
    lane: u64,
    lanes: u64,
    count: Arc<Mutex<Count>>,
    log: Option<Arc<Mutex<std::fs::File>>>,
) {
    let base = Arc::new(Base::new(kind).await);
    for seed in seeds.filter(|seed| seed % lanes == lane) {
        let base = Arc::clone(&base);
        // A task of its own, so that one that fails does not end the others.
        let one = tokio::spawn(async move {
            let what = format!("{kind:?} seed {seed}");
            base.try_one(&what, &mut StdRng::seed_from_u64(seed)).await
        });
        let one = one.await;
        let mut count = count.lock().unwrap();
        let line = match one {
            Ok((what, outcome, silent)) => {
                *count.outcomes.entry(outcome).or_default() += 1;
                count.slowest = count.slowest.max(silent);
                format!("{what}: {outcome:?}")
            }
            Err(error) => {
                let panic = error.into_panic();
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                count.wrong.push(format!("seed {seed}: {text}"));
                format!("{kind:?} seed {seed}: WRONG: {text}")
            }
        };
        if let Some(log) = &log {
            writeln!(log.lock().unwrap(), "{line}").unwrap();
        }
        if count.tried().is_multiple_of(100) {
            println!("{kind:?}: {} changed bytes: {count:?}", count.tried());
        }
    }
}

/// Changes so many bytes of each kind of store, one at a time for each start of a node. A line for
/// each is written to the file that `BFTKV_BYTES_LOG` names.
async fn campaign(each: u64, lanes: u64) {
    let log = std::env::var("BFTKV_BYTES_LOG").ok();
    let log = log.map(|path| Arc::new(Mutex::new(std::fs::File::create(path).unwrap())));
    let counts = KINDS.map(|_| Arc::new(Mutex::new(Count::default())));
    let mut work = tokio::task::JoinSet::new();
    for ((number, kind), count) in (1_u64..).zip(KINDS).zip(&counts) {
        let seeds = number * 1_000_000..number * 1_000_000 + each;
        for lane in 0..lanes {
            let (count, log) = (Arc::clone(count), log.clone());
            work.spawn(try_each(kind, seeds.clone(), lane, lanes, count, log));
        }
    }
    work.join_all().await;
    let mut detected = 0;
    for (kind, count) in KINDS.iter().zip(counts) {
        let count = count.lock().unwrap();
        println!("{kind:?}: {each} changed bytes: {count:?}");
        assert_eq!(count.wrong, Vec::<String>::new(), "{kind:?}");
        assert_eq!(count.tried(), each);
        // Nine of ten bytes of a small redb file are free or old, so a few may all be harmless.
        assert!(count.detected() > 0 || each < 100, "no change was noticed");
        detected += count.detected();
    }
    assert!(detected > 0, "no change was noticed");
}

/// A few of each kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_at_rest_is_never_served_and_is_read_back_from_the_quorum() {
    campaign(8, 1).await;
}

/// `BFTKV_BYTES=3400 cargo test --release --workspace --test nodes -- --ignored --nocapture ten_thousand`
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
#[ignore = "takes long"]
async fn ten_thousand_changed_bytes_are_read_back_from_the_quorum() {
    let each = std::env::var("BFTKV_BYTES").map_or(3_400, |text| text.parse().unwrap());
    campaign(each, 4).await;
}
