//! Where the secrets are in a file of OpenPGP keys. Shared with `tests/tests/chaos`.

use std::ops::Range;

/// Where the secret numbers of all keys lie in a file of unprotected keys: the last 32 bytes of
/// each secret key packet (types 5 and 7) before its checksum of two bytes. RFC 9580 section 5.5.3.
pub(crate) fn secret_numbers(file: &[u8]) -> Vec<Range<usize>> {
    let (mut secrets, mut at) = (Vec::new(), 0);
    while at < file.len() {
        let (kind, start, length) = packet(&file[at..]);
        at += start + length;
        if kind == 5 || kind == 7 {
            secrets.push(at - 34..at - 2);
        }
    }
    secrets
}

/// The type of a packet in the new format, where its body begins, and how long that is.
fn packet(bytes: &[u8]) -> (u8, usize, usize) {
    let kind = bytes[0] & 0x3f;
    let first = bytes[1];
    assert!(first < 224, "a key's packet of more than 8 KiB");
    match first {
        short @ 0..192 => (kind, 2, usize::from(short)),
        high => (kind, 3, (usize::from(high - 192) << 8) + usize::from(bytes[2]) + 192),
    }
}
