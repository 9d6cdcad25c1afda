//! The source text's own scheme: SRP with Shamir's shares, as it is written there. **It does not
//! keep its promise**, so it is built only with the feature `seed-srp` and nothing uses it.
//!
//! ```text
//!  client                                    server i
//!    X = g^a', a' = a - g^pi'     -->          KS_i = (X v^u)^b_i
//!                                 <--          Y_i = X g^y_i, B_i = kv + g^b_i, salt, E_KS_i(Sig_i)
//!    g^S from f+1 of Y_i / g^a
//!    x = pi g^S
//!    KS_i = (B_i - k g^x)^(a' + u x)
//!    Sig_i = D_KS_i(...), from 2f+1
//! ```
//!
//! The tests in `attack.rs` show by execution what is wrong with it: Y_i/X is g^y_i whatever the
//! password, so that whoever sends any X gets everything that a guess can be checked by, from
//! honest servers and with one question. `docs/roaming.md` says it in words.
//!
//! Paper: "Roaming Service". The group is group 14 of RFC 3526. What the text leaves open is said
//! where it is decided. All range checks
//! that it lacks are made; they do not save it.

mod client;
mod error;
mod group;
mod server;

#[cfg(test)]
mod attack;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use client::{Dealt, Login, Opened, setup};
pub use error::SrpError;
pub use server::{Answer, Record, Server};

/// The length of a group element and of a number in bytes.
pub const NUMBER_BYTES: usize = 256;

/// A group element as it travels: big-endian, as long as p.
pub type ElementBytes = [u8; NUMBER_BYTES];
