//! From certificates to the trust graph.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use bftkv_protocol::NodeId;
use sequoia_openpgp::KeyHandle;

use crate::certification::{Issuer, certifiers, counts_for};
use crate::graph::{TrustGraph, Vertex};
use crate::record::node_id;
use crate::{Certificate, CertificateRecord, IdentityKind, Keyring, Origin};

/// Builds the graph of a keyring at a time. Strangers who do not claim to be nodes stay unparsed:
/// they are vertices, but nobody needs to know who certified them. Who was cut out is a vertex
/// without edges, and no node.
pub(crate) fn build(keyring: &Keyring, time: SystemTime) -> TrustGraph {
    let mut graph = TrustGraph::new();
    let mut targets = Vec::new();
    let cut = keyring.cut();
    for (record, origin) in keyring.records() {
        let wanted = record.claims_node() || origin == Origin::Local;
        let parsed = if wanted { Certificate::from_record(&record).ok() } else { None };
        let is_cut = cut.contains(record.id());
        let vertex = vertex(&record, parsed.as_ref(), time);
        let is_node = vertex.is_node && !is_cut;
        graph.add_vertex(record.id().clone(), Vertex { is_node, ..vertex });
        targets.extend(parsed.filter(|_| !is_cut));
    }
    let known = cut.into_iter().map(|id| (id, None)).collect();
    let issuers = Issuers { keyring, time, known: RefCell::new(known) };
    for target in targets {
        let is_node = graph.vertex(target.id()).is_some_and(|vertex| vertex.is_node);
        let lookup = |handle: &KeyHandle| issuers.find(handle);
        let counts = counts_for(is_node);
        for from in certifiers(&target, time, counts, &lookup, keyring.signatures()) {
            graph.add_edge(&from, target.id());
        }
    }
    graph
}

/// A certificate that does not count now is no node, and has no edges.
fn vertex(record: &CertificateRecord, parsed: Option<&Certificate>, time: SystemTime) -> Vertex {
    let valid = parsed.map(|certificate| certificate.identities(time)).unwrap_or_default();
    let node = valid.iter().find(|one| one.kind == IdentityKind::Node);
    let shown = node.or(valid.first()).or(record.claims().first());
    Vertex {
        name: shown.map(|one| one.name.clone()).unwrap_or_default(),
        address: shown.map(|one| one.address.clone()),
        is_node: node.is_some(),
    }
}

/// Issuers by what signatures say of them, each parsed once. Those that were cut out are none.
struct Issuers<'a> {
    keyring: &'a Keyring,
    time: SystemTime,
    known: RefCell<BTreeMap<NodeId, Option<Arc<Issuer>>>>,
}

impl Issuers<'_> {
    fn find(&self, handle: &KeyHandle) -> Vec<Arc<Issuer>> {
        match handle {
            KeyHandle::Fingerprint(full) => {
                node_id(full).ok().and_then(|id| self.issuer(&id)).into_iter().collect()
            }
            KeyHandle::KeyID(short) => {
                let ids = self.keyring.by_key_id(short.as_bytes());
                ids.iter().filter_map(|id| self.issuer(id)).collect()
            }
        }
    }

    fn issuer(&self, id: &NodeId) -> Option<Arc<Issuer>> {
        if let Some(known) = self.known.borrow().get(id) {
            return known.clone();
        }
        let certificate = self.keyring.certificate(id);
        let issuer = certificate.and_then(|cert| Issuer::new(&cert, self.time)).map(Arc::new);
        self.known.borrow_mut().insert(id.clone(), issuer.clone());
        issuer
    }
}
