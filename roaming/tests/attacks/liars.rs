//! Up to n-t servers lie in every way there is: the login succeeds, and exactly the liars are named.

use std::collections::BTreeSet;

use bftkv_protocol::{
    ElementBytes, Evaluated, NodeId, Nonce, ProofBytes, Refusal, RoamingAnswer, RoamingRefusal,
    RoamingRequest,
};
use bftkv_roaming::client::Problem;
use bftkv_roaming::{Enrolled, Protected, Record, Rule};
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT as BASE;
use curve25519_dalek::ristretto::CompressedRistretto;

use crate::support::{
    Answered, Host, Ran, hosts, node, password, places, plan, protected, rng, run,
};

const RIGHT: &str = "right";

/// What a liar says instead of its true answer to an evaluation.
type Lie = fn(asked: &ElementBytes, truth: Evaluated) -> Answered;

fn with_element(truth: Evaluated, element: [u8; 32]) -> Answered {
    let element = ElementBytes::from_bytes(element);
    Ok(RoamingAnswer::Evaluated(Evaluated { element, ..truth }))
}

fn with_proof(truth: Evaluated, proof: ProofBytes) -> Answered {
    Ok(RoamingAnswer::Evaluated(Evaluated { proof, ..truth }))
}

fn halves(truth: &Evaluated) -> ([u8; 32], [u8; 32]) {
    let (challenge, response) = truth.proof.halves();
    (*challenge, *response)
}

/// 2^252 + ...: the order of the group, which is no canonical scalar.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Lies that show.
const LIES: [(&str, Lie); 13] = [
    ("the identity", |_, truth| with_element(truth, [0; 32])),
    ("1", |_, truth| with_element(truth, one())),
    ("not canonical", |_, truth| with_element(truth, [0xff; 32])),
    ("the question itself, as a share of 1 would give", |asked, truth| {
        with_element(truth, *asked.as_bytes())
    }),
    ("another element", |_, truth| {
        let point = CompressedRistretto(*truth.element.as_bytes()).decompress().unwrap();
        with_element(truth, (point + BASE).compress().to_bytes())
    }),
    ("the inverse", |_, truth| {
        let point = CompressedRistretto(*truth.element.as_bytes()).decompress().unwrap();
        with_element(truth, (-point).compress().to_bytes())
    }),
    ("a proof of zeros", |_, truth| with_proof(truth, ProofBytes::new([0; 32], [0; 32]))),
    ("a challenge of the order", |_, truth| {
        let (_, response) = halves(&truth);
        with_proof(truth, ProofBytes::new(ORDER, response))
    }),
    ("a response that is not canonical", |_, truth| {
        let (challenge, _) = halves(&truth);
        with_proof(truth, ProofBytes::new(challenge, [0xff; 32]))
    }),
    ("a changed response", |_, truth| {
        let (challenge, mut response) = halves(&truth);
        response[0] ^= 1;
        with_proof(truth, ProofBytes::new(challenge, response))
    }),
    ("halves changed over", |_, truth| {
        let (challenge, response) = halves(&truth);
        with_proof(truth, ProofBytes::new(response, challenge))
    }),
    ("done", |_, _| Ok(RoamingAnswer::Done)),
    ("the generator, whatever was asked", |_, truth| {
        with_element(truth, BASE.compress().to_bytes())
    }),
];

/// What harms and does not show: whoever says it may be honest.
const EXCUSES: [(&str, Lie); 6] = [
    ("no attempts", |_, _| Err(Refusal::Roaming(RoamingRefusal::NoAttempts { seconds: u64::MAX }))),
    ("another record", |_, _| {
        Err(Refusal::Roaming(RoamingRefusal::OtherRecord { epoch: Some(u64::MAX) }))
    }),
    ("no share", |_, _| Err(Refusal::Roaming(RoamingRefusal::NoShare))),
    ("busy", |_, _| Err(Refusal::Busy)),
    ("none left", |_, truth| Ok(RoamingAnswer::Evaluated(Evaluated { left: 0, ..truth }))),
    ("another nonce", |_, truth| {
        let nonce = Nonce::from_bytes([9; 32]);
        Ok(RoamingAnswer::Evaluated(Evaluated { nonce, ..truth }))
    }),
];

