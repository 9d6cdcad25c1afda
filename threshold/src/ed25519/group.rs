//! Points, scalars and interpolation, in the types that FROST uses.

use std::collections::BTreeSet;

use frost_ed25519::{Ciphersuite, Ed25519Sha512, Field, Group, Identifier};

use crate::{Error, Party};

type Curve = <Ed25519Sha512 as Ciphersuite>::Group;
type ScalarField = <Curve as Group>::Field;
pub(super) type Point = <Curve as Group>::Element;
pub(super) type Scalar = <ScalarField as Field>::Scalar;

/// The length of an encoded point or scalar.
pub(super) const SIZE: usize = 32;

/// The point with this encoding: canonical, of the prime order, not the identity.
pub(super) fn point(bytes: &[u8]) -> Option<Point> {
    Curve::deserialize(bytes.try_into().ok()?).ok()
}

pub(super) fn point_bytes(point: &Point) -> Result<[u8; SIZE], Error> {
    Curve::serialize(point).map_err(|_| Error::Inconsistent)
}

/// The scalar with this encoding, which must be canonical.
pub(super) fn scalar(bytes: &[u8]) -> Option<Scalar> {
    ScalarField::deserialize(bytes.try_into().ok()?).ok()
}

pub(super) fn base_times(scalar: &Scalar) -> Point {
    Curve::generator() * scalar
}

pub(super) fn identity() -> Point {
    Curve::identity()
}

/// FROST's name of a party.
pub(super) fn identifier(party: Party) -> Result<Identifier, Error> {
    Identifier::try_from(u16::from(party.number())).map_err(|_| Error::NoSuchParty(0))
}

/// The party of those here that has this name.
pub(super) fn party_of<'a>(
    mut parties: impl Iterator<Item = &'a Party>,
    name: &Identifier,
) -> Option<Party> {
    parties.find(|party| identifier(**party).as_ref() == Ok(name)).copied()
}

fn number(party: Party) -> Scalar {
    Scalar::from(party.number())
}

/// The Lagrange coefficient of `of` in the interpolation at `at` from the subset; `None` is 0, the
/// place of the secret.
pub(super) fn coefficient(subset: &BTreeSet<Party>, of: Party, at: Option<Party>) -> Scalar {
    let at = at.map_or(ScalarField::zero(), number);
    let one = ScalarField::one();
    let others = subset.iter().filter(|party| **party != of);
    let (above, below) = others.fold((one, one), |(above, below), other| {
        (above * (at - number(*other)), below * (number(of) - number(*other)))
    });
    // Parties are distinct and below the order: never 0.
    above * below.invert()
}

/// The value at a party of the polynomial with these coefficients, given as points, the first of
/// which belongs to x^`from`.
pub(super) fn evaluate(coefficients: &[Point], from: u32, at: Party) -> Point {
    let x = number(at);
    let start = (0..from).fold(ScalarField::one(), |power, _| power * x);
    let sum = coefficients.iter().fold((identity(), start), |(sum, power), coefficient| {
        (sum + coefficient * power, power * x)
    });
    sum.0
}
