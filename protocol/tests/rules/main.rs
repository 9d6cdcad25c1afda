//! Tests of the rules through the public API: vectors, decoding, quorum arithmetic, and step tables
//! of the server and of the client's operations.
//!
//! Nodes, keys and signatures are made up (`fixtures`), so a case is a line: what is known, what
//! happens, what follows.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test stops at the first surprise"
)]

mod announcing;
mod arbitrary;
mod batch_signatures;
mod catch_up;
mod changes;
mod codec;
mod convoys;
mod desk;
mod digests;
mod fixtures;
mod hedge;
mod lanes;
mod many;
mod member;
mod old_versions;
mod quorum;
mod read;
mod reader;
mod registering;
mod repair;
mod repairing;
mod samples;
mod server_abandon;
mod server_machine;
mod server_read;
mod server_sign;
mod server_store;
mod shelf;
mod tree_memory;
mod validity;
mod variants;
mod vectors;
mod versions;
mod wire_page;
mod write;
mod write_refused;
