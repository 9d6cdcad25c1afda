//! EMSA-PKCS1-v1_5 with SHA-256. Source: RFC 8017 section 9.2.

use sha2::{Digest, Sha256};

/// The DigestInfo of a SHA-256 hash, up to the hash. Source: RFC 8017 section 9.2, note 1.
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// The padded hash of the message, `size` bytes long: 00 01 ff ... ff 00 DigestInfo hash.
pub(super) fn encode(message: &[u8], size: usize) -> Vec<u8> {
    let hash = Sha256::digest(message);
    let fixed = DIGEST_INFO.len().saturating_add(hash.len()).saturating_add(3);
    let mut out = vec![0, 1];
    out.resize(size.saturating_sub(fixed).saturating_add(2), 0xff);
    out.push(0);
    out.extend_from_slice(&DIGEST_INFO);
    out.extend_from_slice(&hash);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_standard() {
        let encoded = encode(b"abc", 256);
        assert_eq!(encoded.len(), 256);
        assert_eq!(encoded[..2], [0, 1]);
        assert!(encoded[2..204].iter().all(|byte| *byte == 0xff));
        assert_eq!(encoded[204], 0);
        assert_eq!(encoded[205..224], DIGEST_INFO);
        // FIPS 180-2, appendix B.1.
        assert_eq!(encoded[224..232], [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea]);
    }
}
