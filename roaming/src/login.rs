//! Proofs of login: making and checking them.

use bftkv_protocol::{LoginProof, LoginPurpose, NodeId, Nonce, ProofBytes};
use ed25519_dalek::{Signature, Signer, VerifyingKey};

use crate::Error;
use crate::record::Record;
use crate::stretch::Keys;

/// Shows `server` that `requester` knows the password.
#[must_use]
pub fn prove(
    record: &Record,
    keys: &Keys,
    purpose: LoginPurpose,
    requester: &NodeId,
    server: &NodeId,
    nonce: Nonce,
) -> LoginProof {
    let unsigned = ProofBytes::new([0; 32], [0; 32]);
    let seconds = LoginProof::MAX_SECONDS;
    let (record_id, epoch) = (record.id(), record.epoch());
    let mut proof =
        LoginProof { record: record_id, epoch, purpose, nonce, seconds, signature: unsigned };
    let bytes = proof.signed_bytes(record.realm(), record.variable(), requester, server);
    let signature = keys.auth().sign(&bytes);
    proof.signature = ProofBytes::new(*signature.r_bytes(), *signature.s_bytes());
    proof
}

/// Whether a proof was made for this server and this asker by somebody who knows the password of
/// this record. Whether its nonce is of a session and its time not over is for the server to say.
///
/// # Errors
/// [`Error::Proof`]: the asker's fault.
pub fn verify(
    record: &Record,
    proof: &LoginProof,
    requester: &NodeId,
    server: &NodeId,
) -> Result<(), Error> {
    let fits = proof.record == record.id()
        && proof.epoch == record.epoch()
        && proof.seconds <= LoginProof::MAX_SECONDS;
    if !fits {
        return Err(Error::Proof);
    }
    let key = VerifyingKey::from_bytes(record.auth()).map_err(|_| Error::Proof)?;
    let bytes = proof.signed_bytes(record.realm(), record.variable(), requester, server);
    let (r, s) = proof.signature.halves();
    // Strict: no keys or points of small order.
    key.verify_strict(&bytes, &Signature::from_components(*r, *s)).map_err(|_| Error::Proof)
}
