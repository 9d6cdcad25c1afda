//! Messages over loopback and in memory, between honest and other ends.
//!
//! One program, because each that links Sequoia takes long to link.

mod abuse;
mod common;
mod exchange;
mod liar;
mod memory;
mod replay;
mod throttle;
mod tls_keys;
mod tls_limits;
mod tls_openssl;
