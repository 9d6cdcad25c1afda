//! OpenSSL at the other end. Up to version 3.1 it knows no raw public keys, so nothing may come of
//! it: neither a client that wants an X.509 certificate, nor a server that shows one.
// Clippy knows tests by their attribute only, not the helpers that they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::common::fake_channel::FakeChannel;
use crate::common::raw_tls::question;
use crate::common::{Echo, FakeSeal, ask_one, id, raw, read};
use bftkv_transport::{
    ClientLimits, HttpServer, HttpTransport, Peer, ServerLimits, TransportError,
};

const NODE: u8 = 1;
const USER: u8 = 100;

/// Whether openssl is there. On the build machine it must be.
fn openssl_is_missing() -> bool {
    let missing = Command::new("openssl").arg("version").output().is_err();
    assert!(!missing || std::env::var("CI").is_err(), "openssl is missing");
    if missing {
        eprintln!("skipped: openssl missing");
    }
    missing
}

/// What `openssl s_client` says and gets when it shakes hands and asks.
fn ask_by_openssl(address: SocketAddr, options: &[&str]) -> String {
    let to = address.to_string();
    let mut command = Command::new("timeout");
    command.args(["20", "openssl", "s_client", "-connect", &to, "-alpn", "bftkv/1", "-ign_eof"]);
    command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let request = raw::post_to("/bftkv/1/request", &question(1, USER, NODE, &read(b"x")));
    // It may be gone already.
    let _ = child.stdin.take().unwrap().write_all(&request);
    let output = child.wait_with_output().unwrap();
    assert_ne!(output.status.code(), Some(124), "the server does not close");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_raw_public_keys_is_turned_away() {
    if openssl_is_missing() {
        return;
    }
    let (channel, handler) = (FakeChannel::new(NODE, [USER]), Arc::new(Echo::default()));
    let (seal, limits) = (FakeSeal::new(NODE), ServerLimits::default());
    let bound =
        HttpServer::bind_with("127.0.0.1:0", limits, seal, Some(channel), handler.clone()).await;
    let server = bound.unwrap();
    for (options, alert) in [
        (["-tls1_3"].as_slice(), "alert"),
        (&["-tls1_2"], "alert protocol version"),
        (&["-tls1_2", "-cipher", "ALL:@SECLEVEL=0"], "alert protocol version"),
    ] {
        let said = ask_by_openssl(server.local_addr(), options);
        assert!(said.contains(alert), "{options:?}: {said}");
        assert!(!said.contains("HTTP/1.1"), "{options:?}: {said}");
    }
    assert_eq!(handler.handled(), 0);
    let user = FakeChannel::new(USER, [NODE]);
    let transport = HttpTransport::with_tls(FakeSeal::new(USER), user, ClientLimits::default());
    let peer = Peer::new(id(NODE), server.local_addr().to_string());
    ask_one(&transport.unwrap(), peer, read(b"x")).await.unwrap();
}

/// A server that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    /// `openssl s_server` with a certificate of its own making, for whoever comes.
    fn start(folder: &Path, port: u16) -> Self {
        let make = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=bftkv.invalid"])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(folder)
            .output();
        assert!(make.unwrap().status.success());
        let serve = Command::new("openssl")
            .args(["s_server", "-key", "key.pem", "-cert", "cert.pem", "-alpn", "bftkv/1", "-www"])
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(serve.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_x509_certificate_is_not_the_node() {
    if openssl_is_missing() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("bftkv-openssl-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::start(&folder, port);
    crate::common::eventually("it listens", || {
        std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .await;
    let seal = FakeSeal::new(USER);
    let user = FakeChannel::new(USER, [NODE]);
    let transport = HttpTransport::with_tls(seal.clone(), user, ClientLimits::default()).unwrap();
    let peer = Peer::new(id(NODE), format!("127.0.0.1:{port}"));
    let error = ask_one(&transport, peer, read(b"x")).await.unwrap_err();
    assert!(matches!(error, TransportError::WrongKey | TransportError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("TLS"), "it was there: {error}");
    assert_eq!(seal.sealed(), 0, "and nothing was sealed for it");
    drop(server);
    std::fs::remove_dir_all(folder).unwrap();
}
