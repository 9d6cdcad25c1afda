//! The operating system's randomness, as `bftkv-roaming` takes it.

use bftkv_roaming::rand_core::{CryptoRng, Error, RngCore, impls};

/// The operating system's.
#[derive(Debug)]
pub(crate) struct Random;

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        // A system that has no randomness once it has given some does not exist; whoever begins an
        // operation asks for some first. Rather than go on with zeros, the operation ends here.
        assert!(getrandom::fill(bytes).is_ok(), "the system gives no randomness");
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Random {}
