//! P-256: points, scalars, Pedersen commitments and interpolation.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use p256::elliptic_curve::group::{Group, GroupEncoding};
use p256::elliptic_curve::hash2curve::{ExpandMsgXmd, GroupDigest};
use p256::elliptic_curve::ops::{Invert, Reduce};
use p256::elliptic_curve::{Field, PrimeField};
use p256::{NistP256, ProjectivePoint};
use sha2::Sha256;
use zeroize::Zeroize;

use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::{Error, Party, SecretBytes};

pub(super) use p256::Scalar;
pub(super) type Point = ProjectivePoint;

/// The length of an encoded point (SEC 1, compressed).
pub(super) const POINT: usize = 33;

/// The length of an encoded scalar.
pub(super) const SCALAR: usize = 32;

/// H, the second base of commitments. Nobody knows its logarithm to the first one, because it is a
/// hash. Source: RFC 9380, P256_XMD:SHA-256_SSWU_RO_.
pub(super) fn second() -> Point {
    static SECOND: OnceLock<Point> = OnceLock::new();
    *SECOND.get_or_init(|| {
        let made = NistP256::hash_from_bytes::<ExpandMsgXmd<Sha256>>(
            &[b"second generator"],
            &[b"bftkv threshold ECDSA 1 P256_XMD:SHA-256_SSWU_RO_"],
        );
        // The only error is a label that is too long or empty.
        made.unwrap_or(Point::IDENTITY)
    })
}

pub(super) fn times_base(scalar: &Scalar) -> Point {
    Point::GENERATOR * scalar
}

pub(super) fn times_second(scalar: &Scalar) -> Point {
    second() * scalar
}

/// A secret with what blinds its commitment; or one party's shares of both. Wiped when dropped.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) value: Scalar,
    pub(super) blind: Scalar,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.value.zeroize();
        self.blind.zeroize();
    }
}

impl Pair {
    pub(super) const ZERO: Self = Self { value: Scalar::ZERO, blind: Scalar::ZERO };

    pub(super) fn random(rng: &mut dyn CryptoRngCore) -> Self {
        Self { value: random(rng), blind: random(rng) }
    }

    /// The Pedersen commitment: value·G + blind·H.
    pub(super) fn commit(&self) -> Point {
        times_base(&self.value) + times_second(&self.blind)
    }

    /// self + other·factor.
    pub(super) fn plus(&self, other: &Self, factor: &Scalar) -> Self {
        Self { value: self.value + other.value * factor, blind: self.blind + other.blind * factor }
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.bytes(&SecretBytes::new(self.value.to_bytes().to_vec()));
        out.bytes(&SecretBytes::new(self.blind.to_bytes().to_vec()));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { value: read_scalar(reader)?, blind: read_scalar(reader)? })
    }
}

pub(super) fn random(rng: &mut dyn CryptoRngCore) -> Scalar {
    Scalar::random(rng)
}

pub(super) fn invert(scalar: &Scalar) -> Option<Scalar> {
    Option::from(Invert::invert(scalar))
}

/// A hash as a scalar.
pub(super) fn reduce(hash: [u8; 32]) -> Scalar {
    <Scalar as Reduce<p256::U256>>::reduce_bytes(&hash.into())
}

/// The point with this encoding, which is the only one; not the identity.
pub(super) fn read_point(reader: &mut Reader<'_>) -> Result<Point, Error> {
    let bytes: [u8; POINT] = reader.array()?;
    let point: Option<Point> = Point::from_bytes(&bytes.into()).into();
    point.filter(|point| !bool::from(point.is_identity())).ok_or(reader.malformed())
}

pub(super) fn write_point(point: &Point, out: &mut Writer) {
    out.bytes(&point.to_bytes());
}

/// The scalar with this encoding, below the order.
pub(super) fn read_scalar(reader: &mut Reader<'_>) -> Result<Scalar, Error> {
    let bytes: [u8; SCALAR] = reader.array()?;
    Option::from(Scalar::from_repr(bytes.into())).ok_or(reader.malformed())
}

/// The sum of these points, each times its scalar. Everything here is public, so the time may tell
/// it. Source: E. Straus, *Addition chains of vectors* (1964), with windows of four bits: the
/// doublings are done once for all.
pub(super) fn sum_of_products(terms: &[(Point, Scalar)]) -> Point {
    let multiples = |(point, scalar): &(Point, Scalar)| {
        let mut all = [Point::IDENTITY; 16];
        let mut last = Point::IDENTITY;
        for place in all.iter_mut().skip(1) {
            last += point;
            *place = last;
        }
        (all, <[u8; SCALAR]>::from(scalar.to_bytes()))
    };
    let terms: Vec<([Point; 16], [u8; SCALAR])> = terms.iter().map(multiples).collect();
    let mut sum = Point::IDENTITY;
    for byte in 0..SCALAR {
        for shift in [4u32, 0] {
            sum = sum.double().double().double().double();
            for (multiples, scalar) in &terms {
                let digit = scalar.get(byte).map_or(0, |byte| byte.wrapping_shr(shift) & 0xf);
                if digit > 0 {
                    sum += multiples.get(usize::from(digit)).unwrap_or(&Point::IDENTITY);
                }
            }
        }
    }
    sum
}

