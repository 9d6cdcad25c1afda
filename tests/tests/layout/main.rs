//! Keeps the shape of the house true: who may depend on whom, what the core may touch, how long a
//! file may be, that `docs/paper-map.md` names functions and tests that exist, and that links lead
//! somewhere.
//!
//! Each check is a pure function from text to complaints, so that the same file also shows that
//! the check can fail. A complaint says what to do.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod attacks;
mod crates;
mod links;
mod paper_map;
mod source;
mod tree;

/// Fails with one line per complaint.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
