//! What is wrong with a node or the way to it.

use std::time::Duration;

/// Faults of one node, as its peers see them. The default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// It refuses every connection at once.
    pub down: bool,
    /// Requests to it are lost: it never learns of them.
    pub lose_requests: bool,
    /// Its answers are lost: it does what was asked, and nobody hears of it.
    pub lose_answers: bool,
    /// Every request reaches it twice.
    pub duplicate_requests: bool,
    /// One byte of every answer is changed on the way. Without sealing, the answer is lost
    /// instead: there would be nothing to notice the change.
    pub garble_answers: bool,
    /// How long a message to it takes, and an answer of it again.
    pub delay: Duration,
}

impl Faults {
    /// Refuses every connection.
    #[must_use]
    pub fn down() -> Self {
        Self { down: true, ..Self::default() }
    }

    /// Never answers, and never learns of a request.
    #[must_use]
    pub fn silent() -> Self {
        Self { lose_requests: true, ..Self::default() }
    }

    /// Takes this long in each direction.
    #[must_use]
    pub fn slow(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}
