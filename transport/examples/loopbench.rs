//! What a round trip over loopback costs without cryptography: CPU time of client and server
//! together, in this one process. Linux only (it reads `/proc/self/stat`).
//!
//! ```text
//! cargo run --release -p bftkv-transport --example loopbench
//! ```
//!
//! With OpenPGP, a round trip costs about 600 microseconds more: see `bftkv bench`.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bftkv_protocol::{
    Answer, CertificateBytes, ConfigurationDigest, NodeId, Opened, Request, Response, Seal,
    SealError, Variable,
};
use bftkv_transport::{
    AskOptions, ClientLimits, HttpServer, HttpTransport, Peer, ServerLimits, Transport,
};

/// Seals nothing: the sender's identity, then the message.
struct NoSeal(NodeId);

const ID_BYTES: usize = 20;

impl Seal for NoSeal {
    fn id(&self) -> &NodeId {
        &self.0
    }

    fn seal(&self, _: &[NodeId], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok([self.0.as_bytes(), plaintext].concat())
    }

    fn open(&self, sealed: &[u8], _: usize) -> Result<Opened, SealError> {
        let bad = || SealError::Bad("too short".to_owned());
        let (sender, plaintext) = sealed.split_at_checked(ID_BYTES).ok_or_else(bad)?;
        let sender = NodeId::from_bytes(sender).map_err(|_| bad())?;
        Ok(Opened { sender, plaintext: plaintext.to_vec(), is_for_anybody: false })
    }

    fn open_from(
        &self,
        sealed: &[u8],
        limit: usize,
        _: &CertificateBytes,
    ) -> Result<Opened, SealError> {
        self.open(sealed, limit)
    }
}

async fn handle(_: NodeId, _: Request) -> Response {
    let configuration = ConfigurationDigest::from_bytes([0; 32]);
    Response { configuration, outcome: Ok(Answer::Entry(None)) }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let seal = Arc::new(NoSeal(NodeId::from_bytes(&[1; ID_BYTES])?));
    let limits = ServerLimits { connections_per_address: 1024, ..ServerLimits::default() };
    let server = HttpServer::bind("127.0.0.1:0", limits, seal.clone(), Arc::new(handle)).await?;
    let peer = Peer::new(seal.0.clone(), server.local_addr().to_string());
    let limits =
        ClientLimits { connections_per_node: 64, idle_per_node: 64, ..ClientLimits::default() };
    let client = HttpTransport::new(Arc::new(NoSeal(NodeId::from_bytes(&[2; ID_BYTES])?)), limits);
    for tasks in [1, 8, 64] {
        measure(&client, &peer, tasks, Duration::from_secs(1)).await?;
        measure(&client, &peer, tasks, Duration::from_secs(4)).await?;
    }
    println!("connections in all: {}", server.accepted());
    Ok(())
}

/// Lets `tasks` tasks ask one after the other for about this time, and prints what it cost.
async fn measure(
    client: &HttpTransport,
    peer: &Peer,
    tasks: usize,
    time: Duration,
) -> Result<(), Box<dyn Error>> {
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let running: Vec<_> = (0..tasks)
        .map(|_| tokio::spawn(ask_until(client.clone(), peer.clone(), begun + time)))
        .collect();
    let mut count = 0;
    for task in running {
        count += task.await?;
    }
    let (wall, cpu) = (begun.elapsed(), cpu_time()? - cpu);
    let per_trip = cpu.as_secs_f64() * 1e6 / f64::from(count);
    let rate = f64::from(count) / wall.as_secs_f64();
    println!("{tasks:>3} tasks: {rate:>8.0} round trips/s, {per_trip:>6.1} us CPU per round trip");
    Ok(())
}

async fn ask_until(client: HttpTransport, peer: Peer, end: Instant) -> u32 {
    let mut count = 0;
    let options = AskOptions::within(Duration::from_secs(5));
    while Instant::now() < end {
        let Ok(variable) = Variable::new(*b"x") else { break };
        let request = Request::Read { variable, at: None };
        let answers = client.ask(vec![peer.clone()], request, options).collect().await;
        count += u32::from(answers.iter().all(|(_, outcome)| outcome.is_ok()));
    }
    count
}

/// User and system time of this process; the kernel counts in hundredths of a second.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("unexpected /proc/self/stat")?;
    let mut times = fields.split_whitespace().skip(11);
    let mut next = || times.next().ok_or("unexpected /proc/self/stat");
    let ticks = next()?.parse::<u64>()? + next()?.parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
