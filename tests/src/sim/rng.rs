//! The one source of chance.

use std::time::Duration;

use bftkv_roaming::rand_core;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng};

/// Everything that happens by chance in a run comes from here, in one order.
#[derive(Debug, Clone)]
pub(crate) struct Rng(SmallRng);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// A number below `n`; 0 if there is none.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.0.random_range(0..n) }
    }

    /// Any number.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.random()
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most.max(least))
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time between two numbers of milliseconds, with a fraction, so that ties are rare.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        let micros = self.between(least.saturating_mul(1000), most.saturating_mul(1000));
        Duration::from_micros(micros)
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.index(all.len()))
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap_or(0))).unwrap_or(0)
    }

    /// So many different ones, in random order.
    pub(crate) fn sample<T: Clone>(&mut self, all: &[T], count: usize) -> Vec<T> {
        let mut left = all.to_vec();
        let mut taken = Vec::new();
        while taken.len() < count && !left.is_empty() {
            let index = self.index(left.len());
            taken.push(left.swap_remove(index));
        }
        taken
    }
}

/// The same chance as what keys and proofs are made of. Everything random comes from the seed, so nothing is
/// secret here.
impl rand_core::RngCore for Rng {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        self.number()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl rand_core::CryptoRng for Rng {}
