//! The encrypted part of a sealed message.
//!
//! Sequoia's streaming reader can take a message of any size apart while it comes in. For that it
//! keeps buffers of 32 KiB, which it clears some five times for a message of 500 bytes, and checks
//! after each packet that what has come so far could still be a message. Ours are in memory and
//! have one form, so a container is decrypted in one piece, by the ciphers and hashes of Sequoia.

use std::io::Write;

use sequoia_openpgp::Packet;
use sequoia_openpgp::crypto::symmetric::{
    BlockCipherMode, Decryptor, Encryptor, PaddingMode, UnpaddingMode,
};
use sequoia_openpgp::crypto::{self, SessionKey};
use sequoia_openpgp::packet::PKESK;
use sequoia_openpgp::packet::header::BodyLength;
use sequoia_openpgp::packet::pkesk::PKESK3;
use sequoia_openpgp::parse::buffered_reader::{BufferedReader, Memory};
use sequoia_openpgp::parse::{PacketParser, PacketParserResult, Parse};
use sequoia_openpgp::serialize::Marshal;
use sequoia_openpgp::types::{HashAlgorithm, SymmetricAlgorithm};

use crate::certificate::PublicKey;

/// The first byte of a container. RFC 9580 section 4.2.
const CONTAINER_HEADER: u8 = 0xC0 | 18;

/// The packet that ends a container of version 1: its header, then a SHA-1 of all before it,
/// header included. RFC 9580 section 5.13.1.
const MDC_HEADER: [u8; 2] = [0xD3, 20];
const MDC_DIGEST_BYTES: usize = 20;

/// Why a container does not open.
type Reason = &'static str;

/// Session keys for these keys, then a container of version 1, encrypted once for all of them.
/// Sequoia's streaming writer sets 4 MiB aside for each message.
pub(crate) fn seal_v1(
    packets: &[u8],
    recipients: &[&PublicKey],
) -> sequoia_openpgp::Result<Vec<u8>> {
    let algorithm = SymmetricAlgorithm::AES256;
    let key = SessionKey::new(algorithm.key_size()?)?;
    let mut plaintext = Vec::with_capacity(packets.len().saturating_add(64));
    let mut block = vec![0; algorithm.block_size()?];
    crypto::random(&mut block)?;
    plaintext.extend_from_slice(&block);
    plaintext.extend(block.last_chunk::<2>().into_iter().flatten());
    plaintext.extend_from_slice(packets);
    plaintext.extend_from_slice(&MDC_HEADER);
    let digest = sha1(&plaintext).map_err(sequoia_openpgp::anyhow::Error::msg)?;
    plaintext.extend_from_slice(&digest);

    let mut sealed = Vec::with_capacity(plaintext.len().saturating_add(1024));
    for recipient in recipients {
        let session_key = PKESK3::for_recipient(algorithm, &key, recipient)?;
        Packet::from(PKESK::from(session_key)).serialize(&mut sealed)?;
    }
    sealed.push(CONTAINER_HEADER);
    let length = u32::try_from(plaintext.len().saturating_add(1))?;
    BodyLength::Full(length).serialize(&mut sealed)?;
    sealed.push(1);
    let (mode, padding) = (BlockCipherMode::CFB, PaddingMode::None);
    let mut encryptor = Encryptor::new(algorithm, mode, padding, &key, None, &mut sealed)?;
    encryptor.write_all(&plaintext)?;
    encryptor.finalize()?;
    Ok(sealed)
}

/// Decrypts the whole container and checks that nobody has changed it. `packet` is the packet as
/// it came, `body` what is in it. The key's algorithm comes with it in version 1 and is stated in
/// the container in version 2.
pub(crate) fn open(
    packet: &[u8],
    body: &[u8],
    algorithm: Option<SymmetricAlgorithm>,
    key: &SessionKey,
) -> Result<Vec<u8>, Reason> {
    match (body.split_first(), algorithm) {
        (Some((1, encrypted)), Some(algorithm)) => open_v1(encrypted, algorithm, key),
        (Some((2, _)), None) => open_v2(packet, key),
        _ => Err("its encrypted part is of another version than its session key"),
    }
}

/// A random block, its last two bytes again, the packets, and the modification detection code.
/// RFC 9580 section 5.13.1. The two bytes are not looked at, as the RFC advises: what they
/// tell, the code tells better.
fn open_v1(
    encrypted: &[u8],
    algorithm: SymmetricAlgorithm,
    key: &SessionKey,
) -> Result<Vec<u8>, Reason> {
    let failed = |_| "it cannot be decrypted";
    let prefix = algorithm.block_size().map_err(failed)?.saturating_add(2);
    let source = Memory::with_cookie(encrypted, Default::default());
    let (mode, padding) = (BlockCipherMode::CFB, UnpaddingMode::None);
    let mut decryptor =
        Decryptor::new(algorithm, mode, padding, key, None, source).map_err(failed)?;
    let all = decryptor.data_hard(encrypted.len()).map_err(|_| "it cannot be decrypted")?;
    let (before, digest) = all.split_last_chunk::<MDC_DIGEST_BYTES>().ok_or(CHANGED)?;
    if sha1(before)? != *digest {
        return Err(CHANGED);
    }
    let packets = before.strip_suffix(&MDC_HEADER).and_then(|packets| packets.get(prefix..));
    packets.map(<[u8]>::to_vec).ok_or(CHANGED)
}

const CHANGED: Reason = "its encrypted part was changed";

fn sha1(bytes: &[u8]) -> Result<[u8; MDC_DIGEST_BYTES], Reason> {
    let missing = "SHA-1 is missing";
    let mut hash = HashAlgorithm::SHA1.context().map_err(|_| missing)?.for_digest();
    hash.update(bytes);
    let mut digest = [0; MDC_DIGEST_BYTES];
    hash.digest(&mut digest).map_err(|_| missing)?;
    Ok(digest)
}

/// Authenticated chunks: left to Sequoia.
fn open_v2(packet: &[u8], key: &SessionKey) -> Result<Vec<u8>, Reason> {
    let parsed = PacketParser::from_bytes(packet).map_err(|_| "not an OpenPGP packet")?;
    let PacketParserResult::Some(mut parser) = parsed else { return Err("it is empty") };
    if !matches!(parser.packet, Packet::SEIP(_)) {
        return Err("it has no encrypted part");
    }
    parser.decrypt(None, key).map_err(|_| "it cannot be decrypted")?;
    parser.steal_eof().map_err(|_| CHANGED)
}
