//! The group of the text: the subgroup of prime order q of the numbers modulo p = 2q+1.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{NonZero, Odd, U2048};
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::{ElementBytes, NUMBER_BYTES, SrpError};

/// p, the prime of group 14: 2^2048 - 2^1984 - 1 + 2^64 * ([2^1918 pi] + 124476). RFC 3526,
/// section 3. It is a safe prime, and 2 generates the subgroup of order q.
const PRIME: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF";

const LIMBS: usize = U2048::LIMBS;

/// A number modulo p or q, ready for arithmetic.
pub(super) type Residue = FixedMontyForm<LIMBS>;

/// p, q and g. The text says that "g is a generator on Z_q"; it must be one of the group of order
/// q modulo p, because shares, which are numbers modulo q, stand in its exponents.
#[derive(Clone)]
pub(super) struct Group {
    p: FixedMontyParams<LIMBS>,
    q: FixedMontyParams<LIMBS>,
    g: Residue,
}

impl Group {
    pub(super) fn new() -> Self {
        // Both are odd: p is a prime, and so is q.
        let prime = U2048::from_be_hex(PRIME);
        let p = FixedMontyParams::new_vartime(odd(prime));
        let q = FixedMontyParams::new_vartime(odd(prime.shr_vartime(1)));
        Self { g: Residue::new(&U2048::from(2_u8), &p), p, q }
    }

    /// g^exponent.
    pub(super) fn power(&self, exponent: &U2048) -> Residue {
        self.g.pow(exponent)
    }

    /// A number modulo p.
    pub(super) fn modulo_p(&self, number: &U2048) -> Residue {
        Residue::new(&number.rem(&nonzero(self.p.modulus())), &self.p)
    }

    /// A number modulo q.
    pub(super) fn modulo_q(&self, number: &U2048) -> Residue {
        Residue::new(&number.rem(&nonzero(self.q.modulus())), &self.q)
    }

    /// The text's "g^pi' mod q": the group element, taken as a number, modulo q. It mixes two
    /// groups; both sides do the same, so it works.
    pub(super) fn mask(&self, password: &[u8]) -> Residue {
        let exponent = self.hash_q(b"password", &[password]);
        self.modulo_q(&self.power(&exponent.retrieve()).retrieve())
    }

    /// An element from outside: in range, not 1, and of order q. The text lacks this check:
    /// without it a client that sends 0 gets all proofs without the password.
    pub(super) fn element(&self, bytes: &ElementBytes) -> Result<Residue, SrpError> {
        let element = self.number(bytes).map_err(|_| SrpError::Element)?;
        let one = Residue::one(&self.p);
        if element == one || element.pow(self.q.modulus().as_ref()) != one {
            return Err(SrpError::Element);
        }
        Ok(element)
    }

    /// A number from outside: from 1 to p-1.
    pub(super) fn number(&self, bytes: &ElementBytes) -> Result<Residue, SrpError> {
        let number = U2048::from_be_slice(bytes);
        if number >= *self.p.modulus().as_ref() || bool::from(number.is_zero()) {
            return Err(SrpError::Number);
        }
        Ok(Residue::new(&number, &self.p))
    }

    /// A random number modulo q, not 0 or 1. It is taken from 2,048 bits, which is within 2^-63 of
    /// uniform.
    pub(super) fn random(&self, rng: &mut dyn CryptoRngCore) -> Result<Zeroizing<U2048>, SrpError> {
        let mut bytes = Zeroizing::new([0; NUMBER_BYTES]);
        rng.fill_bytes(&mut *bytes);
        let number = Zeroizing::new(self.modulo_q(&U2048::from_be_slice(&*bytes)).retrieve());
        if *number <= U2048::ONE { Err(SrpError::Zero) } else { Ok(number) }
    }

    /// The text's h(...)_{0..p-1}.
    pub(super) fn hash_p(&self, label: &[u8], parts: &[&[u8]]) -> Residue {
        self.modulo_p(&hash(label, parts))
    }

    /// The text's h(...)_{0..q-1}.
    pub(super) fn hash_q(&self, label: &[u8], parts: &[&[u8]]) -> Residue {
        self.modulo_q(&hash(label, parts))
    }

    /// k = H(p, g).
    pub(super) fn multiplier(&self) -> Residue {
        let (p, g) = (bytes(self.p.modulus().as_ref()), encode(&self.g));
        self.hash_p(b"k", &[&p, &g])
    }

    /// u = H(X, B). If it were 0, the password would not matter.
    pub(super) fn scrambler(&self, x: &ElementBytes, b: &ElementBytes) -> Result<U2048, SrpError> {
        let u = self.hash_q(b"u", &[x, b]).retrieve();
        if bool::from(u.is_zero()) { Err(SrpError::Zero) } else { Ok(u) }
    }

