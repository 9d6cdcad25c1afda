//! Listening: accepts connections, serves them within their limits, and stops cleanly.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bftkv_protocol::{Channel, ChannelKey, Seal};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::{Admission, Admitted};
use super::guard::{Guard, Phase};
use super::serve_error::ServeError;
use super::service::Service;
use super::socket;
use crate::limits::MIN_HEADER_BYTES;
use crate::sealed::SealedServer;
use crate::serving::Serving;
use crate::tls::{HANDSHAKE, TlsServer, acceptor, peer_key};
use crate::{Handler, ServerLimits};

/// How long to wait when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection beyond the limit is told; it is not even read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 20\r\n\r\ntoo many connections";

/// A listening server. Dropping it cuts everything off; [`HttpServer::shutdown`] does not.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    service: Arc<Service>,
    accepted: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub enum Stopped {
    /// Every request that had begun was answered.
    Cleanly,
    /// The deadline passed: connections were cut. Handlers that still run go on until they end.
    AtDeadline,
}

impl HttpServer {
    /// Listens on `address` (`host:port`; port 0 lets the system choose) and hands requests to
    /// `handler`. A host name is resolved, and its first address that works is taken.
    ///
    /// # Errors
    /// [`ServeError`]; its message says what to do.
    pub async fn bind(
        address: &str,
        limits: ServerLimits,
        seal: Arc<dyn Seal>,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ServeError> {
        Self::bind_with(address, limits, seal, None, handler).await
    }

    /// The same, and if there is a key for connections, over TLS too, on the same port: a TLS
    /// handshake begins with another byte than HTTP does.
    ///
    /// # Errors
    /// As [`HttpServer::bind`].
    pub async fn bind_with(
        address: &str,
        limits: ServerLimits,
        seal: Arc<dyn Seal>,
        channel: Option<Arc<dyn Channel>>,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ServeError> {
        let listener = listen(address).await?;
        let address = listener.local_addr().map_err(|error| bad_address(address, &error))?;
        let serving = Arc::new(Serving::new(handler, &limits));
        let sealed = SealedServer::new(seal, serving.clone())?;
        let tls = channel.clone().map(|channel| TlsServer::new(channel, serving.clone()));
        let handshakes = limits.handshakes.clamp(1, Semaphore::MAX_PERMITS);
        let service = Arc::new(Service::new(sealed, tls, serving, limits));
        let tls = channel.map(acceptor).transpose()?;
        let tls = tls.map(|tls| Tls { tls, handshakes: Arc::new(Semaphore::new(handshakes)) });
        let accepted = Arc::new(AtomicU64::new(0));
        let (stop, stopping) = watch::channel(false);
        let acceptor = Acceptor {
            listener,
            service: service.clone(),
            tls,
            accepted: accepted.clone(),
            stopping,
            connections: JoinSet::new(),
        };
        let accepting = tokio::spawn(acceptor.run());
        Ok(Self { address, service, accepted, stop, accepting })
    }

    /// The address on which it listens, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted since the start, those over a limit included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Stops: no new connections, and idle ones are closed at once; requests that have begun are
    /// answered, at most until `deadline` from now. Then everything is cut.
    pub async fn shutdown(mut self, deadline: Duration) -> Stopped {
        self.stop.send_replace(true);
        let service = self.service.clone();
        let end = async {
            // An error means that the acceptor panicked: then nothing is left to wait for.
            drop((&mut self.accepting).await);
            service.quiet().await;
        };
        match timeout(deadline, end).await {
            Ok(()) => Stopped::Cleanly,
            Err(_) => Stopped::AtDeadline,
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // The acceptor owns the connections, so they end with it.
        self.accepting.abort();
    }
}

/// Accepts connections and owns their tasks.
struct Acceptor {
    listener: TcpListener,
    service: Arc<Service>,
    tls: Option<Tls>,
    accepted: Arc<AtomicU64>,
    stopping: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self) {
        let limits = self.service.limits();
        let admission = Admission::new(limits.connections, limits.connections_per_address);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => self.accept(&admission, socket::accepted(stream), peer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = self.connections.join_next() => {}
                _ = self.stopping.changed() => break,
            }
        }
        drop(self.listener);
        while self.connections.join_next().await.is_some() {}
    }

    fn accept(&mut self, admission: &Admission, stream: TcpStream, peer: SocketAddr) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let Some(admitted) = admission.admit(peer.ip()) else {
            tracing::debug!(%peer, "too many connections");
            // Without waiting: whoever does not take it gets nothing.
            let _ = stream.try_write(FULL);
            return;
        };
        let (service, stopping) = (self.service.clone(), self.stopping.clone());
        let connection = Connection { peer, admitted, service, stopping };
        self.connections.spawn(connection.serve(stream, self.tls.clone()));
    }
}

