//! Passwords that no server can guess: threshold 2HashDH, enrolment, login, change of password.
//!
//! A key k is split among n servers. The keys that open a value follow from the password and k; t
//! servers together can tell whether a guess is right, t-1 cannot, whatever they have stolen.
//!
//! ```text
//!  client                                            each server i, of which t must answer
//!    M = H(password)^r          -- evaluate M -->      one attempt less, on disk; then
//!    check proof, name liars    <-- M^(k_i), proof --  the answer, with a nonce
//!    k-th power, r taken out
//!    Argon2id, HKDF -> keys; wrong public key: wrong password
//!    sign nonce_i, purpose, ... -- prove ----------->  that attempt is given back
//! ```
//!
//! [`Record`] is what everybody may know, and is certified as part of the variable. [`client`] and
//! [`server`] are state machines: no IO, no clock; randomness is handed in.
//!
//! Source, claim and limits: `docs/roaming.md`. Papers: TOPPSS (ePrint 2017/363), RFC 9497, 9106.

pub mod client;
pub mod server;

mod dleq;
mod error;
mod group;
mod login;
mod oprf;
mod password;
mod protected;
mod record;
mod sharing;
mod stretch;

#[cfg(test)]
mod vectors;

pub use dleq::Dleq;
pub use error::Error;
pub use login::{prove, verify};
pub use oprf::{Blinded, Evaluation, evaluate};
pub use password::Password;
pub use protected::Protected;
/// The randomness that this crate is given: `CryptoRngCore`. In earnest the operating system's.
pub use rand_core;
pub use record::{Enrolled, Plan, Record, Rule};
pub use sharing::{Commitments, Index, Share, deal};
pub use stretch::{Keys, Stretching};

/// The greatest number of servers that share a password's key.
pub const MAX_NODES: usize = bftkv_protocol::Group::MAX_MEMBERS;
