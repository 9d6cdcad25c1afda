//! Records: a format byte, the encoded value, and a checksum over key and value.

use bftkv_protocol::{MAX_MESSAGE_BYTES, StoreError, decode, encode_onto, encoded_len};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::corrupt;

/// The format of records that this version writes and the only one that it reads.
pub(crate) const FORMAT: u8 = 1;

const CHECKSUM_BYTES: usize = 4;

/// Puts a record together: format, value, and the CRC-32 of the key and all before it.
///
/// # Errors
/// When it is longer than what a decoder reads back: the caller's fault, and nothing was written.
pub(crate) fn seal<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, StoreError> {
    let length = encoded_len(value);
    if length > MAX_MESSAGE_BYTES {
        let limit = MAX_MESSAGE_BYTES;
        return Err(StoreError::Io(format!(
            "a record of {length} bytes is above the limit of {limit}; nothing was written"
        )));
    }
    let mut record = Vec::with_capacity(length + 1 + CHECKSUM_BYTES);
    record.push(FORMAT);
    encode_onto(&mut record, value);
    let checksum = checksum(key, &record);
    record.extend_from_slice(&checksum.to_le_bytes());
    Ok(record)
}

/// Reads a record that was found under `key`.
///
/// # Errors
/// [`StoreError::Corrupt`] when checksum, format or encoding do not fit.
pub(crate) fn open<T: DeserializeOwned + Serialize>(
    key: &[u8],
    record: &[u8],
) -> Result<T, StoreError> {
    let damaged = |reason: &str| corrupt(name(key), reason);
    let body = intact(key, record).ok_or_else(|| damaged("the checksum does not fit"))?;
    match body.split_first() {
        Some((&FORMAT, value)) => decode(value).map_err(|e| damaged(&e.to_string())),
        Some((format, _)) => Err(damaged(&format!(
            "record format {format} is unknown: it was written by a newer version"
        ))),
        None => Err(damaged("it is empty")),
    }
}

/// Stands for a record in the census: a number that changes with any part of key or value.
/// `None` if the record does not fit its checksum.
pub(crate) fn fingerprint(key: &[u8], record: &[u8]) -> Option<u64> {
    let body = intact(key, record)?;
    // Two checksums over different halves of the input, spread over 64 bits (the finisher of
    // SplitMix64), so that sums of fingerprints do not cancel out by accident. It guards against
    // damage, not against an attacker with access to the disk.
    let high = u64::from(crc32fast::hash(key));
    let low = u64::from(checksum(key, body));
    let mut z = (high << 32) | low;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(z ^ (z >> 31))
}

/// A record's name in error messages.
pub(crate) fn name(key: &[u8]) -> String {
    use crate::key::Key;
    match Key::decode(key) {
        Some(Key::Census) => "census".into(),
        Some(Key::Head(variable)) => format!("head of {variable}"),
        Some(Key::Vault(variable)) => format!("password shares of {variable}"),
        Some(Key::Version(variable, t)) => format!("{variable} at t={t}"),
        Some(Key::Proof(number)) => format!("proof {number}"),
        Some(Key::Logged) => "the place in the log".to_owned(),
        None => format!("unknown key of {} bytes", key.len()),
    }
}

fn intact<'a>(key: &[u8], record: &'a [u8]) -> Option<&'a [u8]> {
    let (body, stored) = record.split_last_chunk::<CHECKSUM_BYTES>()?;
    (checksum(key, body) == u32::from_le_bytes(*stored)).then_some(body)
}

fn checksum(key: &[u8], body: &[u8]) -> u32 {
    let mut hash = crc32fast::Hasher::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key);
    hash.update(body);
    hash.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_bound_to_its_key() {
        let record = seal(b"key", &7u64).unwrap();
        assert_eq!(open::<u64>(b"key", &record), Ok(7));
        assert!(open::<u64>(b"kez", &record).is_err());
        assert!(fingerprint(b"kez", &record).is_none());
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_detected() {
        let record = seal(b"key", &vec![1u8, 2, 3]).unwrap();
        for bit in 0..record.len() * 8 {
            let mut damaged = record.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open::<Vec<u8>>(b"key", &damaged).is_err(), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(open::<Vec<u8>>(b"key", &record[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn a_record_of_a_newer_format_is_named_as_such() {
        let mut record = seal(b"key", &7u64).unwrap();
        record.truncate(record.len() - CHECKSUM_BYTES);
        record[0] = FORMAT + 1;
        let sum = checksum(b"key", &record);
        record.extend_from_slice(&sum.to_le_bytes());
        let error = open::<u64>(b"key", &record).unwrap_err();
        assert!(error.to_string().contains("newer version"), "{error}");
    }
}
