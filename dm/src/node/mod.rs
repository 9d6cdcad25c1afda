//! A distribution master in earnest: the agreement over the store, with real zones.

mod board;
mod child_keys;
mod content;
mod driver;
mod followed;
mod kept;
mod letters;
mod publisher;
mod sources;
mod steps;
mod transfer;
#[cfg(test)]
mod transfer_tests;
mod vouched;
mod work;
mod zone_keys;

pub use crate::files::{replace, replace_private};
pub use board::{Board, Boarding};
pub use child_keys::{Child, ChildKeys};
pub use content::{content_of, zone_of};
pub use driver::Driver;
pub use kept::{Committed, keep_zone, kept_zone};
pub use letters::Letters;
pub use publisher::Publisher;
pub use sources::{FileSource, PrimarySource, Source};
pub use transfer::{Primary, read_tsig_key};
pub use work::{Signed, ZonePlan, ZoneWork};
pub use zone_keys::keys_in_manifest;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bftkv_threshold::{Error, KeyShare, Roster, Scheme, SecretBytes, ecdsa, ed25519};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// Whatever a thread that panicked was about to change is whole: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A generator with a seed of the operating system.
///
/// # Errors
/// The system gives none.
pub fn generator() -> Result<ChaCha20Rng, getrandom::Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// A key in shares for DMs 1 to n of which k sign, dealt in this process: for trying out.
///
/// # Errors
/// There can be no such key; or it is RSA, for which safe primes are needed.
pub fn deal(
    scheme: Scheme,
    (n, k): (u8, usize),
    rng: &mut ChaCha20Rng,
) -> Result<Vec<SecretBytes>, Error> {
    fn secrets<S: KeyShare>(shares: Vec<S>) -> Vec<SecretBytes> {
        shares.iter().map(KeyShare::to_secret_bytes).collect()
    }
    let roster = Roster::first(n, k)?;
    match scheme {
        Scheme::Ed25519 => Ok(secrets(ed25519::deal(&roster, rng)?)),
        Scheme::EcdsaP256 => Ok(secrets(ecdsa::deal(&roster, rng)?)),
        _ => Err(Error::NoSuchStep),
    }
}