/// How handshakes are made, and how many at one time.
#[derive(Clone)]
struct Tls {
    tls: TlsAcceptor,
    handshakes: Arc<Semaphore>,
}

/// What belongs to one connection.
struct Connection {
    peer: SocketAddr,
    admitted: Admitted,
    service: Arc<Service>,
    stopping: watch::Receiver<bool>,
}

impl Connection {
    /// Serves it to its end.
    async fn serve(mut self, stream: TcpStream, tls: Option<Tls>) {
        let Some(tls) = tls else { return self.speak(stream, None).await };
        let patience = self.service.limits().idle_timeout;
        let mut first = [0];
        let begun = tokio::select! {
            begun = timeout(patience, stream.peek(&mut first)) => begun,
            _ = self.stopping.changed() => return,
        };
        match begun {
            Ok(Ok(1)) if first == [HANDSHAKE] => self.speak_inside(stream, tls).await,
            Ok(Ok(1)) => self.speak(stream, None).await,
            _ => {}
        }
    }

    async fn speak_inside(mut self, stream: TcpStream, tls: Tls) {
        let from = self.peer.ip();
        if !self.service.allows_handshake(from) {
            return;
        }
        let patience = self.service.limits().handshake_timeout;
        let shaken = tokio::select! {
            shaken = timeout(patience, shake(stream, tls)) => shaken,
            _ = self.stopping.changed() => return,
        };
        match shaken {
            Ok(Ok((stream, key))) => self.speak(stream, Some(key)).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "a handshake came to nothing");
                self.service.charge_handshake(from);
            }
            Err(_) => self.service.charge_handshake(from),
        }
    }

    /// Speaks HTTP.
    async fn speak<S>(mut self, stream: S, key: Option<ChannelKey>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let phase = Phase::new();
        let limits = self.service.limits();
        let io = TokioIo::new(Guard::new(stream, phase.clone(), limits));
        let builder = configured(limits);
        let from = self.peer.ip();
        let respond = service_fn(|request| {
            phase.busy();
            let (phase, service) = (phase.clone(), self.service.clone());
            async move {
                let response = service.respond(request, from, key).await;
                phase.answering();
                Ok::<_, Infallible>(response)
            }
        });
        let too_old = async {
            match key {
                Some(_) => sleep(limits.connection_age).await,
                None => std::future::pending().await,
            }
        };
        let mut connection = std::pin::pin!(builder.serve_connection(io, respond));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = self.stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = too_old => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(self.admitted);
    }
}

/// Shakes hands when it is its turn.
async fn shake(stream: TcpStream, tls: Tls) -> std::io::Result<(TlsStream<TcpStream>, ChannelKey)> {
    let refused = |reason: &str| std::io::Error::other(reason.to_owned());
    // The semaphore is never closed.
    let _turn = tls.handshakes.acquire().await.map_err(|_| refused("closed"))?;
    let stream = tls.tls.accept(stream).await?;
    let key = peer_key(stream.get_ref().1)
        .ok_or_else(|| refused("no key was shown, or for something else"))?;
    Ok((stream, key))
}

fn configured(limits: &ServerLimits) -> http1::Builder {
    let header_bytes = limits.header_bytes.max(MIN_HEADER_BYTES);
    let mut builder = http1::Builder::new();
    builder
        // `Guard` has the time limits; see there.
        .header_read_timeout(None)
        .max_headers(limits.headers)
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes);
    builder
}

async fn listen(address: &str) -> Result<TcpListener, ServeError> {
    let resolved = lookup_host(address).await.map_err(|error| bad_address(address, &error))?;
    let mut failure = None;
    for candidate in resolved {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = Some(ServeError::bind(candidate, error)),
        }
    }
    Err(failure.unwrap_or_else(|| ServeError::BadAddress {
        address: address.to_owned(),
        reason: "the name has no address".to_owned(),
    }))
}

fn bad_address(address: &str, error: &std::io::Error) -> ServeError {
    ServeError::BadAddress { address: address.to_owned(), reason: error.to_string() }
}
