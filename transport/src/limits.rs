//! Everything that a peer can influence, limited.

use std::time::Duration;

use crate::Rate;
use crate::sealed::MAX_SEALED_BYTES;

/// What a server allows. The defaults are safe on the open internet; every field may be changed
/// alone: `ServerLimits { connections: 64, ..ServerLimits::default() }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits {
    /// The greatest body of a request, in bytes. Default: the greatest sealed message.
    pub body_bytes: usize,
    /// The request line and all headers together, in bytes. Default 16 KiB; at least 8 KiB.
    pub header_bytes: usize,
    /// How many headers a request may have. Default 64; this protocol needs four.
    pub headers: usize,
    /// From the first byte of a request to the end of its headers. Default 5 s.
    pub header_timeout: Duration,
    /// For a body, besides what [`ServerLimits::least_bytes_per_second`] gives. Default 10 s.
    pub body_timeout: Duration,
    /// For the peer to take an answer, besides what [`ServerLimits::least_bytes_per_second`]
    /// gives. Default 10 s.
    pub answer_timeout: Duration,
    /// How slow a peer may send or read: every second beyond the timeout must have been paid for
    /// by so many bytes. Default 32 KiB: 4 MiB in 138 s.
    pub least_bytes_per_second: usize,
    /// How long a connection may stay open between requests. Default 30 s.
    pub idle_timeout: Duration,
    /// For a TLS handshake, waiting for its turn included. Default 5 s.
    pub handshake_timeout: Duration,
    /// TLS handshakes at one time; more wait for their turn. Default 256.
    pub handshakes: usize,
    /// How old a TLS connection gets, however busy; the next one agrees on new keys. Beyond the
    /// clients' hour, so that they close first. Default 2 h.
    pub connection_age: Duration,
    /// How long the asker waits for the handler. The handler itself goes on. Default 10 s.
    pub handler_timeout: Duration,
    /// Connections at one time. Default 1,024.
    pub connections: usize,
    /// Connections at one time from one IPv4 address or one IPv6 network of 64 bits, loopback
    /// too. Default 64. Raise it for clusters on one machine.
    pub connections_per_address: usize,
    /// Requests that are opened, handled and answered at one time. Default 256.
    pub in_flight: usize,
    /// Bodies and answers in memory at one time, in bytes. What is made of them (the opened
    /// and the decoded message) comes on top, about as much again twice, so that a node that holds
    /// all it may stays below 256 MiB. Default 64 MiB.
    pub buffered_bytes: usize,
    /// Messages that may wait for a processor to open or seal them. Default 1,024.
    pub waiting_work: usize,
    /// Requests and TLS handshakes from one IPv4 address or one IPv6 network of 64 bits. Beyond it
    /// HTTP status 429, before a body is read, or the connection is closed. A message that cannot be
    /// opened, or a handshake that comes to nothing, counts as 16 more. Default 4,000 per
    /// second, more than a processor can open, so it slows only those who send junk.
    pub requests_per_address: Rate,
    /// Requests of one certificate; members of the configuration have four times as many. Beyond it
    /// [`crate::TransportRefusal::TooManyRequests`], or HTTP status 429 for those who go on all the
    /// same. Default 2,000 per second.
    pub requests_per_identity: Rate,
    /// Requests of unknown senders from one address or network: they join, or are told to. All
    /// strangers together have eight times as many. Beyond it HTTP status 429. Default 20 per
    /// second, at most 200 at once.
    pub requests_of_strangers: Rate,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            body_bytes: MAX_SEALED_BYTES,
            header_bytes: 16 * 1024,
            headers: 64,
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            least_bytes_per_second: 32 * 1024,
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            handshakes: 256,
            connection_age: Duration::from_secs(2 * 3600),
            handler_timeout: Duration::from_secs(10),
            connections: 1024,
            connections_per_address: 64,
            in_flight: 256,
            buffered_bytes: 64 * 1024 * 1024,
            waiting_work: 1024,
            requests_per_address: Rate::per_second(4000),
            requests_per_identity: Rate::per_second(2000),
            requests_of_strangers: Rate { per_second: 20, burst: 200 },
        }
    }
}

/// What a client allows itself and the servers that it asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// For one connection to be made, a TLS handshake included; the deadline of the question counts
    /// as well. Default 3 s.
    pub connect_timeout: Duration,
    /// The greatest body of an answer, in bytes. Default: the greatest sealed message.
    pub body_bytes: usize,
    /// The status line and all headers of an answer together, in bytes. Default 16 KiB; at least
    /// 8 KiB.
    pub header_bytes: usize,
    /// How many headers an answer may have. Default 64.
    pub headers: usize,
    /// Connections to one node at one time; more questions wait. Default 16.
    pub connections_per_node: usize,
    /// Connections that are kept open to one node. Default 16: a new one costs much more than a
    /// question.
    pub idle_per_node: usize,
    /// How long a connection is kept open without use. Below the servers' 30 s, so that the
    /// client closes first. Default 20 s.
    pub idle_timeout: Duration,
    /// How old a TLS connection gets, however busy; the next one agrees on new keys. Default 1 h.
    pub connection_age: Duration,
    /// Nodes to which connections are kept. Default 1,024.
    pub nodes: usize,
    /// Messages that may wait for a processor to seal or open them. Default 4,096.
    pub waiting_work: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            body_bytes: MAX_SEALED_BYTES,
            header_bytes: 16 * 1024,
            headers: 64,
            connections_per_node: 16,
            idle_per_node: 16,
            idle_timeout: Duration::from_secs(20),
            connection_age: Duration::from_secs(3600),
            nodes: 1024,
            waiting_work: 4096,
        }
    }
}

/// hyper's smallest read buffer. It panics below.
pub(crate) const MIN_HEADER_BYTES: usize = 8192;

/// The time a peer has for `bytes`, at this least rate.
pub(crate) fn allowance(timeout: Duration, bytes: usize, least_per_second: usize) -> Duration {
    let seconds = bytes.checked_div(least_per_second).unwrap_or(0);
    timeout.saturating_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
}
