//! What goes over a TLS connection: a question, and what came of it.

use bftkv_protocol::{NodeId, Request, decode, encode};
use serde::{Deserialize, Serialize};

use crate::wiped::Wiped;

/// Where questions are posted.
pub(crate) const TLS_PATH: &str = "/bftkv/1/request";

/// The version of [`Question`].
const VERSION: u8 = 1;

/// A question: from whom, to whom, and what.
///
/// A connection shows that the other end has a key, not whose certificate is meant: anybody can
/// bind the key of another to a certificate of his own. So both ends are named, and each looks
/// whether the key of the connection belongs to the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    version: u8,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) request: Wiped,
}

impl Question {
    pub(super) fn new(from: NodeId, to: NodeId, request: Wiped) -> Self {
        Self { version: VERSION, from, to, request }
    }

    pub(super) fn is_of_this_version(&self) -> bool {
        self.version == VERSION
    }
}

/// Reads bytes as a question. For the fuzz target: whether there is one form of each only.
///
/// # Panics
/// When a question was read that would be written differently.
#[doc(hidden)]
pub fn check_question(bytes: &[u8]) {
    if let Ok(question) = decode::<Question>(bytes) {
        assert_eq!(encode(&question), bytes, "another form of a question was read");
    }
}

/// The request as it stands in questions.
pub(super) fn encoded(request: &Request) -> Wiped {
    Wiped::encoded(request)
}
