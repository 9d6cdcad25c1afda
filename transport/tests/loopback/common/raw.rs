//! HTTP by hand, to say what no well-behaved client says.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::LONG;

/// A request with the usual headers.
pub fn post(body: &[u8]) -> Vec<u8> {
    post_to("/bftkv/1/message", body)
}

/// The same to another path.
pub fn post_to(path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends and reads everything until the other end closes. Errors of sending are ignored: whoever
/// refuses early also closes early.
pub async fn send_and_read(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = timeout(LONG, stream.write_all(bytes)).await.expect("the bytes are not taken");
    read_to_close(&mut stream).await
}

/// Reads until the other end closes or resets. Fails if it does not within the generous limit.
pub async fn read_to_close<S: AsyncRead + Unpin>(stream: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match timeout(LONG, stream.read(&mut buffer)).await.expect("the connection stays open") {
            Ok(0) | Err(_) => return all,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Reads one message: headers and a body with a length.
pub async fn read_message<S: AsyncRead + Unpin>(stream: &mut S) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        match timeout(LONG, stream.read(&mut byte)).await.expect("no headers come") {
            Ok(1) => bytes.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(bytes).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap_or("0").trim().parse().unwrap()];
    timeout(LONG, stream.read_exact(&mut body)).await.expect("no body comes").unwrap();
    Some((head, body))
}

/// One exchange over a fresh connection: the status and the body.
pub async fn exchange(address: SocketAddr, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&post(body)).await.unwrap();
    let (head, body) = read_message(&mut stream).await.unwrap();
    (status(head.as_bytes()), body)
}

pub fn status(answer: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(answer);
    text.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A server that answers each request with the bytes that `script` makes of its body, and then
/// closes the connection.
pub async fn scripted<F>(script: F) -> SocketAddr
where
    F: Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some((_, body)) = read_message(&mut stream).await {
                let _ = stream.write_all(&script(body)).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    address
}

/// A good HTTP answer with this body.
pub fn ok(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
