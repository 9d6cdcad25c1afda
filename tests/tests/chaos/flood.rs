//! More connections, bytes and junk than a node can take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bftkv::protocol::Request;
use bftkv::transport::{AskOptions, ClientLimits, HttpTransport, Peer, Transport as _};
use bftkv::wot::Sealer;
use bftkv::{Client, GetOptions, Home, PutOptions, Value, Variable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::block_on;
use crate::homes::{Homes, Plan};
use crate::process::Process;

/// What a node may hold at most while it is flooded, resident.
const MOST_KIB: u64 = 256 * 1024;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    idle: usize,
    slow_readers: usize,
    bodies: usize,
    /// Of each body.
    body_bytes: u64,
    junk: Duration,
    operations: usize,
}

#[test]
fn a_flooded_node_serves_others_and_stays_small() {
    let size = Size {
        idle: 600,
        slow_readers: 100,
        bodies: 4,
        body_bytes: 64 << 20,
        junk: Duration::from_secs(2),
        operations: 5,
    };
    block_on(flood(size));
}

/// `cargo test --release -p bftkv-tests --test chaos -- --ignored --nocapture whole_flood`
#[test]
#[ignore = "a measurement"]
fn whole_flood() {
    let size = Size {
        idle: 5000,
        slow_readers: 1000,
        bodies: 8,
        body_bytes: 1 << 30,
        junk: Duration::from_secs(60),
        operations: 100,
    };
    block_on(flood(size));
}

/// A cluster of four, of which one is flooded from other addresses of this machine.
struct World {
    nodes: Vec<Process>,
    client: Client,
    target: SocketAddr,
    homes: Homes,
}

impl World {
    async fn new() -> Self {
        let homes = Homes::new(&Plan { users: 2, ..Plan::default() });
        let mut nodes = Vec::new();
        for i in 0..4 {
            nodes.push(Process::node(&homes.node_path(i)).await);
        }
        let target = homes.node(0).config().node.listen.unwrap();
        Self { nodes, client: homes.client(0).await, target, homes }
    }

