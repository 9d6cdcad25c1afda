//! What every backend must do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{ON_DISK, at, contents, entry, mark, marks, name, open_sound, proof, put};
use bftkv_protocol::{Batch, Marks, Store, Variable};
use bftkv_storage::{MemoryBackend, RecordStore, StorageKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Opens the same store again and again.
trait Reopen {
    fn open(&self) -> Box<dyn Store>;
}

struct Folder(StorageKind, tempfile::TempDir);

impl Reopen for Folder {
    fn open(&self) -> Box<dyn Store> {
        let store = open_sound(self.0, self.1.path());
        Box::new(std::sync::Arc::into_inner(store).unwrap())
    }
}

impl Reopen for MemoryBackend {
    fn open(&self) -> Box<dyn Store> {
        let store = RecordStore::over(self.clone(), 1 << 20).unwrap();
        store.wait_checked().unwrap();
        Box::new(store)
    }
}

/// A fresh store of each kind.
fn each_kind(test: impl Fn(&dyn Reopen)) {
    for kind in ON_DISK {
        println!("{}", kind.name());
        test(&Folder(kind, tempfile::tempdir().unwrap()));
    }
    println!("memory");
    test(&MemoryBackend::default());
}

#[test]
fn an_empty_store_holds_nothing() {
    each_kind(|kind| {
        let store = kind.open();
        assert_eq!(store.load(&name("x")).unwrap(), Default::default());
        assert_eq!(store.version(&name("x"), at(1)).unwrap(), None);
        assert!(store.versions(&name("x"), None, 10).unwrap().is_empty());
        assert!(store.scan(b"", None, 10).unwrap().is_empty());
        assert!(store.proofs().unwrap().is_empty());
        store.commit(Batch::default()).unwrap();
    });
}

#[test]
fn everything_is_found_again_after_reopening() {
    each_kind(|kind| {
        let x = name("x");
        let batch = Batch {
            entries: vec![entry(&x, 3, b"three"), entry(&x, 9, b"nine"), entry(&x, 5, b"")],
            marks: vec![(x.clone(), marks(9)), (name("only marks"), marks(1))],
            proofs: vec![proof(1), proof(2)],
            ..Batch::default()
        };
        kind.open().commit(batch).unwrap();
        let store = kind.open();
        let state = store.load(&x).unwrap();
        assert_eq!(state.latest, Some(entry(&x, 9, b"nine")));
        assert_eq!(state.marks, marks(9));
        assert_eq!(store.version(&x, at(5)).unwrap(), Some(entry(&x, 5, b"")));
        assert_eq!(store.versions(&x, None, 10).unwrap(), [at(9), at(5), at(3)]);
        assert_eq!(store.versions(&x, Some(at(9)), 1).unwrap(), [at(5)]);
        assert_eq!(store.versions(&x, Some(at(0)), 1).unwrap(), []);
        assert_eq!(store.load(&name("only marks")).unwrap().marks, marks(1));
        assert_eq!(store.scan(b"", None, 10).unwrap(), [x]);
        assert_eq!(store.proofs().unwrap(), [proof(1), proof(2)]);
    });
}

#[test]
fn a_proof_is_kept_once_and_in_order() {
    each_kind(|kind| {
        for guilty in [5, 3, 5, 4, 3] {
            let batch = Batch { proofs: vec![proof(guilty), proof(guilty)], ..Batch::default() };
            kind.open().commit(batch).unwrap();
        }
        assert_eq!(kind.open().proofs().unwrap(), [proof(5), proof(3), proof(4)]);
    });
}

#[test]
fn names_of_any_bytes_are_kept_apart() {
    let long = vec![0xff; Variable::MAX_BYTES];
    let mut nearly = long.clone();
    nearly[Variable::MAX_BYTES - 1] = 0;
    let names: Vec<Vec<u8>> = vec![
        b"a".into(),
        b"a\0".into(),
        b"a\0\x01".into(),
        b"a\0\xff".into(),
        b"a\x01".into(),
        b"A".into(),
        b"../../../../tmp/x".into(),
        b".".into(),
        b"..".into(),
        b"/".into(),
        b"new\nline".into(),
        b"\0".into(),
        vec![0; Variable::MAX_BYTES],
        long,
        nearly,
    ];
    each_kind(|kind| {
        let store = kind.open();
        for (n, bytes) in names.iter().enumerate() {
            store.commit(put(&name(bytes), 1 + n as u64, bytes)).unwrap();
        }
        drop(store);
        let store = kind.open();
        for (n, bytes) in names.iter().enumerate() {
            let x = name(bytes);
            let t = at(1 + n as u64);
            assert_eq!(store.load(&x).unwrap().latest, Some(entry(&x, t.get(), bytes)));
            assert_eq!(store.versions(&x, None, 10).unwrap(), [t]);
        }
        let mut sorted: Vec<Variable> = names.iter().map(name).collect();
        sorted.sort();
        assert_eq!(store.scan(b"", None, 100).unwrap(), sorted);
    });
}

#[test]
fn values_of_no_byte_and_of_a_mebibyte() {
    each_kind(|kind| {
        let big = vec![0x5a; 1024 * 1024];
        let store = kind.open();
        for t in 1..=8 {
            store.commit(put(&name("big"), t, &big)).unwrap();
        }
        store.commit(put(&name("empty"), 1, b"")).unwrap();
        drop(store);
        let store = kind.open();
        assert_eq!(store.load(&name("big")).unwrap().latest, Some(entry(&name("big"), 8, &big)));
        assert_eq!(store.versions(&name("big"), None, 100).unwrap().len(), 8);
        assert_eq!(store.load(&name("empty")).unwrap().latest, Some(entry(&name("empty"), 1, b"")));
    });
}

#[test]
fn marks_of_any_size_do_not_hide_the_entry_beside_them() {
    each_kind(|kind| {
        let large = Marks { slots: vec![marks(1).slots[0].clone(); 2_000], ..marks(1) };
        let x = name("x");
        let store = kind.open();
        store.commit(put(&x, 1, &vec![1; 1 << 20])).unwrap();
        let batch = Batch { marks: vec![(x.clone(), large.clone())], ..Batch::default() };
        store.commit(batch).unwrap();
        let state = store.load(&x).unwrap();
        assert!(state.latest.is_some() && state.marks == large);
        assert_eq!(store.scan(b"", None, 10).unwrap(), [x]);
    });
}

#[test]
fn a_record_that_could_not_be_read_back_is_refused_and_stops_nothing() {
    each_kind(|kind| {
        let store = kind.open();
        for count in [6_000, 20_000] {
            let large = Marks { slots: vec![marks(1).slots[0].clone(); count], ..marks(1) };
            let batch = Batch { marks: vec![(name("x"), large)], ..Batch::default() };
            let error = store.commit(batch).unwrap_err();
            assert!(error.to_string().contains("above the limit"), "{error}");
        }
        store.commit(put(&name("x"), 1, b"v")).unwrap();
    });
}

#[test]
fn a_store_that_grew_past_every_buffer_is_whole() {
    // Enough for LevelDB to make tables and compact them, twice over.
    each_kind(|kind| {
        let value = vec![0x77; 20_000];
        for round in 1..=3u64 {
            let store = kind.open();
            for n in 0..100u64 {
                let x = name(format!("name {}", n * 37 % 100));
                store.commit(put(&x, round, &value)).unwrap();
                store.commit(mark(&x, round)).unwrap();
            }
        }
        let store = kind.open();
        let names = store.scan(b"name", None, 1000).unwrap();
        assert_eq!(names.len(), 100);
        for x in names {
            assert_eq!(store.load(&x).unwrap().marks, marks(3));
            assert_eq!(store.versions(&x, None, 10).unwrap(), [at(3), at(2), at(1)]);
        }
    });
}

#[derive(Debug, Clone)]
enum Step {
    Put(Variable, u64, u8),
    Mark(Variable, u64),
    Proof(u8),
    Both(Variable, u64),
    Reopen,
}

#[derive(Default)]
struct Model {
    entries: BTreeMap<(Variable, u64), u8>,
    marks: BTreeMap<Variable, u64>,
    proofs: Vec<u8>,
}

impl Model {
    fn apply(&mut self, step: &Step) -> Batch {
        match step {
            Step::Put(x, t, v) => {
                self.entries.insert((x.clone(), *t), *v);
                put(x, *t, &[*v])
            }
            Step::Mark(x, seen) => {
                self.marks.insert(x.clone(), *seen);
                mark(x, *seen)
            }
            Step::Both(x, t) => {
                let Batch { entries, .. } = self.apply(&Step::Put(x.clone(), *t, 0));
                let Batch { marks, .. } = self.apply(&Step::Mark(x.clone(), *t));
                Batch { entries, marks, ..Batch::default() }
            }
            Step::Proof(guilty) => {
                if !self.proofs.contains(guilty) {
                    self.proofs.push(*guilty);
                }
                Batch { proofs: vec![proof(*guilty)], ..Batch::default() }
            }
            Step::Reopen => Batch::default(),
        }
    }

    /// Compares every answer about the names that occur, and listings from every point.
    fn compare(&self, store: &dyn Store) {
        let names: std::collections::BTreeSet<_> =
            self.entries.keys().map(|(x, _)| x.clone()).collect();
        assert_eq!(store.scan(b"", None, 100).unwrap(), names.iter().cloned().collect::<Vec<_>>());
        for x in self.marks.keys().chain(&names) {
            let range = (x.clone(), 0)..=(x.clone(), u64::MAX);
            let versions: Vec<(u64, u8)> =
                self.entries.range(range).rev().map(|((_, t), v)| (*t, *v)).collect();
            let state = store.load(x).unwrap();
            assert_eq!(state.latest, versions.first().map(|(t, v)| entry(x, *t, &[*v])));
            assert_eq!(state.marks, self.marks.get(x).map(|t| marks(*t)).unwrap_or_default());
            for (n, (t, v)) in versions.iter().enumerate() {
                assert_eq!(store.version(x, at(*t)).unwrap(), Some(entry(x, *t, &[*v])));
                let older: Vec<_> = versions[n + 1..].iter().map(|(t, _)| at(*t)).take(2).collect();
                assert_eq!(store.versions(x, Some(at(*t)), 2).unwrap(), older);
            }
            let prefix = &x.as_bytes()[..1];
            let later = (Bound::Excluded(x.clone()), Bound::Unbounded);
            let expected: Vec<_> = names
                .range(later)
                .filter(|name| name.as_bytes().starts_with(prefix))
                .take(3)
                .cloned()
                .collect();
            assert_eq!(store.scan(prefix, Some(x), 3).unwrap(), expected);
        }
        let proofs: Vec<_> = self.proofs.iter().map(|guilty| proof(*guilty)).collect();
        assert_eq!(store.proofs().unwrap(), proofs);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let x = || {
        let byte = prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)];
        vec(byte, 1..4).prop_map(name)
    };
    let t = || prop_oneof![1..5u64, Just(u64::MAX - 1)];
    let step = prop_oneof![
        4 => (x(), t(), any::<u8>()).prop_map(|(x, t, v)| Step::Put(x, t, v)),
        2 => (x(), t()).prop_map(|(x, t)| Step::Mark(x, t)),
        2 => (x(), t()).prop_map(|(x, t)| Step::Both(x, t)),
        1 => (0..3u8).prop_map(Step::Proof),
        1 => Just(Step::Reopen),
    ];
    vec(step, 1..30)
}

