//! Protocol signatures: ordinary OpenPGP detached signatures in one canonical form (rule R7).

use bftkv_protocol::{NodeId, Purpose, SignatureBytes};
use sequoia_openpgp::Packet;
use sequoia_openpgp::crypto::hash::Hash;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::packet::signature::subpacket::NotationDataFlags;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::{HashAlgorithm, SignatureType};
use sequoia_openpgp::{Fingerprint, KeyHandle};

use crate::certificate::{Certificate, PublicKey};
use crate::verification_key::VerificationKey;

/// The notation in the hashed area whose value is the purpose's domain string. It is not
/// critical: `gpg` and `sq` accept a signature that carries it.
pub const PURPOSE_NOTATION: &str = "purpose@bftkv";

/// A signature's digest, or why there is none.
type Reason = &'static str;

/// The certificate has no such signing key. A newer copy of it may have.
pub(crate) const UNKNOWN_MAKER: Reason = "its maker is no signing key of the signer";

/// Hashes that are accepted in protocol signatures and key bindings.
pub(crate) fn is_strong(hash: HashAlgorithm) -> bool {
    matches!(hash, HashAlgorithm::SHA256 | HashAlgorithm::SHA384 | HashAlgorithm::SHA512)
}

/// What a protocol signature looks like before it is signed: the purpose and the issuer's full
/// fingerprint are hashed, and nothing is left unhashed.
pub(crate) fn template(
    purpose: Purpose,
    signer: Fingerprint,
) -> sequoia_openpgp::Result<SignatureBuilder> {
    let flags = NotationDataFlags::empty().set_human_readable();
    SignatureBuilder::new(SignatureType::Binary).set_issuer_fingerprint(signer)?.set_notation(
        PURPOSE_NOTATION,
        purpose.domain().as_str(),
        flags,
        false,
    )
}

/// Reads a signature packet in canonical form.
///
/// Apart from the two bytes of the digest's beginning, no bit of a packet may change without the
/// signature failing; a packet has exactly one encoding here, so that an entry has one too.
pub(crate) fn parse(bytes: &[u8]) -> Result<Signature, Reason> {
    let packet = Packet::from_bytes(bytes).map_err(|_| "not an OpenPGP packet")?;
    let canonical = packet.to_vec().map_err(|_| "not a packet that can be written")?;
    let Packet::Signature(signature) = packet else { return Err("not a signature packet") };
    if canonical != bytes {
        return Err("not in canonical form");
    }
    if signature.unhashed_area().iter().next().is_some() {
        return Err("its unhashed area is not empty");
    }
    Ok(signature)
}

/// Checks the form of a protocol signature, but not its cryptography: type, purpose, hash and
/// issuer. Gives the fingerprint of the key that is named as its maker.
pub(crate) fn check_form(signature: &Signature, purpose: Purpose) -> Result<Fingerprint, Reason> {
    check_kind(signature, purpose)?;
    issuer(signature)
}

/// Checks type, hash and purpose.
pub(crate) fn check_kind(signature: &Signature, purpose: Purpose) -> Result<(), Reason> {
    if signature.typ() != SignatureType::Binary {
        return Err("not a signature over binary data");
    }
    if !is_strong(signature.hash_algo()) {
        return Err("its hash is not SHA-256, SHA-384 or SHA-512");
    }
    check_purpose(signature, purpose)
}

fn check_purpose(signature: &Signature, purpose: Purpose) -> Result<(), Reason> {
    let hashed = signature.hashed_area();
    let mut found =
        hashed.iter().filter_map(|packet| match packet.value() {
            sequoia_openpgp::packet::signature::subpacket::SubpacketValue::NotationData(
                notation,
            ) if notation.name() == PURPOSE_NOTATION => Some((notation.value(), packet.critical())),
            _ => None,
        });
    let expected = (purpose.domain().as_str().as_bytes(), false);
    match (found.next(), found.next()) {
        (Some(one), None) if one == expected => Ok(()),
        (Some(_), None) => Err("made for another purpose"),
        (None, _) => Err("it names no purpose"),
        (Some(_), Some(_)) => Err("it names several purposes"),
    }
}