    /// The Lagrange coefficient of `of` at 0, from these distinct indices from 1 on. They are public.
    pub(super) fn lagrange(&self, of: u16, indices: &[u16]) -> Result<U2048, SrpError> {
        let whole = |index: u16| self.modulo_q(&U2048::from(index));
        let mut coefficient = Residue::one(&self.q);
        for other in indices.iter().filter(|other| **other != of) {
            let difference = whole(*other).sub(&whole(of)).invert_vartime();
            let inverse = difference.into_option().ok_or(SrpError::Indices)?;
            coefficient = coefficient.mul(&whole(*other)).mul(&inverse);
        }
        Ok(coefficient.retrieve())
    }
}

/// The element's number, as long as p.
pub(super) fn encode(residue: &Residue) -> ElementBytes {
    bytes(&residue.retrieve())
}

pub(super) fn bytes(number: &U2048) -> ElementBytes {
    let mut out = [0; NUMBER_BYTES];
    out.copy_from_slice(number.to_be_bytes().as_slice());
    out
}

/// 2,048 bits of SHA-512, four blocks of it; every part is preceded by its length. The text's hash
/// is any hash: there is no work factor, which is one of its weaknesses.
fn hash(label: &[u8], parts: &[&[u8]]) -> U2048 {
    let mut out = Zeroizing::new([0; NUMBER_BYTES]);
    for (counter, block) in (0_u8..).zip(out.chunks_mut(64)) {
        let mut hash = Sha512::new().chain_update(b"bftkv seed-srp ");
        hash.update([counter]);
        for part in std::iter::once(&label).chain(parts) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        block.copy_from_slice(&hash.finalize());
    }
    U2048::from_be_slice(&*out)
}

#[cfg(test)]
pub(super) fn prime() -> ElementBytes {
    bytes(&U2048::from_be_hex(PRIME))
}

const IS_ODD: &str = "p and q are odd primes";

fn odd(number: U2048) -> Odd<U2048> {
    Odd::new(number).into_option().expect(IS_ODD)
}

fn nonzero(number: &Odd<U2048>) -> NonZero<U2048> {
    *number.as_nz_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generates_the_subgroup_of_order_q() {
        let group = Group::new();
        let one = Residue::one(&group.p);
        assert!(group.g != one);
        assert_eq!(group.power(group.q.modulus().as_ref()), one);
        // p = 2q+1, by the definition of the constant in RFC 3526.
        let q = *group.q.modulus().as_ref();
        assert_eq!(q.wrapping_add(&q).wrapping_add(&U2048::ONE), *group.p.modulus().as_ref());
        // Fermat's test says that neither is composite, for a few bases.
        for base in [3_u8, 5, 7, 11] {
            let base = U2048::from(base);
            let p_less_one = group.p.modulus().as_ref().wrapping_sub(&U2048::ONE);
            assert_eq!(group.modulo_p(&base).pow(&p_less_one), one);
            let q_less_one = q.wrapping_sub(&U2048::ONE);
            assert_eq!(group.modulo_q(&base).pow(&q_less_one), Residue::one(&group.q));
        }
    }

    #[test]
    fn what_is_outside_of_the_group_is_refused() {
        let group = Group::new();
        let p = *group.p.modulus().as_ref();
        let bad = [
            U2048::ZERO,
            U2048::ONE,
            p.wrapping_sub(&U2048::ONE), // of order 2
            p,
            p.wrapping_add(&U2048::ONE),
            U2048::MAX,
            p.wrapping_sub(&U2048::from(4_u8)), // -4 is not a square, so it is of order 2q
        ];
        for number in bad {
            assert_eq!(group.element(&bytes(&number)).err(), Some(SrpError::Element));
        }
        for number in [U2048::ZERO, p, U2048::MAX] {
            assert_eq!(group.number(&bytes(&number)).err(), Some(SrpError::Number));
        }
        assert!(group.element(&bytes(&U2048::from(4_u8))).is_ok());
        assert!(group.number(&bytes(&U2048::from(7_u8))).is_ok());
    }

    #[test]
    fn interpolation_finds_the_value_at_zero() {
        let group = Group::new();
        // f(x) = 7 + 5x + 3x².
        let f = |x: u16| U2048::from(7 + 5 * u32::from(x) + 3 * u32::from(x) * u32::from(x));
        for indices in [[1, 2, 3], [7, 4, 1], [2, 9, 5]] {
            let mut sum = Residue::zero(&group.q);
            for index in indices {
                let coefficient = group.lagrange(index, &indices).unwrap();
                sum = sum.add(&group.modulo_q(&coefficient).mul(&group.modulo_q(&f(index))));
            }
            assert_eq!(sum.retrieve(), U2048::from(7_u8));
        }
    }
}
