//! TCP connections that send what they are given at once.
//!
//! Otherwise a small message waits for the other side's delayed acknowledgement of the one before:
//! 40 ms.

use std::io;

use tokio::net::TcpStream;

/// Connects to `host:port`.
pub(super) async fn connect(target: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that was accepted.
pub(super) fn accepted(stream: TcpStream) -> TcpStream {
    // It fails only if the connection is gone, which the first read tells.
    let _ = stream.set_nodelay(true);
    stream
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn both_sides_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        let connecting = tokio::spawn(async move { connect(&target).await });
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!stream.nodelay().unwrap(), "the system does not do it by itself");
        assert!(accepted(stream).nodelay().unwrap());
        assert!(connecting.await.unwrap().unwrap().nodelay().unwrap());
    }

    /// Nobody else in this crate opens or accepts connections, so none is forgotten.
    #[test]
    fn all_connections_are_made_here() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut folders = vec![folder];
        let mut opened = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with("http/socket.rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    let is_bare = text.contains("TcpStream::connect")
                        || text.contains(".accept()") && !text.contains("socket::accepted(");
                    opened.extend(is_bare.then_some(path));
                }
            }
        }
        assert_eq!(opened, Vec::<std::path::PathBuf>::new());
    }
}
