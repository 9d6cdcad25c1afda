//! A distribution master in earnest: the agreement over the store, with real zones.

mod board;
mod content;
mod driver;
mod kept;
mod publisher;
mod sources;
mod steps;
mod transfer;
#[cfg(test)]
mod transfer_tests;
mod work;
mod zone_keys;

pub use board::{Board, Boarding};
pub use content::{content_of, zone_of};
pub use driver::Driver;
pub use kept::{Committed, keep_zone, kept_zone, replace};
pub use publisher::Publisher;
pub use sources::{FileSource, PrimarySource, Source};
pub use transfer::{Primary, read_tsig_key};
pub use work::{Signed, ZonePlan, ZoneWork};
pub use zone_keys::keys_in_manifest;

use bftkv_threshold::{Error, KeyShare as _, Roster, SecretBytes, ed25519};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// A generator with a seed of the operating system.
///
/// # Errors
/// The system gives none.
pub fn generator() -> Result<ChaCha20Rng, getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// An Ed25519 key in shares for DMs 1 to n of which k sign, dealt in this process: for trying out.
///
/// # Errors
/// There can be no such key.
pub fn deal(n: u8, k: usize, rng: &mut ChaCha20Rng) -> Result<Vec<SecretBytes>, Error> {
    let shares = ed25519::deal(&Roster::first(n, k)?, rng)?;
    Ok(shares.iter().map(|share| share.to_secret_bytes()).collect())
}
