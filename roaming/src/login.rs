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

#[cfg(test)]
mod tests {
    use bftkv_protocol::{Realm, Variable};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::{Password, Plan, Rule, Stretching};

    /// Whoever knows the password can sign for any time; longer than allowed it counts nowhere.
    #[test]
    fn a_proof_that_is_signed_for_longer_is_refused() {
        let node = |number: u8| NodeId::from_bytes(&[number; 20]).unwrap();
        let plan = Plan {
            realm: Realm::new("test").unwrap(),
            variable: Variable::new("x").unwrap(),
            epoch: 1,
            nodes: (1..=4).map(node).collect(),
            rule: Rule::Majority,
            stretching: Stretching::LEAST,
        };
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let enrolled = Record::enrol(plan, &Password::new("x").unwrap(), &mut rng).unwrap();
        let (record, keys) = (enrolled.record, enrolled.keys);
        let (me, server) = (node(9), node(1));
        let nonce = Nonce::from_bytes([1; 32]);
        let mut proof = prove(&record, &keys, LoginPurpose::Open, &me, &server, nonce);
        for seconds in [1, LoginProof::MAX_SECONDS, LoginProof::MAX_SECONDS + 1, u16::MAX] {
            proof.seconds = seconds;
            let bytes = proof.signed_bytes(record.realm(), record.variable(), &me, &server);
            let signature = keys.auth().sign(&bytes);
            proof.signature = ProofBytes::new(*signature.r_bytes(), *signature.s_bytes());
            let is_good = verify(&record, &proof, &me, &server).is_ok();
            assert_eq!(is_good, seconds <= LoginProof::MAX_SECONDS, "{seconds}");
        }
    }
}
