//! The journal of the plain-file backend: one commit as one checksummed run of bytes.

use crate::backend::Change;

const MAGIC: [u8; 4] = *b"bfj1";
const REMOVE: u8 = 0;
const PUT: u8 = 1;

/// Magic, then for each change a tag, the key and, for a put, the value, each with its length;
/// then the CRC-32 of all that.
pub(crate) fn encode(changes: &[Change]) -> Vec<u8> {
    let mut bytes = [MAGIC.to_vec(), encode_changes(changes)].concat();
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads a journal. `None`: it is damaged.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Change>> {
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    decode_changes(body.strip_prefix(&MAGIC)?)
}

/// Changes one behind the other.
pub(crate) fn encode_changes(changes: &[Change]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Change { key, value } in changes {
        bytes.push(if value.is_some() { PUT } else { REMOVE });
        push(&mut bytes, key);
        value.iter().for_each(|value| push(&mut bytes, value));
    }
    bytes
}

/// Reads what [`encode_changes`] wrote. `None`: it is something else.
pub(crate) fn decode_changes(mut rest: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while let Some((tag, tail)) = rest.split_first() {
        let (key, tail) = pull(tail)?;
        let (value, tail) = match *tag {
            PUT => pull(tail).map(|(value, tail)| (Some(value), tail))?,
            REMOVE => (None, tail),
            _ => return None,
        };
        changes.push(Change { key, value });
        rest = tail;
    }
    Some(changes)
}

fn push(bytes: &mut Vec<u8>, field: &[u8]) {
    bytes.extend_from_slice(&(field.len() as u64).to_le_bytes());
    bytes.extend_from_slice(field);
}

fn pull(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (field, rest) = rest.split_at_checked(length)?;
    Some((field.to_vec(), rest))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let bytes = || vec(any::<u8>(), 0..20);
        vec((bytes(), proptest::option::of(bytes())), 0..5).prop_map(|changes| {
            changes.into_iter().map(|(key, value)| Change { key, value }).collect()
        })
    }

    proptest! {
        #[test]
        fn journals_round_trip_and_damage_is_noticed(changes in changes(), at in any::<usize>()) {
            let mut bytes = encode(&changes);
            prop_assert_eq!(decode(&bytes), Some(changes));
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode(&bytes), None);
        }
    }
}
