//! Distribution masters as processes: killed, lying, too few, restarted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod campaign;
mod child;
mod child_keys;
#[allow(dead_code, reason = "a part of it is for the judges of zones")]
#[path = "../../../../../dm/tests/judges/daemons.rs"]
mod daemons;
mod figures;
mod four;
mod ledger;
mod masters;
#[allow(dead_code, reason = "a part of it is for the judges of zones")]
#[path = "../../../../../dm/tests/judges/programs.rs"]
mod programs;
mod roll;
mod sources;
