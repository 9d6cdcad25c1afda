//! What is no element and no scalar, in every place where one comes in: a question to a server, an
//! answer to a client (`liars.rs`), the commitments and the public key of a record, a share, a proof.

use bftkv_protocol::{
    ElementBytes, LoginProof, LoginPurpose, ProofBytes, RecordBytes, Refusal, RoamingRefusal,
    RoamingRequest, SecretShare,
};
use bftkv_roaming::{Commitments, Dleq, Enrolled, Error, Record, deal as split, evaluate};
use curve25519_dalek::constants::{EIGHT_TORSION, RISTRETTO_BASEPOINT_COMPRESSED};

use crate::support::{ALICE, Host, MALLORY, deal, enrolled, node, password, rng};

/// p - `bytes`, for a canonical field element that is not 0.
fn negated(bytes: [u8; 32]) -> [u8; 32] {
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    let mut borrow = 0_i16;
    for (place, byte) in p.iter_mut().zip(bytes) {
        let difference = i16::from(*place) - i16::from(byte) - borrow;
        borrow = i16::from(difference < 0);
        *place = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    p
}

fn small(number: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = number;
    bytes
}

const NO_SQUARE: &str = "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371";
const NEGATIVE_XY: &str = "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e";

fn unhex(text: &str) -> [u8; 32] {
    std::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

/// RFC 9496 section 4.3.1: what decoding must refuse, and the identity, which we refuse as well.
fn no_elements() -> Vec<(&'static str, [u8; 32])> {
    let good = RISTRETTO_BASEPOINT_COMPRESSED.to_bytes();
    let mut high = good;
    high[31] |= 0x80;
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    let mut p_and_1 = p;
    p_and_1[0] += 1;
    let mut most = [0xff; 32];
    most[31] = 0x7f;
    let mut bad = vec![
        ("the identity, 0", small(0)),
        ("1, negative", small(1)),
        ("-1", negated(small(1))),
        ("p, another form of 0", p),
        ("p+1, another form of 1", p_and_1),
        ("2^255-1", most),
        ("2^256-1", [0xff; 32]),
        ("a good one with the highest bit", high),
        ("a good one, negated", negated(good)),
        ("x^2 is no square (RFC 9496 A.3)", unhex(NO_SQUARE)),
        ("xy is negative (RFC 9496 A.3)", unhex(NEGATIVE_XY)),
    ];
    bad.extend(EIGHT_TORSION.map(|point| ("of small order on the curve", point.compress().0)));
    bad
}

/// The order of the group, and one above and below 2^256: scalars that are not canonical.
fn no_scalars() -> [[u8; 32]; 3] {
    let order = {
        // l = -1 + 1, and dalek writes -1 canonically.
        let mut bytes = (-curve25519_dalek::Scalar::ONE).to_bytes();
        bytes[0] += 1;
        bytes
    };
    let mut above = order;
    above[0] += 1;
    [order, above, [0xff; 32]]
}

#[test]
fn a_server_answers_no_element_that_is_none_and_counts_nothing() {
    let enrolled = enrolled(4, &password("right"));
    let mut host = Host::new(1);
    host.enrol(&enrolled, 1);
    host.guess(MALLORY, &enrolled.record, 1).unwrap();
    let before = host.disk.vaults.clone();
    for (name, bytes) in no_elements() {
        let asked = host.evaluate(MALLORY, &enrolled.record, ElementBytes::from_bytes(bytes));
        let refused = Refusal::Roaming(RoamingRefusal::BadElement);
        assert_eq!(asked.unwrap_err(), refused, "{name}");
        assert_eq!(host.disk.vaults, before, "{name}");
        // Nor does the function itself, whoever calls it.
        let element = ElementBytes::from_bytes(bytes);
        let asked = evaluate(&enrolled.shares[0], &element, &mut rng());
        assert_eq!(asked.unwrap_err(), Error::Element, "{name}");
    }
    assert_eq!(host.guess(MALLORY, &enrolled.record, 2), Ok(8));
}

/// The record's bytes with one part put in the place of another.
fn with(record: &Record, old: &[u8; 32], new: [u8; 32]) -> RecordBytes {
    let mut bytes = record.to_bytes().unwrap().as_bytes().to_vec();
    let place = bytes.windows(32).position(|window| window == old).unwrap();
    bytes[place..place + 32].copy_from_slice(&new);
    RecordBytes::new(bytes).unwrap()
}

#[test]
fn no_record_has_commitments_that_are_none() {
    let Enrolled { record, shares, .. } = enrolled(4, &password("right"));
    let good = record.commitments().to_bytes();
    let mut host = Host::new(1);
    for (name, bytes) in no_elements() {
        for commitment in &good {
            let bad = with(&record, commitment.as_bytes(), bytes);
            assert_eq!(Record::from_bytes(&bad), Err(Error::Element), "{name}");
            let variable = record.variable().clone();
            let dealt = RoamingRequest::Deal { variable, record: bad, share: shares[0].secret() };
            assert!(matches!(
                host.ask(ALICE, dealt),
                Err(Refusal::Roaming(RoamingRefusal::BadRecord(_)))
            ));
        }
        let list = [good[0], ElementBytes::from_bytes(bytes)];
        assert_eq!(Commitments::from_bytes(&list), Err(Error::Element), "{name}");
    }
    assert!(host.disk.vaults.is_empty());
    assert_eq!(Commitments::from_bytes(&[]), Err(Error::Indices));
}

/// With a share of 0 a server answers the identity; with another's, or one above the order, the
/// commitments do not fit.
#[test]
fn no_share_is_taken_that_the_commitments_do_not_give() {
    let enrolled = enrolled(4, &password("right"));
    let mut host = Host::new(1);
    let mut bad: Vec<[u8; 32]> = no_scalars().to_vec();
    bad.extend([[0; 32], small(1), *enrolled.shares[1].secret().as_bytes()]);
    for share in bad {
        let (variable, record) =
            (enrolled.record.variable().clone(), enrolled.record.to_bytes().unwrap());
        let share = SecretShare::from_bytes(share);
        let dealt = host.ask(ALICE, RoamingRequest::Deal { variable, record, share });
        assert_eq!(dealt, Err(Refusal::Roaming(RoamingRefusal::BadShare)));
    }
    // A node that the record does not name has no index, and takes none from the dealer.
    let mut outsider = Host::new(9);
    let dealt = outsider.ask(ALICE, deal(&enrolled, &enrolled.shares[0]));
    assert!(matches!(dealt, Err(Refusal::Roaming(RoamingRefusal::BadRecord(_)))), "{dealt:?}");
    // A record of another variable is none for this one.
    let (record, share) = (enrolled.record.to_bytes().unwrap(), enrolled.shares[0].secret());
    let elsewhere = crate::support::variable("y");
    let dealt = host.ask(ALICE, RoamingRequest::Deal { variable: elsewhere, record, share });
    assert!(matches!(dealt, Err(Refusal::Roaming(RoamingRefusal::BadRecord(_)))), "{dealt:?}");
    assert!(host.disk.vaults.is_empty() && outsider.disk.vaults.is_empty());
    assert!(split(0, 4, &mut rng()).is_err() && split(5, 4, &mut rng()).is_err());
}

#[test]
fn scalars_of_a_proof_are_canonical() {
    for bad in no_scalars() {
        for (challenge, response) in [(bad, small(1)), (small(1), bad)] {
            let read = Dleq::from_bytes(&ProofBytes::new(challenge, response));
            assert_eq!(read, Err(Error::Evaluation));
        }
    }
}

/// With a key of small order one signature would hold for every message; and a signature must have
/// one form only, or a proof that was used could come again in another.
#[test]
fn a_login_key_of_small_order_and_signatures_in_other_forms_are_refused() {
    let Enrolled { record, keys, .. } = enrolled(4, &password("right"));
    let host = Host::new(1);
    let nonce = bftkv_protocol::Nonce::from_bytes([3; 32]);
    let (me, server) = (node(ALICE), host.me.clone());
    let honest = bftkv_roaming::prove(&record, &keys, LoginPurpose::Open, &me, &server, nonce);
    assert_eq!(bftkv_roaming::verify(&record, &honest, &me, &server), Ok(()));

    let (r, s) = honest.signature.halves();
    let mut larger = *s;
    let mut carry = 0_u16;
    for (place, byte) in larger.iter_mut().zip(no_scalars()[0]) {
        let sum = u16::from(*place) + u16::from(byte) + carry;
        (*place, carry) = (u8::try_from(sum & 0xff).unwrap(), sum >> 8);
    }
    let other_form = LoginProof { signature: ProofBytes::new(*r, larger), ..honest.clone() };
    assert_eq!(bftkv_roaming::verify(&record, &other_form, &me, &server), Err(Error::Proof));

    for point in EIGHT_TORSION {
        let point = point.compress().0;
        let weak = Record::from_bytes(&with(&record, record.auth(), point)).unwrap();
        // R of small order and S = 0 satisfy the equation without cofactor for one message in eight,
        // with the identity for all.
        for r in [small(1), point] {
            let signature = ProofBytes::new(r, [0; 32]);
            let forged = LoginProof { record: weak.id(), signature, ..honest.clone() };
            assert_eq!(bftkv_roaming::verify(&weak, &forged, &me, &server), Err(Error::Proof));
        }
    }
}
