//! Peers that send too much, too slowly, too often, or nothing at all. The limits are short here;
//! the tests wait much longer, so that only a missing limit fails them.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{Echo, LONG, Node, ask_one, bulky, client, eventually, raw, read, wire};
use bftkv_protocol::Request;
use bftkv_transport::{HttpServer, Peer, ServerLimits, Stopped, TransportError, TransportRefusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);

async fn node(limits: ServerLimits) -> Node {
    Node::with(1, limits, Echo::default()).await
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// The status for these bytes, and proof that the node still serves others.
async fn status_of(node: &Node, bytes: &[u8]) -> u16 {
    let answer = raw::send_and_read(node.server.local_addr(), bytes).await;
    alive(node).await;
    raw::status(&answer)
}

async fn alive(node: &Node) {
    ask_one(&client(100).0, node.peer(), read(b"x")).await.unwrap();
}

fn head(lines: &str) -> Vec<u8> {
    let usual =
        "POST /bftkv/1/message HTTP/1.1\r\nhost: t\r\ncontent-type: application/octet-stream";
    format!("{usual}\r\n{lines}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn whatever_is_no_message_gets_its_status() {
    let limits = ServerLimits { header_timeout: SHORT, ..ServerLimits::default() };
    let node = node(limits).await;
    let kind = "content-type: application/octet-stream";
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(), 404),
        ("GET /bftkv/1/message HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(), 405),
        ("OPTIONS /bftkv/1/message HTTP/1.1\r\nhost: t\r\n\r\n".to_owned(), 405),
        (format!("POST /bftkv/2/message HTTP/1.1\r\n{kind}\r\ncontent-length: 1\r\n\r\nx"), 404),
        (format!("POST /bftkv/1/message?x HTTP/1.1\r\n{kind}\r\ncontent-length: 1\r\n\r\nx"), 404),
        ("POST /bftkv/1/message HTTP/1.1\r\ncontent-length: 1\r\n\r\nx".to_owned(), 415),
        ("POST /bftkv/1/message HTTP/1.1\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx".to_owned(), 415),
        (format!("POST /bftkv/1/message HTTP/1.1\r\n{kind}\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx"), 415),
        (format!("POST /bftkv/1/message HTTP/1.1\r\n{kind}\r\n\r\n"), 411),
        (format!("POST /bftkv/1/message HTTP/1.1\r\n{kind}\r\ncontent-length: x\r\n\r\n"), 400),
        (format!("POST /bftkv/1/message HTTP/1.1\r\n{kind}\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx"), 400),
        (format!("POST /bftkv/1/message HTTP/1.1\r\n{kind}\r\ncontent-length: 4\r\n\r\njunk"), 400),
        ("junk\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\r\n\r\n".to_owned(), 400),
    ] {
        assert_eq!(status_of(&node, request.as_bytes()).await, status, "{request}");
    }
    assert!(node.handler.handled() > 0);
}

#[tokio::test]
async fn headers_too_many_or_too_long() {
    let node = node(ServerLimits::default()).await;
    let many: String = (0..65).map(|i| format!("x-{i}: y\r\n")).collect();
    assert_eq!(status_of(&node, &head(many.trim_end())).await, 431);
    let long = format!("x-long: {}", "y".repeat(17 * 1024));
    assert_eq!(status_of(&node, &head(&long)).await, 431);
    let endless = format!("x-endless: {}", "y".repeat(1 << 20));
    let endless = &head(&endless)[..1 << 20];
    assert!(matches!(status_of(&node, endless).await, 431 | 0));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_announcement() {
    let node = node(ServerLimits::default()).await;
    // hyper itself refuses what it cannot count, by 431 and 400.
    for (length, status) in [
        ("4718593", 413),
        ("9223372036854775807", 413),
        ("18446744073709551615", 431),
        ("18446744073709551616", 400),
    ] {
        let request = head(&format!("content-length: {length}"));
        assert_eq!(status_of(&node, &request).await, status, "{length}");
    }
}

#[tokio::test]
async fn an_endless_chunked_body_is_cut_off() {
    let node = node(ServerLimits::default()).await;
    let mut stream = connect(node.server.local_addr()).await;
    stream.write_all(&head("transfer-encoding: chunked")).await.unwrap();
    let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 64 << 20 {
        match timeout(LONG, stream.write_all(&chunk)).await.expect("it is never cut off") {
            Ok(()) => sent += chunk.len(),
            Err(_) => break,
        }
    }
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    let status = raw::status(&raw::read_to_close(&mut stream).await);
    assert!(matches!(status, 413 | 0), "{status}");
    alive(&node).await;
}

#[tokio::test]
async fn a_length_that_lies_ends_in_an_error() {
    let limits = ServerLimits { body_timeout: SHORT, ..ServerLimits::default() };
    let node = node(limits).await;
    // More is announced than comes.
    let request = [head("content-length: 100").as_slice(), b"few"].concat();
    assert_eq!(status_of(&node, &request).await, 408);
    // Less is announced than comes: the rest is no request.
    let request = [head("content-length: 1").as_slice(), b"many more\r\n\r\n"].concat();
    assert_eq!(status_of(&node, &request).await, 400);
    assert_eq!(status_of(&node, &head("transfer-encoding: chunked\r\n\r\nzz\r\n")).await, 400);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let limits = ServerLimits { idle_timeout: SHORT, ..ServerLimits::default() };
    let node = node(limits).await;
    let mut silent = connect(node.server.local_addr()).await;
    assert_eq!(raw::read_to_close(&mut silent).await, b"");
    // Also after a request.
    let mut silent = connect(node.server.local_addr()).await;
    silent.write_all(&raw::post(b"junk")).await.unwrap();
    assert_eq!(raw::status(&raw::read_to_close(&mut silent).await), 400);
    alive(&node).await;
}

#[tokio::test]
async fn a_kept_connection_that_falls_silent_is_closed() {
    let limits = ServerLimits { idle_timeout: SHORT, ..ServerLimits::default() };
    let node = node(limits).await;
    let own = node.seal.own();
    let message = wire::request(1, &[(own.clone(), None)], &read(b"x"));
    let message = message.seal(&crate::common::id(100), &[own]);
    let mut stream = connect(node.server.local_addr()).await;
    stream.write_all(&raw::post(&message)).await.unwrap();
    let (head, _) = raw::read_message(&mut stream).await.unwrap();
    assert_eq!(raw::status(head.as_bytes()), 200);
    assert_eq!(raw::read_to_close(&mut stream).await, b"");
}

/// Sends one byte at a time until the other end has enough of it.
async fn trickle(stream: &mut TcpStream, mut bytes: impl Iterator<Item = u8>) {
    let begun = std::time::Instant::now();
    let mut buffer = [0; 1024];
    loop {
        assert!(begun.elapsed() < LONG, "it is never cut off");
        let byte = bytes.next().unwrap_or(b'x');
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        tokio::select! {
            read = stream.read(&mut buffer) => if matches!(read, Ok(0) | Err(_)) { return },
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
}

#[tokio::test]
async fn a_header_that_trickles_in_is_cut_off() {
    let limits = ServerLimits { header_timeout: SHORT, ..ServerLimits::default() };
    let node = node(limits).await;
    let mut stream = connect(node.server.local_addr()).await;
    let header = head("x-slow: ");
    trickle(&mut stream, header[..header.len() - 4].iter().copied()).await;
    alive(&node).await;
}

#[tokio::test]
async fn a_body_that_trickles_in_is_cut_off() {
    let limits = ServerLimits { body_timeout: SHORT, ..ServerLimits::default() };
    let node = node(limits).await;
    let mut stream = connect(node.server.local_addr()).await;
    stream.write_all(&head("content-length: 100000")).await.unwrap();
    trickle(&mut stream, std::iter::empty()).await;
    alive(&node).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_off() {
    // What the kernel takes is paid for by no reader, so nothing is earned by it here.
    let limits = ServerLimits { answer_timeout: SHORT, ..ServerLimits::default() };
    let limits = ServerLimits { least_bytes_per_second: usize::MAX, ..limits };
    let node = node(limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(node.server.local_addr()).await.unwrap();
    let messages = big_messages(&node, 8).await;
    for message in messages {
        // Requests one after the other on one connection, and never a read.
        let request = raw::post(&message);
        match timeout(LONG, stream.write_all(&request)).await.expect("it is never cut off") {
            Ok(()) => {}
            Err(_) => break,
        }
    }
    eventually("the server closes", || {
        let mut byte = [0];
        let closed = stream
            .try_write(b"x")
            .is_err_and(|error| !matches!(error.kind(), std::io::ErrorKind::WouldBlock));
        closed || matches!(stream.try_read(&mut byte), Ok(0))
    })
    .await;
    assert!(node.handler.handled() < 8, "the later requests were never looked at");
    alive(&node).await;
}

/// Messages whose answers are 1 MiB each.
async fn big_messages(node: &Node, count: u8) -> Vec<Vec<u8>> {
    let own = node.seal.own();
    let seal = |nonce, challenge, request: &Request| {
        wire::request(nonce, &[(own.clone(), challenge)], request)
            .seal(&crate::common::id(100), std::slice::from_ref(&own))
    };
    let first = seal(0, None, &read(b"x"));
    let (_, answer) = raw::exchange(node.server.local_addr(), &first).await;
    let challenge = wire::Envelope::open(&answer).challenge();
    (1..=count).map(|nonce| seal(nonce, Some(challenge), &bulky(1024 * 1024))).collect()
}

#[tokio::test]
async fn connections_over_the_limit_are_turned_away() {
    let limits = ServerLimits { connections_per_address: 3, ..ServerLimits::default() };
    let node = node(limits).await;
    let address = node.server.local_addr();
    let held = [connect(address).await, connect(address).await, connect(address).await];
    eventually("three are accepted", || node.server.accepted() == 3).await;
    let mut fourth = connect(address).await;
    let answer = raw::read_to_close(&mut fourth).await;
    assert_eq!(raw::status(&answer), 503);
    assert!(answer.ends_with(b"\r\n\r\ntoo many connections"));
    drop(held);
    let mut refused = 0;
    loop {
        match ask_one(&client(100).0, node.peer(), read(b"x")).await {
            Ok(_) => break,
            Err(_) if refused < 1000 => refused += 1,
            Err(error) => panic!("it stays full: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn requests_over_the_limit_are_turned_away() {
    let limits = ServerLimits { in_flight: 1, ..ServerLimits::default() };
    let handler = Echo { delay: Duration::from_secs(2), ..Echo::default() };
    let node = Node::with(1, limits, handler).await;
    let (transport, _) = client(100);
    let peer = node.peer();
    let first = tokio::spawn(async move { ask_one(&transport, peer, read(b"x")).await });
    eventually("the first is handled", || node.handler.handled() == 1).await;
    let (status, reason) = raw::exchange(node.server.local_addr(), b"anything").await;
    assert_eq!((status, reason), (503, b"too busy: try again later".to_vec()));
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn memory_for_bodies_is_bounded() {
    let limits = ServerLimits { buffered_bytes: 64 * 1024, ..ServerLimits::default() };
    let node = node(limits).await;
    let (status, _) = raw::exchange(node.server.local_addr(), &vec![0; 63 * 1024]).await;
    assert_eq!(status, 400);
    let request = raw::post(&vec![0; 65 * 1024]);
    let answer = raw::send_and_read(node.server.local_addr(), &request).await;
    assert!(matches!(raw::status(&answer), 503 | 0));
    alive(&node).await;
}

#[tokio::test]
async fn a_lost_connection_does_not_stop_the_handler() {
    let handler = Echo { delay: Duration::from_millis(200), ..Echo::default() };
    let node = Node::with(1, ServerLimits::default(), handler).await;
    let message = big_messages(&node, 1).await.remove(0);
    let mut stream = connect(node.server.local_addr()).await;
    stream.write_all(&raw::post(&message)).await.unwrap();
    eventually("it is handled", || node.handler.handled() == 1).await;
    drop(stream);
    eventually("the handler ends", || node.handler.finished() == 1).await;
}

#[tokio::test]
async fn shutdown_answers_what_has_begun_and_closes_the_rest() {
    let handler = Echo { delay: Duration::from_millis(300), ..Echo::default() };
    let node = Node::with(1, ServerLimits::default(), handler).await;
    let (peer, address) = (node.peer(), node.server.local_addr());
    let (transport, _) = client(100);
    let busy = tokio::spawn(async move { ask_one(&transport, peer, read(b"x")).await });
    let mut idle = connect(address).await;
    eventually("it is handled", || node.handler.handled() == 1).await;
    assert_eq!(node.server.shutdown(LONG).await, Stopped::Cleanly);
    busy.await.unwrap().unwrap();
    assert_eq!(raw::read_to_close(&mut idle).await, b"");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn shutdown_cuts_what_does_not_end() {
    let handler = Echo { delay: Duration::from_secs(2), ..Echo::default() };
    let node = Node::with(1, ServerLimits::default(), handler).await;
    let (transport, _) = client(100);
    let peer = node.peer();
    let busy = tokio::spawn(async move { ask_one(&transport, peer, read(b"x")).await });
    eventually("it is handled", || node.handler.handled() == 1).await;
    assert_eq!(node.server.shutdown(SHORT).await, Stopped::AtDeadline);
    busy.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn an_answer_too_large_for_a_message_is_refused_and_bound() {
    let seal = crate::common::FakeSeal::new(1);
    let handler = |_, _| async {
        let part = bftkv_protocol::CertificateBytes::new(vec![0; 65536]).unwrap();
        crate::common::response(bftkv_protocol::Answer::Certificates(vec![part; 65]))
    };
    let handler = std::sync::Arc::new(handler);
    let limits = ServerLimits::default();
    let server = HttpServer::bind("127.0.0.1:0", limits, seal, handler);
    let address = server.await.unwrap();
    let peer = Peer::new(crate::common::id(1), address.local_addr().to_string());
    let refused = ask_one(&client(100).0, peer, read(b"x")).await;
    let too_large = TransportRefusal::TooLarge;
    assert_eq!(refused, Err(TransportError::Refused(too_large)));
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_request_only() {
    let seal = crate::common::FakeSeal::new(1);
    let handler = |_, request: Request| async move {
        assert_eq!(request, read(b"good"), "on purpose");
        crate::common::response(crate::common::echo(&request))
    };
    let limits = ServerLimits { in_flight: 1, ..ServerLimits::default() };
    let server = HttpServer::bind("127.0.0.1:0", limits, seal, std::sync::Arc::new(handler));
    let server = server.await.unwrap();
    let peer = Peer::new(crate::common::id(1), server.local_addr().to_string());
    let (transport, _) = client(100);
    let broken = ask_one(&transport, peer.clone(), read(b"bad")).await.unwrap_err();
    assert!(matches!(broken, TransportError::Http { status: 500, .. }), "{broken}");
    ask_one(&transport, peer, read(b"good")).await.unwrap();
}
