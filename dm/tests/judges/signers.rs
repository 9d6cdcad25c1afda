//! Keys of all algorithms, split among four of whom two sign.

use bftkv_dm::sign::{BatchSigner as _, Dnskey, Recipe, Role, ShareSigner};
use bftkv_dm::zone::Zone;
use bftkv_threshold::rand_core::SeedableRng as _;
use bftkv_threshold::{KeyShare, Roster, ecdsa, ed25519, rsa};
use p256::ecdsa::signature::Signer as _;
use rand_chacha::ChaCha20Rng;

/// The primes of the tests of `threshold`, where a script makes them: looking for safe primes
/// takes minutes.
const PRIMES: &str = include_str!("../../../threshold/tests/data/safe-primes.txt");

pub(crate) type Signer = ShareSigner<ChaCha20Rng>;

/// What signs a zone.
pub(crate) enum Zsk {
    Shares(Box<Signer>),
    /// A whole P-256 key, because presigning for all of the root zone takes minutes.
    Whole(p256::ecdsa::SigningKey),
}

impl Zsk {
    pub(crate) fn shares(signer: Signer) -> Self {
        Self::Shares(Box::new(signer))
    }

    pub(crate) fn whole_p256() -> Self {
        Self::Whole(p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap())
    }

    pub(crate) fn dnskey(&self) -> Dnskey {
        match self {
            Self::Shares(shares) => Dnskey::of(shares.key(), Role::Zsk).unwrap(),
            Self::Whole(key) => {
                let point = key.verifying_key().to_encoded_point(false);
                let rdata = [&[1, 0, 3, 13], &point.as_bytes()[1..]].concat();
                Dnskey::from_rdata(&rdata).unwrap()
            }
        }
    }

    pub(crate) fn sign(&mut self, recipe: &Recipe, content: &Zone, last: Option<&Zone>) -> Zone {
        let key = match self {
            Self::Shares(shares) => return recipe.sign(content, last, &mut **shares).unwrap(),
            Self::Whole(key) => key,
        };
        let sign = |messages: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
            let one = |message: &Vec<u8>| -> Vec<u8> {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            };
            messages.iter().map(one).collect()
        };
        let signing = recipe.begin(content, last).unwrap();
        let signatures = sign(signing.messages());
        let digesting = signing.put(&signatures).unwrap();
        let signatures = sign(digesting.messages());
        digesting.put(&signatures).unwrap()
    }
}

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
