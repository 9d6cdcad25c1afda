//! The one trait that the rest of the program sees.

use std::time::Duration;

use bftkv_protocol::{NodeId, Request};

use crate::{Answers, Peer};

/// What happens to the questions that are still open when nobody waits for their answers any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenDropped {
    /// They are given up: a read that has its quorum needs no further answers.
    #[default]
    Cancel,
    /// They go on in the background until their deadline: a store phase reaches all n nodes
    /// although its caller goes on at q acknowledgements (rule R2).
    Continue,
}

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskOptions {
    /// The whole time for connecting, sending, waiting and opening, for each node.
    pub deadline: Duration,
    /// What happens when the [`Answers`] are dropped.
    pub when_dropped: WhenDropped,
}

impl AskOptions {
    /// Waits this long; cancels what is open when the answers are dropped.
    #[must_use]
    pub const fn within(deadline: Duration) -> Self {
        Self { deadline, when_dropped: WhenDropped::Cancel }
    }

    /// The same, but open questions go on in the background when the answers are dropped.
    #[must_use]
    pub const fn in_background(self) -> Self {
        Self { when_dropped: WhenDropped::Continue, ..self }
    }
}

/// Brings a request to a group of nodes and their answers back.
///
/// Implemented by [`crate::HttpTransport`] and [`crate::MemoryTransport`].
pub trait Transport: Send + Sync {
    /// Who asks.
    fn id(&self) -> &NodeId;

    /// Asks every peer, in parallel. Each node among `to` gives exactly one answer or one error,
    /// in the order in which they arrive; a node that is named twice is asked once.
    ///
    /// # Panics
    /// Outside of a Tokio runtime with time and IO enabled.
    fn ask(&self, to: Vec<Peer>, request: Request, options: AskOptions) -> Answers;
}
