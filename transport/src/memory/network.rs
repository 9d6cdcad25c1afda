//! The nodes of the network, their faults, and who reaches whom.

use std::collections::BTreeMap;
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::{NodeId, Seal, SealError};
use tokio::time::sleep;

use super::{Faults, MemoryTransport};
use crate::sealed::SealedServer;
use crate::serving::Serving;
use crate::{Handler, ServerLimits, TransportError};

/// A network within one process. Clones are the same network.
///
/// A node's faults and the partition can be changed at any time; they count for messages that are
/// sent afterwards.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<NodeId, Service>,
    faults: BTreeMap<NodeId, Faults>,
    /// The part of the network in which a node is; a node without one reaches everybody.
    parts: BTreeMap<NodeId, usize>,
}

/// What a node does with a message.
#[derive(Clone)]
pub(super) enum Service {
    Plain(Arc<dyn Handler>),
    Sealed(Arc<SealedServer>),
}

/// The way to a node, as it was when the message was sent.
pub(super) struct Route {
    faults: Faults,
    /// `None` if nobody listens there.
    service: Option<Service>,
    /// Whether a partition lies between.
    cut: bool,
}

impl Route {
    /// Takes a message there. Returns who gets it and what is wrong with the way; never, if the
    /// message is lost.
    pub(super) async fn arrive(self) -> Result<(Service, Faults), TransportError> {
        if self.cut {
            return pending().await;
        }
        let service = match self.service {
            Some(service) if !self.faults.down => service,
            _ => return Err(TransportError::Unreachable("nobody listens there".to_owned())),
        };
        sleep(self.faults.delay).await;
        if self.faults.lose_requests { pending().await } else { Ok((service, self.faults)) }
    }
}

/// Takes an answer back. Returns never, if it is lost.
pub(super) async fn back(faults: Faults) {
    sleep(faults.delay).await;
    if faults.lose_answers {
        pending().await
    }
}

impl MemoryNetwork {
    /// A network without nodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node, or replaces it, as after a restart. Its messages are not sealed: whoever asks
    /// is believed to be who it says.
    pub fn add_node(&self, node: NodeId, handler: Arc<dyn Handler>) {
        self.lock().nodes.insert(node, Service::Plain(handler));
    }

    /// Adds a node that takes sealed messages only, or replaces it, as after a restart.
    ///
    /// # Errors
    /// Without random numbers.
    pub fn add_sealed_node(
        &self,
        seal: Arc<dyn Seal>,
        handler: Arc<dyn Handler>,
    ) -> Result<(), SealError> {
        let limits = ServerLimits::default();
        let node = seal.id().clone();
        let server = SealedServer::new(seal, Arc::new(Serving::new(handler, &limits)))?;
        self.lock().nodes.insert(node, Service::Sealed(Arc::new(server)));
        Ok(())
    }

    /// Takes a node away; it is not reachable until it is added again.
    pub fn remove_node(&self, node: &NodeId) {
        self.lock().nodes.remove(node);
    }

    /// Sets what is wrong with a node.
    pub fn set_faults(&self, node: &NodeId, faults: Faults) {
        self.lock().faults.insert(node.clone(), faults);
    }

    /// Cuts the network into parts that do not reach each other. Messages across are lost, so
    /// whoever waits for an answer waits until its deadline. Who is in no part reaches everybody.
    pub fn partition(&self, parts: &[&[NodeId]]) {
        let numbered = parts.iter().enumerate();
        let parts = numbered.flat_map(|(i, part)| part.iter().map(move |node| (node.clone(), i)));
        self.lock().parts = parts.collect();
    }

    /// Ends the partition and all faults.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.parts.clear();
        state.faults.clear();
    }

    /// The way by which `node` asks others, without sealing.
    #[must_use]
    pub fn transport(&self, node: NodeId) -> MemoryTransport {
        MemoryTransport::plain(self.clone(), node)
    }

    /// The way by which the owner of `seal` asks others, by sealed messages.
    #[must_use]
    pub fn sealed_transport(&self, seal: Arc<dyn Seal>) -> MemoryTransport {
        MemoryTransport::sealed(self.clone(), seal)
    }

    pub(super) fn route(&self, from: &NodeId, to: &NodeId) -> Route {
        let state = self.lock();
        let parts = (state.parts.get(from), state.parts.get(to));
        Route {
            faults: state.faults.get(to).copied().unwrap_or_default(),
            service: state.nodes.get(to).cloned(),
            cut: matches!(parts, (Some(a), Some(b)) if a != b),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that runs under this lock can leave the maps half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().nodes.keys()).finish()
    }
}
