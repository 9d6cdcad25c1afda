//! A message means one thing, for the nodes that it names, once. Messages are made by hand here,
//! from the description in `docs/wire.md`.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use crate::common::fake_seal::Packet;
use crate::common::wire::{self, Envelope};
use crate::common::{Echo, FakeSeal, LONG, Node, echo, id, raw, read, response};
use bftkv_protocol::{NodeId, encode};
use bftkv_transport::ServerLimits;

/// The user who asks.
fn user() -> NodeId {
    id(100)
}

async fn post(node: &Node, sealed: &[u8]) -> (u16, Vec<u8>) {
    raw::exchange(node.server.local_addr(), sealed).await
}

/// The signed answer, or the test fails.
async fn answer(node: &Node, sealed: &[u8]) -> Envelope {
    let (status, body) = post(node, sealed).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert_eq!(Packet::read(&body).signer, node.seal.own());
    Envelope::open(&body)
}

async fn refusal(node: &Node, sealed: &[u8]) -> u8 {
    answer(node, sealed).await.outcome().unwrap_err()
}

/// A challenge that the node accepts now.
async fn challenge(node: &Node) -> [u8; 16] {
    let own = node.seal.own();
    let message = wire::request(0, &[(own.clone(), None)], &read(b"x")).seal(&user(), &[own]);
    let answer = answer(node, &message).await;
    assert_eq!(answer.outcome(), Err(wire::STALE));
    answer.challenge()
}

/// A good message for one node.
async fn good(node: &Node, nonce: u8) -> Vec<u8> {
    let own = node.seal.own();
    let recipients = [(own.clone(), Some(challenge(node).await))];
    wire::request(nonce, &recipients, &read(b"x")).seal(&user(), &[own])
}

#[tokio::test]
async fn a_message_made_from_the_description_is_answered() {
    let node = Node::start(1).await;
    let answer = answer(&node, &good(&node, 1).await).await;
    assert_eq!(answer.outcome(), Ok(response(echo(&read(b"x")))));
    assert_eq!((answer.version, answer.nonce), (1, [1; 32]));
    let wire::Body::Answer { asker, .. } = &answer.body else { panic!("not an answer") };
    assert_eq!(*asker, user());
}

#[tokio::test]
async fn the_same_bytes_again_are_refused() {
    let node = Node::start(1).await;
    let message = good(&node, 1).await;
    answer(&node, &message).await.outcome().unwrap();
    assert_eq!(refusal(&node, &message).await, wire::REPLAYED);
    assert_eq!(node.handler.handled(), 1);
}

#[tokio::test]
async fn after_a_restart_the_same_bytes_are_refused() {
    let node = Node::start(1).await;
    let message = good(&node, 1).await;
    answer(&node, &message).await.outcome().unwrap();
    let _ = node.server.shutdown(LONG).await;
    let restarted = Node::start(1).await;
    assert_eq!(refusal(&restarted, &message).await, wire::STALE);
    assert_eq!(restarted.handler.handled(), 0);
}

#[tokio::test]
async fn another_node_does_not_take_the_message() {
    let (first, second) = (Node::start(1).await, Node::start(2).await);
    let message = good(&first, 1).await;
    let (status, _) = post(&second, &message).await;
    assert_eq!(status, 400, "it is not even encrypted to it");
    assert_eq!(second.handler.handled(), 0);
}

#[tokio::test]
async fn a_message_that_names_others_is_refused_even_if_it_is_readable() {
    let (first, second) = (Node::start(1).await, Node::start(2).await);
    let recipients = [(id(1), Some(challenge(&first).await))];
    let readers = [id(1), id(2)];
    let message = wire::request(1, &recipients, &read(b"x")).seal(&user(), &readers);
    assert_eq!(refusal(&second, &message).await, wire::WRONG_RECIPIENT);
    // The second node's challenge does not help: it is not the one that is named.
    let recipients = [(id(1), Some(challenge(&second).await))];
    let message = wire::request(2, &recipients, &read(b"x")).seal(&user(), &readers);
    assert_eq!(refusal(&second, &message).await, wire::WRONG_RECIPIENT);
    assert_eq!(refusal(&first, &message).await, wire::STALE);
    assert_eq!(first.handler.handled() + second.handler.handled(), 0);
}

#[tokio::test]
async fn one_recipient_cannot_spoil_the_message_for_another() {
    let (first, second) = (Node::start(1).await, Node::start(2).await);
    let recipients =
        [(id(1), Some(challenge(&first).await)), (id(2), Some(challenge(&second).await))];
    let readers = [id(1), id(2)];
    let request = wire::request(1, &recipients, &read(b"x"));
    // Node 2 knows the nonce and the challenge, and is faster with a message of its own.
    let stolen = request.seal(&id(2), &readers);
    answer(&first, &stolen).await.outcome().unwrap();
    let message = request.seal(&user(), &readers);
    assert_eq!(answer(&first, &message).await.outcome(), Ok(response(echo(&read(b"x")))));
}

