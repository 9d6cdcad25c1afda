//! One byte of a store at rest is changed, anywhere, and its node starts again: what it then holds and
//! serves is what was certified, read back from the quorum where it was damaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// What became of the changed bytes.
#[derive(Debug, Default)]
struct Count {
    /// The store opened as sound, and was.
    harmless: u32,
    /// The store was put aside, what was sound copied, the rest read back.
    salvaged: u32,
    /// Nothing of the store could be used: an operator puts it away, and all is read back.
    replaced: u32,
    slowest: Duration,
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

    /// Changes one byte, starts the node, and compares.
    async fn try_one(&self, seed: u64, count: &mut Count) {
        let mut rng = StdRng::seed_from_u64(seed);
        let work = tempfile::tempdir().unwrap();
        copy(&self.home(), work.path());
        let what = change_a_byte(&work.path().join(Home::STORE), &mut rng);
        let config = config(self.kind, work.path());
        let store = match open_salvaging(&config) {
            Ok((store, None)) => {
                count.harmless += 1;
                store
            }
            Ok((store, Some(_))) => {
                count.salvaged += 1;
                store
            }
            Err(_) => {
                count.replaced += 1;
                std::fs::remove_dir_all(&config.path).unwrap();
                open(&config).unwrap()
            }
        };
        let store: Arc<dyn Store> = store;
        let begun = Instant::now();
        let cluster = Cluster::over(&store, &self.others, work.path());
        let ready = tokio::time::timeout(PATIENCE, cluster.nodes[0].ready()).await;
        assert!(ready.is_ok(), "{:?} seed {seed}: {what}: it stays silent", self.kind);
        count.slowest = count.slowest.max(begun.elapsed());
        self.compare(&cluster, &*store, &format!("{:?} seed {seed}: {what}", self.kind)).await;
        cluster.end();
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

async fn campaign(each: u64) {
    for (number, kind) in (1_u64..).zip(KINDS) {
        let base = Base::new(kind).await;
        let mut count = Count::default();
        for seed in 0..each {
            base.try_one(number * 1_000_000 + seed, &mut count).await;
        }
        println!("{kind:?}: {each} changed bytes: {count:?}");
        assert!(count.salvaged + count.replaced > 0, "no change was noticed");
    }
}

/// A few of each kind.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_that_changed_at_rest_is_never_served_and_is_read_back_from_the_quorum() {
    campaign(8).await;
}

/// `BFTKV_BYTES=3400 cargo test --release --workspace --test nodes -- --ignored --nocapture ten_thousand`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long"]
async fn ten_thousand_changed_bytes_are_read_back_from_the_quorum() {
    let each = std::env::var("BFTKV_BYTES").map_or(3_400, |text| text.parse().unwrap());
    campaign(each).await;
}
