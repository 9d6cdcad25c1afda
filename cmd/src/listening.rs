//! The line that a node prints when it listens.

/// How the line begins; `cluster run` and `bench` wait for it.
pub(crate) const LISTENING: &str = "listening on ";
