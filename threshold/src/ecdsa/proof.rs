//! Two proofs of knowledge, made non-interactive by a hash (Fiat and Shamir).

use sha2::{Digest, Sha256};

use super::group::{
    Pair, Point, Scalar, random, read_scalar, reduce, second, sum_of_products, times_base,
    times_second, write_point,
};
use crate::codec::{Reader, Writer};
use crate::rand_core::CryptoRngCore;
use crate::{Error, Party};

/// What every challenge is about beside the numbers: the transcript so far, who proves, and the
/// number of the presignature. A proof does not count in any other place.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) transcript: &'a [u8; 32],
    pub(super) party: Party,
    pub(super) place: usize,
}

impl Context<'_> {
    fn challenge(self, label: &[u8], points: &[&Point]) -> Scalar {
        let mut out = Writer::default();
        out.bytes(b"bftkv threshold ECDSA proof 2 ");
        out.bytes(label);
        out.bytes(self.transcript);
        out.bytes(&[self.party.number()]);
        out.length_u32(self.place);
        points.iter().for_each(|point| write_point(point, &mut out));
        reduce(Sha256::digest(&*out.finish()).into())
    }
}

/// That the commitment C holds the logarithm of K: knowledge of a and b with K = a·G and C - K = b·H. Both are
/// needed: C - K is a multiple of H for any K. Source: Schnorr, both at once as by Cramer, Damgård and Schoenmakers
/// (CRYPTO 1994).
pub(super) struct Opening {
    challenge: Scalar,
    value: Scalar,
    blind: Scalar,
}

impl Opening {
    pub(super) fn prove(
        context: Context<'_>,
        committed: &Pair,
        commitment: &Point,
        opened: &Point,
        rng: &mut dyn CryptoRngCore,
    ) -> Self {
        let mask = Pair::random(rng);
        let masks = [times_base(&mask.value), times_second(&mask.blind)];
        let points = [commitment, opened, &masks[0], &masks[1]];
        let challenge = context.challenge(b"opening", &points);
        Self {
            challenge,
            value: mask.value + challenge * committed.value,
            blind: mask.blind + challenge * committed.blind,
        }
    }

    pub(super) fn verify(&self, context: Context<'_>, commitment: &Point, opened: &Point) -> bool {
        let blinding = *commitment - opened;
        let base = Point::GENERATOR;
        let value = sum_of_products(&[(base, self.value), (*opened, -self.challenge)]);
        let blind = sum_of_products(&[(second(), self.blind), (blinding, -self.challenge)]);
        context.challenge(b"opening", &[commitment, opened, &value, &blind]) == self.challenge
    }

    pub(super) fn write(&self, out: &mut Writer) {
        for scalar in [&self.challenge, &self.value, &self.blind] {
            out.bytes(&scalar.to_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            challenge: read_scalar(reader)?,
            value: read_scalar(reader)?,
            blind: read_scalar(reader)?,
        })
    }
}

/// That C holds the product of what A and B hold: knowledge of a, a' and d with A = a·G + a'·H and
/// C = a·B + d·H. Source: Cramer and Damgård, *Zero-knowledge proofs for finite field arithmetic*
/// (CRYPTO 1998), as used by Groth and Shoup.
pub(super) struct Product {
    challenge: Scalar,
    value: Scalar,
    blind: Scalar,
    difference: Scalar,
}

impl Product {
    /// `product` is the pair of C, whose value must be a·b; with the commitments to all three.
    pub(super) fn prove(
        context: Context<'_>,
        [a, b, product]: [&Pair; 3],
        [commit_a, commit_b, commit_c]: [&Point; 3],
        rng: &mut dyn CryptoRngCore,
    ) -> Self {
        let (mask, masked_difference) = (Pair::random(rng), random(rng));
        let second = *commit_b * mask.value + times_second(&masked_difference);
        let points = [commit_a, commit_b, commit_c, &mask.commit(), &second];
        let challenge = context.challenge(b"product", &points);
        let difference = product.blind - a.value * b.blind;
        Self {
            challenge,
            value: mask.value + challenge * a.value,
            blind: mask.blind + challenge * a.blind,
            difference: masked_difference + challenge * difference,
        }
    }

    pub(super) fn verify(&self, context: Context<'_>, a: &Point, b: &Point, c: &Point) -> bool {
        let base = Point::GENERATOR;
        let first = [(base, self.value), (second(), self.blind), (*a, -self.challenge)];
        let other = [(*b, self.value), (second(), self.difference), (*c, -self.challenge)];
        let (first, other) = (sum_of_products(&first), sum_of_products(&other));
        context.challenge(b"product", &[a, b, c, &first, &other]) == self.challenge
    }

    pub(super) fn write(&self, out: &mut Writer) {
        for scalar in [&self.challenge, &self.value, &self.blind, &self.difference] {
            out.bytes(&scalar.to_bytes());
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            challenge: read_scalar(reader)?,
            value: read_scalar(reader)?,
            blind: read_scalar(reader)?,
            difference: read_scalar(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    /// What lies between a commitment and any point at all can be known as a multiple of H: that alone shows
    /// nothing of the point.
    #[test]
    fn a_point_that_holds_something_else_is_not_opened() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let (committed, other) = (Pair::random(&mut rng), random(&mut rng));
        let commitment = committed.commit();
        let opened = commitment - times_second(&other);
        let here = Context { transcript: &[1; 32], party: Party::new(1).unwrap(), place: 0 };
        for value in [committed.value, Scalar::ZERO, Scalar::ONE] {
            let claimed = Pair { value, blind: other };
            let lie = Opening::prove(here, &claimed, &commitment, &opened, &mut rng);
            assert!(!lie.verify(here, &commitment, &opened));
        }
    }

    #[test]
    fn a_proof_is_of_one_statement_in_one_place() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (Pair::random(&mut rng), Pair::random(&mut rng));
        let c = Pair { value: a.value * b.value, blind: random(&mut rng) };
        let wrong = Pair { value: c.value + Scalar::ONE, blind: c.blind };
        let party = |number| Party::new(number).unwrap();
        let here = Context { transcript: &[1; 32], party: party(1), place: 0 };
        let elsewhere = [
            Context { transcript: &[2; 32], ..here },
            Context { party: party(2), ..here },
            Context { place: 1, ..here },
        ];
        let [pa, pb, pc, pw] = [&a, &b, &c, &wrong].map(Pair::commit);
        let product = Product::prove(here, [&a, &b, &c], [&pa, &pb, &pc], &mut rng);
        assert!(product.verify(here, &pa, &pb, &pc));
        assert!(!product.verify(here, &pa, &pb, &pw));
        assert!(!product.verify(here, &pa, &pc, &pb));
        let lie = Product::prove(here, [&a, &b, &wrong], [&pa, &pb, &pw], &mut rng);
        assert!(!lie.verify(here, &pa, &pb, &pw));
        let opened = times_base(&a.value);
        let opening = Opening::prove(here, &a, &pa, &opened, &mut rng);
        assert!(opening.verify(here, &pa, &opened));
        assert!(!opening.verify(here, &pb, &opened));
        assert!(!opening.verify(here, &pa, &times_base(&b.value)));
        for place in elsewhere {
            assert!(!product.verify(place, &pa, &pb, &pc));
            assert!(!opening.verify(place, &pa, &opened));
        }
    }
}
