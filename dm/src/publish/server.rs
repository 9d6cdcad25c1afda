//! UDP and TCP in front of a responder.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::respond::{Reply, Responder, Via};

/// What others may take of us.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct ServerLimits {
    /// Connections at once; and as many of those who may transfer, by their addresses.
    pub connections: usize,
    /// Connections at once from one address, or from one network of IPv6 (/64), in which whoever has one address has
    /// all of them.
    pub connections_per_address: usize,
    /// Transfers at once. Each has the whole zone in memory.
    pub transfers: usize,
    /// Requests on one connection.
    pub requests_per_connection: usize,
    /// How long a connection may be idle, or take for one request.
    pub idle: Duration,
    /// How long a transfer may take.
    pub transfer: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 16,
            transfers: 32,
            requests_per_connection: 100,
            idle: Duration::from_secs(10),
            transfer: Duration::from_secs(120),
        }
    }
}

/// A server that answers at one address until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tasks: JoinSet<()>,
}

struct Shared {
    responder: Arc<Responder>,
    limits: ServerLimits,
    connections: Arc<Semaphore>,
    /// The same for addresses that some rule lets transfer.
    expected: Arc<Semaphore>,
    transfers: Semaphore,
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
}

impl Server {
    /// Listens at this address, for UDP and TCP at the same port; port 0 takes one that is free
    /// for both. Needs a Tokio runtime.
    ///
    /// # Errors
    /// The port is in use, or the address is not ours.
    pub async fn bind(
        address: SocketAddr,
        responder: Arc<Responder>,
        limits: ServerLimits,
    ) -> io::Result<Self> {
        let (tcp, udp) = both(address).await?;
        let address = tcp.local_addr()?;
        let shared = Arc::new(Shared {
            connections: Arc::new(Semaphore::new(limits.connections)),
            expected: Arc::new(Semaphore::new(limits.connections)),
            transfers: Semaphore::new(limits.transfers),
            by_address: Mutex::default(),
            responder,
            limits,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&shared)));
        tasks.spawn(serve_tcp(tcp, shared));
        Ok(Self { address, tasks })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops, and waits until it has.
    pub async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

/// The system chooses a port for TCP that somebody else may have for UDP; then again.
async fn both(address: SocketAddr) -> io::Result<(TcpListener, UdpSocket)> {
    let mut tries = if address.port() == 0 { 16 } else { 1 };
    loop {
        let tcp = TcpListener::bind(address).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if tries == 1 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

async fn serve_udp(socket: UdpSocket, shared: Arc<Shared>) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let request = buffer.get(..length).unwrap_or_default();
        if let Reply::One(answer) = shared.responder.respond(request, from.ip(), Via::Udp, now()) {
            // Whoever asked asks again if the answer is lost.
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, from)) = listener.accept().await else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Strangers cannot take the places of those who may have the zone.
        let pool = match shared.responder.expects(from.ip()) {
            true => &shared.expected,
            false => &shared.connections,
        };
        let Ok(permit) = Arc::clone(pool).try_acquire_owned() else { continue };
        let Some(place) = Place::take(&shared, network_of(from.ip())) else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let ended = converse(stream, from.ip(), &shared).await;
            tracing::debug!(%from, ?ended, "connection ended");
            drop((permit, place));
        });
    }
}

pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address @ IpAddr::V4(_) => address,
    }
}

/// One of the connections that an address may have.
struct Place {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, address: IpAddr) -> Option<Self> {
        let mut all = shared.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= shared.limits.connections_per_address {
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.shared.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

async fn converse(mut stream: TcpStream, from: IpAddr, shared: &Shared) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    for _ in 0..shared.limits.requests_per_connection {
        let request = timeout(shared.limits.idle, read(&mut stream)).await.map_err(late)??;
        let mut transfer = if Responder::is_transfer(&request) {
            // A refusal would have to be signed; whoever is cut off tries again.
            let busy = |_| io::Error::from(io::ErrorKind::ResourceBusy);
            Some(shared.transfers.try_acquire().map_err(busy)?)
        } else {
            None
        };
        let reply = shared.responder.respond(&request, from, Via::Tcp, now());
        let messages = match reply {
            Reply::Nothing => return Ok(()),
            Reply::One(message) => {
                // A refusal takes little memory, however long its reader takes.
                transfer = None;
                vec![message]
            }
            Reply::Transfer(messages) => messages,
        };
        let sending = async {
            for message in messages {
                write(&mut stream, &message).await?;
            }
            stream.flush().await
        };
        timeout(shared.limits.transfer, sending).await.map_err(late)??;
        drop(transfer);
    }
    Ok(())
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut request = vec![0; usize::from(length)];
    stream.read_exact(&mut request).await?;
    Ok(request)
}

async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    // In one piece, so that it goes out in one packet if it fits.
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
