//! The operating system's randomness, as `bftkv-roaming` takes it.

use std::num::NonZeroU32;

use bftkv_roaming::rand_core::{CryptoRng, Error, RngCore, impls};

/// The operating system's. What takes it asks by `try_fill_bytes`, so that a system without
/// randomness is an error of the operation.
#[derive(Debug)]
pub(crate) struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    /// Nobody calls it. It cannot fail by its form, and zeros for randomness would be worse than
    /// to wait.
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        while getrandom::fill(bytes).is_err() {
            std::thread::yield_now();
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        getrandom::fill(bytes).map_err(|_| Error::from(NO_RANDOMNESS))
    }
}

impl CryptoRng for Random {}

/// `rand_core` wants a number that is its own to choose; what the system said is not of use to anybody.
const NO_RANDOMNESS: NonZeroU32 = NonZeroU32::MIN.saturating_add(Error::CUSTOM_START);
