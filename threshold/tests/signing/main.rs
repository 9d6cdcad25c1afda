//! Threshold keys as an embedding program uses them: every scheme by the same interface.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise, and may ask another program"
)]

mod any_scheme;
mod ecdsa;
mod ed25519;
mod rsa;
mod support;
