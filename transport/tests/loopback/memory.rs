//! The network within one process, with its faults.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Echo, FakeSeal, ask_one, echo, eventually, id, read, response};
use bftkv_transport::{
    AskOptions, Faults, MemoryNetwork, MemoryTransport, Peer, Transport, TransportError,
};

const SHORT: Duration = Duration::from_millis(150);

/// Node 1 in a network, and user 100; sealed or not.
fn pair(sealed: bool) -> (MemoryNetwork, Arc<Echo>, MemoryTransport) {
    let network = MemoryNetwork::new();
    let handler = Arc::new(Echo::default());
    if sealed {
        network.add_sealed_node(FakeSeal::new(1), handler.clone()).unwrap();
        let transport = network.sealed_transport(FakeSeal::new(100));
        (network, handler, transport)
    } else {
        network.add_node(id(1), handler.clone());
        let transport = network.transport(id(100));
        (network, handler, transport)
    }
}

fn peer() -> Peer {
    Peer::new(id(1), "")
}

async fn ask_shortly(transport: &MemoryTransport) -> Result<(), TransportError> {
    let options = AskOptions::within(SHORT);
    let answers = transport.ask(vec![peer()], read(b"x"), options).collect().await;
    answers.into_iter().next().unwrap().1.map(drop)
}

#[tokio::test]
async fn requests_are_answered() {
    for sealed in [false, true] {
        let (_, _, transport) = pair(sealed);
        assert_eq!(transport.id(), &id(100));
        let answer = ask_one(&transport, peer(), read(b"x")).await;
        assert_eq!(answer, Ok(response(echo(&read(b"x")))));
    }
}

#[tokio::test]
async fn who_is_down_or_away_refuses_at_once() {
    for sealed in [false, true] {
        let (network, handler, transport) = pair(sealed);
        network.set_faults(&id(1), Faults::down());
        let down = ask_one(&transport, peer(), read(b"x")).await;
        assert!(matches!(down, Err(TransportError::Unreachable(_))));
        network.heal();
        network.remove_node(&id(1));
        let away = ask_one(&transport, peer(), read(b"x")).await;
        assert!(matches!(away, Err(TransportError::Unreachable(_))));
        assert_eq!(handler.handled(), 0);
    }
}

#[tokio::test]
async fn lost_requests_are_not_handled_and_lost_answers_are() {
    for sealed in [false, true] {
        let (network, handler, transport) = pair(sealed);
        ask_one(&transport, peer(), read(b"x")).await.unwrap();
        network.set_faults(&id(1), Faults::silent());
        assert_eq!(ask_shortly(&transport).await, Err(TransportError::TimedOut));
        assert_eq!(handler.handled(), 1);
        network.set_faults(&id(1), Faults { lose_answers: true, ..Faults::default() });
        assert_eq!(ask_shortly(&transport).await, Err(TransportError::TimedOut));
        assert_eq!(handler.handled(), 2);
    }
}

#[tokio::test]
async fn a_partition_separates_its_parts_only() {
    let (network, _, transport) = pair(false);
    network.partition(&[&[id(1)], &[id(100)]]);
    assert_eq!(ask_shortly(&transport).await, Err(TransportError::TimedOut));
    ask_one(&network.transport(id(101)), peer(), read(b"x")).await.unwrap();
    network.partition(&[&[id(1), id(100)], &[id(2)]]);
    ask_one(&transport, peer(), read(b"x")).await.unwrap();
    network.partition(&[&[id(1)], &[id(100)]]);
    network.heal();
    ask_one(&transport, peer(), read(b"x")).await.unwrap();
}

#[tokio::test]
async fn delays_count_in_both_directions() {
    for sealed in [false, true] {
        let (network, _, transport) = pair(sealed);
        network.set_faults(&id(1), Faults::slow(SHORT));
        let begun = tokio::time::Instant::now();
        ask_one(&transport, peer(), read(b"x")).await.unwrap();
        assert!(begun.elapsed() >= SHORT * 2);
    }
}

#[tokio::test]
async fn a_request_that_comes_twice_is_handled_once_if_it_is_sealed() {
    for (sealed, times) in [(false, 2), (true, 1)] {
        let (network, handler, transport) = pair(sealed);
        network.set_faults(&id(1), Faults { duplicate_requests: true, ..Faults::default() });
        ask_one(&transport, peer(), read(b"x")).await.unwrap();
        eventually("all are handled", || handler.finished() == times).await;
    }
}

#[tokio::test]
async fn a_changed_answer_is_noticed() {
    let (network, _, transport) = pair(true);
    network.set_faults(&id(1), Faults { garble_answers: true, ..Faults::default() });
    let error = ask_one(&transport, peer(), read(b"x")).await.unwrap_err();
    assert!(matches!(error, TransportError::NotOpened(_)), "{error}");
}

#[tokio::test]
async fn sealed_and_plain_do_not_talk() {
    let (network, handler, _) = pair(true);
    let plain = network.transport(id(100));
    assert!(ask_one(&plain, peer(), read(b"x")).await.is_err());
    assert_eq!(handler.handled(), 0);
}

#[tokio::test]
async fn a_function_is_a_handler() {
    let network = MemoryNetwork::new();
    network.add_node(id(1), Arc::new(|_, request| async move { response(echo(&request)) }));
    ask_one(&network.transport(id(100)), peer(), read(b"x")).await.unwrap();
}
