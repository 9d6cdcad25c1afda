//! The proof that a partial signature is right. Source: Shoup, section 3, "proof of correctness".

use crypto_bigint::{BoxedUint, ConcatenatingMul, RandomBits};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::key::RsaKey;
use super::number::{Residue, pow_public};
use super::prime::Rng;
use crate::rand_core::CryptoRngCore;
use crate::{Error, GroupKey, Party};

/// The length of the challenge c in bits, Shoup's L1: a whole SHA-256 hash.
const CHALLENGE_BITS: u32 = 256;

/// How much longer than N the answer z is, in bytes: r has 2 L1 bits more than N, and adding
/// s_i·c can carry once.
const LONGER: usize = 65;

const CHALLENGE_SIZE: usize = 32;

/// What is proven: x̃ and v, x_i² and v_i have one logarithm.
struct Statement<'a> {
    key: &'a RsaKey,
    party: Party,
    /// x̃ = x^(4Δ).
    base: Residue,
    /// x_i².
    square: Residue,
}

impl<'a> Statement<'a> {
    fn new(key: &'a RsaKey, party: Party, message: &Residue, partial: &Residue) -> Self {
        let base = pow_public(message, key.delta().saturating_mul(4));
        Self { key, party, base, square: partial.square() }
    }

    /// c = H'(v, x̃, v_i, x_i², v', x'). N, v, the v_i and who is who are in the key's hash.
    fn challenge(&self, v: &Residue, x: &Residue) -> [u8; CHALLENGE_SIZE] {
        let mut hash = Sha256::new_with_prefix(b"bftkv threshold RSA proof 1");
        hash.update(self.key.id().as_bytes());
        hash.update([self.party.number()]);
        for residue in [&self.base, &self.square, v, x] {
            hash.update(self.key.numbers().write(residue));
        }
        hash.finalize().into()
    }
}

fn answer_bits(key: &RsaKey) -> u32 {
    // A whole number of 64-bit words, with room for the carry.
    key.numbers().bits().saturating_add(CHALLENGE_BITS.saturating_mul(2)).saturating_add(64)
}

/// Makes the proof (c, z): z = s_i·c + r with a random r of L(N) + 2 L1 bits, which hides s_i.
pub(super) fn prove(
    key: &RsaKey,
    party: Party,
    secret: &BoxedUint,
    message: &Residue,
    partial: &Residue,
    rng: &mut dyn CryptoRngCore,
) -> Result<Vec<u8>, Error> {
    let statement = Statement::new(key, party, message, partial);
    let bits = key.numbers().bits().saturating_add(CHALLENGE_BITS.saturating_mul(2));
    let random = BoxedUint::try_random_bits_with_precision(&mut Rng(rng), bits, answer_bits(key));
    let random = Zeroizing::new(random.map_err(|_| Error::Malformed("random number"))?);
    let raise = |base: &Residue| base.pow_bounded_exp(&random, bits);
    let c = statement.challenge(&raise(&key.base()), &raise(&statement.base));
    let challenge = read(&c, CHALLENGE_BITS)?;
    let product = Zeroizing::new(secret.concatenating_mul(&challenge));
    let answer = random.wrapping_add(&*product);
    let bytes = answer.to_be_bytes();
    let size = key.numbers().size().saturating_add(LONGER);
    let from = bytes.len().checked_sub(size).ok_or(Error::Malformed("proof"))?;
    let answer = bytes.get(from..).unwrap_or_default();
    Ok([c.as_slice(), answer].concat())
}

/// Whether the proof is one of this party for this partial signature of this message.
pub(super) fn verify(
    key: &RsaKey,
    party: Party,
    message: &Residue,
    partial: &Residue,
    proof: &[u8],
) -> bool {
    let Some((c, answer)) = proof.split_at_checked(CHALLENGE_SIZE) else { return false };
    if answer.len() != key.numbers().size().saturating_add(LONGER) {
        return false;
    }
    let (Ok(challenge), Ok(answer)) = (read(c, CHALLENGE_BITS), read(answer, answer_bits(key)))
    else {
        return false;
    };
    let Ok(check) = key.check_of(party) else { return false };
    let statement = Statement::new(key, party, message, partial);
    // base^z / power^c; nobody knows a number without an inverse, except 0, which is not read.
    let undo = |base: &Residue, power: &Residue| {
        let inverse = power.pow_bounded_exp(&challenge, CHALLENGE_BITS).invert_vartime();
        Some(base.pow(&answer).mul(&inverse.into_option()?))
    };
    let v = undo(&key.base(), check);
    let x = undo(&statement.base, &statement.square);
    v.zip(x).is_some_and(|(v, x)| statement.challenge(&v, &x) == *c)
}

fn read(bytes: &[u8], bits: u32) -> Result<BoxedUint, Error> {
    BoxedUint::from_be_slice(bytes, bits).map_err(|_| Error::Malformed("proof"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::rsa::{SafePrimes, deal};
    use crate::{KeyShare, Roster};

    fn unhex(hex: &str) -> Vec<u8> {
        let pair = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.as_bytes().chunks(2).map(pair).collect()
    }

    /// Whatever the challenge does not depend on, a liar may choose after it.
    #[test]
    fn the_challenge_is_about_every_number() {
        let primes = include_str!("../../tests/data/safe-primes.txt");
        let primes: Vec<Vec<u8>> = primes.lines().take(2).map(unhex).collect();
        let primes = SafePrimes::from_be_bytes(&primes[0], &primes[1]).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let roster = Roster::first(4, 2).unwrap();
        let shares = deal(&roster, &primes, &mut rng).unwrap();
        let others = deal(&roster, &primes, &mut rng).unwrap();
        let (key, party) = (shares[0].public(), shares[0].party());
        let [one, two, three] = [b"1", b"2", b"3"].map(|text| key.encode(text).unwrap());
        let statement = |key, party, base, square: &Residue| {
            let (base, square) = (Residue::clone(base), square.clone());
            Statement { key, party, base, square }
        };
        let here = statement(key, party, &one, &two);
        let challenges = [
            here.challenge(&one, &two),
            here.challenge(&three, &two),
            here.challenge(&one, &three),
            statement(key, party, &three, &two).challenge(&one, &two),
            statement(key, party, &one, &three).challenge(&one, &two),
            statement(key, shares[1].party(), &one, &two).challenge(&one, &two),
            statement(others[0].public(), party, &one, &two).challenge(&one, &two),
        ];
        assert_eq!(challenges.iter().collect::<BTreeSet<_>>().len(), challenges.len());
    }
}
