//! How two ordered maps differ.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// The keys that have not the same value in both, in order, with what each map has there. One walk through both: most
/// of two versions of a zone is the same.
pub(crate) fn differing<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let (mut ones, mut others) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (ones.peek(), others.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            let one = if order.is_le() { ones.next() } else { None };
            let other = if order.is_ge() { others.next() } else { None };
            let (before, after) = (one.map(|(_, value)| value), other.map(|(_, value)| value));
            if before != after {
                return one.or(other).map(|(key, _)| (key, before, after));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_small_maps_differs_where_it_does() {
        // Three keys, each absent or with one of two values.
        let map = |number: u32| -> BTreeMap<u32, u32> {
            let digits = [number % 3, number / 3 % 3, number / 9];
            (0..3).zip(digits).filter(|(_, digit)| *digit > 0).collect()
        };
        for (one, other) in (0..27).flat_map(|one| (0..27).map(move |other| (map(one), map(other))))
        {
            let wanted: Vec<_> = (0..3)
                .map(|key| (key, one.get(&key), other.get(&key)))
                .filter(|(_, one, other)| one != other)
                .collect();
            let found: Vec<_> =
                differing(&one, &other).map(|(key, one, other)| (*key, one, other)).collect();
            assert_eq!(found, wanted, "{one:?} {other:?}");
        }
    }
}
