//! A network that can be broken: a TCP proxy in front of each node.
//!
//! TCP repairs loss and order below us, so what a network does to TCP is: delay, stalls, resets,
//! slowness. Corruption and repeated requests are what somebody in the middle does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// What happens to the bytes between client and node.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Faults {
    /// Nothing of what the client says arrives. Connections are made; nobody is told.
    pub(crate) drops_requests: bool,
    /// Nothing of what the node says arrives.
    pub(crate) drops_answers: bool,
    /// Every piece waits so long.
    pub(crate) delay: Duration,
    /// So slow, in bytes per second, each way; 0 is as fast as it goes.
    pub(crate) bytes_per_second: u64,
    /// One in so many pieces of a request is damaged; 0 is none.
    pub(crate) corrupts_requests: u64,
    /// The same for answers.
    pub(crate) corrupts_answers: u64,
    /// One in so many pieces is the last of its connection; 0 is none.
    pub(crate) resets: u64,
    /// Every request is sent to the node a second time, on another connection.
    pub(crate) repeats: bool,
    /// New connections are refused and open ones cut.
    pub(crate) is_down: bool,
}

/// A proxy. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    faults: Arc<watch::Sender<Faults>>,
    pieces: Arc<Mutex<u64>>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Clone)]
struct Link {
    faults: watch::Receiver<Faults>,
    node: SocketAddr,
    /// Counts pieces, so that one in so many is hit.
    pieces: Arc<Mutex<u64>>,
}

impl Proxy {
    pub(crate) fn start(listener: std::net::TcpListener, node: SocketAddr) -> Self {
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let faults = Arc::new(watch::Sender::new(Faults::default()));
        let pieces = Arc::new(Mutex::new(0));
        let link = Link { faults: faults.subscribe(), node, pieces: Arc::clone(&pieces) };
        let accepting = tokio::spawn(accept(listener, link));
        Self { faults, pieces, accepting }
    }

    pub(crate) fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    pub(crate) fn heal(&self) {
        self.set(Faults::default());
    }

    /// How many pieces came by.
    pub(crate) fn pieces(&self) -> u64 {
        *self.pieces.lock().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, link: Link) {
    // The connections end with the one who accepted them.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        if !link.now().is_down {
            connections.spawn(connect(client, link.clone()));
        }
    }
}

async fn connect(client: TcpStream, mut link: Link) {
    let Ok(node) = TcpStream::connect(link.node).await else { return };
    let _ = (client.set_nodelay(true), node.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_node, to_node) = node.into_split();
    let there = pump(from_client, to_node, link.clone(), true);
    let back = pump(from_node, to_client, link.clone(), false);
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = link.faults.wait_for(|faults| faults.is_down) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, link: Link, is_request: bool) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let piece = &mut buffer[..count];
        let faults = link.now();
        sleep(faults.delay).await;
        if if is_request { faults.drops_requests } else { faults.drops_answers } {
            continue;
        }
        let number = link.next();
        let hits = |one_in: u64| one_in > 0 && number.is_multiple_of(one_in);
        if hits(faults.resets) {
            return;
        }
        let corrupts = if is_request { faults.corrupts_requests } else { faults.corrupts_answers };
        if hits(corrupts) {
            // Somewhere in the body: the head is hyper's business, and damaged heads are tested too.
            let place = usize::try_from(number).unwrap() * 7919 % count;
            piece[place] ^= 1 << (number % 8);
        }
        if is_request && faults.repeats {
            tokio::spawn(repeat(link.node, piece.to_vec()));
        }
        if send(&mut to, piece, faults.bytes_per_second).await.is_err() {
            return;
        }
    }
}

async fn send(to: &mut OwnedWriteHalf, piece: &[u8], per_second: u64) -> std::io::Result<()> {
    if per_second == 0 {
        return to.write_all(piece).await;
    }
    // Ten pieces a second.
    for part in piece.chunks(usize::try_from(per_second / 10).unwrap().max(1)) {
        to.write_all(part).await?;
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The same request once more; its answer is lost.
async fn repeat(node: SocketAddr, request: Vec<u8>) {
    let Ok(mut again) = TcpStream::connect(node).await else { return };
    let _ = again.write_all(&request).await;
    let _ = timeout(Duration::from_secs(2), again.read(&mut [0; 1024])).await;
}

impl Link {
    fn now(&self) -> Faults {
        *self.faults.borrow()
    }

    fn next(&self) -> u64 {
        let mut pieces = self.pieces.lock().unwrap();
        *pieces += 1;
        *pieces
    }
}
