//! TLS connections that are slow, silent, old or many. The limits are short here; the tests wait
//! much longer, so that only a missing limit fails them.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::fake_channel::FakeChannel;
use crate::common::raw_tls::{CountedKeys, Hands, question};
use crate::common::{Echo, FakeSeal, LONG, ask_one, bulky, eventually, id, raw, read};
use bftkv_transport::{ClientLimits, HttpServer, HttpTransport, Peer, Rate, ServerLimits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(300);
const NODE: u8 = 1;
const USER: u8 = 100;
const PATH: &str = "/bftkv/1/request";

async fn serve(limits: ServerLimits) -> HttpServer {
    serve_with(limits, Arc::default()).await
}

async fn serve_with(limits: ServerLimits, handler: Arc<Echo>) -> HttpServer {
    let channel = FakeChannel::new(NODE, [USER]);
    let seal = FakeSeal::new(NODE);
    HttpServer::bind_with("127.0.0.1:0", limits, seal, Some(channel), handler).await.unwrap()
}

fn transport() -> HttpTransport {
    let channel = FakeChannel::new(USER, [NODE]);
    HttpTransport::with_tls(FakeSeal::new(USER), channel, ClientLimits::default()).unwrap()
}

async fn alive(server: &HttpServer) {
    let peer = Peer::new(id(NODE), server.local_addr().to_string());
    ask_one(&transport(), peer, read(b"x")).await.unwrap();
}

fn good() -> Vec<u8> {
    raw::post_to(PATH, &question(1, USER, NODE, &read(b"x")))
}

fn head(lines: &str) -> Vec<u8> {
    let kind = "content-type: application/octet-stream";
    format!("POST {PATH} HTTP/1.1\r\nhost: t\r\n{kind}\r\n{lines}").into_bytes()
}

/// Sends one byte at a time until the other end has enough of it, and says how long that took.
async fn trickle<S>(stream: &mut S, mut bytes: impl Iterator<Item = u8>) -> Duration
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let begun = Instant::now();
    let mut buffer = [0; 1024];
    loop {
        assert!(begun.elapsed() < LONG, "it is never cut off");
        let byte = bytes.next().unwrap_or(b'x');
        if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
            return begun.elapsed();
        }
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return begun.elapsed(),
                Ok(_) => {}
            },
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
}

#[tokio::test]
async fn a_handshake_that_trickles_in_is_cut_off() {
    let limits = ServerLimits { handshake_timeout: SHORT, ..ServerLimits::default() };
    let server = serve(limits).await;
    // A record of 16 KiB that never ends: every byte is a handshake's.
    let hello = [0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3];
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    trickle(&mut stream, hello.into_iter()).await;
    // And one that says nothing more.
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(&hello).await.unwrap();
    raw::read_to_close(&mut stream).await;
    alive(&server).await;
}

#[tokio::test]
async fn a_silent_connection_is_closed_before_the_first_question_and_after_it() {
    let limits = ServerLimits { idle_timeout: SHORT, ..ServerLimits::default() };
    let server = serve(limits).await;
    let mut stream = Hands::of(USER).shake(server.local_addr()).await.unwrap();
    assert_eq!(raw::read_to_close(&mut stream).await, b"");
    let mut stream = Hands::of(USER).shake(server.local_addr()).await.unwrap();
    stream.write_all(&good()).await.unwrap();
    let (head, _) = raw::read_message(&mut stream).await.unwrap();
    assert_eq!(raw::status(head.as_bytes()), 200);
    assert_eq!(raw::read_to_close(&mut stream).await, b"");
    alive(&server).await;
}

#[tokio::test]
async fn new_keys_without_questions_buy_no_time() {
    let limits = ServerLimits { idle_timeout: SHORT, ..ServerLimits::default() };
    let server = serve(limits).await;
    let mut stream = Hands::of(USER).shake(server.local_addr()).await.unwrap();
    let begun = Instant::now();
    let mut byte = [0];
    while begun.elapsed() < LONG {
        let gone = stream.get_mut().1.refresh_traffic_keys().is_err()
            || stream.flush().await.is_err()
            || matches!(timeout(SHORT / 10, stream.read(&mut byte)).await, Ok(Ok(0) | Err(_)));
        if gone {
            return alive(&server).await;
        }
    }
    panic!("it is never closed");
}

