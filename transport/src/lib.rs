//! Carries requests and answers between nodes: sealed messages over HTTP, or within one process.
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
//! What it does not do: it knows no OpenPGP (that is behind [`bftkv_protocol::Seal`]), decides
//! nothing of the protocol, and counts no quorums. HTTP itself is not trusted: status lines and
//! reasons are hints for people, never facts about a node.
//!
//! Paper: "A BFT KV Storage", "Transport Security".

mod answers;
mod asking;
mod error;
mod handler;
mod http;
mod limits;
mod memory;
mod peer;
mod refusal;
mod sealed;
mod transport;

pub use answers::Answers;
pub use error::{Fault, TransportError};
pub use handler::{BoxFuture, Handler};
pub use http::{HttpServer, HttpTransport, ServeError, Stopped};
pub use limits::{ClientLimits, ServerLimits};
pub use memory::{Faults, MemoryNetwork, MemoryTransport};
pub use peer::Peer;
pub use refusal::{TransportRefusal, UnknownRefusal};
pub use transport::{AskOptions, Transport, WhenDropped};