fn one() -> [u8; 32] {
    let mut one = [0; 32];
    one[0] = 1;
    one
}

/// A login at servers of which these lie.
fn login(hosts: &mut [Host], record: &Record, text: &str, liars: &[u8], lie: Lie) -> Ran {
    run(record, text, 3, |to, request| answer(hosts, to, request, liars, lie))
}

fn answer(
    hosts: &mut [Host],
    to: &NodeId,
    request: &RoamingRequest,
    liars: &[u8],
    lie: Lie,
) -> Option<Answered> {
    let number = to.as_bytes()[0];
    let host = &mut hosts[usize::from(number) - 1];
    let truth = host.ask(crate::support::ALICE, request.clone());
    let asked = match request {
        RoamingRequest::Evaluate { element, .. } if liars.contains(&number) => element,
        _ => return Some(truth),
    };
    match truth {
        Ok(RoamingAnswer::Evaluated(truth)) => Some(lie(asked, truth)),
        other => Some(other),
    }
}

fn opens(enrolled: &Enrolled, ran: &Ran) -> bool {
    let logged_in = ran.result.as_ref().unwrap();
    let sealed = Protected::from_value(&protected(enrolled, 1)).unwrap();
    sealed.open(&logged_in.keys).unwrap().as_slice() == b"secret"
}

/// n, t, and the greatest number of liars: n-t.
const SIZES: [(u8, usize); 4] = [(4, 3), (5, 3), (7, 5), (10, 7)];

#[test]
fn up_to_n_less_t_servers_lie_and_are_named_and_the_login_succeeds() {
    for (n, t) in SIZES {
        let enrolled =
            Record::enrol(plan(n, Rule::Majority, 1), &password(RIGHT), &mut rng()).unwrap();
        assert_eq!(enrolled.record.threshold(), t);
        let mut hosts = hosts(&enrolled);
        // The first ones lie, whom the client would combine first; in each size other lies.
        let liars: Vec<u8> = (1..=n - u8::try_from(t).unwrap()).collect();
        let lies = LIES.iter().skip(usize::from(n) % 3).step_by(if n == 4 { 1 } else { 3 });
        for (name, lie) in lies {
            let ran = login(&mut hosts, &enrolled.record, RIGHT, &liars, *lie);
            let named = places(&ran.result.as_ref().unwrap().culprits);
            assert_eq!(named, BTreeSet::from_iter(liars.clone()), "n = {n}, {name}");
            assert!(opens(&enrolled, &ran), "n = {n}, {name}");
            // A lie costs the honest ones nothing either: the attempt was given back.
            let honest = hosts.last_mut().unwrap();
            assert_eq!(honest.guess(crate::support::ALICES_PHONE, &enrolled.record, 1), Ok(9));
            honest.disk.vaults.clear();
            honest.enrol(&enrolled, 1);
        }
    }
}

#[test]
fn excuses_do_not_stop_a_login_and_accuse_nobody() {
    for (n, t) in [(4, 3), (7, 5)] {
        let enrolled =
            Record::enrol(plan(n, Rule::Majority, 1), &password(RIGHT), &mut rng()).unwrap();
        let mut hosts = hosts(&enrolled);
        let liars: Vec<u8> = (1..=n - t).collect();
        for (name, lie) in EXCUSES {
            let ran = login(&mut hosts, &enrolled.record, RIGHT, &liars, lie);
            assert!(opens(&enrolled, &ran), "{name}");
            assert!(ran.result.unwrap().culprits.is_empty(), "{name}");
        }
    }
}

