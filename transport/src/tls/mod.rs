//! TLS 1.3 with raw public keys (RFC 8446, RFC 7250): who is at the other end of a connection is
//! shown once, by the authentication subkey of a certificate, and holds for all that goes over it.

mod client;
mod connector;
mod keys;
mod question;
mod server;
mod server_name;
mod verifiers;

pub(crate) use client::TlsClient;
pub(crate) use connector::{Connector, acceptor, peer_key};
pub(crate) use question::TLS_PATH;
pub use question::check_question;
pub(crate) use server::{Answered, TlsServer};

/// The first byte of a connection that begins with a TLS handshake; no HTTP request begins so.
/// RFC 8446 section 5.1.
pub(crate) const HANDSHAKE: u8 = 0x16;

/// Nothing but this is spoken inside (RFC 7301), so that a connection to or from another program
/// that has the same key (SSH by `gpg-agent`, a mail server) comes to nothing.
const ALPN: &[u8] = b"bftkv/1";
