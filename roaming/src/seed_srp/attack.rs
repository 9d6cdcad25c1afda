//! What is wrong with the text's scheme, by execution: an offline dictionary attack that succeeds
//! against it, and the same with the default scheme, where it fails.

use std::collections::BTreeMap;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use bftkv_protocol::{NodeId, Realm, Variable};

use super::client::exponent;
use super::group::{Group, Residue, encode};
use super::server::{Answer, Record, open};
use super::{ElementBytes, Server, setup};
use crate::{Blinded, Evaluation, Index, Password, Plan, Rule, Share, Stretching, evaluate};

const DICTIONARY: [&str; 12] = [
    "123456",
    "password",
    "qwerty",
    "dragon",
    "letmein",
    "monkey",
    "football",
    "correct horse",
    "iloveyou",
    "sunshine",
    "princess",
    "trustno1",
];
const PASSWORD: &str = "correct horse";

fn password(word: &str) -> Password {
    Password::new(word).unwrap()
}

/// What an attacker has who asked each of f+1 honest servers once.
struct Transcript {
    group: Group,
    /// X = g^r, for an r of the attacker's.
    power: Residue,
    x: ElementBytes,
    /// g^(S+G): the Lagrange coefficients add up to 1, so Y_i/X = g^y_i combine to it.
    masked: Residue,
    answer: Answer,
}

/// Asks f+1 honest servers once, without any password.
fn ask_once(servers: &mut [Server], rng: &mut ChaCha20Rng) -> Transcript {
    let group = Group::new();
    let r = group.random(rng).unwrap();
    let x = encode(&group.power(&r));
    let indices: Vec<u16> = (1..).take(servers.len()).collect();
    let inverse = group.power(&r).invert().unwrap();
    let mut masked = group.modulo_p(&crypto_bigint::U2048::ONE);
    let mut last = None;
    for (index, server) in indices.iter().zip(servers) {
        let answer = server.answer(&x, b"a proof that gives access", rng).unwrap();
        let to_y = group.element(&answer.y).unwrap().mul(&inverse);
        masked = masked.mul(&to_y.pow(&group.lagrange(*index, &indices).unwrap()));
        last = Some(answer);
    }
    Transcript { power: group.modulo_q(&r), group, x, masked, answer: last.unwrap() }
}

impl Transcript {
    /// g^S, if the guess is right.
    fn g_to_s(&self, guess: &Password) -> Residue {
        let mask = self.group.mask(guess.as_bytes()).retrieve();
        self.masked.mul(&self.group.power(&mask).invert().unwrap())
    }

    /// W1: the tag of one answer tells whether the guess is right. No server is asked again.
    fn is_right(&self, guess: &Password) -> bool {
        let group = &self.group;
        let answer = &self.answer;
        let x = exponent(group, guess, &answer.salt, &self.g_to_s(guess)).unwrap();
        let verifier = group.multiplier().mul(&group.power(&x));
        let base = group.number(&answer.b).unwrap().sub(&verifier);
        let u = group.scrambler(&self.x, &answer.b).unwrap();
        let power = self.power.add(&group.modulo_q(&u).mul(&group.modulo_q(&x)));
        let shared = encode(&base.pow(&power.retrieve()));
        open(&shared, &self.x, &answer.b, &answer.sealed).is_some()
    }

    /// W2: with one stolen record v checks the guess without any cipher.
    fn fits(&self, guess: &Password, stolen: &Record) -> bool {
        let x = exponent(&self.group, guess, &stolen.salt, &self.g_to_s(guess)).unwrap();
        encode(&self.group.power(&x)) == stolen.v
    }
}

/// `roaming.md`, section 1, W1 and W2: it must succeed, or the reason is gone for which this
/// scheme is not the default.
#[test]
fn attack_offline_dictionary_finds_a_password_of_the_texts_scheme() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (f, n) = (1, 4);
    let dealt = setup(&password(PASSWORD), f + 1, n, &mut rng).unwrap();
    let mut servers: Vec<Server> = dealt.records.iter().cloned().map(Server::new).collect();
    // No server is compromised, and each of two is asked once.
    let transcript = ask_once(&mut servers[..=f], &mut rng);
    let found: Vec<&str> =
        DICTIONARY.into_iter().filter(|word| transcript.is_right(&password(word))).collect();
    assert_eq!(found, [PASSWORD], "W1");
    let stolen = &dealt.records[3];
    let found: Vec<&str> =
        DICTIONARY.into_iter().filter(|word| transcript.fits(&password(word), stolen)).collect();
    assert_eq!(found, [PASSWORD], "W2");
}

/// The same attacker against the default scheme: everything public, one question to every honest
/// server, the shares of the others. For each word it does what it can: with the stolen shares it
/// computes their part by itself, and takes the answers of the honest ones to its one question.
fn attack_default(stolen: usize) -> Vec<&'static str> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let nodes = (1..=4).map(|n| NodeId::from_bytes(&[n; 20]).unwrap()).collect();
    let plan = Plan {
        realm: Realm::new("test").unwrap(),
        variable: Variable::new("x").unwrap(),
        epoch: 1,
        nodes,
        rule: Rule::Majority,
        stretching: Stretching::LEAST,
    };
    let enrolled = crate::Record::enrol(plan, &password(PASSWORD), &mut rng).unwrap();
    let (record, shares) = (enrolled.record, enrolled.shares);
    let t = record.threshold();
    let (stolen, honest) = shares.split_at(stolen);
    // The one question: any element. A guess is the best that it can be made of.
    let factor = crate::group::random(&mut rng).unwrap();
    let question = Blinded::with_factor(DICTIONARY[0].as_bytes(), factor.clone());
    let answers: BTreeMap<Index, Evaluation> = honest
        .iter()
        .map(|share| {
            let (element, proof) = evaluate(share, &question.element(), &mut rng).unwrap();
            let index = share.index();
            let checked = question.check(record.commitments(), index, &element, &proof);
            (index, checked.unwrap())
        })
        .collect();
    let is_right = |word: &&str| {
        let guess = password(word);
        // Blinded by the same factor, so that its parts and the answers fit together as well as they can.
        let blinded = Blinded::with_factor(word.as_bytes(), factor.clone());
        let own = stolen.iter().map(|share: &Share| blinded.evaluate_alone(share));
        let mut parts: BTreeMap<Index, Evaluation> = own.collect();
        parts.extend(answers.iter().map(|(index, answer)| (*index, answer.clone())));
        let output = blinded.finish(&guess, t, &parts).unwrap();
        record.keys(&output).unwrap().is_some()
    };
    DICTIONARY.into_iter().filter(is_right).collect()
}

#[test]
fn attack_offline_dictionary_finds_nothing_in_the_default_scheme() {
    let t = Rule::Majority.threshold(4);
    for stolen in 0..t {
        assert_eq!(attack_default(stolen), [""; 0], "{stolen} shares stolen");
    }
    // And it is an attack: with t stolen shares it finds the password.
    assert_eq!(attack_default(t), [PASSWORD]);
}
