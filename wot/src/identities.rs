//! Quorum certificates of writers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use bftkv_protocol::{Address, Configuration, Group, Identities, NodeId};
use sequoia_openpgp::KeyHandle;

use crate::Keyring;
use crate::certificate::names;
use crate::certification::{Issuer, certifiers};
use crate::certifier_memory::{CertifierMemory, Moment};

/// What a server of a configuration knows about writers. Cheap to clone: it is cloned for each request.
#[derive(Debug, Clone)]
pub struct QuorumCertificates {
    keyring: Keyring,
    cliques: Arc<[Group]>,
    /// Of these cliques: another configuration begins with an empty one.
    memory: Arc<CertifierMemory>,
}

impl QuorumCertificates {
    /// For the server `own` of this configuration: the clique to which it belongs must have
    /// certified a writer. A server outside the cliques asks all of them.
    #[must_use]
    pub fn new(keyring: Keyring, configuration: &Configuration, own: &NodeId) -> Self {
        let cliques = match configuration.clique_of(own) {
            Some(clique) => Arc::from([clique.clone()]),
            None => Arc::from(configuration.cliques()),
        };
        Self { keyring, cliques, memory: Arc::default() }
    }

    /// For somebody who asks about all cliques of this configuration.
    #[must_use]
    pub fn of_all(keyring: Keyring, configuration: &Configuration) -> Self {
        let cliques = Arc::from(configuration.cliques());
        Self { keyring, cliques, memory: Arc::default() }
    }

    /// The members of the cliques that have certified a user ID of `writer` with this address,
    /// valid now. Members that were cut out vouch for nobody, and nobody for who was cut out.
    #[must_use]
    pub fn certifiers(&self, writer: &NodeId, address: &Address) -> BTreeSet<NodeId> {
        self.certifiers_now(writer, address).as_ref().clone()
    }

    fn certifiers_now(&self, writer: &NodeId, address: &Address) -> Arc<BTreeSet<NodeId>> {
        // First the generation: what changes meanwhile makes the answer one of the past.
        let (generation, time) = (self.keyring.generation(), self.keyring.now());
        let find = || self.find_certifiers(writer, address, time);
        self.memory.get((writer, address), Moment::new(generation, time), find)
    }

    fn find_certifiers(
        &self,
        writer: &NodeId,
        address: &Address,
        time: SystemTime,
    ) -> BTreeSet<NodeId> {
        let Some(certificate) = self.keyring.certificate(writer) else { return BTreeSet::new() };
        if self.keyring.is_cut(writer) {
            return BTreeSet::new();
        }
        let lookup = |handle: &KeyHandle| self.members(handle, time);
        let counts = |identity: &crate::Identity| identity.address == *address;
        certifiers(&certificate, time, counts, &lookup, self.keyring.signatures())
    }

    fn members(&self, handle: &KeyHandle, time: SystemTime) -> Vec<Arc<Issuer>> {
        let named = self.cliques.iter().flat_map(Group::members).filter(|id| names(handle, id));
        let named = named.filter(|id| !self.keyring.is_cut(id));
        named
            .filter_map(|id| Issuer::new(&*self.keyring.certificate(id)?, time))
            .map(Arc::new)
            .collect()
    }
}

impl Keyring {
    /// The addresses of `of` that `by` vouches for now, whether or not either was cut out of the
    /// graph: what `by` has to revoke.
    #[must_use]
    pub fn vouched_for(&self, by: &NodeId, of: &NodeId) -> BTreeSet<Address> {
        let Some(target) = self.certificate(of) else { return BTreeSet::new() };
        let time = self.now();
        let issuer = self.certificate(by).and_then(|cert| Issuer::new(&cert, time)).map(Arc::new);
        let lookup = |handle: &KeyHandle| -> Vec<Arc<Issuer>> {
            issuer.iter().filter(|_| names(handle, by)).cloned().collect()
        };
        let vouches = |address: &Address| {
            let counts = |identity: &crate::Identity| identity.address == *address;
            !certifiers(&target, time, counts, &lookup, self.signatures()).is_empty()
        };
        let addresses = target.identities(time).into_iter().map(|identity| identity.address);
        addresses.filter(vouches).collect()
    }
}

impl Identities for QuorumCertificates {
    fn has_quorum_certificate(&self, writer: &NodeId, address: &Address) -> bool {
        let certifiers = self.certifiers_now(writer, address);
        let enough =
            |clique: &Group| clique.count(&*certifiers) >= clique.thresholds().one_honest();
        !self.cliques.is_empty() && self.cliques.iter().all(enough)
    }

    fn is_known(&self, id: &NodeId) -> bool {
        self.keyring.contains(id)
    }
}
