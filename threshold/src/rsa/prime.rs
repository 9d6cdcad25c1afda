//! Safe primes for the dealer.

use std::cell::{Cell, RefCell};
use std::fmt;

use crypto_bigint::rand_core::{Infallible, TryCryptoRng, TryRng};
use crypto_bigint::{BoxedUint, ConcatenatingMul, NonZero};
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime, sieve_and_find};
use zeroize::{Zeroize, Zeroizing};

use super::{MAX_MODULUS_BITS, MIN_MODULUS_BITS};
use crate::Error;
use crate::rand_core::CryptoRngCore;

/// The randomness that we are given (rand_core 0.6, as FROST wants it) for the numbers (0.10).
pub(super) struct Rng<'a>(pub(super) &'a mut dyn CryptoRngCore);

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}

/// Two safe primes of the same size, p = 2p'+1 and q = 2q'+1. The dealer's secret: whoever knows
/// them can sign. Wiped when dropped.
pub struct SafePrimes {
    p: BoxedUint,
    q: BoxedUint,
}

impl Drop for SafePrimes {
    fn drop(&mut self) {
        self.p.zeroize();
        self.q.zeroize();
    }
}

impl fmt::Debug for SafePrimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafePrimes").field("bits", &self.p.bits_precision()).finish_non_exhaustive()
    }
}

impl SafePrimes {
    /// Looks for two safe primes that make a modulus of so many bits. For 2,048 bits that takes
    /// minutes. `progress` is told after every candidate how many there have been.
    ///
    /// # Errors
    ///
    /// [`Error::Primes`] for a size outside of the limits or no multiple of 128.
    pub fn generate(
        bits: u32,
        rng: &mut dyn CryptoRngCore,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, Error> {
        check_size(bits)?;
        let tried = Cell::new(0);
        let progress = RefCell::new(progress);
        let mut find = || {
            let half = bits.wrapping_shr(1);
            let sieve = SmallFactorsSieveFactory::new(Flavor::Safe, half, SetBits::TwoMsb);
            let is_safe = |_: &mut Rng<'_>, candidate: &BoxedUint| {
                tried.set(u64::saturating_add(tried.get(), 1));
                progress.borrow_mut()(tried.get());
                is_prime(Flavor::Safe, candidate)
            };
            let sieve = sieve.map_err(|_| Error::Primes)?;
            let prime = sieve_and_find(&mut Rng(rng), sieve, is_safe);
            prime.map_err(|_| Error::Primes)?.ok_or(Error::Primes)
        };
        let p = Zeroizing::new(find()?);
        loop {
            let q = Zeroizing::new(find()?);
            if far_apart(&p, &q) {
                return Ok(Self { p: (*p).clone(), q: (*q).clone() });
            }
        }
    }

    /// Two safe primes from elsewhere, big-endian. They are checked.
    ///
    /// # Errors
    ///
    /// [`Error::Primes`] if they are no safe primes of one size whose product has twice that size
    /// and is within the limits, or if they are close to each other.
    pub fn from_be_bytes(p: &[u8], q: &[u8]) -> Result<Self, Error> {
        let half = u32::try_from(p.len()).ok().and_then(|bytes| bytes.checked_mul(8));
        let half = half.filter(|_| p.len() == q.len()).ok_or(Error::Primes)?;
        check_size(half.saturating_mul(2))?;
        let read = |bytes| BoxedUint::from_be_slice(bytes, half).map_err(|_| Error::Primes);
        let primes = Self { p: read(p)?, q: read(q)? };
        let product = Zeroizing::new(primes.product());
        let full = product.bit_width_vartime() == product.bits_precision();
        let safe = |prime| is_prime(Flavor::Safe, prime);
        if !full || !far_apart(&primes.p, &primes.q) || !safe(&primes.p) || !safe(&primes.q) {
            return Err(Error::Primes);
        }
        Ok(primes)
    }

    /// N = pq.
    pub(super) fn product(&self) -> BoxedUint {
        self.p.concatenating_mul(&self.q)
    }

    /// m = p'q', the order of the group of squares, in the precision of N.
    pub(super) fn order(&self) -> Result<NonZero<BoxedUint>, Error> {
        let p = Zeroizing::new(self.p.wrapping_shr_vartime(1));
        let q = Zeroizing::new(self.q.wrapping_shr_vartime(1));
        NonZero::new(p.concatenating_mul(&*q)).into_option().ok_or(Error::Primes)
    }
}

fn check_size(bits: u32) -> Result<(), Error> {
    let sized = (MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&bits) && bits & 127 == 0;
    if sized { Ok(()) } else { Err(Error::Primes) }
}

/// Whether the first 13 bytes differ, so that p and q are too far from each other for Fermat's
/// method. Source: FIPS 186-5, appendix A.1.1 (first 100 bits).
fn far_apart(p: &BoxedUint, q: &BoxedUint) -> bool {
    let (p, q) = (Zeroizing::new(p.to_be_bytes()), Zeroizing::new(q.to_be_bytes()));
    p.get(..13) != q.get(..13)
}
