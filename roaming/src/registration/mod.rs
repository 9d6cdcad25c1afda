//! Registration and recovery at one member: whose claim of a user ID it signs, whom it then vouches
//! for, and when another key takes the place of a lost one. No IO, no clock.
//!
//! ```text
//!  register                                     recover (the key is lost, the password is not)
//!    deal shares      --> Registrar::apply        evaluate, prove "recover" --> checked with the
//!    claim the user ID --> Registrar::claim          newest certified record
//!      (an ordinary write, sealed by a quorum)    ask for a certification --> Registrar::recover
//!    ask for a certification --> Registrar::certify
//! ```
//!
//! Of two claims of one user ID only one can be certified ([`bftkv_protocol::Entry::claims`]), and
//! members vouch only for the one that is: so two certificates never find enough members each.

mod check;
mod registrar;
#[cfg(test)]
mod tests;

pub use check::{Applicant, ByPassword, IdentityCheck, Verdict};
pub use registrar::{Facts, Mode, Registrar};

/// Why an applicant is not served.
pub use bftkv_protocol::RegistrationRefusal as Refused;

/// How many applicants may wait for an operator, and how many may be about to be certified; of one
/// user ID, at most [`MAX_RIVALS`] wait.
pub const MAX_WAITING: usize = 1024;

/// How many applicants for one user ID may wait.
pub const MAX_RIVALS: usize = 4;

/// How long an accepted claim keeps others out before its record is certified, in seconds. What is
/// certified keeps them out for ever.
pub const CLAIM_SECONDS: u64 = 24 * 60 * 60;
