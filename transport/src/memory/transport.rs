//! Asking within one process.

use std::future::pending;
use std::sync::Arc;

use bftkv_protocol::{NodeId, Request, Response};
use tokio::time::sleep;

use super::network::{MemoryNetwork, Service};
use crate::asking::ask_each;
use crate::{Answers, AskOptions, Handler, Peer, Transport, TransportError};

/// Asks the nodes of a [`MemoryNetwork`].
#[derive(Debug, Clone)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    node: NodeId,
}

impl MemoryTransport {
    pub(super) fn plain(network: MemoryNetwork, node: NodeId) -> Self {
        Self { network, node }
    }
}

impl Transport for MemoryTransport {
    fn id(&self) -> &NodeId {
        &self.node
    }

    fn ask(&self, to: Vec<Peer>, request: Request, options: AskOptions) -> Answers {
        ask_each(to, options, |peer, _| {
            ask_plainly(self.network.clone(), self.node.clone(), peer.node, request.clone())
        })
    }
}

async fn ask_plainly(
    network: MemoryNetwork,
    from: NodeId,
    to: NodeId,
    request: Request,
) -> Result<Response, TransportError> {
    let route = network.route(&from, &to);
    let Some(Service::Plain(handler)) = route.service else {
        return Err(nobody());
    };
    let faults = route.faults;
    if faults.down {
        return Err(nobody());
    }
    sleep(faults.delay).await;
    if route.cut || faults.lose_requests {
        return pending().await;
    }
    if faults.duplicate_requests {
        tokio::spawn(handle(handler.clone(), from.clone(), request.clone()));
    }
    // A task of its own, so that the handler runs to its end although nobody waits for it.
    let task = tokio::spawn(handle(handler, from, request));
    let response = task.await.map_err(|error| TransportError::Unreachable(error.to_string()))?;
    sleep(faults.delay).await;
    if faults.lose_answers || faults.garble_answers {
        return pending().await;
    }
    Ok(response)
}

async fn handle(handler: Arc<dyn Handler>, sender: NodeId, request: Request) -> Response {
    handler.handle(sender, request).await
}

fn nobody() -> TransportError {
    TransportError::Unreachable("nobody listens there".to_owned())
}
