//! Real processes, real sockets, and everything that can happen to them: kills at every durable
//! step, broken networks, floods, wrong clocks, and what is left of secrets in memory.
//!
//! The short forms run always. The campaigns are ignored tests, because they take minutes to hours;
//! `docs/reliability/faults.md` has their commands and what they found.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod child;
mod clocks;
mod flood;
mod homes;
mod journal;
mod kills;
mod network;
#[path = "../../../cmd/tests/program/support/packets.rs"]
mod packets;
mod password;
mod points;
mod process;
mod proxy;
mod restart;
mod secrets;

use zeroizing_alloc::ZeroAlloc;

/// As in the program.
#[global_allocator]
static MEMORY: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// Runs a whole test within one Tokio runtime.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}