#[test]
fn any_history_reads_like_a_map() {
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    let mut runner = TestRunner::new(config);
    let run = |steps: Vec<Step>| {
        each_kind(|kind| {
            let mut model = Model::default();
            let mut store = Some(kind.open());
            for step in &steps {
                if let Step::Reopen = step {
                    drop(store.take());
                    store = Some(kind.open());
                }
                let open = store.as_deref().unwrap();
                open.commit(model.apply(step)).unwrap();
                model.compare(open);
            }
        });
        Ok(())
    };
    runner.run(&steps(), run).unwrap();
}

#[test]
fn every_operation_survives_reopening() {
    each_kind(|kind| {
        let mut before = contents(&*kind.open());
        for n in 1..=12u64 {
            let x = name([b'a' + (n % 3) as u8]);
            kind.open().commit(put(&x, n, b"v")).unwrap();
            kind.open().commit(mark(&x, n)).unwrap();
            let now = contents(&*kind.open());
            assert_ne!(now, before);
            assert_eq!(now, contents(&*kind.open()));
            before = now;
        }
    });
}

/// Lets the readers go when a writer ends, well or by a failed assertion.
struct EndOfWriter<'a>(&'a AtomicUsize);

impl Drop for EndOfWriter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn concurrent_writers_and_readers_agree() {
    each_kind(|kind| {
        let store = kind.open();
        let writing = AtomicUsize::new(8);
        std::thread::scope(|scope| {
            for writer in 0..8u8 {
                let (store, writing) = (&*store, &writing);
                scope.spawn(move || {
                    let _end = EndOfWriter(writing);
                    let x = name([writer]);
                    for t in 1..=25 {
                        let mut batch = put(&x, t, b"v");
                        batch.marks = vec![(x.clone(), marks(t))];
                        store.commit(batch).unwrap();
                        let state = store.load(&x).unwrap();
                        assert_eq!(state.latest.unwrap().timestamp(), at(t));
                        assert_eq!(state.marks, marks(t));
                    }
                });
                scope.spawn(move || {
                    let x = name([writer]);
                    let mut last = at(0);
                    while writing.load(Ordering::SeqCst) > 0 {
                        let state = store.load(&x).unwrap();
                        let t = state.latest.map_or(at(0), |e| e.timestamp());
                        assert!(t >= last, "a reader went back from {last} to {t}");
                        assert_eq!(state.marks.seen, t, "half of a commit was seen");
                        last = t;
                    }
                });
            }
        });
        drop(store);
        let store = kind.open();
        for writer in 0..8u8 {
            assert_eq!(store.versions(&name([writer]), None, 100).unwrap().len(), 25);
        }
    });
}