#[tokio::test]
async fn headers_and_bodies_that_trickle_in_are_cut_off() {
    let limits =
        ServerLimits { header_timeout: SHORT, body_timeout: SHORT, ..ServerLimits::default() };
    let server = serve(limits).await;
    let mut stream = Hands::of(USER).shake(server.local_addr()).await.unwrap();
    trickle(&mut stream, head("x-slow: ").into_iter()).await;
    let mut stream = Hands::of(USER).shake(server.local_addr()).await.unwrap();
    stream.write_all(&head("content-length: 100000\r\n\r\n")).await.unwrap();
    trickle(&mut stream, std::iter::empty()).await;
    alive(&server).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_off() {
    // What the kernel takes is paid for by no reader, so nothing is earned by it here.
    let limits = ServerLimits { answer_timeout: SHORT, ..ServerLimits::default() };
    let limits = ServerLimits { least_bytes_per_second: usize::MAX, ..limits };
    let handler = Arc::new(Echo::default());
    let server = serve_with(limits, handler.clone()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = socket.connect(server.local_addr()).await.unwrap();
    let mut stream = Hands::of(USER).shake_over(stream).await.unwrap();
    let request = raw::post_to(PATH, &question(1, USER, NODE, &bulky(1024 * 1024)));
    for _ in 0..8 {
        let sent = timeout(LONG, async {
            stream.write_all(&request).await?;
            stream.flush().await
        });
        if sent.await.expect("it is never cut off").is_err() {
            break;
        }
    }
    eventually("the server closes", || {
        let mut byte = [0];
        let tcp = stream.get_ref().0;
        let closed = tcp
            .try_write(b"x")
            .is_err_and(|error| !matches!(error.kind(), std::io::ErrorKind::WouldBlock));
        closed || matches!(tcp.try_read(&mut byte), Ok(0))
    })
    .await;
    assert!(handler.handled() < 8, "the later requests were never looked at");
    alive(&server).await;
}

#[tokio::test]
async fn an_old_connection_is_closed_between_two_questions() {
    let limits = ServerLimits { connection_age: SHORT, ..ServerLimits::default() };
    let server = serve(limits).await;
    let mut stream = Hands::of(USER).shake(server.local_addr()).await.unwrap();
    let begun = Instant::now();
    let mut answers = 0;
    while begun.elapsed() < LONG {
        if stream.write_all(&good()).await.is_err() {
            break;
        }
        let Some((head, _)) = raw::read_message(&mut stream).await else { break };
        assert_eq!(raw::status(head.as_bytes()), 200, "what was taken is answered");
        answers += 1;
    }
    assert!(begun.elapsed() < LONG, "it is never closed, however busy");
    assert!(answers > 0);
    // A client that is not ours to blame asks anew, and notices nothing.
    let peer = Peer::new(id(NODE), server.local_addr().to_string());
    let (transport, begun) = (transport(), Instant::now());
    while begun.elapsed() < SHORT * 3 {
        ask_one(&transport, peer.clone(), read(b"x")).await.unwrap();
    }
    assert!(server.accepted() > 2, "by more than one connection");
}

#[tokio::test]
async fn keys_that_are_worn_out_are_renewed_on_both_sides() {
    let server = serve(ServerLimits::default()).await;
    let (suite, keys) = CountedKeys::worn_out_after(8);
    let hands = Hands { suite: Some(suite), ..Hands::of(USER) };
    let mut stream = hands.shake(server.local_addr()).await.unwrap();
    let (own_before, others_before) = keys.counts();
    for _ in 0..80 {
        stream.write_all(&good()).await.unwrap();
        let (head, _) = raw::read_message(&mut stream).await.unwrap();
        assert_eq!(raw::status(head.as_bytes()), 200);
    }
    let (own, others) = keys.counts();
    assert!(own - own_before >= 9, "{own}");
    assert!(others - others_before >= 9, "{others}: who is told renews its own too");
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn handshakes_that_come_to_nothing_use_up_what_an_address_may_ask() {
    // One failed handshake costs as much as seventeen requests.
    let requests = Rate { per_second: 1, burst: 40 };
    let limits = ServerLimits { requests_per_address: requests, ..ServerLimits::default() };
    let server = serve(limits).await;
    alive(&server).await;
    let address = server.local_addr();
    for _ in 0..3 {
        let no_key = Hands { shown: None, ..Hands::of(USER) };
        assert!(nothing_comes_of(no_key, address).await);
    }
    assert!(nothing_comes_of(Hands::of(USER), address).await, "not even of a good one");
}

#[tokio::test]
async fn a_handshake_waits_for_its_turn() {
    let limits = ServerLimits {
        handshakes: 1,
        handshake_timeout: Duration::from_secs(2),
        ..ServerLimits::default()
    };
    let server = serve(limits).await;
    let mut slow = TcpStream::connect(server.local_addr()).await.unwrap();
    slow.write_all(&[0x16, 3, 1]).await.unwrap();
    eventually("it has its turn", || server.accepted() == 1).await;
    tokio::time::sleep(SHORT).await;
    let begun = Instant::now();
    let quick = tokio::spawn(Hands::of(USER).shake(server.local_addr()));
    tokio::time::sleep(SHORT).await;
    assert!(!quick.is_finished(), "one at a time");
    drop(slow);
    let mut stream = quick.await.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "and at once when it is free");
    stream.write_all(&good()).await.unwrap();
    raw::read_message(&mut stream).await.unwrap();
}

/// Whether the server closes without an answer.
async fn nothing_comes_of(hands: Hands, address: SocketAddr) -> bool {
    let Ok(mut stream) = hands.shake(address).await else { return true };
    let _ = stream.write_all(&good()).await;
    let first = timeout(LONG, stream.read(&mut [0])).await.expect("no answer, and no end");
    matches!(first, Ok(0) | Err(_))
}
