//! A password against servers that lie, forget, and are asked by strangers: the state machines, with
//! no IO. Rows A21 and P8 of the list of threats; `docs/attacks.md` names the tests.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may fail"
)]

mod budget;
mod crashes;
mod dictionary;
mod elements;
mod liars;
mod pieces;
mod proofs;
mod races;
mod support;
