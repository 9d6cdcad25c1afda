//! Asking within one process.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bftkv_protocol::{NodeId, Request, Response, Seal};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::network::{MemoryNetwork, Service, back};
use crate::asking::ask_each;
use crate::sealed::{Carrier, SealedClient, SealedServer, Workers};
use crate::serving::ServeFailure;
use crate::{
    Answers, AskOptions, BoxFuture, ClientLimits, Handler, Peer, Transport, TransportError,
};

/// Asks the nodes of a [`MemoryNetwork`].
#[derive(Debug, Clone)]
pub struct MemoryTransport(Mode);

#[derive(Debug, Clone)]
enum Mode {
    Plain(MemoryNetwork, NodeId),
    Sealed(Arc<SealedClient>),
}

impl MemoryTransport {
    pub(super) fn plain(network: MemoryNetwork, node: NodeId) -> Self {
        Self(Mode::Plain(network, node))
    }

    pub(super) fn sealed(network: MemoryNetwork, seal: Arc<dyn Seal>) -> Self {
        let workers = Workers::new(ClientLimits::default().waiting_work);
        let carrier = Box::new(MemoryCarrier { network, from: seal.id().clone() });
        Self(Mode::Sealed(Arc::new(SealedClient::new(seal, carrier, workers))))
    }
}

impl Transport for MemoryTransport {
    fn id(&self) -> &NodeId {
        match &self.0 {
            Mode::Plain(_, node) => node,
            Mode::Sealed(client) => client.id(),
        }
    }

    fn ask(&self, to: Vec<Peer>, request: Request, options: AskOptions) -> Answers {
        match &self.0 {
            Mode::Sealed(client) => client.ask(to, &request, options),
            Mode::Plain(network, from) => ask_each(to, options, |peer, _| {
                ask_plainly(network.clone(), from.clone(), peer.node, request.clone())
            }),
        }
    }
}

async fn ask_plainly(
    network: MemoryNetwork,
    from: NodeId,
    to: NodeId,
    request: Request,
) -> Result<Response, TransportError> {
    let (service, faults) = network.route(&from, &to).arrive().await?;
    let Service::Plain(handler) = service else {
        return Err(TransportError::Unreachable("it takes sealed messages only".to_owned()));
    };
    if faults.duplicate_requests {
        drop(handle(handler.clone(), from.clone(), request.clone()));
    }
    let response = handle(handler, from, request)
        .await
        .map_err(|error| TransportError::Unreachable(error.to_string()))?;
    back(faults).await;
    // Without sealing nothing would notice the change, so the answer is lost.
    if faults.garble_answers { pending().await } else { Ok(response) }
}

/// On a thread that may block, and to the end although nobody waits for it.
fn handle(handler: Arc<dyn Handler>, sender: NodeId, request: Request) -> JoinHandle<Response> {
    let runtime = Handle::current();
    spawn_blocking(move || runtime.block_on(handler.handle(sender, request)))
}

/// Brings sealed bytes to a node of the network.
struct MemoryCarrier {
    network: MemoryNetwork,
    from: NodeId,
}

impl Carrier for MemoryCarrier {
    fn carry(
        &self,
        peer: Peer,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(carry(self.network.clone(), self.from.clone(), peer.node, message))
    }
}

async fn carry(
    network: MemoryNetwork,
    from: NodeId,
    to: NodeId,
    message: Bytes,
) -> Result<Bytes, TransportError> {
    let (service, faults) = network.route(&from, &to).arrive().await?;
    let Service::Sealed(server) = service else {
        return Err(TransportError::Unreachable("it takes no sealed messages".to_owned()));
    };
    let mut answer = deliver(&server, message.clone()).await?;
    if faults.duplicate_requests {
        // Its refusal is lost; the asker has the first answer.
        let _ = deliver(&server, message).await;
    }
    back(faults).await;
    if let (true, Some(last)) = (faults.garble_answers, answer.last_mut()) {
        *last ^= 1;
    }
    Ok(answer.into())
}

async fn deliver(server: &Arc<SealedServer>, message: Bytes) -> Result<Vec<u8>, TransportError> {
    // All of one process are neighbours.
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let sealed = server.exchange(message, address, ()).await;
    sealed.map(|sealed| sealed.bytes).map_err(|failure| match failure {
        ServeFailure::NotForUs(reason) => TransportError::Http { status: 400, reason },
        ServeFailure::Overloaded => TransportError::Http { status: 503, reason: String::new() },
        ServeFailure::TooMany => TransportError::Http { status: 429, reason: String::new() },
        ServeFailure::Broken(reason) => TransportError::Http { status: 500, reason },
    })
}
