//! Whether points are of the prime order, many at once.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::traits::{Identity as _, IsIdentity as _};
use sha2::{Digest as _, Sha256};

/// How many sums are looked at: a point of another order is overlooked with a probability of 2^-128.
const TRIALS: usize = 128;
/// The sums that are made in one pass through the points: one for each bit of a byte.
const PER_PASS: usize = 8;
/// With fewer points it is cheaper to look at each.
const FEW: usize = 1_024;

/// The point with this encoding, if it is one, and not the identity. Its order is another question.
pub(super) fn any_point(bytes: &[u8]) -> Option<EdwardsPoint> {
    let point = CompressedEdwardsY::from_slice(bytes).ok()?.decompress()?;
    (!point.is_identity()).then_some(point)
}

/// Whether all these points are of the prime order.
///
/// Source: the random subset test of Bellare, Garay and Rabin (EUROCRYPT 1998). Each point is one of that order plus one of an order that divides 8. In a sum over a random subset, one
/// part that is not zero makes the sum of these parts not zero for at least half of the subsets, whatever the others are.
/// So [`TRIALS`] sums, each of which is multiplied by the prime order, show what the multiplication of each point would. The
/// subsets follow from a hash over all encodings, so nobody can choose points by them. Few points are looked at one by one.
pub(super) fn are_of_prime_order(encoded: &[&[u8]], points: &[EdwardsPoint]) -> bool {
    if points.len() < FEW {
        return points.iter().all(EdwardsPoint::is_torsion_free);
    }
    let mut hash = Sha256::new_with_prefix(b"bftkv threshold subsets 1");
    encoded.iter().for_each(|bytes| {
        hash.update(bytes);
    });
    let choices = choices(&hash.finalize(), points.len());
    (0..TRIALS / PER_PASS).all(|pass| {
        let bytes = choices.iter().map(|bytes| bytes.get(pass).copied().unwrap_or_default());
        sums(points, bytes).iter().all(EdwardsPoint::is_torsion_free)
    })
}

/// A bit for each trial and point.
fn choices(seed: &[u8], points: usize) -> Vec<[u8; TRIALS / PER_PASS]> {
    let mut out = Vec::with_capacity(points.saturating_add(1));
    for block in (0u64..).take(points.div_ceil(2)) {
        let bytes: [u8; 32] =
            Sha256::new_with_prefix(seed).chain_update(block.to_be_bytes()).finalize().into();
        let (first, second) = bytes.split_at(TRIALS / PER_PASS);
        out.extend([first, second].into_iter().flat_map(<[u8; TRIALS / PER_PASS]>::try_from));
    }
    out
}

/// For each bit of a byte, the sum of the points whose byte has it.
fn sums(points: &[EdwardsPoint], bytes: impl Iterator<Item = u8>) -> [EdwardsPoint; PER_PASS] {
    // One addition for a point, then some for each byte that there is.
    let mut by_byte = [EdwardsPoint::identity(); 256];
    for (point, byte) in points.iter().zip(bytes) {
        if let Some(sum) = by_byte.get_mut(usize::from(byte)) {
            *sum += point;
        }
    }
    std::array::from_fn(|bit| {
        let having = (0u8..=255).zip(&by_byte).filter(|(byte, _)| byte >> bit & 1 == 1);
        having.map(|(_, sum)| sum).sum()
    })
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::scalar::Scalar;

    use super::*;

    fn points(count: usize) -> Vec<EdwardsPoint> {
        let mut point = ED25519_BASEPOINT_POINT * Scalar::from(7u8);
        let next = |_| {
            point += ED25519_BASEPOINT_POINT;
            point
        };
        (0..count).map(next).collect()
    }

    fn are_right(points: &[EdwardsPoint]) -> bool {
        let encoded: Vec<_> = points.iter().map(EdwardsPoint::compress).collect();
        let bytes: Vec<&[u8]> = encoded.iter().map(|point| point.as_bytes().as_slice()).collect();
        let read: Vec<_> = bytes.iter().map(|bytes| any_point(bytes).unwrap()).collect();
        assert_eq!(read, points);
        are_of_prime_order(&bytes, &read)
    }

    #[test]
    fn every_part_of_a_small_order_is_seen_wherever_it_is() {
        for count in [3, FEW - 1, FEW, FEW + 1] {
            let right = points(count);
            assert!(are_right(&right));
            for torsion in EIGHT_TORSION.iter().skip(1) {
                for at in [0, count / 2, count - 1] {
                    let mut wrong = right.clone();
                    wrong[at] += torsion;
                    assert!(!are_right(&wrong), "{count} points, {at}");
                    // Two whose sum is right.
                    wrong[(at + 1) % count] -= torsion;
                    assert!(!are_right(&wrong), "{count} points, {at} and the next");
                }
            }
            // All of them.
            let wrong: Vec<_> = right.iter().map(|point| point + EIGHT_TORSION[4]).collect();
            assert!(!are_right(&wrong));
        }
    }

    #[test]
    fn the_identity_is_no_point_and_sums_are_those_of_subsets() {
        assert_eq!(any_point(EdwardsPoint::identity().compress().as_bytes()), None);
        // A point whose y is written as a number above p: those are of mixed orders.
        let odd = any_point(&[0xff; 32]).unwrap();
        assert!(!are_of_prime_order(&[&[0xff; 32]], &[odd]));
        assert_eq!(any_point(&[1; 31]), None);
        let points = points(300);
        let bytes: Vec<u8> = (0..300u16).map(|n| u8::try_from(n * 7 % 256).unwrap()).collect();
        for (bit, sum) in sums(&points, bytes.iter().copied()).iter().enumerate() {
            let chosen = points.iter().zip(&bytes).filter(|(_, byte)| *byte >> bit & 1 == 1);
            assert_eq!(*sum, chosen.map(|(point, _)| point).sum());
        }
        // No bit is the same for all points, and no two points have the same bits.
        let choices = choices(b"seed", 1_000);
        assert_eq!(choices.len(), 1_000);
        let set: std::collections::BTreeSet<_> = choices.iter().collect();
        assert_eq!(set.len(), 1_000);
    }
}
