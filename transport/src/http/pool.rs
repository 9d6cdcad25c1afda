//! Connections that are kept open, for each node a few.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::{ChannelKey, NodeId};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lru::LruCache;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::endpoint::Endpoint;
use super::socket;
use crate::limits::MIN_HEADER_BYTES;
use crate::tls::Connector;
use crate::{ClientLimits, TransportError};

/// An open connection, ready for a request.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// The key at the other end, over TLS.
    key: Option<ChannelKey>,
    made: Instant,
}

impl Connection {
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub(super) endpoint: Endpoint,
    /// The node whose key must be at the other end of TLS; `None`: no TLS, whoever is there.
    pub(super) node: Option<NodeId>,
}

/// The open connections of a client.
#[derive(Debug)]
pub(super) struct Pool {
    limits: ClientLimits,
    connector: Option<Connector>,
    hosts: Mutex<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    by_destination: LruCache<Destination, Arc<Host>>,
    swept: Instant,
}

#[derive(Debug)]
struct Host {
    permits: Arc<Semaphore>,
    /// The one used last is at the end, so that those not needed get old.
    idle: Mutex<Vec<(Connection, Instant)>>,
}

/// The right to have one connection to one node.
#[derive(Debug)]
pub(super) struct Slot {
    limits: ClientLimits,
    connector: Option<Connector>,
    to: Destination,
    host: Arc<Host>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(limits: ClientLimits, connector: Option<Connector>) -> Self {
        let nodes = NonZeroUsize::new(limits.nodes).unwrap_or(NonZeroUsize::MIN);
        let hosts = Hosts { by_destination: LruCache::new(nodes), swept: Instant::now() };
        Self { limits, connector, hosts: Mutex::new(hosts) }
    }

    /// Waits until there are fewer connections to this node than the limit.
    pub(super) async fn slot(&self, to: Destination) -> Slot {
        let host = self.host(&to);
        // The semaphore is never closed.
        let permit = host.permits.clone().acquire_owned().await.ok();
        let (limits, connector) = (self.limits.clone(), self.connector.clone());
        Slot { limits, connector, to, host, _permit: permit }
    }

    fn host(&self, to: &Destination) -> Arc<Host> {
        let mut hosts = lock(&self.hosts);
        hosts.sweep(&self.limits);
        let limit = self.limits.connections_per_node.clamp(1, Semaphore::MAX_PERMITS);
        let fresh =
            || Arc::new(Host { permits: Arc::new(Semaphore::new(limit)), idle: Mutex::default() });
        hosts.by_destination.get_or_insert(to.clone(), fresh).clone()
    }
}

impl Hosts {
    /// Now and then closes what nobody used for a while, also of nodes that are asked no more.
    fn sweep(&mut self, limits: &ClientLimits) {
        if self.swept.elapsed() < limits.idle_timeout {
            return;
        }
        self.swept = Instant::now();
        for (_, host) in &self.by_destination {
            lock(&host.idle).retain(|kept| is_usable(kept, limits));
        }
    }
}

impl Slot {
    /// A connection that was kept open, if there is one. The node may have closed it already.
    ///
    /// One whose key has ceased to be the node's is closed: nothing more is sent over it.
    pub(super) async fn pooled(&self) -> Option<Connection> {
        loop {
            let kept = lock(&self.host.idle).pop()?;
            if !is_usable(&kept, &self.limits) || !self.leads_there(&kept.0) {
                continue;
            }
            let mut connection = kept.0;
            if connection.sender.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    fn leads_there(&self, connection: &Connection) -> bool {
        match (&self.to.node, &self.connector, &connection.key) {
            (Some(node), Some(connector), Some(key)) => connector.leads_to(node, key),
            (None, _, None) => true,
            _ => false,
        }
    }

    /// A new connection.
    pub(super) async fn fresh(&self) -> Result<Connection, TransportError> {
        match timeout(self.limits.connect_timeout, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(TransportError::Unreachable("no connection in time".to_owned())),
        }
    }

    async fn connect(&self) -> Result<Connection, TransportError> {
        let stream = socket::connect(self.to.endpoint.target()).await.map_err(unreachable)?;
        let Some(node) = &self.to.node else { return self.speak(stream, None).await };
        let connector = self.connector.as_ref().ok_or(TransportError::WrongKey)?;
        let (stream, key) = connector.connect(node, stream).await?;
        self.speak(stream, Some(key)).await
    }

    async fn speak<S>(
        &self,
        stream: S,
        key: Option<ChannelKey>,
    ) -> Result<Connection, TransportError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let header_bytes = self.limits.header_bytes.max(MIN_HEADER_BYTES);
        let (sender, driver) = http1::Builder::new()
            .max_headers(self.limits.headers)
            .max_header_size(header_bytes)
            .max_buf_size(header_bytes)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(unreachable)?;
        // It ends when the sender is dropped or the node closes.
        tokio::spawn(driver);
        Ok(Connection { sender, key, made: Instant::now() })
    }

    /// Keeps a connection whose answer was read to the end.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.host.idle);
        idle.retain(|kept| is_usable(kept, &self.limits));
        if idle.len() < self.limits.idle_per_node && !connection.sender.is_closed() {
            idle.push((connection, Instant::now()));
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.to.endpoint
    }
}

fn is_usable((connection, since): &(Connection, Instant), limits: &ClientLimits) -> bool {
    let is_young = connection.key.is_none() || connection.made.elapsed() < limits.connection_age;
    !connection.sender.is_closed() && since.elapsed() < limits.idle_timeout && is_young
}

fn unreachable(error: impl std::error::Error) -> TransportError {
    TransportError::Unreachable(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The worst that a panic under this lock leaves behind is a connection too many or too few.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
