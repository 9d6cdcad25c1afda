//! Whom to ask, and where.

use std::fmt;

use bftkv_protocol::NodeId;

/// A node and the place where it is reached.
///
/// The URL is only a place: who answers there is proven by the signature on the answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The node's full fingerprint.
    pub node: NodeId,
    /// `http://host:port`, `http://host` or `host:port`, as in the node's user ID. The in-memory
    /// transport does not look at it.
    pub url: String,
}

impl Peer {
    /// A node at a URL.
    #[must_use]
    pub fn new(node: NodeId, url: impl Into<String>) -> Self {
        Self { node, url: url.into() }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.node, self.url)
    }
}
