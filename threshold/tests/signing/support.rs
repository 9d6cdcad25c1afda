//! Keys to test with, and sessions that are run to their end.

use std::collections::BTreeMap;
use std::process::Command;

use bftkv_threshold::{
    Combiner, Error, GroupKey, KeyShare, Nonces, Offence, Party, Roster, Session, Step, ed25519,
    rsa,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(crate) fn party(number: u8) -> Party {
    Party::new(number).unwrap()
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The committed safe primes for a modulus of 1,536 or 2,048 bits.
pub(crate) fn prime_bytes(bits: usize) -> [Vec<u8>; 2] {
    let lines = include_str!("../data/safe-primes.txt").lines().map(unhex);
    let primes: Vec<_> = lines.filter(|prime| prime.len() * 16 == bits).collect();
    primes.try_into().unwrap()
}

pub(crate) fn primes(bits: usize) -> rsa::SafePrimes {
    let [p, q] = prime_bytes(bits);
    rsa::SafePrimes::from_be_bytes(&p, &q).unwrap()
}

pub(crate) type Shares = Vec<Box<dyn KeyShare>>;

pub(crate) fn boxed<S: KeyShare + 'static>(shares: Vec<S>) -> Shares {
    shares.into_iter().map(|share| Box::new(share) as Box<dyn KeyShare>).collect()
}

/// One key of each scheme. The small RSA size, because the properties do not depend on it.
pub(crate) fn keys(n: u8, k: usize, seed: u64) -> [Shares; 2] {
    let roster = Roster::first(n, k).unwrap();
    let mut rng = rng(seed);
    [
        boxed(rsa::deal(&roster, &primes(1536), &mut rng).unwrap()),
        boxed(ed25519::deal(&roster, &mut rng).unwrap()),
    ]
}

/// Every (k, n) up to 13 that a key can have.
pub(crate) fn shapes() -> impl Iterator<Item = (usize, u8)> {
    let all = (2..=13u8).flat_map(|n| (0..=usize::from(n)).map(move |k| (k, n)));
    all.filter(|(k, n)| Roster::first(*n, *k).is_ok())
}

pub(crate) fn messages(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("message {i}").into_bytes()).collect()
}

/// A session of these signers, and their nonces.
pub(crate) fn session(
    signers: &[&dyn KeyShare],
    messages: Vec<Vec<u8>>,
    seed: u64,
) -> Result<(Session, Vec<Nonces>), Error> {
    let mut rng = rng(seed);
    let (mut all, mut commitments) = (Vec::new(), BTreeMap::new());
    for signer in signers {
        let (nonces, bytes) = signer.commit(messages.len(), &mut rng)?;
        signers[0].group().check_commitments(signer.party(), &bytes, messages.len())?;
        all.push(nonces);
        if !bytes.is_empty() {
            commitments.insert(signer.party(), bytes);
        }
    }
    Ok((Session::new(signers[0].group().id(), messages, commitments)?, all))
}

/// What the signers of a session send.
pub(crate) fn partials(
    signers: &[&dyn KeyShare],
    messages: Vec<Vec<u8>>,
    seed: u64,
) -> (Session, BTreeMap<Party, Vec<u8>>) {
    let (session, nonces) = session(signers, messages, seed).unwrap();
    let sent = signers.iter().zip(nonces);
    let sent = sent.map(|(signer, n)| (signer.party(), signer.sign(n, &session).unwrap()));
    let sent = sent.collect();
    (session, sent)
}

/// How a session ended.
pub(crate) struct End {
    pub(crate) last: Step,
    pub(crate) culprits: BTreeMap<Party, Offence>,
    pub(crate) proofs: usize,
}

/// Hands everything in, answers every question for a proof by `prove` (no answer: given up), and
/// goes on to the end.
pub(crate) fn finish(
    combiner: &mut dyn Combiner,
    sent: &BTreeMap<Party, Vec<u8>>,
    prove: &mut dyn FnMut(Party, usize) -> Option<Vec<u8>>,
) -> End {
    for (party, bytes) in sent {
        let _ = combiner.add(*party, bytes);
    }
    let mut proofs = 0;
    loop {
        let step = combiner.step().unwrap();
        let Step::Prove { message, from } = step else {
            return End { last: step, culprits: combiner.culprits().clone(), proofs };
        };
        assert!(!from.is_empty());
        for party in from {
            proofs += 1;
            match prove(party, message) {
                Some(proof) => drop(combiner.add_proof(party, message, &proof)),
                None => combiner.give_up(party),
            }
        }
    }
}

/// The proofs that honest holders of these shares give.
pub(crate) fn honest<'a>(
    shares: &'a [Box<dyn KeyShare>],
    session: &'a Session,
) -> impl FnMut(Party, usize) -> Option<Vec<u8>> + 'a {
    let mut rng = rng(99);
    move |party, message| {
        let share = shares.iter().find(|share| share.party() == party)?;
        Some(share.prove(session, message, &mut rng).unwrap())
    }
}

/// The signatures of a session in which all went well.
pub(crate) fn signatures(
    signers: &[&dyn KeyShare],
    messages: Vec<Vec<u8>>,
    seed: u64,
) -> Vec<Vec<u8>> {
    let (session, sent) = partials(signers, messages, seed);
    let key: &dyn GroupKey = signers[0].group();
    let mut combiner = key.combiner(&session).unwrap();
    let end = finish(&mut *combiner, &sent, &mut |_, _| unreachable!("nobody lied"));
    assert!(end.culprits.is_empty());
    let Step::Done(signatures) = end.last else { unreachable!("{:?}", end.last) };
    signatures
}

/// Whether `openssl` is here. Without it a test says so; on the build machine it fails.
pub(crate) fn has_openssl() -> bool {
    let here = Command::new("openssl").arg("version").output().is_ok();
    assert!(here || std::env::var_os("CI").is_none_or(|ci| ci != "true"), "openssl is missing");
    if !here {
        eprintln!("#### skipped: openssl is not here, so it does not judge our signatures");
    }
    here
}

/// A DER element.
pub(crate) fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..128 => out.push(length as u8),
        128..256 => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
    out
}

/// Lets `openssl` verify a signature by a public key (SubjectPublicKeyInfo, DER).
pub(crate) fn openssl_accepts(key: &[u8], message: &[u8], signature: &[u8], raw: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let (key, message) = (file("key.der", key), file("message", message));
    let signature = file("signature", signature);
    let mut openssl = Command::new("openssl");
    if raw {
        openssl.args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"]);
        openssl.arg(key).arg("-in").arg(message).arg("-sigfile").arg(signature);
    } else {
        openssl.args(["dgst", "-sha256", "-keyform", "DER", "-verify"]);
        openssl.arg(key).arg("-signature").arg(signature).arg(message);
    }
    openssl.output().unwrap().status.success()
}
