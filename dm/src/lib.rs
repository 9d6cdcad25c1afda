//! A distribution master for the root zone: agree on its content, sign it with shares, publish it.
//!
//! Source: `docs/dm.md`.

pub mod agree;
mod differing;
mod files;
pub mod keys;
pub mod node;
pub mod publish;
pub mod sample;
pub mod sign;
pub mod time;
pub mod zone;

pub use bftkv_threshold as threshold;