#[tokio::test]
async fn no_changed_byte_is_executed() {
    let node = Node::start(1).await;
    let message = good(&node, 1).await;
    for i in 0..message.len() {
        for flip in [1, 0x80] {
            let mut changed = message.clone();
            changed[i] ^= flip;
            let (status, body) = post(&node, &changed).await;
            assert!(status == 400 || Envelope::open(&body).outcome().is_err(), "byte {i}");
        }
    }
    for length in 0..message.len() {
        let (status, _) = post(&node, &message[..length]).await;
        assert!(status == 400 || status == 411, "length {length}: {status}");
    }
    assert_eq!(node.handler.handled(), 0);
    answer(&node, &message).await.outcome().unwrap();
}

#[tokio::test]
async fn signed_junk_gets_a_bound_refusal() {
    let node = Node::start(1).await;
    let own = node.seal.own();
    let plaintext = Packet::read(&good(&node, 7).await).plaintext.into_vec();
    let sealed =
        |plaintext: &[u8]| Packet::new(user(), std::slice::from_ref(&own), plaintext).to_bytes();
    for length in 33..plaintext.len() {
        let answer = answer(&node, &sealed(&plaintext[..length])).await;
        assert_eq!((answer.outcome(), answer.nonce), (Err(wire::MALFORMED), [7; 32]), "{length}");
    }
    let longer = [plaintext.as_slice(), &[0]].concat();
    assert_eq!(refusal(&node, &sealed(&longer)).await, wire::MALFORMED);
    let mut other_version = plaintext.clone();
    other_version[0] = 2;
    assert_eq!(refusal(&node, &sealed(&other_version)).await, wire::UNSUPPORTED);
    assert_eq!(post(&node, &sealed(&plaintext[..32])).await.0, 400, "no nonce, so no answer");
    assert_eq!(node.handler.handled(), 0);
}

#[tokio::test]
async fn an_unknown_command_and_an_answer_are_no_requests() {
    let node = Node::start(1).await;
    let own = node.seal.own();
    let recipients = vec![(own.clone(), Some(challenge(&node).await))];
    let body = wire::Body::Request { recipients, request: vec![99].into() };
    let unknown = Envelope { version: 1, nonce: [1; 32], body };
    let message = unknown.seal(&user(), std::slice::from_ref(&own));
    assert_eq!(refusal(&node, &message).await, wire::MALFORMED);
    let body = wire::Body::Answer { asker: own.clone(), challenge: [0; 16], outcome: Err(1) };
    let message = Envelope { version: 1, nonce: [2; 32], body }.seal(&user(), &[own]);
    assert_eq!(refusal(&node, &message).await, wire::MALFORMED);
}

#[tokio::test]
async fn too_many_recipients_are_refused() {
    let node = Node::start(1).await;
    let mut recipients = vec![(node.seal.own(), Some(challenge(&node).await)); 257];
    let message = |recipients: &[_]| {
        wire::request(1, recipients, &read(b"x")).seal(&user(), &[node.seal.own()])
    };
    assert_eq!(refusal(&node, &message(&recipients)).await, wire::MALFORMED);
    recipients.pop();
    answer(&node, &message(&recipients)).await.outcome().unwrap();
}

#[tokio::test]
async fn a_stranger_gets_a_signed_refusal_and_cannot_join_for_another() {
    let ring = FakeSeal::knowing(1, [1]);
    let handler = Echo { ring: Some(ring.clone()), ..Echo::default() };
    let node = Node::listen("127.0.0.1:0", ServerLimits::default(), ring, handler).await;
    let own = node.seal.own();
    let request = wire::request(1, &[(own.clone(), None)], &read(b"x"));
    let refused = answer(&node, &request.seal(&id(50), std::slice::from_ref(&own))).await;
    assert_eq!((refused.outcome(), refused.nonce), (Err(wire::UNKNOWN_SENDER), [1; 32]));
    // Somebody else's certificate does not fit the signature.
    let certificate = FakeSeal::new(51).certificate();
    let join = bftkv_protocol::Request::Join { certificate };
    let message = wire::request(2, &[(own.clone(), None)], &join).seal(&id(50), &[own]);
    assert_eq!(post(&node, &message).await.0, 400);
    assert_eq!(node.handler.handled(), 0);
}

#[tokio::test]
async fn the_answer_carries_the_next_challenge() {
    let node = Node::start(1).await;
    let first = answer(&node, &good(&node, 1).await).await;
    let own = node.seal.own();
    let recipients = [(own.clone(), Some(first.challenge()))];
    let message = wire::request(2, &recipients, &read(b"y")).seal(&user(), &[own]);
    answer(&node, &message).await.outcome().unwrap();
    assert_eq!(encode(&first)[0], 1);
}