/// Where more than n-t lie there is no login, but they are named all the same, and the message
/// says how many were missing.
#[test]
fn more_liars_are_named_as_well() {
    let enrolled = crate::support::enrolled(4, &password(RIGHT));
    let mut hosts = hosts(&enrolled);
    let ran = login(&mut hosts, &enrolled.record, RIGHT, &[2, 4], LIES[4].1);
    let failure = ran.result.unwrap_err();
    assert_eq!(places(&failure.culprits), BTreeSet::from([2, 4]));
    let missing = BTreeSet::from([node(2), node(4)]);
    assert_eq!(failure.problem, Problem::TooFew { have: 2, need: 3, missing });
    let said = failure.to_string();
    assert!(said.contains("only 2 of the 3 servers needed answered (missing: "), "{said}");
    assert!(said.contains(&node(4).to_string()), "{said}");
}

/// Liars cannot make a wrong password look right, and cannot choose how many attempts a person
/// is told to have.
#[test]
fn a_wrong_password_stays_wrong_and_liars_do_not_choose_what_is_left() {
    let enrolled = crate::support::enrolled(4, &password(RIGHT));
    let mut hosts = hosts(&enrolled);
    let boast: Lie = |_, truth| Ok(RoamingAnswer::Evaluated(Evaluated { left: u16::MAX, ..truth }));
    for (expected, lie) in [(9, boast), (8, EXCUSES[4].1)] {
        let ran = login_anew(&mut hosts, &enrolled.record, "wrong", expected, lie);
        let failure = ran.result.unwrap_err();
        assert_eq!(failure.problem, Problem::WrongPassword { left: expected });
        assert_eq!(failure.to_string(), format!("wrong password; {expected} attempts are left"));
    }
}

/// With randomness of its own, so that it is another attempt.
fn login_anew(hosts: &mut [Host], record: &Record, text: &str, seed: u16, lie: Lie) -> Ran {
    run(record, text, u64::from(seed), |to, request| answer(hosts, to, request, &[1], lie))
}

/// The figure of `docs/roaming.md`: keys after one round trip, everything over after two.
#[test]
fn a_login_takes_two_round_trips() {
    for (n, _) in SIZES {
        let enrolled = crate::support::enrolled(n, &password(RIGHT));
        let mut hosts = hosts(&enrolled);
        let ran = login(&mut hosts, &enrolled.record, RIGHT, &[], LIES[0].1);
        assert_eq!(ran.rounds, (1, 2), "n = {n}");
        assert!(ran.result.unwrap().lacking.is_empty());
    }
}

/// Of `docs/roaming.md`, "What was measured".
#[test]
#[ignore = "a campaign of a minute: 1,000 logins"]
fn a_thousand_logins_with_b_liars_succeed() {
    let mut good = 0;
    for (n, b) in [(4, 1), (7, 2)] {
        let enrolled = crate::support::enrolled(n, &password(RIGHT));
        let mut hosts = hosts(&enrolled);
        for turn in 0..500_u64 {
            let first = u8::try_from(turn % u64::from(n)).unwrap();
            let liars: Vec<u8> = (0..b).map(|i| (first + i) % n + 1).collect();
            let lie = LIES[usize::try_from(turn).unwrap() % LIES.len()].1;
            let ran = run(&enrolled.record, RIGHT, turn, |to, request| {
                answer(&mut hosts, to, request, &liars, lie)
            });
            let named = places(&ran.result.as_ref().unwrap().culprits);
            assert_eq!(named, BTreeSet::from_iter(liars), "n = {n}, turn {turn}");
            good += u32::from(opens(&enrolled, &ran));
            // A liar keeps the attempt; the owner gives it back each day.
            hosts.iter_mut().for_each(|host| host.now += crate::support::DAY);
        }
    }
    println!("{good} of 1000 logins succeeded");
    assert_eq!(good, 1000);
}
