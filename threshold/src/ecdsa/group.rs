//! P-256: points, scalars, Pedersen commitments and interpolation.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use p256::elliptic_curve::group::{Group, GroupEncoding};
use p256::elliptic_curve::hash2curve::{ExpandMsgXmd, GroupDigest};
use p256::elliptic_curve::ops::{BatchInvert, Invert, Reduce};
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

/// As [`times_base`] for a public scalar: the time may tell it. Source: E. Brickell, D. Gordon, K.
/// McCurley and D. Wilson, *Fast exponentiation with precomputation* (EUROCRYPT 1992): every
/// digit·16^i·G is there, so that additions are all that is left.
pub(super) fn times_base_public(scalar: &Scalar) -> Point {
    static DIGITS: OnceLock<Vec<[Point; 16]>> = OnceLock::new();
    let digits = DIGITS.get_or_init(|| {
        let places = std::iter::successors(Some(Point::GENERATOR), |base| {
            Some(base.double().double().double().double())
        });
        places.take(SCALAR.wrapping_mul(2)).map(|base| multiples(&base)).collect()
    });
    let bytes = scalar.to_bytes();
    let nibbles = bytes.iter().rev().flat_map(|byte| [byte & 0xf, byte.wrapping_shr(4)]);
    let each = nibbles.zip(digits).filter_map(|(digit, all)| all.get(usize::from(digit)));
    each.fold(Point::IDENTITY, |sum, point| sum + point)
}

/// 0 to 15 times the point.
fn multiples(point: &Point) -> [Point; 16] {
    let mut all = [Point::IDENTITY; 16];
    let mut last = Point::IDENTITY;
    for place in all.iter_mut().skip(1) {
        last += point;
        *place = last;
    }
    all
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

/// The inverse of each that has one.
pub(super) fn invert_all(scalars: &[Scalar]) -> Vec<Option<Scalar>> {
    let together: Option<Vec<Scalar>> = Scalar::batch_invert(scalars).into();
    match together {
        Some(inverses) => inverses.into_iter().map(Some).collect(),
        // One of them is 0.
        None => scalars.iter().map(invert).collect(),
    }
}

/// A hash as a scalar.
pub(super) fn reduce(hash: [u8; 32]) -> Scalar {
    <Scalar as Reduce<p256::U256>>::reduce_bytes(&hash.into())
}

/// The point with this encoding, which is the only one; not the identity.
pub(super) fn read_point(reader: &mut Reader<'_>) -> Result<Point, Error> {
    let bytes: [u8; POINT] = reader.array()?;
    // The library also reads points without a sign, which have another first byte.
    if !matches!(bytes.first(), Some(2 | 3)) {
        return Err(reader.malformed());
    }
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
    let prepare = |(point, scalar): &(Point, Scalar)| {
        (multiples(point), <[u8; SCALAR]>::from(scalar.to_bytes()))
    };
    let terms: Vec<([Point; 16], [u8; SCALAR])> = terms.iter().map(prepare).collect();
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
    fn multiples_of_the_base_are_the_librarys() {
        use rand_chacha::rand_core::SeedableRng;
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(4);
        let small = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from(16u64)];
        let scalars = small.into_iter().chain((0..20).map(|_| random(&mut rng)));
        for scalar in scalars {
            assert_eq!(times_base_public(&scalar), times_base(&scalar));
        }
    }

    #[test]
    fn inverses_are_found_beside_one_that_is_missing() {
        let [two, three] = [2u64, 3].map(Scalar::from);
        for scalars in
            [vec![two, three], vec![two, Scalar::ZERO, three], vec![Scalar::ZERO], vec![]]
        {
            let inverses = invert_all(&scalars);
            assert_eq!(inverses.len(), scalars.len());
            for (scalar, inverse) in scalars.iter().zip(&inverses) {
                assert_eq!(inverse.is_none(), *scalar == Scalar::ZERO);
                assert!(inverse.is_none_or(|inverse| inverse * scalar == Scalar::ONE));
            }
        }
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
