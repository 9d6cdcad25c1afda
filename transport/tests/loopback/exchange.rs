//! Nodes that are honest, over loopback.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::common::response;
use crate::common::{
    Echo, FakeSeal, LONG, Node, ask_one, bulky, client, echo, eventually, id, read,
};
use bftkv_protocol::{Request, SealError};
use bftkv_transport::{
    AskOptions, ClientLimits, Fault, HttpServer, HttpTransport, Peer, ServeError, ServerLimits,
    Transport, TransportError, TransportRefusal,
};

#[tokio::test]
async fn a_request_and_its_answer() {
    let node = Node::start(1).await;
    let (transport, _) = client(100);
    let request = read(b"x");
    let answer = ask_one(&transport, node.peer(), request.clone()).await;
    assert_eq!(answer, Ok(response(echo(&request))));
    assert_eq!(node.handler.handled(), 1);
}

#[tokio::test]
async fn large_values_travel_both_ways() {
    let node = Node::start(1).await;
    let (transport, _) = client(100);
    let request = bulky(1024 * 1024);
    let answer = ask_one(&transport, node.peer(), request.clone()).await;
    assert_eq!(answer, Ok(response(echo(&request))));
}

#[tokio::test]
async fn one_message_is_sealed_once_for_all() {
    let mut nodes = Vec::new();
    for byte in 1..=5 {
        nodes.push(Node::start(byte).await);
    }
    let peers: Vec<Peer> = nodes.iter().map(Node::peer).collect();
    let (transport, seal) = client(100);
    let options = AskOptions::within(LONG);
    let first = transport.ask(peers.clone(), read(b"x"), options).collect().await;
    assert!(first.len() == 5 && first.iter().all(|(_, outcome)| outcome.is_ok()));
    // At first no challenge is known, so each node gets a second message of its own.
    assert_eq!(seal.sealed(), 1 + 5);
    let again = transport.ask(peers, read(b"x"), options).collect().await;
    assert!(again.len() == 5 && again.iter().all(|(_, outcome)| outcome.is_ok()));
    assert_eq!(seal.sealed(), 1 + 5 + 1);
    assert!(nodes.iter().all(|node| node.handler.handled() == 2));
}

#[tokio::test]
async fn connections_are_kept_and_shared() {
    let node = Node::start(1).await;
    let (transport, _) = client(100);
    for _ in 0..20 {
        ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
    }
    assert_eq!(node.server.accepted(), 1);
}

#[tokio::test]
async fn a_burst_stays_within_the_connections_of_a_node() {
    let node = Node::start(1).await;
    let seal = FakeSeal::new(100);
    let limits = ClientLimits { connections_per_node: 3, ..ClientLimits::default() };
    let transport = HttpTransport::new(seal, limits);
    let asked: Vec<_> = (0..50u8)
        .map(|i| transport.ask(vec![node.peer()], read(&[i + 1]), AskOptions::within(LONG)))
        .collect();
    for answers in asked {
        assert!(answers.collect().await.iter().all(|(_, outcome)| outcome.is_ok()));
    }
    assert!(node.server.accepted() <= 3, "{}", node.server.accepted());
}

#[tokio::test]
async fn a_restarted_node_is_asked_again_without_anybody_noticing() {
    let first = Node::start(1).await;
    let (transport, _) = client(100);
    ask_one(&transport, first.peer(), read(b"x")).await.unwrap();
    let (peer, address) = (first.peer(), first.server.local_addr().to_string());
    // Its connection is in the pool, its challenge is known; both are worthless afterwards.
    let _ = first.server.shutdown(LONG).await;
    let limits = ServerLimits::default();
    let second = Node::listen(&address, limits, FakeSeal::new(1), Echo::default()).await;
    ask_one(&transport, peer, read(b"x")).await.unwrap();
    assert_eq!(second.handler.handled(), 1);
}

#[tokio::test]
async fn every_node_gives_one_answer_or_one_error() {
    let node = Node::start(1).await;
    let (transport, _) = client(100);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peers = vec![
        node.peer(),
        node.peer(),
        Peer::new(id(2), format!("http://{closed}")),
        Peer::new(id(3), "https://127.0.0.1:1"),
        Peer::new(id(200), "http://127.0.0.1:1"),
    ];
    let answers = transport.ask(peers, read(b"x"), AskOptions::within(LONG)).collect().await;
    assert_eq!(answers.len(), 4);
    let answers: BTreeMap<_, _> = answers.into_iter().collect();
    assert!(answers[&id(1)].is_ok());
    assert!(matches!(answers[&id(2)], Err(TransportError::Unreachable(_))));
    assert!(matches!(answers[&id(3)], Err(TransportError::BadAddress { .. })));
    let unknown = answers[&id(200)].clone().unwrap_err();
    assert!(matches!(&unknown, TransportError::Seal(SealError::Recipient { .. })));
    assert_eq!(unknown.fault(), Fault::Ours);
    assert_eq!(node.handler.handled(), 1, "named twice, asked once");
}

#[tokio::test]
async fn a_slow_node_costs_the_deadline_only() {
    let handler = Echo { delay: LONG, ..Echo::default() };
    let slow = Node::with(1, ServerLimits::default(), handler).await;
    let (transport, _) = client(100);
    let options = AskOptions::within(Duration::from_millis(200));
    let answers = transport.ask(vec![slow.peer()], read(b"x"), options).collect().await;
    assert_eq!(answers, [(id(1), Err(TransportError::TimedOut))]);
}