fn issuer(signature: &Signature) -> Result<Fingerprint, Reason> {
    match signature.get_issuers().as_slice() {
        [KeyHandle::Fingerprint(fingerprint)] => Ok(fingerprint.clone()),
        _ => Err("it does not name its maker by one full fingerprint"),
    }
}

/// The key that a protocol signature names in its hashed area as its maker.
pub(crate) fn maker(bytes: &SignatureBytes) -> Option<Fingerprint> {
    issuer(&parse(bytes.as_bytes()).ok()?).ok()
}

/// Checks a detached protocol signature over `message`.
pub(crate) fn verify_detached(
    certificate: &Certificate,
    purpose: Purpose,
    message: &[u8],
    bytes: &SignatureBytes,
) -> Result<(), Reason> {
    let signature = parse(bytes.as_bytes())?;
    let maker = check_form(&signature, purpose)?;
    let key = certificate.signing_key(&maker).ok_or(UNKNOWN_MAKER)?;
    verify(&signature, key, message)
}

/// Checks a signature over `message` whose form was checked.
pub(crate) fn verify(
    signature: &Signature,
    key: &VerificationKey,
    message: &[u8],
) -> Result<(), Reason> {
    let mut hash = context(signature)?;
    hash.update(message);
    verify_hashed(signature, key, hash)
}

/// The same, with a context that has taken in the message.
pub(crate) fn verify_hashed(
    signature: &Signature,
    key: &VerificationKey,
    mut hash: sequoia_openpgp::crypto::hash::Context,
) -> Result<(), Reason> {
    signature.hash(&mut hash).map_err(|_| "it cannot be hashed")?;
    let digest = hash.into_digest().map_err(|_| "it cannot be hashed")?;
    check_frame(signature, key.public(), &digest)?;
    let fits = key.verifies(signature.mpis(), signature.hash_algo(), &digest);
    if fits { Ok(()) } else { Err(DOES_NOT_FIT) }
}

/// A hash context for this signature, already fed with the salt of a version 6 signature.
pub(crate) fn context(
    signature: &Signature,
) -> Result<sequoia_openpgp::crypto::hash::Context, Reason> {
    let builder = signature.hash_algo().context().map_err(|_| "its hash is not supported")?;
    let mut hash = builder.for_signature(signature.version());
    if let Some(salt) = salt(signature) {
        hash.update(salt);
    }
    Ok(hash)
}

/// Checks digest, versions, times and cryptography, past Sequoia's unbounded cache.
pub(crate) fn check_digest(
    signature: &Signature,
    key: &PublicKey,
    digest: &[u8],
) -> Result<(), Reason> {
    check_frame(signature, key, digest)?;
    key.verify(signature.mpis(), signature.hash_algo(), digest).map_err(|_| DOES_NOT_FIT)
}

const DOES_NOT_FIT: Reason = "the signature does not fit";

/// Checks all but the cryptography.
fn check_frame(signature: &Signature, key: &PublicKey, digest: &[u8]) -> Result<(), Reason> {
    if (signature.version() == 6) != (key.version() == 6) {
        return Err("signature and key are of different versions");
    }
    if !digest.starts_with(signature.digest_prefix()) {
        return Err("the digest does not begin as stated");
    }
    match signature.signature_creation_time() {
        None => return Err("it has no time"),
        Some(made) if made < key.creation_time() => return Err("it is older than its key"),
        Some(_) => {}
    }
    let wanted =
        (signature.version() == 6).then(|| signature.hash_algo().salt_size().ok()).flatten();
    if salt(signature).map(<[u8]>::len) != wanted {
        return Err("its salt has the wrong length");
    }
    Ok(())
}

fn salt(signature: &Signature) -> Option<&[u8]> {
    match signature {
        Signature::V6(v6) => Some(v6.salt()),
        _ => None,
    }
}

/// Names the signer for people.
pub(crate) fn bad(signer: &NodeId, reason: Reason) -> bftkv_protocol::VerifyError {
    bftkv_protocol::VerifyError::Bad { signer: signer.clone(), reason: reason.to_owned() }
}
