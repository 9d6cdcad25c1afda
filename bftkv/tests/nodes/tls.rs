//! TLS by the web of trust: real certificates, real connections over loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::support::Cluster;
use bftkv::protocol::{
    Answer, CertificateBytes, Channel, ChannelKey, ChannelStanding, ConfigurationDigest, Request,
    Response, Sign as _, SignError,
};
use bftkv::transport::{
    AskOptions, ClientLimits, Fault, HttpServer, HttpTransport, Peer, ServerLimits, Transport,
    TransportError, TransportRefusal,
};
use bftkv::wot::{
    ChannelKeys, Generated, Keyring, KeyringOptions, Sealer, generate_key, generate_sealing_key,
};
use bftkv::{GetOptions, NodeId, PutOptions, Value, Variable};

const LONG: Duration = Duration::from_secs(20);

/// A party with a keyring of its own.
struct Party {
    new: Generated,
    keyring: Keyring,
}

impl Party {
    fn of(new: Generated) -> Self {
        let keyring = Keyring::new(KeyringOptions::default());
        keyring.add_stranger(new.key.certificate_bytes()).unwrap();
        Self { new, keyring }
    }

    fn new(name: &str) -> Self {
        Self::of(generate_key(&format!("{name} <{name}@example.org>"), None).unwrap())
    }

    fn id(&self) -> &NodeId {
        self.new.key.id()
    }

    fn knows(&self, other: &Self) {
        self.keyring.add_stranger(other.new.key.certificate_bytes()).unwrap();
    }

    fn hears_that_it_is_revoked(&self, other: &Self) {
        self.keyring.import(&other.new.revocation).unwrap().pop().unwrap().unwrap();
    }

    fn channel(&self) -> Option<Arc<dyn Channel>> {
        Some(Arc::new(ChannelKeys::of(self.keyring.clone(), &self.new.key)?))
    }

    fn sealer(&self) -> Arc<Sealer> {
        Arc::new(Sealer::new(self.keyring.clone(), self.new.key.clone()))
    }

    fn transport(&self, limits: ClientLimits) -> HttpTransport {
        HttpTransport::with_tls(self.sealer(), self.channel().unwrap(), limits).unwrap()
    }

    async fn serve(&self, limits: ServerLimits) -> HttpServer {
        let keyring = self.keyring.clone();
        let handler = move |_: NodeId, request: Request| {
            let keyring = keyring.clone();
            async move {
                if let Request::Join { certificate } = &request {
                    keyring.add_stranger(certificate).unwrap();
                }
                let configuration = ConfigurationDigest::from_bytes([0; 32]);
                Response { configuration, outcome: Ok(Answer::Entry(None)) }
            }
        };
        let (seal, handler) = (self.sealer(), Arc::new(handler));
        HttpServer::bind_with("127.0.0.1:0", limits, seal, self.channel(), handler).await.unwrap()
    }
}

/// A node and a client that know each other.
fn pair() -> (Party, Party) {
    let (node, client) = (Party::new("node"), Party::new("client"));
    node.knows(&client);
    client.knows(&node);
    (node, client)
}

fn at(node: &Party, server: &HttpServer) -> Peer {
    Peer::new(node.id().clone(), server.local_addr().to_string())
}

/// Every question over a connection of its own: all but the first are resumed sessions.
fn no_reuse() -> ClientLimits {
    ClientLimits { connection_age: Duration::ZERO, ..ClientLimits::default() }
}

async fn ask_for(
    transport: &HttpTransport,
    peer: &Peer,
    request: Request,
) -> Result<Response, TransportError> {
    let mut answers = transport.ask(vec![peer.clone()], request, AskOptions::within(LONG));
    answers.next().await.unwrap().1
}

async fn ask(transport: &HttpTransport, peer: &Peer) -> Result<Response, TransportError> {
    let variable = Variable::new(*b"x").unwrap();
    ask_for(transport, peer, Request::Read { variable, at: None }).await
}