#[tokio::test]
async fn a_slow_handler_is_refused_and_runs_to_its_end() {
    let limits =
        ServerLimits { handler_timeout: Duration::from_millis(50), ..ServerLimits::default() };
    let handler = Echo { delay: Duration::from_millis(400), ..Echo::default() };
    let node = Node::with(1, limits, handler).await;
    let (transport, _) = client(100);
    let outcome = ask_one(&transport, node.peer(), read(b"x")).await;
    assert_eq!(outcome, Err(TransportError::Refused(TransportRefusal::Overloaded)));
    eventually("the handler ends", || node.handler.finished() == 1).await;
}

#[tokio::test]
async fn what_is_asked_in_the_background_goes_on_when_the_answers_are_dropped() {
    let node = Node::start(1).await;
    let (transport, _) = client(100);
    let options = AskOptions::within(LONG).in_background();
    // The first exchange needs a challenge, so it takes two round trips: dropped before either.
    drop(transport.ask(vec![node.peer()], read(b"x"), options));
    eventually("the request is handled", || node.handler.handled() == 1).await;
}

#[tokio::test]
async fn what_is_not_asked_in_the_background_is_given_up() {
    let node = Node::start(1).await;
    let (transport, _) = client(100);
    drop(transport.ask(vec![node.peer()], read(b"x"), AskOptions::within(LONG)));
    // The second question is handled, the first never is: its challenge was missing and nobody
    // wanted it sealed again.
    ask_one(&transport, node.peer(), read(b"y")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(node.handler.handled(), 1);
}

#[tokio::test]
async fn a_stranger_may_join_and_is_known_then() {
    let ring = FakeSeal::knowing(1, [1]);
    let handler = Echo { ring: Some(ring.clone()), ..Echo::default() };
    let node = Node::listen("127.0.0.1:0", ServerLimits::default(), ring, handler).await;
    let (transport, seal) = client(100);
    let before = ask_one(&transport, node.peer(), read(b"x")).await;
    assert_eq!(before, Err(TransportError::Refused(TransportRefusal::UnknownSender)));
    assert_eq!(node.handler.handled(), 0);
    let join = Request::Join { certificate: seal.certificate() };
    ask_one(&transport, node.peer(), join).await.unwrap();
    ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
    assert_eq!(node.handler.handled(), 2);
}

#[tokio::test]
async fn a_sender_whose_key_has_run_out_learns_so_and_may_join_with_a_renewed_one() {
    let ring = FakeSeal::new(1);
    let handler = Echo { ring: Some(ring.clone()), ..Echo::default() };
    let node = Node::listen("127.0.0.1:0", ServerLimits::default(), ring.clone(), handler).await;
    let (transport, seal) = client(100);
    ask_one(&transport, node.peer(), read(b"x")).await.unwrap();
    ring.lapse(seal.own());
    let outcome = ask_one(&transport, node.peer(), read(b"x")).await;
    assert_eq!(outcome, Err(TransportError::Refused(TransportRefusal::SenderNotValid)));
    assert_eq!(node.handler.handled(), 1);
    let join = Request::Join { certificate: seal.certificate() };
    ask_one(&transport, node.peer(), join).await.unwrap();
    assert_eq!(node.handler.handled(), 2);
}

#[tokio::test]
async fn a_stranger_whom_the_handler_does_not_take_learns_so() {
    let node = Node::listen(
        "127.0.0.1:0",
        ServerLimits::default(),
        FakeSeal::knowing(1, [1]),
        Echo::default(),
    )
    .await;
    let (transport, seal) = client(100);
    let join = Request::Join { certificate: seal.certificate() };
    let outcome = ask_one(&transport, node.peer(), join).await;
    assert_eq!(outcome, Err(TransportError::Refused(TransportRefusal::UnknownSender)));
}

#[tokio::test]
async fn a_request_above_the_limit_is_the_callers_fault() {
    let (transport, _) = client(100);
    let ids = (0..250_000u32).map(|i| {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&i.to_be_bytes());
        bftkv_protocol::NodeId::from_bytes(&bytes).unwrap()
    });
    let request = Request::Certificates { ids: ids.collect() };
    let peer = Peer::new(id(1), "127.0.0.1:1");
    let error = ask_one(&transport, peer, request).await.unwrap_err();
    assert!(matches!(error, TransportError::RequestTooLarge { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Caller);
}

#[tokio::test]
async fn a_port_in_use_and_bad_addresses_say_what_to_do() {
    let node = Node::start(1).await;
    let start = async |address: &str| {
        let seal = FakeSeal::new(2);
        let handler = Arc::new(Echo::default());
        HttpServer::bind(address, ServerLimits::default(), seal, handler).await.unwrap_err()
    };
    let taken = start(&node.server.local_addr().to_string()).await;
    assert!(matches!(taken, ServeError::PortInUse(_)));
    assert!(taken.to_string().contains("choose another port"), "{taken}");
    assert!(matches!(start("192.0.2.1:0").await, ServeError::NotLocal(_)));
    for address in ["", "127.0.0.1", "127.0.0.1:99999", "no host:1"] {
        let error = start(address).await;
        assert!(matches!(error, ServeError::BadAddress { .. }), "{address}: {error}");
    }
}
