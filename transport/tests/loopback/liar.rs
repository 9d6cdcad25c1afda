//! Nodes, and people on the way, that answer what they should not.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;

use crate::common::fake_seal::Packet;
use crate::common::wire::{Body, Envelope};
use crate::common::{Node, ask_one, bulky, client, echo, id, raw, read, response};
use bftkv_protocol::NodeId;
use bftkv_transport::{Fault, HttpTransport, Peer, Transport, TransportError, TransportRefusal};

/// What node 1 would answer.
fn honest(request: &Envelope) -> Envelope {
    let outcome = Ok(response(echo(&read(b"x"))));
    let body = Body::Answer { asker: id(100), challenge: [3; 16], outcome };
    Envelope { version: 1, nonce: request.nonce, body }
}

/// Asks "node 1", which answers by whatever `reply` makes of the envelope that it got.
async fn ask_liar<F>(reply: F) -> Result<bftkv_protocol::Response, TransportError>
where
    F: Fn(Envelope) -> Vec<u8> + Send + Sync + 'static,
{
    let address = raw::scripted(move |body| raw::ok(&reply(Envelope::open(&body)))).await;
    ask_at(&client(100).0, address).await
}

async fn ask_at(
    transport: &HttpTransport,
    address: SocketAddr,
) -> Result<bftkv_protocol::Response, TransportError> {
    ask_one(transport, Peer::new(id(1), address.to_string()), read(b"x")).await
}

/// What comes back when the node's whole HTTP answer is `bytes`.
async fn ask_http(bytes: &'static [u8]) -> TransportError {
    let address = raw::scripted(move |_| bytes.to_vec()).await;
    ask_at(&client(100).0, address).await.unwrap_err()
}

fn sign(signer: u8, plaintext: &[u8]) -> Vec<u8> {
    Packet::new(id(signer), &[id(100)], plaintext).to_bytes()
}

#[tokio::test]
async fn an_honest_answer_is_taken() {
    let outcome = ask_liar(|request| honest(&request).seal(&id(1), &[id(100)])).await;
    assert_eq!(outcome, Ok(response(echo(&read(b"x")))));
}

#[tokio::test]
async fn an_answer_of_another_node_does_not_count() {
    let outcome = ask_liar(|request| honest(&request).seal(&id(2), &[id(100)])).await;
    let error = outcome.unwrap_err();
    assert_eq!(error, TransportError::WrongSigner { signer: id(2) });
    assert_eq!(error.fault(), Fault::PeerOrPath, "anybody can put it on the wire");
}

#[tokio::test]
async fn an_answer_to_another_request_does_not_count() {
    let outcome = ask_liar(|request| {
        let stale = Envelope { nonce: [9; 32], ..honest(&request) };
        stale.seal(&id(1), &[id(100)])
    });
    assert_eq!(outcome.await, Err(TransportError::WrongRequest));
}

#[tokio::test]
async fn an_answer_for_another_asker_does_not_count() {
    let outcome = ask_liar(|request| {
        let mut other = honest(&request);
        if let Body::Answer { asker, .. } = &mut other.body {
            *asker = id(101);
        }
        other.seal(&id(1), &[id(100)])
    });
    assert_eq!(outcome.await, Err(TransportError::WrongRequest));
}

#[tokio::test]
async fn a_node_that_does_not_know_us_may_name_our_subkey() {
    let outcome = ask_liar(|request| {
        let outcome = Err(crate::common::wire::UNKNOWN_SENDER);
        let body = Body::Answer { asker: id(77), challenge: [3; 16], outcome };
        Envelope { body, ..honest(&request) }.seal(&id(1), &[])
    });
    assert_eq!(outcome.await, Err(TransportError::Refused(TransportRefusal::UnknownSender)));
}

#[tokio::test]
async fn the_own_request_sent_back_is_no_answer() {
    let reflected = raw::scripted(|body| raw::ok(&body)).await;
    let error = ask_at(&client(100).0, reflected).await.unwrap_err();
    assert!(matches!(error, TransportError::NotOpened(_)), "{error}");
    // A request of the node itself, with the right nonce, is none either.
    let outcome = ask_liar(|request| request.seal(&id(1), &[id(100)])).await;
    assert_eq!(outcome, Err(TransportError::WrongRequest));
}

#[tokio::test]
async fn no_changed_byte_of_an_answer_counts() {
    let length = honest(&sample()).seal(&id(1), &[id(100)]).len();
    for i in (0..length).step_by(7) {
        let outcome = ask_liar(move |request| {
            let mut sealed = honest(&request).seal(&id(1), &[id(100)]);
            sealed[i] ^= 1;
            sealed
        });
        let error = outcome.await.unwrap_err();
        assert!(matches!(error, TransportError::NotOpened(_)), "byte {i}: {error}");
    }
}

