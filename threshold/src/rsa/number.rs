//! Residues modulo N, and the integers of the Lagrange interpolation.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, MontyForm, MontyMultiplier as _, Odd};

use super::{EXPONENT, MAX_MODULUS_BITS, MIN_MODULUS_BITS};
use crate::{Error, MAX_PARTIES, Party};

/// A number modulo N.
pub(super) type Residue = BoxedMontyForm;

/// N, and what arithmetic modulo N needs.
#[derive(Clone)]
pub(super) struct Modulus {
    params: BoxedMontyParams,
    bits: u32,
}

impl Modulus {
    /// N, which must be odd, of a size within the limits, and a whole number of 64-bit words, as
    /// all sizes in use are.
    pub(super) fn new(n: &BoxedUint) -> Result<Self, Error> {
        let bits = n.bit_width_vartime();
        let sized = (MIN_MODULUS_BITS..=MAX_MODULUS_BITS).contains(&bits);
        let odd = Odd::new(n.clone()).into_option().ok_or(Error::Primes)?;
        if !sized || bits & 127 != 0 || bits != n.bits_precision() {
            return Err(Error::Primes);
        }
        Ok(Self { params: BoxedMontyParams::new_vartime(odd), bits })
    }

    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// The length of N, and of every residue, in bytes.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.bits.wrapping_shr(3)).unwrap_or_default()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.params.modulus().as_ref().to_be_bytes().into_vec()
    }

    pub(super) fn params(&self) -> &BoxedMontyParams {
        &self.params
    }

    pub(super) fn one(&self) -> Residue {
        Residue::one(&self.params)
    }

    /// The residue with this big-endian encoding, if it is one: of N's length, not 0, below N.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<Residue> {
        let number = BoxedUint::from_be_slice(bytes, self.bits).ok()?;
        let n: &BoxedUint = self.params.modulus().as_ref();
        let in_range = bytes.len() == self.size() && number < *n;
        (in_range && !bool::from(number.is_zero())).then(|| Residue::new(number, &self.params))
    }

    /// The big-endian encoding, as long as N.
    pub(super) fn write(&self, residue: &Residue) -> Vec<u8> {
        residue.retrieve().to_be_bytes().into_vec()
    }
}

/// base^exponent; the time tells the exponent, which must be public.
pub(super) fn pow_public(base: &Residue, exponent: u128) -> Residue {
    product_of_powers(base.params(), &[(base, exponent)])
}

/// The product of all base^exponent, with the squarings that they have in common (Straus 1964); the time tells the
/// exponents, which must be public.
pub(super) fn product_of_powers(
    params: &BoxedMontyParams,
    factors: &[(&Residue, u128)],
) -> Residue {
    let width =
        factors.iter().map(|(_, exponent)| u128::BITS.saturating_sub(exponent.leading_zeros()));
    let mut multiplier = <Residue as MontyForm>::Multiplier::from(params);
    let mut product: Option<Residue> = None;
    for bit in (0..width.max().unwrap_or(0)).rev() {
        if let Some(product) = &mut product {
            multiplier.square_assign(product);
        }
        for (base, _) in factors.iter().filter(|(_, exp)| exp.wrapping_shr(bit) & 1 == 1) {
            match &mut product {
                Some(product) => multiplier.mul_assign(product, base),
                None => product = Some((*base).clone()),
            }
        }
    }
    product.unwrap_or_else(|| Residue::one(params))
}

/// The greatest common divisor; that of 0 and a number is the number.
pub(super) fn common_divisor(a: u128, b: u128) -> u128 {
    match a.checked_rem(b) {
        Some(rest) => common_divisor(b, rest),
        None => a,
    }
}

/// λ, a Lagrange coefficient times Δ, which makes it whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Coefficient {
    pub(super) negative: bool,
    pub(super) size: u128,
}

/// The product of at most [`MAX_PARTIES`] - 1 numbers below or equal to it, times Δ, is below
/// 2^123; so nothing here overflows.
const NO_OVERFLOW: &str = "20! squared is below 2^123";

fn product(factors: impl Iterator<Item = u128>) -> u128 {
    factors.fold(1, |product, factor| product.checked_mul(factor).expect(NO_OVERFLOW))
}

/// Δ = n!, for n parties.
pub(super) fn delta(n: usize) -> u128 {
    debug_assert!(n <= MAX_PARTIES);
    product((1..=n).filter_map(|factor| u128::try_from(factor).ok()))
}

/// The coefficient of party `of` in the interpolation at `at` (0 for the secret) from the parties
/// of the subset. Source: Shoup, section 3, λ^S_{i,j}.
pub(super) fn coefficient(delta: u128, subset: &[Party], of: Party, at: u8) -> Coefficient {
    let others = || subset.iter().filter(move |party| **party != of).map(|party| party.number());
    let above = product(others().map(|j| u128::from(at.abs_diff(j))));
    let below = product(others().map(|j| u128::from(of.number().abs_diff(j))));
    let turned = |from: u8| others().filter(|j| from < *j).count();
    let size = delta.checked_mul(above).expect(NO_OVERFLOW).checked_div(below);
    Coefficient {
        negative: turned(at).wrapping_add(turned(of.number())) & 1 == 1,
        size: size.unwrap_or_default(),
    }
}

