//! The program as its users start it.
//!
//! One program, because each that links Sequoia takes long to link.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at a surprise"
)]

mod cluster;
mod demo;
mod dm;
mod gnupg_guide;
mod help;
mod homes;
mod logs;
mod passwords;
mod registration;
mod reload;
mod revocation;
mod support;
