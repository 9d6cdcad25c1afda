//! Publication: an authoritative primary in the process.
//!
//! ```text
//!   signed zone --Desk (checks, hold)--> Journal --+-- Responder --> Server   SOA, AXFR, IXFR
//!                                                  +-- Notifier     NOTIFY to the secondaries
//! ```
//!
//! RFC 1034, 1035, 1995 (IXFR), 1996 (NOTIFY), 5936 (AXFR), 8945 (TSIG).

mod access;
#[cfg(test)]
mod bad_input_tests;
mod desk;
mod journal;
mod notify;
mod respond;
mod server;
mod step;
#[cfg(test)]
mod tests;

pub use access::{Access, Prefix, Rule, TsigError, TsigKey};
pub use desk::{Desk, Offered};
pub use journal::Journal;
pub use notify::{Notified, Notifier, Secondary};
pub use respond::{Reply, Responder, Sent, Via};
pub use server::{Server, ServerLimits};
pub use step::Step;
