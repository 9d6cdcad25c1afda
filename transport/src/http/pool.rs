//! Connections that are kept open, for each node a few.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use lru::LruCache;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::endpoint::Endpoint;
use crate::limits::MIN_HEADER_BYTES;
use crate::{ClientLimits, TransportError};

/// An open connection, ready for a request.
pub(super) type Connection = SendRequest<Full<Bytes>>;

/// The open connections of a client.
#[derive(Debug)]
pub(super) struct Pool {
    limits: ClientLimits,
    hosts: Mutex<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    by_endpoint: LruCache<Endpoint, Arc<Host>>,
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
    endpoint: Endpoint,
    host: Arc<Host>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(limits: ClientLimits) -> Self {
        let nodes = NonZeroUsize::new(limits.nodes).unwrap_or(NonZeroUsize::MIN);
        let hosts = Hosts { by_endpoint: LruCache::new(nodes), swept: Instant::now() };
        Self { limits, hosts: Mutex::new(hosts) }
    }

    /// Waits until there are fewer connections to this node than the limit.
    pub(super) async fn slot(&self, endpoint: Endpoint) -> Slot {
        let host = self.host(&endpoint);
        // The semaphore is never closed.
        let permit = host.permits.clone().acquire_owned().await.ok();
        Slot { limits: self.limits.clone(), endpoint, host, _permit: permit }
    }

    fn host(&self, endpoint: &Endpoint) -> Arc<Host> {
        let mut hosts = lock(&self.hosts);
        hosts.sweep(&self.limits);
        let limit = self.limits.connections_per_node.clamp(1, Semaphore::MAX_PERMITS);
        let fresh =
            || Arc::new(Host { permits: Arc::new(Semaphore::new(limit)), idle: Mutex::default() });
        hosts.by_endpoint.get_or_insert(endpoint.clone(), fresh).clone()
    }
}

impl Hosts {
    /// Now and then closes what nobody used for a while, also of nodes that are asked no more.
    fn sweep(&mut self, limits: &ClientLimits) {
        if self.swept.elapsed() < limits.idle_timeout {
            return;
        }
        self.swept = Instant::now();
        for (_, host) in &self.by_endpoint {
            lock(&host.idle).retain(|kept| is_usable(kept, limits));
        }
    }
}

impl Slot {
    /// A connection that was kept open, if there is one. The node may have closed it already.
    pub(super) async fn pooled(&self) -> Option<Connection> {
        loop {
            let kept = lock(&self.host.idle).pop()?;
            if !is_usable(&kept, &self.limits) {
                continue;
            }
            let mut connection = kept.0;
            if connection.ready().await.is_ok() {
                return Some(connection);
            }
        }
    }

    /// A new connection.
    pub(super) async fn fresh(&self) -> Result<Connection, TransportError> {
        let connecting = TcpStream::connect(self.endpoint.target());
        let stream = match timeout(self.limits.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(unreachable)?,
            Err(_) => return Err(TransportError::Unreachable("no connection in time".to_owned())),
        };
        // Without this, a small request waits for the node's delayed acknowledgement: 40 ms.
        stream.set_nodelay(true).map_err(unreachable)?;
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
        Ok(sender)
    }

    /// Keeps a connection whose answer was read to the end.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.host.idle);
        idle.retain(|kept| is_usable(kept, &self.limits));
        if idle.len() < self.limits.idle_per_node && !connection.is_closed() {
            idle.push((connection, Instant::now()));
        }
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

fn is_usable((connection, since): &(Connection, Instant), limits: &ClientLimits) -> bool {
    !connection.is_closed() && since.elapsed() < limits.idle_timeout
}

fn unreachable(error: impl std::error::Error) -> TransportError {
    TransportError::Unreachable(error.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The worst that a panic under this lock leaves behind is a connection too many or too few.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