fn refused(answer: Result<Response, TransportError>) -> TransportRefusal {
    match answer {
        Err(TransportError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_users_with_and_without_tls_live_in_one_cluster() {
    let users = ["Alice <alice@example.org>", "Bob <bob@example.org>"];
    let cluster = Cluster::mixed(4, &users, |i| matches!(i, 1 | 3 | 5));
    let mut nodes = Vec::new();
    for i in 0..4 {
        nodes.push(cluster.serve(i).await);
    }
    for (writer, reader, name) in [(4, 5, "by alice"), (5, 4, "by bob")] {
        let (writer, reader) = (cluster.client(writer).await, cluster.client(reader).await);
        let variable = Variable::new(name.as_bytes()).unwrap();
        let value = Value::new(vec![b'v'; 100_000]).unwrap();
        writer.put(&variable, value.clone(), PutOptions::default()).await.unwrap();
        let found = reader.get(&variable, GetOptions::default()).await.unwrap();
        assert_eq!(found.entry.unwrap().entry().value, value);
        assert!(found.culprits.is_empty());
    }
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_nodes_key_is_refused_whatever_is_at_the_address() {
    let (node, client) = pair();
    let other = Party::new("other");
    client.knows(&other);
    let server = node.serve(ServerLimits::default()).await;
    let transport = client.transport(ClientLimits::default());
    let wrong = Peer::new(other.id().clone(), server.local_addr().to_string());
    let error = ask(&transport, &wrong).await.unwrap_err();
    assert_eq!(error, TransportError::WrongKey);
    assert_eq!(error.fault(), Fault::PeerOrPath, "nobody is accused");
    assert!(ask(&transport, &at(&node, &server)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_counts_on_a_connection_that_is_open_and_on_one_that_is_resumed() {
    for limits in [ClientLimits::default(), no_reuse()] {
        let (node, client) = pair();
        let server = node.serve(ServerLimits::default()).await;
        let (transport, peer) = (client.transport(limits.clone()), at(&node, &server));
        for _ in 0..3 {
            assert!(ask(&transport, &peer).await.is_ok());
        }
        let connections = if limits.connection_age.is_zero() { 3 } else { 1 };
        assert_eq!(server.accepted(), connections);
        node.hears_that_it_is_revoked(&client);
        let refusal = refused(ask(&transport, &peer).await);
        assert_eq!((refusal, refusal.code()), (TransportRefusal::SenderNotValid, 10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_asks_a_revoked_node_no_more_in_any_way() {
    for limits in [ClientLimits::default(), no_reuse()] {
        let (node, client) = pair();
        let server = node.serve(ServerLimits::default()).await;
        let (transport, peer) = (client.transport(limits), at(&node, &server));
        assert!(ask(&transport, &peer).await.is_ok());
        let before = transport.traffic();
        client.hears_that_it_is_revoked(&node);
        let error = ask(&transport, &peer).await.unwrap_err();
        assert!(matches!(error, TransportError::Seal(_)), "{error}");
        assert_eq!(transport.traffic(), before, "nothing was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_so_by_number_and_may_join() {
    let (node, client) = (Party::new("node"), Party::new("client"));
    client.knows(&node);
    let server = node.serve(ServerLimits::default()).await;
    let (transport, peer) = (client.transport(ClientLimits::default()), at(&node, &server));
    let refusal = refused(ask(&transport, &peer).await);
    assert_eq!((refusal, refusal.code()), (TransportRefusal::UnknownSender, 4));
    let foreign = node.new.key.certificate_bytes().clone();
    let refusal = refused(ask_for(&transport, &peer, Request::Join { certificate: foreign }).await);
    assert_eq!(refusal, TransportRefusal::UnknownSender, "the certificate must hold the key");
    let certificate = client.new.key.certificate_bytes().clone();
    assert!(ask_for(&transport, &peer, Request::Join { certificate }).await.is_ok());
    assert!(ask(&transport, &peer).await.is_ok());
}

/// Says that it is somebody else.
struct Liar(Arc<dyn Channel>, NodeId);

impl Channel for Liar {
    fn id(&self) -> &NodeId {
        &self.1
    }

    fn own_key(&self) -> ChannelKey {
        self.0.own_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.0.sign(message)
    }

    fn offers(&self, node: &NodeId) -> bool {
        self.0.offers(node)
    }

    fn standing(&self, node: &NodeId, key: &ChannelKey) -> ChannelStanding {
        self.0.standing(node, key)
    }

    fn standing_in(
        &self,
        node: &NodeId,
        key: &ChannelKey,
        certificate: &CertificateBytes,
    ) -> ChannelStanding {
        self.0.standing_in(node, key, certificate)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_in_anothers_name_and_nobody_answers_in_it() {
    let (node, client) = pair();
    let victim = Party::new("victim");
    node.knows(&victim);
    let server = node.serve(ServerLimits::default()).await;
    let liar = Arc::new(Liar(client.channel().unwrap(), victim.id().clone()));
    let limits = ClientLimits::default();
    let transport = HttpTransport::with_tls(client.sealer(), liar, limits.clone()).unwrap();
    let refusal = refused(ask(&transport, &at(&node, &server)).await);
    assert_eq!(refusal, TransportRefusal::UnknownSender);
    assert!(ask(&client.transport(limits), &at(&node, &server)).await.is_ok());
}

/// Takes connections, answers each by `answer`, and gives what came first.
fn man_in_the_middle(answer: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut bytes = vec![0; 16 * 1024];
            let length = stream.read(&mut bytes).unwrap_or(0);
            bytes.truncate(length);
            if bytes == b"the end" {
                return seen;
            }
            let _ = stream.write_all(answer);
            seen.push(bytes);
        }
        seen
    });
    (address, thread)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_on_the_way_can_talk_a_client_down_to_less() {
    let answers: [&'static [u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        // The alerts "protocol version" and "handshake failure" of TLS 1.2.
        &[0x15, 3, 3, 0, 2, 2, 70],
        &[0x15, 3, 3, 0, 2, 2, 40],
        b"",
    ];
    for answer in answers {
        let (node, client) = pair();
        let transport = client.transport(ClientLimits::default());
        let (address, thread) = man_in_the_middle(answer);
        let peer = Peer::new(node.id().clone(), address.clone());
        for _ in 0..2 {
            let error = ask(&transport, &peer).await.unwrap_err();
            assert!(matches!(error, TransportError::Unreachable(_)), "{error}");
        }
        std::net::TcpStream::connect(&address).unwrap().write_all(b"the end").unwrap();
        let seen = thread.join().unwrap();
        assert_eq!(seen.len(), 2, "one connection for each question, and no second try");
        let is_handshake = |bytes: &Vec<u8>| bytes.first() == Some(&0x16);
        assert!(seen.iter().all(is_handshake), "nothing but handshakes was sent");
        let digits = node.id().to_string().to_lowercase();
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).to_lowercase();
        assert!(!seen.iter().any(|bytes| text(bytes).contains(&digits[..32])), "who is asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_such_key_asks_a_tls_node_by_sealed_messages() {
    let (node, client) = (
        Party::new("node"),
        Party::of(generate_sealing_key("client <client@example.org>", None).unwrap()),
    );
    node.knows(&client);
    client.knows(&node);
    assert!(client.channel().is_none());
    let server = node.serve(ServerLimits::default()).await;
    let transport = HttpTransport::new(client.sealer(), ClientLimits::default());
    assert!(ask(&transport, &at(&node, &server)).await.is_ok());
}

/// What the server sends until it closes.
fn exchange(server: &HttpServer, bytes: &[u8]) -> Vec<u8> {
    let mut stream = std::net::TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_slow_handshakes_end_and_harm_nobody() {
    let (node, client) = pair();
    let limits = ServerLimits {
        handshake_timeout: Duration::from_millis(300),
        handshakes: 2,
        ..ServerLimits::default()
    };
    let server = node.serve(limits).await;
    let garbage: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let after = |head: &[u8]| [head, &garbage].concat();
    for bytes in
        [after(&[0x16, 3, 1, 2, 0]), after(&[0x16, 3, 3, 0, 1]), after(b"\x16"), after(b"")]
    {
        let answer = exchange(&server, &bytes);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    }
    // More than may shake hands at one time, and they never end by themselves.
    let held: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(server.local_addr()).unwrap();
            stream.write_all(&[0x16, 3, 1]).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream
        })
        .collect();
    for mut stream in held {
        assert_eq!(stream.read(&mut [0; 16]).unwrap_or(0), 0, "it is closed");
    }
    let transport = client.transport(ClientLimits::default());
    assert!(ask(&transport, &at(&node, &server)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_handshakes_and_the_server_is_as_before() {
    let (node, client) = pair();
    let server = node.serve(ServerLimits::default()).await;
    let (transport, peer) = (client.transport(no_reuse()), at(&node, &server));
    for _ in 0..1000 {
        assert!(ask(&transport, &peer).await.is_ok());
    }
    assert_eq!(server.accepted(), 1000);
    assert_eq!(
        server.shutdown(LONG).await,
        bftkv::transport::Stopped::Cleanly,
        "no connection is left over"
    );
}