/// a and |b| with a·4Δ² - |b|·e = 1. Source: Shoup, section 3, from the extended Euclidean
/// algorithm on e' = 4Δ² and e; here by Fermat's theorem, because e is prime.
pub(super) fn bezout(delta: u128) -> (u128, u128) {
    let e = u128::from(EXPONENT);
    let modulo = |x: u128| x.checked_rem(e).unwrap_or_default();
    let square = delta.checked_mul(delta).and_then(|square| square.checked_mul(4));
    let square = square.expect(NO_OVERFLOW);
    let rest = modulo(square);
    // rest^(e-2) = rest^65535, all of whose 16 bits are ones.
    let a = (0..16)
        .fold(1, |power: u128, _| modulo(modulo(power.wrapping_mul(power)).wrapping_mul(rest)));
    // |b| = (a·4Δ² - 1)/e, in two parts because a·4Δ² is too large for the type.
    let whole = a.checked_mul(square.checked_div(e).unwrap_or_default()).expect(NO_OVERFLOW);
    let small = a.wrapping_mul(rest).saturating_sub(1).checked_div(e).unwrap_or_default();
    (a, whole.wrapping_add(small))
}

#[cfg(test)]
mod tests {
    use crypto_bigint::Resize as _;

    use super::*;

    fn parties(numbers: &[u8]) -> Vec<Party> {
        numbers.iter().map(|number| Party::new(*number).unwrap()).collect()
    }

    #[test]
    fn powers_are_multiplied_together() {
        // Modulo 2^1536 - 1, which need not be prime for this.
        let n = BoxedUint::max(1_536);
        let modulus = Modulus::new(&n).unwrap();
        let residue = |number: u64| {
            let number = BoxedUint::from(number).resize(1_536);
            Residue::new(number, modulus.params())
        };
        let slow = |base: u64, exponent: u128| {
            (0..exponent).fold(modulus.one(), |power, _| power.mul(&residue(base)))
        };
        for (x, y) in [(0, 0), (1, 0), (0, 5), (1, 1), (6, 9), (255, 3), (64, 65)] {
            let wanted = slow(5, x).mul(&slow(7, y));
            let (five, seven) = (residue(5), residue(7));
            assert_eq!(product_of_powers(modulus.params(), &[(&five, x), (&seven, y)]), wanted);
            assert_eq!(pow_public(&five, x).mul(&pow_public(&seven, y)), wanted);
        }
        assert_eq!(
            [(12, 18), (0, 7), (7, 0), (5, 9)].map(|(a, b)| common_divisor(a, b)),
            [6, 7, 7, 1]
        );
    }

    #[test]
    fn interpolation_finds_every_value_of_a_polynomial() {
        // f(x) = 7 - 3x + 2x², at whole numbers.
        let f = |x: i128| 7 - 3 * x + 2 * x * x;
        for n in [3, 4, 7, 13, 20u8] {
            let delta = delta(n.into());
            for subset in [[1, 2, 3], [1, 3, 2], [3, 2, 1]] {
                let subset = parties(&subset);
                for at in 0..=n {
                    let sum: i128 = subset
                        .iter()
                        .map(|party| {
                            let c = coefficient(delta, &subset, *party, at);
                            let value = c.size as i128 * f(i128::from(party.number()));
                            if c.negative { -value } else { value }
                        })
                        .sum();
                    assert_eq!(sum, delta as i128 * f(i128::from(at)), "n = {n}, at {at}");
                }
            }
        }
    }

    #[test]
    fn nothing_overflows_for_the_largest_roster() {
        let all: Vec<u8> = (1..=20).collect();
        assert_eq!(all.len(), MAX_PARTIES);
        let delta = delta(MAX_PARTIES);
        for k in 2..=MAX_PARTIES {
            for subset in [&all[..k], &all[MAX_PARTIES - k..]] {
                let subset = parties(subset);
                for of in &subset {
                    for at in 0..=20 {
                        let here = subset.iter().any(|p| p.number() == at && p != of);
                        assert_eq!(coefficient(delta, &subset, *of, at).size == 0, here);
                    }
                }
            }
        }
        assert_eq!(delta, 2_432_902_008_176_640_000);
    }

    #[test]
    fn the_two_exponents_are_combined_to_one() {
        let e = u128::from(EXPONENT);
        for n in 2..=MAX_PARTIES {
            let delta = delta(n);
            let (a, b) = bezout(delta);
            // Modulo 2^128, and modulo e.
            let left = a.wrapping_mul(4 * delta * delta);
            assert_eq!(left.wrapping_sub(b.wrapping_mul(e)), 1, "n = {n}");
            assert!(a < e && a * (4 * delta * delta % e) % e == 1);
        }
    }
}