fn sample() -> Envelope {
    let body = Body::Request { recipients: vec![], request: vec![].into() };
    Envelope { version: 1, nonce: [0; 32], body }
}

#[tokio::test]
async fn signed_nonsense_convicts_the_node() {
    let error = ask_liar(|_| sign(1, b"\x01nonsense")).await.unwrap_err();
    assert_eq!((error.fault(), error), (Fault::Peer, TransportError::MalformedAnswer));
    let error = ask_liar(|_| sign(1, b"\x02later")).await.unwrap_err();
    assert_eq!(error, TransportError::OtherVersion { version: 2 });
    assert_eq!(error.fault(), Fault::World);
}

#[tokio::test]
async fn a_node_that_never_accepts_a_challenge_is_given_up() {
    let outcome = ask_liar(|request| {
        let mut stale = honest(&request);
        if let Body::Answer { outcome, .. } = &mut stale.body {
            *outcome = Err(crate::common::wire::STALE);
        }
        stale.seal(&id(1), &[id(100)])
    });
    let refused = outcome.await.unwrap_err();
    assert!(matches!(refused, TransportError::Refused(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_network_doubles_is_sealed_again() {
    let node = Node::start(1).await;
    let address = node.server.local_addr();
    // Somebody on the way delivers every message beforehand, and keeps the answer.
    let handle = tokio::runtime::Handle::current();
    let first = std::sync::atomic::AtomicBool::new(true);
    let thief = raw::scripted(move |body| {
        let steal = first.swap(false, std::sync::atomic::Ordering::SeqCst);
        tokio::task::block_in_place(|| {
            handle.block_on(async {
                if steal {
                    raw::exchange(address, &body).await;
                }
                raw::ok(&raw::exchange(address, &body).await.1)
            })
        })
    });
    let thief = thief.await;
    let (transport, _) = client(100);
    ask_at(&transport, thief).await.unwrap();
}

#[tokio::test]
async fn http_errors_are_shown_and_not_believed() {
    let error = ask_http(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\ngo\x1b[2Jaway").await;
    assert_eq!(error, TransportError::Http { status: 403, reason: "go[2Jawa".to_owned() });
    assert_eq!(error.fault(), Fault::PeerOrPath);
    let error = ask_http(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n\r\n").await;
    assert!(matches!(error, TransportError::Http { status: 302, .. }), "no redirects: {error}");
}

#[tokio::test]
async fn broken_http_is_an_error() {
    for bytes in [
        b"".as_slice(),
        b"junk",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n",
    ] {
        let error = ask_http(bytes).await;
        let text = String::from_utf8_lossy(bytes);
        assert!(matches!(error, TransportError::Unreachable(_)), "{text}: {error}");
    }
    let empty = ask_http(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert!(matches!(empty, TransportError::NotOpened(_)), "{empty}");
}

#[tokio::test]
async fn endless_answers_and_headers_are_cut_off() {
    let error = ask_http(b"HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nx").await;
    assert!(matches!(error, TransportError::AnswerTooLarge { .. }), "{error}");
    let address = raw::scripted(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..6 {
            bytes.extend_from_slice(b"100000\r\n");
            bytes.resize(bytes.len() + (1 << 20), b'x');
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let error = ask_at(&client(100).0, address.await).await.unwrap_err();
    assert!(matches!(error, TransportError::AnswerTooLarge { .. }), "{error}");
    let address = raw::scripted(|_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nx-long: ".to_vec();
        bytes.resize(1 << 20, b'x');
        bytes
    });
    let error = ask_at(&client(100).0, address.await).await.unwrap_err();
    assert!(matches!(error, TransportError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn the_challenge_of_a_liar_does_not_count_for_others() {
    let honest_node = Node::start(1).await;
    let (transport, seal) = client(100);
    ask_one(&transport, honest_node.peer(), read(b"x")).await.unwrap();
    let before = seal.sealed();
    let liar = raw::scripted(|body| {
        let request = Envelope::open(&body);
        raw::ok(&honest(&request).seal(&id(2), &[id(100)]))
    });
    let at_liar = Peer::new(id(1), liar.await.to_string());
    ask_one(&transport, at_liar, read(b"x")).await.unwrap_err();
    ask_one(&transport, honest_node.peer(), bulky(100)).await.unwrap();
    assert_eq!(seal.sealed(), before + 2, "the honest node's challenge is still the right one");
    let _: &NodeId = transport.id();
}
