//! What the fuzz targets do with bytes. `README.md` tells how they are run.
//!
//! Each target is a function that takes any bytes and panics if a promise is broken. The same
//! functions run in an ordinary test over the seeds and over everything that was ever found
//! (`tests/tests/fuzz_inputs`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the protocol")]
#[path = "../../protocol/tests/rules/fixtures.rs"]
mod fixtures;
#[path = "../../storage/tests/common/mod.rs"]
mod stored;
pub mod targets;