fn number(party: Party) -> Scalar {
    Scalar::from(u64::from(party.number()))
}

/// The Lagrange coefficient of `of` in the interpolation at 0 from the subset.
pub(super) fn coefficient(subset: &BTreeSet<Party>, of: Party) -> Scalar {
    let others = subset.iter().filter(|party| **party != of);
    let (above, below) = others.fold((Scalar::ONE, Scalar::ONE), |(above, below), other| {
        (above * number(*other), below * (number(*other) - number(of)))
    });
    // Parties are distinct and below the order: never 0.
    above * invert(&below).unwrap_or(Scalar::ZERO)
}

/// The committed polynomial's value at a party, as a point. By Horner, with multiplications by the
/// party's number, which is small; everything here is public, so the time may tell it.
pub(super) fn evaluate(commitments: &[Point], at: Party) -> Point {
    let times = |point: Point| {
        (0..u8::BITS).rev().fold(Point::IDENTITY, |sum, bit| {
            let doubled = sum.double();
            if at.number().wrapping_shr(bit) & 1 == 1 { doubled + point } else { doubled }
        })
    };
    commitments.iter().rev().fold(Point::IDENTITY, |sum, commitment| times(sum) + commitment)
}

/// A polynomial with pairs as coefficients. Wiped when dropped, as they are.
pub(super) struct Polynomial(Vec<Pair>);

impl Polynomial {
    /// With these coefficients, the lowest degree first.
    pub(super) fn of(coefficients: Vec<Pair>) -> Self {
        Self(coefficients)
    }

    /// A random one of degree k-1 with this value at 0.
    pub(super) fn new(secret: Pair, k: usize, rng: &mut dyn CryptoRngCore) -> Self {
        let mut coefficients = Vec::with_capacity(k);
        coefficients.push(secret);
        coefficients.resize_with(k, || Pair::random(rng));
        Self(coefficients)
    }

    pub(super) fn commitments(&self) -> Vec<Point> {
        self.0.iter().map(Pair::commit).collect()
    }

    pub(super) fn at(&self, party: Party) -> Pair {
        let x = number(party);
        self.0.iter().rev().fold(Pair::ZERO, |sum, coefficient| coefficient.plus(&sum, &x))
    }
}

/// Adds up polynomials that are given by their commitments.
pub(super) fn add_commitments(sum: &mut [Point], more: &[Point], factor: &Scalar) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += *more * factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_products_are_right() {
        use rand_chacha::rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(3);
        let small = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from(16u64)];
        for count in 0..6 {
            let mut term = |place: usize| {
                let scalar = small.get(place).copied().unwrap_or_else(|| random(&mut rng));
                (times_base(&random(&mut rng)), scalar)
            };
            let terms: Vec<_> = (0..count).map(&mut term).collect();
            let expected = terms.iter().fold(Point::IDENTITY, |sum, (p, s)| sum + *p * s);
            assert_eq!(sum_of_products(&terms), expected);
        }
        assert_eq!(sum_of_products(&[(Point::IDENTITY, random(&mut rng))]), Point::IDENTITY);
    }

    #[test]
    fn the_bases_differ_and_are_no_identity() {
        assert_ne!(second(), Point::GENERATOR);
        assert_ne!(second(), Point::IDENTITY);
    }

    #[test]
    fn any_k_values_give_the_secret() {
        use rand_chacha::rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let secret = Pair::random(&mut rng);
        let polynomial = Polynomial::new(secret.clone(), 3, &mut rng);
        for subset in [[1, 2, 3], [2, 5, 9], [255, 1, 7]] {
            let subset: BTreeSet<Party> = subset.map(|i| Party::new(i).unwrap()).into();
            let sum = subset.iter().fold(Pair::ZERO, |sum, party| {
                sum.plus(&polynomial.at(*party), &coefficient(&subset, *party))
            });
            assert_eq!((sum.value, sum.blind), (secret.value, secret.blind));
            for party in &subset {
                let value = evaluate(&polynomial.commitments(), *party);
                assert_eq!(value, polynomial.at(*party).commit());
            }
        }
    }
}
