//! Who is at the other end of TLS: real handshakes over loopback, keys whose owners stand in a
//! table. `bftkv/tests/nodes/tls.rs` has the same with certificates.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::common::fake_channel::FakeChannel;
use crate::common::raw_tls::{Hands, question};
use crate::common::{Echo, FakeSeal, LONG, ask_one, id, raw, read, wire};
use bftkv_protocol::ChannelStanding::{NotValidNow, Valid};
use bftkv_protocol::{Response, decode};
use bftkv_transport::{
    ClientLimits, HttpServer, HttpTransport, Peer, ServerLimits, TransportError, TransportRefusal,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// The node of these tests, and its key.
const NODE: u8 = 1;
/// The user of these tests, and its key.
const USER: u8 = 100;

struct Node {
    server: HttpServer,
    channel: Arc<FakeChannel>,
    handler: Arc<Echo>,
}

impl Node {
    async fn start() -> Self {
        Self::with(FakeChannel::new(NODE, [USER])).await
    }

    async fn with(channel: Arc<FakeChannel>) -> Self {
        let (seal, handler) = (FakeSeal::new(NODE), Arc::new(Echo::default()));
        let limits = ServerLimits::default();
        let server = HttpServer::bind_with(
            "127.0.0.1:0",
            limits,
            seal,
            Some(channel.clone()),
            handler.clone(),
        );
        Self { server: server.await.unwrap(), channel, handler }
    }

    fn peer(&self) -> Peer {
        self.named(NODE)
    }

    /// The same address under another node's name.
    fn named(&self, node: u8) -> Peer {
        Peer::new(id(node), self.server.local_addr().to_string())
    }

    fn handled(&self) -> usize {
        self.handler.handled()
    }

    /// The status, and what the outcome is, of a question by hand.
    async fn ask(&self, hands: Hands, path: &str, question: &[u8]) -> (u16, Vec<u8>) {
        let mut stream = hands.shake(self.server.local_addr()).await.unwrap();
        stream.write_all(&raw::post_to(path, question)).await.unwrap();
        let (head, body) = raw::read_message(&mut stream).await.unwrap();
        (raw::status(head.as_bytes()), body)
    }

    /// Whether a client gets nothing out of it.
    async fn turns_away(&self, hands: Hands) -> bool {
        let Ok(mut stream) = hands.shake(self.server.local_addr()).await else { return true };
        let request = raw::post_to(PATH, &question(1, USER, NODE, &read(b"x")));
        let _ = stream.write_all(&request).await;
        let first = timeout(LONG, stream.read(&mut [0])).await.expect("no answer, and no end");
        matches!(first, Ok(0) | Err(_))
    }
}

const PATH: &str = "/bftkv/1/request";

fn transport(channel: &Arc<FakeChannel>, limits: ClientLimits) -> HttpTransport {
    HttpTransport::with_tls(FakeSeal::new(USER), channel.clone(), limits).unwrap()
}

/// One connection for all questions, and one for each.
fn both_ways() -> [ClientLimits; 2] {
    let each = ClientLimits { connection_age: Duration::ZERO, ..ClientLimits::default() };
    [ClientLimits::default(), each]
}

#[tokio::test]
async fn both_ends_show_their_keys_once_and_sessions_are_resumed() {
    for (limits, connections) in both_ways().into_iter().zip([1, 5]) {
        let node = Node::start().await;
        let user = FakeChannel::new(USER, [NODE]);
        let transport = transport(&user, limits);
        for _ in 0..5 {
            ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
        }
        assert_eq!(node.server.accepted(), connections);
        assert_eq!((node.channel.signed(), user.signed()), (1, 1), "and no more signatures");
        assert_eq!(node.handled(), 5);
    }
}

#[tokio::test]
async fn a_key_that_ceases_to_be_the_nodes_counts_no_more_wherever_it_was_shown() {
    for limits in both_ways() {
        let node = Node::start().await;
        let user = FakeChannel::new(USER, [NODE]);
        let transport = transport(&user, limits);
        ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
        // The node's certificate has another key now; somebody has stolen the old one.
        user.learn(NODE, NODE, NotValidNow);
        user.learn(NODE, 50, Valid);
        for _ in 0..3 {
            let error = ask_one(&transport, node.peer(), read(b"x")).await.unwrap_err();
            assert_eq!(error, TransportError::WrongKey);
        }
        assert_eq!(node.handled(), 1, "nothing more was asked over it");
        // Who has the new key is asked, at whatever address.
        let new = Node::with(FakeChannel::with_key(NODE, 50, 50, [USER])).await;
        ask_one(&transport, new.peer(), read(b"x")).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_with_one_node_says_nothing_for_another_at_its_address() {
    for limits in both_ways() {
        let node = Node::start().await;
        let transport = transport(&FakeChannel::new(USER, [NODE, 2]), limits);
        ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
        let error = ask_one(&transport, node.named(2), read(b"x")).await.unwrap_err();
        assert_eq!(error, TransportError::WrongKey);
        assert_eq!(node.handled(), 1);
    }
}

#[tokio::test]
async fn a_clients_key_is_looked_up_for_each_question() {
    for limits in both_ways() {
        let node = Node::start().await;
        let transport = transport(&FakeChannel::new(USER, [NODE]), limits);
        ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
        node.channel.learn(USER, USER, NotValidNow);
        let refused = ask_one(&transport, node.peer(), read(b"x")).await;
        assert_eq!(refused, Err(TransportError::Refused(TransportRefusal::SenderNotValid)));
        node.channel.learn(USER, USER, Valid);
        ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
        assert_eq!(node.handled(), 2);
    }
}

#[tokio::test]
async fn who_shows_a_key_must_have_its_secret() {
    let node = Node::start().await;
    let thief = Hands { shown: Some(USER), ..Hands::of(66) };
    assert!(node.turns_away(thief).await);
    assert!(!node.turns_away(Hands::of(USER)).await, "its owner is not");
    assert_eq!(node.handled(), 1);

    let thief = Node::with(FakeChannel::with_key(NODE, NODE, 66, [USER])).await;
    let transport = transport(&FakeChannel::new(USER, [NODE]), ClientLimits::default());
    let error = ask_one(&transport, thief.peer(), read(b"x")).await.unwrap_err();
    assert!(matches!(error, TransportError::WrongKey | TransportError::Unreachable(_)), "{error}");
    assert_eq!(thief.handled(), 0);
}

#[tokio::test]
async fn who_shows_no_key_or_speaks_something_else_is_turned_away() {
    let node = Node::start().await;
    let good = || Hands::of(USER);
    for (what, hands) in [
        ("no key", Hands { shown: None, ..good() }),
        ("X.509", Hands { raw: false, ..good() }),
        ("no protocol", Hands { alpn: Vec::new(), ..good() }),
        ("another protocol", Hands { alpn: vec![b"http/1.1".to_vec()], ..good() }),
    ] {
        assert!(node.turns_away(hands).await, "{what}");
    }
    assert_eq!(node.handled(), 0);
    assert!(!node.turns_away(good()).await);
}

#[tokio::test]
async fn a_strangers_key_finishes_the_handshake_and_is_refused_by_number() {
    let node = Node::start().await;
    let asked = question(1, 77, NODE, &read(b"x"));
    let (status, body) = node.ask(Hands::of(77), PATH, &asked).await;
    assert_eq!((status, body), (200, vec![1, wire::UNKNOWN_SENDER]));
    assert_eq!(node.handled(), 0);
}

#[tokio::test]
async fn a_question_is_examined_before_it_is_handled() {
    let node = Node::start().await;
    let request = read(b"x");
    let good = question(1, USER, NODE, &request);
    let (cut, longer) = (&good[..good.len() - 1], [good.as_slice(), &[0]].concat());
    for (what, asked, refusal) in [
        ("too short", cut, wire::MALFORMED),
        ("too long", &longer, wire::MALFORMED),
        ("version", &question(2, USER, NODE, &request), wire::UNSUPPORTED),
        ("for another node", &question(1, USER, 2, &request), wire::WRONG_RECIPIENT),
        ("by another", &question(1, 101, NODE, &request), wire::UNKNOWN_SENDER),
    ] {
        let (status, body) = node.ask(Hands::of(USER), PATH, asked).await;
        assert_eq!((status, body), (200, vec![1, refusal]), "{what}");
    }
    assert_eq!(node.handled(), 0);
    let (status, body) = node.ask(Hands::of(USER), PATH, &good).await;
    assert_eq!((status, body.first()), (200, Some(&0)));
    let outcome: Result<Response, u8> = decode(&body).unwrap();
    assert_eq!(outcome.unwrap(), crate::common::response(crate::common::echo(&request)));
}

#[tokio::test]
async fn questions_go_over_tls_only_and_sealed_messages_beside_it_only() {
    let node = Node::start().await;
    let asked = question(1, USER, NODE, &read(b"x"));
    let sealed = wire::request(1, &[(id(NODE), None)], &read(b"x")).seal(&id(USER), &[id(NODE)]);
    let address = node.server.local_addr();
    let plain = raw::send_and_read(address, &raw::post_to(PATH, &asked)).await;
    assert_eq!(raw::status(&plain), 404, "anybody could say that he is anybody");
    assert_eq!(node.ask(Hands::of(USER), "/bftkv/1/message", &sealed).await.0, 404);
    assert_eq!(node.handled(), 0);
    ask_one(&crate::common::client(USER).0, node.peer(), read(b"x"))
        .await
        .expect("on the same port");
    assert_eq!(node.handled(), 1);
}

#[tokio::test]
async fn certificates_alone_decide_how_a_node_is_asked() {
    let node = Node::start().await;
    // A node whose certificate holds no key for connections is asked by sealed messages, whatever
    // its server can do, and one whose certificate holds one is not.
    for (known, handshakes) in [(None, 0), (Some(NODE), 1)] {
        let user = FakeChannel::new(USER, known);
        let seal = FakeSeal::new(USER);
        let limits = ClientLimits::default();
        let transport = HttpTransport::with_tls(seal.clone(), user.clone(), limits).unwrap();
        for peer in [node.peer(), Peer::new(id(NODE), format!("http://{}", node.peer().url))] {
            ask_one(&transport, peer, read(b"x")).await.unwrap();
        }
        assert_eq!(user.signed(), handshakes);
        assert_eq!(seal.sealed() == 0, handshakes > 0);
    }
}
