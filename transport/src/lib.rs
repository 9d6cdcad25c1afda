//! Carries requests and answers between nodes: by TLS, as sealed messages, or within one process.
//!
//! ```text
//!   Transport::ask(peers, request) --seal once for all--> POST /bftkv/1/message --> HttpServer
//!        |                                                                             | opens,
//!        |                                                                             | checks
//!     Answers <--opens, checks signer and nonce-- sealed answer <-- Handler::handle <--+
//! ```
//!
//! What protects a message is in its signed part: the recipients, a nonce, each recipient's
//! challenge, and the request itself. So a message means one thing, for the nodes it names, once;
//! and an answer counts only if the node that was asked signed it for this very request. No
//! clocks are compared. `docs/wire.md`, "Transport", has the bytes.
//!
//! Between two certificates that both hold an authentication subkey, the same requests go over
//! TLS 1.3 with these keys instead, and over nothing else: what the certificates say decides, on
//! one port, and nothing is negotiated (`docs/adr/0014`).
//!
//! What it does not do: it knows no OpenPGP (that is behind [`bftkv_protocol::Seal`] and
//! [`bftkv_protocol::Channel`]), decides
//! nothing of the protocol, and counts no quorums. HTTP itself is not trusted: status lines and
//! reasons are hints for people, never facts about a node.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//!
//! use bftkv_protocol::{Answer, ConfigurationDigest, NodeId, Request, Response, Variable};
//! use bftkv_transport::{AskOptions, MemoryNetwork, Peer, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (node, user) = (NodeId::from_bytes(&[1; 20])?, NodeId::from_bytes(&[2; 20])?);
//! let configuration = ConfigurationDigest::from_bytes([0; 32]);
//! let handler = move |_sender: NodeId, _request: Request| async move {
//!     Response { configuration, outcome: Ok(Answer::Entry(None)) }
//! };
//! let network = MemoryNetwork::new();
//! network.add_node(node.clone(), Arc::new(handler));
//!
//! let request = Request::Read { variable: Variable::new(*b"x")?, at: None };
//! let options = AskOptions::within(Duration::from_secs(5));
//! let to = vec![Peer::new(node, "http://127.0.0.1:5701")];
//! let mut answers = network.transport(user).ask(to, request, options);
//! while let Some((node, outcome)) = answers.next().await {
//!     println!("{node}: {:?}", outcome?.outcome);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Paper: "A BFT KV Storage", "Transport Security".

mod answers;
mod asking;
mod error;
mod handler;
mod http;
mod limits;
mod memory;
mod network;
mod peer;
mod refusal;
mod sealed;
mod serving;
mod throttle;
mod tls;
mod transport;
mod wiped;

#[doc(hidden)]
pub use sealed::check_envelope;
#[doc(hidden)]
pub use tls::check_question;

pub use answers::Answers;
pub use error::{Fault, TransportError};
pub use handler::{BoxFuture, Handler};
pub use http::{HttpServer, HttpTransport, ServeError, Stopped, Traffic};
pub use limits::{ClientLimits, ServerLimits};
pub use memory::{Faults, MemoryNetwork, MemoryTransport};
pub use peer::Peer;
pub use refusal::{TransportRefusal, UnknownRefusal};
pub use throttle::Rate;
pub use transport::{AskOptions, Transport, WhenDropped};
