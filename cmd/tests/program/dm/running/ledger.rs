//! What the nodes of the DMs have on disk, when all are stopped.

use std::collections::BTreeMap;

use bftkv::Home;
use bftkv::protocol::{Store as _, Variable};
use bftkv::storage::{StorageConfig, open};

use super::masters::Masters;

/// What all nodes have certified, by variable: every value that any of them has, and at how many.
type Ledger = BTreeMap<String, BTreeMap<Vec<u8>, usize>>;

fn read(masters: &Masters) -> Ledger {
    let mut ledger = Ledger::new();
    for dm in 1..=masters.n {
        let home = Home::open(masters.cluster.path(&format!("n{dm}"))).unwrap();
        let settings = &home.config().storage;
        let config = StorageConfig {
            kind: settings.kind,
            path: home.path().join(Home::STORE),
            cache_bytes: settings.cache_mib << 20,
            ..StorageConfig::default()
        };
        let store = open(&config).unwrap();
        let proofs = store.proofs().unwrap();
        assert!(proofs.is_empty(), "node {dm}: somebody signed two things as one: {proofs:?}");
        let mut after: Option<Variable> = None;
        loop {
            let page = store.scan(b"dm/", after.as_ref(), 500).unwrap();
            let Some(last) = page.last().cloned() else { break };
            for variable in page {
                let name = String::from_utf8(variable.as_bytes().to_vec()).unwrap();
                let entry = store.load(&variable).unwrap().latest.unwrap();
                let value = entry.entry().value.as_bytes().to_vec();
                *ledger.entry(name).or_default().entry(value).or_default() += 1;
            }
            after = Some(last);
        }
    }
    ledger
}

/// Stops all, and checks that nothing was certified twice differently and that nothing was lost:
/// every zone that was seen anywhere is the one that its serial was certified for, and enough nodes
/// still have that for the others to find it. Gives the number of values.
pub(crate) fn check(masters: &mut Masters) -> usize {
    let running: Vec<usize> = masters.running.keys().copied().collect();
    running.into_iter().for_each(|dm| masters.stop(dm));
    let ledger = read(masters);
    for (name, values) in &ledger {
        assert_eq!(values.len(), 1, "{name} has two certified values");
    }
    let enough = masters.faults() + 1;
    assert!(!masters.seen.is_empty());
    for (serial, zone) in &masters.seen {
        let suffix = format!("/{}/{serial}/signed", "root");
        let found: Vec<_> = ledger.iter().filter(|(name, _)| name.ends_with(&suffix)).collect();
        let [(_, values)] = found.as_slice() else { panic!("serial {serial}: {found:?}") };
        let (value, count) = values.first_key_value().unwrap();
        let digest = zone.root();
        let is_it = value.windows(32).any(|part| part == digest.as_bytes());
        assert!(is_it, "serial {serial} was certified for another zone");
        assert!(*count >= enough, "serial {serial} is at {count} nodes only");
    }
    ledger.len()
}
