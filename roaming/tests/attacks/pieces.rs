//! The pieces one by one.

use bftkv_protocol::{ElementBytes, LoginPurpose, Nonce, RecordBytes, SecretShare};
use bftkv_roaming::{
    Blinded, Commitments, Dleq, Enrolled, Error, Index, Password, Protected, Record, Share,
    Stretching, deal, evaluate, prove, verify,
};

use crate::support::{enrolled, node, rng};

#[test]
fn a_lying_share_is_found_and_the_others_still_open_the_value() {
    let mut rng = rng();
    let password = Password::new("right").unwrap();
    let Enrolled { record, shares, keys, .. } = enrolled(7, &password);
    let value = Protected::seal(&record, &keys, 1, b"secret", &mut rng).unwrap();
    let blinded = Blinded::new(&password, &mut rng).unwrap();
    let mut checked = std::collections::BTreeMap::new();
    for (place, share) in shares.iter().enumerate() {
        // The first two answer with each other's share.
        let used = if place < 2 { &shares[1 - place] } else { share };
        let (answer, proof) = evaluate(used, &blinded.element(), &mut rng).unwrap();
        match blinded.check(record.commitments(), share.index(), &answer, &proof) {
            Ok(one) => drop(checked.insert(share.index(), one)),
            Err(error) => assert!(place < 2, "{error}"),
        }
    }
    assert_eq!(checked.len(), 5);
    let output = blinded.finish(&password, record.threshold(), &checked).unwrap();
    let found = record.keys(&output).unwrap().unwrap();
    assert_eq!(value.open(&found).unwrap().as_slice(), b"secret");
    checked.pop_first();
    assert_eq!(blinded.finish(&password, record.threshold(), &checked), Err(Error::Indices));
}

#[test]
fn what_is_no_element_is_refused() {
    let mut rng = rng();
    let (_, shares) = deal(1, 1, &mut rng).unwrap();
    let mut one = [0; 32];
    one[0] = 1;
    for bad in [[0; 32], one, [0xff; 32]] {
        let refused = evaluate(&shares[0], &ElementBytes::from_bytes(bad), &mut rng);
        assert_eq!(refused.unwrap_err(), Error::Element);
        assert!(Commitments::from_bytes(&[ElementBytes::from_bytes(bad)]).is_err());
    }
}

#[test]
fn indices_and_shares_that_do_not_fit_are_refused() {
    assert_eq!(Index::new(0), Err(Error::Indices));
    assert_eq!(Index::new(257), Err(Error::Indices));
    let (commitments, shares) = deal(3, 4, &mut rng()).unwrap();
    let second = Index::new(2).unwrap();
    assert!(Share::new(second, &shares[1].secret(), &commitments).is_ok());
    let wrong = Share::new(second, &shares[0].secret(), &commitments);
    assert_eq!(wrong.unwrap_err(), Error::Share);
    let zero = Share::new(second, &SecretShare::from_bytes([0; 32]), &commitments);
    assert_eq!(zero.unwrap_err(), Error::Scalar);
}

#[test]
fn a_proof_of_login_is_for_one_asker_server_purpose_and_nonce() {
    let password = Password::new("right").unwrap();
    let Enrolled { record, keys, .. } = enrolled(4, &password);
    let nonce = Nonce::from_bytes([5; 32]);
    let proof = prove(&record, &keys, LoginPurpose::Open, &node(9), &node(1), nonce);
    assert_eq!(verify(&record, &proof, &node(9), &node(1)), Ok(()));
    assert_eq!(verify(&record, &proof, &node(8), &node(1)), Err(Error::Proof));
    assert_eq!(verify(&record, &proof, &node(9), &node(2)), Err(Error::Proof));
    let mut other = proof.clone();
    other.purpose = LoginPurpose::Recover;
    assert_eq!(verify(&record, &other, &node(9), &node(1)), Err(Error::Proof));
    let mut other = proof.clone();
    other.nonce = Nonce::from_bytes([6; 32]);
    assert_eq!(verify(&record, &other, &node(9), &node(1)), Err(Error::Proof));
    let next = enrolled(5, &password).record;
    assert_eq!(verify(&next, &proof, &node(9), &node(1)), Err(Error::Proof));
}

#[test]
fn a_record_with_bytes_left_over_is_refused_and_nothing_secret_is_shown() {
    let password = Password::new("right").unwrap();
    let enrolled = enrolled(4, &password);
    let mut bytes = enrolled.record.to_bytes().unwrap().as_bytes().to_vec();
    let again = Record::from_bytes(&RecordBytes::new(bytes.clone()).unwrap()).unwrap();
    assert_eq!(again, enrolled.record);
    bytes.push(0);
    assert!(Record::from_bytes(&RecordBytes::new(bytes).unwrap()).is_err());
    let shown = format!("{:?} {:?} {password:?}", enrolled.keys, enrolled.shares);
    assert!(shown.contains("Keys(..)") && shown.contains("Password(..)"), "{shown}");
    assert!(!shown.contains("scalar"), "{shown}");
}

#[test]
fn hostile_parameters_of_argon2_are_refused() {
    let most = Stretching::MOST;
    for bad in [
        Stretching { memory_kib: u32::MAX, ..most },
        Stretching { passes: u32::MAX, ..most },
        Stretching { memory_kib: 8, ..most },
    ] {
        assert!(matches!(bad.check(), Err(Error::Stretching { .. })));
        assert_eq!(bad.clamped().check(), Ok(()));
    }
    let _ = Dleq::from_bytes(&bftkv_protocol::ProofBytes::new([0xff; 32], [0; 32])).unwrap_err();
}
