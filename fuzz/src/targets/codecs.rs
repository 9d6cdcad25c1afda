//! Decoders of messages.

use bftkv_protocol::{EquivocationProof, Refusal, Request, Response, decode, encode};

use super::input::Input;
use crate::fixtures::{ALICE, BOB, CLIQUE, Keys, alone, certified_by, entry, node, one_group};

/// A request that is read is written again as it was: there is one form of each message.
pub(super) fn request(data: &[u8]) {
    if let Ok(request) = decode::<Request>(data) {
        assert_eq!(encode(&request), data, "another form of {request:?} was read");
    }
}

/// The same for answers and refusals.
pub(super) fn response(data: &[u8]) {
    if let Ok(response) = decode::<Response>(data) {
        assert_eq!(encode(&response), data);
        if let Err(refusal) = &response.outcome {
            assert!(refusal.code() >= 100 && !refusal.to_string().is_empty());
        }
    }
    if let Ok(refusal) = decode::<Refusal>(data) {
        assert_eq!(encode(&refusal), data);
    }
}

/// What a sealed message holds, and what is asked over TLS.
pub(super) fn envelope(data: &[u8]) {
    bftkv_transport::check_envelope(data);
    bftkv_transport::check_question(data);
}

/// Whoever is convicted has signed two values for one timestamp; bytes from outside convict nobody
/// without signatures that hold.
pub(super) fn equivocation(data: &[u8]) {
    let (keys, configuration) = (Keys::default(), one_group());
    let known = alone(&configuration);
    if let Ok(proof) = decode::<EquivocationProof>(data) {
        assert_eq!(encode(&proof), data);
        let _ = proof.verify(&known, &keys);
    }
    let mut input = Input::new(data);
    let mut side = || {
        let writer = [ALICE, BOB][input.below(2)];
        let timestamp = 1 + u64::from(input.byte() % 2);
        let value = ["one", "two"][input.below(2)];
        let mask = input.byte();
        let signers = CLIQUE.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0);
        let signers: Vec<u8> = signers.map(|(_, id)| *id).collect();
        (certified_by(entry(writer, timestamp, value), &signers, &configuration), signers)
    };
    let ((first, by_first), (second, by_second)) = (side(), side());
    let proofs = EquivocationProof::of_certified(&first, &second, &known, &keys);
    for proof in &proofs {
        proof.verify(&known, &keys).unwrap();
        assert_eq!(decode::<EquivocationProof>(&encode(proof)).unwrap(), *proof);
        assert!(first.timestamp() == second.timestamp() && first.signed != second.signed);
        let signed_both = |id: &u8| by_second.contains(id) && node(*id) == *proof.guilty();
        let is_writer = *proof.guilty() == first.entry().writer;
        assert!(is_writer || by_first.iter().any(signed_both), "framed {}", proof.guilty());
    }
    // Damage to a proof that holds leaves no other proof that holds.
    if let Some(proof) = proofs.first() {
        let mut bytes = encode(proof);
        let place = input.short() % bytes.len();
        bytes[place] ^= input.byte();
        if let Ok(damaged) = decode::<EquivocationProof>(&bytes) {
            assert!(damaged == *proof || damaged.verify(&known, &keys).is_err());
        }
    }
}
