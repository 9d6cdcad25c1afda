//! What the tests of this crate share. Not every test file uses all of it.
#![allow(dead_code, missing_docs, unreachable_pub)]
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::exhaustive_enums)]

pub mod fake_channel;
pub mod fake_seal;
pub mod raw;
pub mod raw_tls;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bftkv_protocol::{
    Answer, CertificateBytes, ConfigurationDigest, NodeId, Request, Response, Timestamp, Value,
    Variable,
};
use bftkv_transport::{
    AskOptions, BoxFuture, ClientLimits, Handler, HttpServer, HttpTransport, Peer, ServerLimits,
    Transport, TransportError,
};
pub use fake_seal::FakeSeal;

/// Generous: a test that waits so long has failed.
pub const LONG: Duration = Duration::from_secs(20);

pub fn id(byte: u8) -> NodeId {
    NodeId::from_bytes(&[byte; 20]).unwrap()
}

pub fn response(answer: Answer) -> Response {
    let configuration = ConfigurationDigest::from_bytes([1; 32]);
    Response { configuration, outcome: Ok(answer) }
}

pub fn read(name: &[u8]) -> Request {
    Request::Read { variable: Variable::new(name).unwrap(), at: None }
}

/// A request of about this size, which [`Echo`] gives back.
pub fn bulky(bytes: usize) -> Request {
    let parts = vec![0xA5; bytes];
    let certificate = CertificateBytes::new(&parts[..bytes.clamp(1, 65536)]).unwrap();
    if bytes <= 65536 {
        return Request::Introduce { certificate };
    }
    let entry = bftkv_protocol::Entry {
        realm: bftkv_protocol::Realm::new("test").unwrap(),
        variable: Variable::new(*b"x").unwrap(),
        value: Value::new(parts).unwrap(),
        timestamp: Timestamp::new(1),
        is_final: false,
        writer: id(1),
        owner: bftkv_protocol::Address::new("a@b").unwrap(),
    };
    let signature = bftkv_protocol::SignatureBytes::new(vec![1]).unwrap();
    let signature = bftkv_protocol::WriterSignature::new(signature);
    let entry = bftkv_protocol::SignedEntry { entry, signature };
    Request::Sign { entry, evidence: bftkv_protocol::Evidence::default() }
}

/// Counts what reaches it; answers with the bytes that it got as a list of certificates.
#[derive(Debug, Default)]
pub struct Echo {
    pub handled: AtomicUsize,
    pub finished: AtomicUsize,
    pub delay: Duration,
    /// Keeps the certificate of whoever joins.
    pub ring: Option<Arc<FakeSeal>>,
}

impl Echo {
    pub fn handled(&self) -> usize {
        self.handled.load(Ordering::SeqCst)
    }

    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }
}

impl Handler for Echo {
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        self.handled.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            if let (Some(ring), Request::Join { .. }) = (&self.ring, &request) {
                ring.learn(sender);
            }
            self.finished.fetch_add(1, Ordering::SeqCst);
            response(echo(&request))
        })
    }
}

pub fn echo(request: &Request) -> Answer {
    let bytes = bftkv_protocol::encode(request);
    let parts = bytes.chunks(65536).map(|part| CertificateBytes::new(part).unwrap());
    Answer::Certificates(parts.collect())
}

/// A listening node.
pub struct Node {
    pub server: HttpServer,
    pub seal: Arc<FakeSeal>,
    pub handler: Arc<Echo>,
}

impl Node {
    /// Node `byte`, which knows nodes 1 to 9 and users 100 to 109.
    pub async fn start(byte: u8) -> Self {
        Self::with(byte, ServerLimits::default(), Echo::default()).await
    }

    pub async fn with(byte: u8, limits: ServerLimits, handler: Echo) -> Self {
        let seal = FakeSeal::new(byte);
        Self::listen("127.0.0.1:0", limits, seal, handler).await
    }

    pub async fn listen(
        address: &str,
        limits: ServerLimits,
        seal: Arc<FakeSeal>,
        handler: Echo,
    ) -> Self {
        let handler = Arc::new(handler);
        let server = HttpServer::bind(address, limits, seal.clone(), handler.clone()).await;
        Self { server: server.unwrap(), seal, handler }
    }

    pub fn peer(&self) -> Peer {
        Peer::new(self.seal.own(), format!("http://{}", self.server.local_addr()))
    }
}

pub fn client(byte: u8) -> (HttpTransport, Arc<FakeSeal>) {
    let seal = FakeSeal::new(byte);
    (HttpTransport::new(seal.clone(), ClientLimits::default()), seal)
}

pub async fn ask_one(
    transport: &dyn Transport,
    peer: Peer,
    request: Request,
) -> Result<Response, TransportError> {
    let mut answers = transport.ask(vec![peer.clone()], request, AskOptions::within(LONG));
    let (node, outcome) = answers.next().await.unwrap();
    assert_eq!(node, peer.node);
    assert!(answers.next().await.is_none());
    outcome
}

/// Waits until it holds, with a generous limit.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
