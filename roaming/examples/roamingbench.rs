//! What passwords cost in CPU time, beside Argon2id and a multiplication alone, in the same run.
//!
//! ```sh
//! cargo run --release -p bftkv-roaming --example roamingbench
//! ```
//!
//! Time is that of this thread on a processor, by `/proc/thread-self/schedstat`, so other programs on the
//! machine disturb little. Each line is the median of several rounds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a measurement stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use bftkv_protocol::{
    Answer, ConfigurationDigest, Evaluated, LoginPurpose, NodeId, Nonce, Realm, Request, Response,
    RoamingAnswer, RoamingRequest, Variable,
};
use bftkv_roaming::client::{Login, LoginAction, LoginOptions, Stretch};
use bftkv_roaming::{Blinded, Enrolled, Password, Plan, Record, Rule, Share, Stretching, evaluate};
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;
use curve25519_dalek::scalar::Scalar;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const ROUNDS: usize = 9;

fn main() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let Stretching { memory_kib, passes, lanes } = Stretching::default();
    println!("Argon2id: {} MiB, {passes} passes, {lanes} lanes", memory_kib / 1024);
    let point = RISTRETTO_BASEPOINT_POINT * Scalar::from(77_u8);
    let scalar = -Scalar::from(5_u8);
    show("one multiplication in ristretto255", 200, || {
        black_box(black_box(point) * black_box(scalar));
    });
    show("Argon2id alone", 1, || {
        let params = Params::new(memory_kib, passes, lanes, Some(64)).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut output = [0; 64];
        argon2.hash_password_into(b"password", &[1; 32], &mut output).unwrap();
        black_box(output);
    });
    let password = Password::new("correct horse").unwrap();
    for n in [4, 7, 10] {
        let enrolled = Record::enrol(plan(n), &password, &mut rng).unwrap();
        println!("n = {n}, t = {}", enrolled.record.threshold());
        if n == 4 {
            let element = Blinded::new(&password, &mut rng).unwrap().element();
            show("  a server's evaluation with its proof", 100, || {
                black_box(evaluate(&enrolled.shares[0], &element, &mut rng).unwrap());
            });
        }
        show("  enrolment", 1, || drop(Record::enrol(plan(n), &password, &mut rng).unwrap()));
        show("  a login: client and all servers", 1, || log_in(&enrolled, &password, true));
        show("  the same without Argon2id", 5, || log_in(&enrolled, &password, false));
    }
}

fn plan(n: u8) -> Plan {
    Plan {
        realm: Realm::new("bench").unwrap(),
        variable: Variable::new("x").unwrap(),
        epoch: 1,
        nodes: (1..=n).map(node).collect(),
        rule: Rule::Majority,
        stretching: Stretching::default(),
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 20]).unwrap()
}

/// A whole login through the client's machine. Without Argon2id it ends where that begins.
fn log_in(enrolled: &Enrolled, password: &Password, is_whole: bool) {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let shares: BTreeMap<&NodeId, &Share> =
        enrolled.record.nodes().iter().zip(&enrolled.shares).collect();
    let options = LoginOptions {
        requester: node(200),
        purpose: LoginPurpose::Open,
        round: Duration::from_secs(1),
        deadline: Duration::from_secs(2),
    };
    let (record, password) = (enrolled.record.clone(), password.clone());
    let mut login = Login::start(Duration::ZERO, record, password, options, &mut rng).unwrap();
    while !login.is_over() {
        match login.poll().unwrap() {
            LoginAction::Send { to, request } => {
                for node in to {
                    let answer = answer(shares[&node], &request, &mut rng);
                    let configuration = ConfigurationDigest::from_bytes([0; 32]);
                    let response = Response { configuration, outcome: Ok(answer) };
                    login.handle_response(&node, Ok(response));
                }
            }
            LoginAction::Stretch(_) if !is_whole => return,
            LoginAction::Stretch(stretch) => login.handle_stretched(Stretch::run(*stretch)),
            LoginAction::Show(node) => panic!("{node}"),
        }
    }
    assert!(login.result().unwrap().is_ok());
}

fn answer(share: &Share, request: &Request, rng: &mut ChaCha20Rng) -> Answer {
    let Request::Roaming(RoamingRequest::Evaluate { element, .. }) = request else {
        return Answer::Roaming(RoamingAnswer::Done);
    };
    let (element, proof) = evaluate(share, element, rng).unwrap();
    let (proof, nonce) = (proof.to_bytes(), Nonce::from_bytes([1; 32]));
    Answer::Roaming(RoamingAnswer::Evaluated(Evaluated { element, proof, nonce, left: 9 }))
}

/// Prints the CPU time of one `work`, of which each round does `count`.
fn show(what: &str, count: u32, mut work: impl FnMut()) {
    work();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let before = cpu_nanoseconds();
            (0..count).for_each(|_| work());
            (cpu_nanoseconds() - before) / f64::from(count)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{what:<42} {:>9.3} ms", rounds[ROUNDS / 2] / 1e6);
}

fn cpu_nanoseconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}
