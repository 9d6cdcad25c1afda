//! The table behind a keyring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bftkv_protocol::NodeId;

use crate::certificate::key_id_of;
use crate::{CertificateRecord, KeyringOptions, Origin};

/// The certificates and their indices. Every method leaves them in agreement.
#[derive(Default)]
pub(crate) struct KnownCertificates {
    pub(crate) records: BTreeMap<NodeId, (Arc<CertificateRecord>, Origin)>,
    pub(crate) key_ids: BTreeMap<Vec<u8>, BTreeSet<NodeId>>,
    subkeys: BTreeMap<NodeId, BTreeSet<NodeId>>,
    strangers: VecDeque<NodeId>,
    stranger_bytes: usize,
    /// Who was cut out of the graph; a certificate need not be known to be cut.
    cut: BTreeSet<NodeId>,
    pub(crate) generation: u64,
}

impl KnownCertificates {
    /// Adds a certificate, or replaces the copy that was known.
    pub(crate) fn insert(&mut self, record: CertificateRecord, origin: Origin) {
        let id = record.id().clone();
        self.forget(&id);
        if origin == Origin::Stranger {
            self.strangers.push_back(id.clone());
            self.stranger_bytes = self.stranger_bytes.saturating_add(size(&record));
        }
        self.key_ids.entry(key_id_of(&id).to_vec()).or_default().insert(id.clone());
        for subkey in record.subkeys() {
            self.subkeys.entry(subkey.clone()).or_default().insert(id.clone());
        }
        self.records.insert(id, (Arc::new(record), origin));
        self.generation = self.generation.saturating_add(1);
    }

    /// Cuts a certificate out of the graph, for ever. Returns whether it was not cut before.
    pub(crate) fn cut_out(&mut self, id: NodeId) -> bool {
        let is_new = self.cut.insert(id);
        if is_new {
            self.generation = self.generation.saturating_add(1);
        }
        is_new
    }

    /// Who was cut out.
    pub(crate) fn cut(&self) -> &BTreeSet<NodeId> {
        &self.cut
    }

    /// Who names a subkey: local certificates, and those of strangers.
    pub(crate) fn claimants(&self, subkey: &NodeId) -> (Vec<NodeId>, Vec<NodeId>) {
        let local =
            |id: &NodeId| self.records.get(id).is_some_and(|(_, origin)| *origin == Origin::Local);
        self.subkeys.get(subkey).into_iter().flatten().cloned().partition(local)
    }

    /// Forgets the oldest strangers until the bounds hold.
    pub(crate) fn shrink(&mut self, options: &KeyringOptions) -> Vec<NodeId> {
        let mut forgotten = Vec::new();
        while self.strangers.len() > options.max_strangers
            || self.stranger_bytes > options.max_stranger_bytes
        {
            let Some(oldest) = self.strangers.front().cloned() else { break };
            self.forget(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    fn forget(&mut self, id: &NodeId) {
        let Some((record, origin)) = self.records.remove(id) else { return };
        if origin == Origin::Stranger {
            self.strangers.retain(|stranger| stranger != id);
            self.stranger_bytes = self.stranger_bytes.saturating_sub(size(&record));
        }
        remove(&mut self.key_ids, &key_id_of(id).to_vec(), id);
        record.subkeys().iter().for_each(|subkey| remove(&mut self.subkeys, subkey, id));
    }
}

fn remove<K: Ord>(index: &mut BTreeMap<K, BTreeSet<NodeId>>, key: &K, id: &NodeId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

fn size(record: &CertificateRecord) -> usize {
    record.bytes().as_bytes().len()
}