    /// Works, and tells the slowest and the median operation, and the flooded node's memory.
    async fn report(&mut self, what: &str, operations: usize) {
        let variable = Variable::new(&b"x"[..]).unwrap();
        let mut times = Vec::new();
        for n in 0..operations {
            let begun = Instant::now();
            let value = Value::new(n.to_string().as_bytes()).unwrap();
            self.client.put(&variable, value, PutOptions::default()).await.unwrap();
            let found = self.client.get(&variable, GetOptions::default()).await.unwrap();
            assert_eq!(found.entry.unwrap().entry().value.as_bytes(), n.to_string().as_bytes());
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        assert!(!self.nodes[0].has_ended(), "it has crashed");
        let (now, most) = (self.nodes[0].memory_kib("VmRSS"), self.nodes[0].memory_kib("VmHWM"));
        println!(
            "{what}: put and get p50 {} ms, worst {} ms; memory {} MiB, at most {} MiB",
            median.as_millis(),
            worst.as_millis(),
            now / 1024,
            most / 1024
        );
        assert!(most < MOST_KIB, "{most} KiB resident");
    }

    /// The flooded node is asked alone: it still answers.
    async fn target_answers(&self) {
        let answer = timeout(Duration::from_secs(30), status(self.target, 200)).await;
        assert_eq!(answer.expect("it does not answer"), 400);
    }
}

async fn flood(size: Size) {
    let mut world = World::new().await;
    world.report("quiet", size.operations).await;

    let idle = connections(world.target, size.idle, b"").await;
    println!("{} idle connections, the rest refused", idle.len());
    world.report("idle connections", size.operations).await;
    drop(idle);
    let options = PutOptions::default();
    world.client.put(&large(), Value::new(vec![7; 1 << 20]).unwrap(), options).await.unwrap();
    let slow = slow_readers(&world, size.slow_readers).await;
    println!("{} answers of 1 MiB that nobody takes", size.slow_readers);
    world.report("slow readers", size.operations).await;
    drop(slow);

    for chunked in [false, true] {
        let taken = bodies(world.target, size.bodies, size.body_bytes, chunked).await;
        println!("chunked {chunked}: {} MiB of bodies were taken before it hung up", taken >> 20);
        world.report("large bodies", size.operations).await;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let junk = throw_junk(world.target, Arc::clone(&stop), Arc::clone(&sent));
    let begun = Instant::now();
    while begun.elapsed() < size.junk {
        world.report("junk at full speed", size.operations).await;
    }
    stop.store(true, Ordering::SeqCst);
    junk.join_all().await;
    let per_second = sent.load(Ordering::SeqCst) as f64 / begun.elapsed().as_secs_f64();
    println!("{per_second:.0} pieces of junk per second");
    world.report("quiet again", size.operations).await;
    world.target_answers().await;
}

/// Addresses of the loopback network, so that no limit for one address stands in the way.
async fn connect(to: SocketAddr, from: usize) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    let bytes = u32::try_from(from).unwrap().to_be_bytes();
    let address = SocketAddr::from(([127, 1 + bytes[2], bytes[3], 9], 0));
    socket.bind(address).ok()?;
    timeout(Duration::from_secs(10), socket.connect(to)).await.ok()?.ok()
}

/// As many connections as are kept open, each of which says this and no more.
async fn connections(to: SocketAddr, count: usize, say: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for n in 0..count {
        if let Some(mut stream) = connect(to, n / 50).await
            && stream.write_all(say).await.is_ok()
        {
            open.push(stream);
        }
    }
    // Those over the limit were told so and closed.
    let is_open = |stream: &TcpStream| matches!(stream.try_read(&mut [0; 64]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    open.retain(is_open);
    open
}

const HEAD: &str =
    "POST /bftkv/1/message HTTP/1.1\r\nhost: t\r\ncontent-type: application/octet-stream\r\n";

/// So many questions whose answers are a MiB long and that nobody takes. They end when this is
/// dropped.
async fn slow_readers(world: &World, count: usize) -> JoinSet<()> {
    let home = Home::open(world.homes.user_path(1)).unwrap();
    let seal = Sealer::new(home.certificates().unwrap().keyring().clone(), home.key());
    let limits = ClientLimits { connections_per_node: count, ..ClientLimits::default() };
    let transport = HttpTransport::new(Arc::new(seal), limits);
    let node = world.homes.ids[0].clone();
    let request = || Request::Read { variable: large(), at: None };
    // The first answer is read: it brings the challenge that later questions need.
    let direct = Peer::new(node.clone(), format!("http://{}", world.target));
    let options = AskOptions::within(Duration::from_secs(600));
    let (_, first) = transport.ask(vec![direct], request(), options).next().await.unwrap();
    assert!(first.unwrap().outcome.is_ok());

    let hole = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = Peer::new(node, format!("http://{}", hole.local_addr().unwrap()));
    let mut tasks = JoinSet::new();
    let (told, mut sent) = mpsc::unbounded_channel();
    tasks.spawn(swallow(hole, world.target, told));
    for _ in 0..count {
        let mut answers = transport.ask(vec![through.clone()], request(), options);
        tasks.spawn(async move { drop(answers.next().await) });
    }
    for _ in 0..count {
        // Those beyond the node's limit of connections are refused, and count as sent.
        timeout(Duration::from_secs(60), sent.recv()).await.expect("they are not sent");
    }
    tasks
}

/// Hands on what clients say to the node, and takes nothing of what it answers.
async fn swallow(hole: TcpListener, node: SocketAddr, told: mpsc::UnboundedSender<()>) {
    let mut connections = JoinSet::new();
    for n in 0.. {
        let (mut client, _) = hole.accept().await.unwrap();
        let told = told.clone();
        connections.spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            let Some(mut to) = connect(node, 400 + n / 50).await else {
                let _ = told.send(());
                return;
            };
            let count = client.read(&mut buffer).await.unwrap_or(0);
            let _ = to.write_all(&buffer[..count]).await;
            let _ = told.send(());
            std::future::pending::<()>().await;
            drop(to);
        });
    }
}

fn large() -> Variable {
    Variable::new(&b"large"[..]).unwrap()
}

/// Sends bodies of this length at once; returns how many bytes were taken.
async fn bodies(to: SocketAddr, count: usize, length: u64, chunked: bool) -> u64 {
    let mut senders = JoinSet::new();
    for n in 0..count {
        senders.spawn(body(to, 200 + n, length, chunked));
    }
    senders.join_all().await.into_iter().sum()
}

async fn body(to: SocketAddr, from: usize, length: u64, chunked: bool) -> u64 {
    let Some(mut stream) = connect(to, from).await else { return 0 };
    // The length that is announced is small, so that only counting helps; what comes is not.
    let framing = if chunked { "transfer-encoding: chunked" } else { "content-length: 4000000" };
    if stream.write_all(format!("{HEAD}{framing}\r\n\r\n").as_bytes()).await.is_err() {
        return 0;
    }
    let data = vec![b'x'; 65536];
    let mut sent = 0;
    while sent < length {
        if chunked && stream.write_all(b"10000\r\n").await.is_err() {
            break;
        }
        match timeout(Duration::from_secs(30), stream.write_all(&data)).await {
            Ok(Ok(())) => sent += 65536,
            _ => break,
        }
        if chunked && stream.write_all(b"\r\n").await.is_err() {
            break;
        }
    }
    sent
}

/// Eight senders that never pause, from as many addresses.
fn throw_junk(to: SocketAddr, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for n in 0..8 {
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        senders.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                status(to, 300 + n).await;
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    senders
}

/// Sends junk and returns the status; 0 if there was none.
async fn status(to: SocketAddr, from: usize) -> u16 {
    let Some(mut stream) = connect(to, from).await else { return 0 };
    let request = format!("{HEAD}content-length: 600\r\n\r\n{}", "\u{1}junk~".repeat(100));
    if stream.write_all(request.as_bytes()).await.is_err() {
        return 0;
    }
    let mut answer = [0; 64];
    match timeout(Duration::from_secs(10), stream.read(&mut answer)).await {
        Ok(Ok(count)) => {
            let text = String::from_utf8_lossy(&answer[..count]).into_owned();
            text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
        }
        _ => 0,
    }
}
