//! Keys and their files: the ceremony, shares at rest, DNSKEY sets ahead of time.
//!
//! A share lies in a file that only its owner can read, sealed to an OpenPGP key or with a
//! passphrase unless told otherwise, and one process at a time uses it. In memory it is wiped when it is dropped.

mod ahead;
mod ceremony;
mod complaint;
mod error;
mod key_file;
mod lock;
mod roll;
#[cfg(test)]
mod roll_tests;
mod seal;
mod share_file;
#[cfg(test)]
mod tests;
mod text;
mod together;
mod transcript;

use std::path::Path;

use bftkv_threshold::rand_core::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use ring::rand::{SecureRandom as _, SystemRandom};

pub use ahead::{Schedule, current};
pub use ceremony::{Ceremony, Dealt, Primes};
pub use complaint::{Complaint, Verdict};
pub use error::Error;
pub use key_file::KeyFile;
pub use lock::{KeyAccess, KeyHolder, Lock, Unlock};
pub(crate) use roll::PUBLICATION;
pub use roll::{KskPhase, KskRoll, Signers, ZskRoll, check_change};
pub use share_file::ShareFile;
pub use together::{Made, Plan, Together, seed_from_text, seed_to_text};
pub use transcript::Transcript;

/// What [`system_rng`] gives.
pub type SystemRng = ChaCha20Rng;

/// Randomness from the system, for keys and nonces.
///
/// # Errors
///
/// [`Error::NoRandomness`].
pub fn system_rng() -> Result<SystemRng, Error> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *seed).map_err(|_| Error::NoRandomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

fn read_text(path: &Path) -> Result<String, Error> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(Error::file(path))?;
    let mut text = String::new();
    file.take(1 << 20).read_to_string(&mut text).map_err(Error::file(path))?;
    Ok(text)
}
