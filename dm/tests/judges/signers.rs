//! Keys of all algorithms, split among four of whom two sign.

use bftkv_dm::sign::ShareSigner;
use bftkv_threshold::rand_core::SeedableRng as _;
use bftkv_threshold::{KeyShare, Roster, ecdsa, ed25519, rsa};
use rand_chacha::ChaCha20Rng;

/// The primes of the tests of `threshold`, where a script makes them: looking for safe primes
/// takes minutes.
const PRIMES: &str = include_str!("../../../threshold/tests/data/safe-primes.txt");

pub(crate) type Signer = ShareSigner<ChaCha20Rng>;

fn signer<S: KeyShare>(shares: &[S], rng: ChaCha20Rng) -> Signer {
    let shares: Vec<_> = shares.iter().map(|share| share.to_secret_bytes()).collect();
    ShareSigner::new(&shares, rng).unwrap()
}

fn roster() -> Roster {
    Roster::first(4, 2).unwrap()
}

pub(crate) fn ed25519_key(seed: u64) -> Signer {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    signer(&ed25519::deal(&roster(), &mut rng).unwrap(), rng)
}

pub(crate) fn p256_key(seed: u64) -> Signer {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    signer(&ecdsa::deal(&roster(), &mut rng).unwrap(), rng)
}

/// The same primes each time, and so the same key: the seed is for the shares only.
pub(crate) fn rsa_key(bits: usize, seed: u64) -> Signer {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let primes: Vec<Vec<u8>> = PRIMES
        .lines()
        .map(|line| {
            (0..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                .collect()
        })
        .filter(|prime: &Vec<u8>| prime.len() * 16 == bits)
        .collect();
    let primes = rsa::SafePrimes::from_be_bytes(&primes[0], &primes[1]).unwrap();
    signer(&rsa::deal(&roster(), &primes, &mut rng).unwrap(), rng)
}
