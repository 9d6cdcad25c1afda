//! What threshold signing costs in CPU time, beside one signer with the whole key, in one run.
//!
//! ```text
//! cargo run --release -p bftkv-threshold --example thresholdbench [MESSAGES]
//! ```
//!
//! Keys of 4 of 7 (ECDSA: 3 of 7, because presigning needs 2k-1 parties). Each figure is the median of five rounds, in microseconds of CPU time of this
//! one thread for one message (Linux: it reads `/proc/thread-self/schedstat`). "sign" and
//! "combine" begin with a session that nobody has looked at yet, as for a party of its own.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement, not a library"
)]

use std::collections::BTreeMap;

use bftkv_threshold::{
    GroupKey, KeyShare, Party, Roster, SecretBytes, Session, Step, ecdsa, ed25519, rsa,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const ROUNDS: usize = 5;

/// CPU time of this thread so far, in nanoseconds.
fn cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse().unwrap()
}

/// Microseconds of CPU time for one message.
fn timed<T>(messages: usize, work: impl FnOnce() -> T) -> (f64, T) {
    let before = cpu();
    let result = work();
    ((cpu() - before) as f64 / 1000.0 / messages as f64, result)
}

/// Figures by name, in the order in which they came.
#[derive(Default)]
struct Figures(Vec<(&'static str, Vec<f64>)>);

impl Figures {
    fn note(&mut self, name: &'static str, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name, vec![value])),
        }
    }

    fn print(&mut self, title: &str, plain: &str) {
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            (values[values.len() / 2], values[0], values[values.len() - 1])
        };
        let base = self.0.iter_mut().find(|(name, _)| *name == plain).unwrap();
        let base = median(&mut base.1).0;
        println!("{title}");
        for (name, values) in &mut self.0 {
            let (middle, low, high) = median(values);
            let ratio = middle / base;
            println!("  {name:<34}{middle:>9.1} us ({low:.1} to {high:.1})  x {ratio:.2}");
        }
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// One round of a scheme: every party's work for a batch.
fn round(shares: &[Box<dyn KeyShare>], messages: &[Vec<u8>], figures: &mut Figures) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let count = messages.len();
    let k = shares[0].group().roster().threshold();
    let (mut all, mut commitments) = (Vec::new(), BTreeMap::new());
    for share in &shares[..k] {
        let (time, (nonces, bytes)) = timed(count, || share.commit(count, &mut rng).unwrap());
        all.push(nonces);
        if !bytes.is_empty() {
            figures.note("commit (round 1)", time);
            commitments.insert(share.party(), bytes);
        }
    }
    let key = shares[0].group();
    let fresh = || Session::new(key.id(), messages.to_vec(), commitments.clone()).unwrap();
    let mut sent: Vec<(Party, Vec<u8>)> = Vec::new();
    for (share, nonces) in shares[..k].iter().zip(all) {
        let session = fresh();
        let (time, partials) = timed(count, || share.sign(nonces, &session).unwrap());
        figures.note("sign (last round)", time);
        sent.push((share.party(), partials));
    }
    for known in [false, true] {
        let session = fresh();
        if known {
            drop(key.combiner(&session).unwrap());
        }
        let (time, step) = timed(count, || {
            let mut combiner = key.combiner(&session).unwrap();
            for (party, partials) in &sent {
                combiner.add(*party, partials).unwrap();
            }
            combiner.step().unwrap()
        });
        assert!(matches!(step, Step::Done(_)));
        figures.note(if known { "combine, session known" } else { "combine" }, time);
    }
}

/// The padding of the crate `rsa`, which has its own SHA-256 only as an option.
fn pkcs1v15() -> ::rsa::Pkcs1v15Sign {
    let prefix = unhex("3031300d060960864801650304020105000420").into();
    ::rsa::Pkcs1v15Sign { hash_len: Some(32), prefix }
}

fn rsa_figures(messages: &[Vec<u8>]) {
    let lines = include_str!("../tests/data/safe-primes.txt").lines().map(unhex);
    let primes: Vec<_> = lines.filter(|prime| prime.len() == 128).collect();
    let numbers: Vec<_> = primes.iter().map(|p| ::rsa::BigUint::from_bytes_be(p)).collect();
    let (p, q) = (numbers[0].clone(), numbers[1].clone());
    let plain = ::rsa::RsaPrivateKey::from_p_q(p, q, rsa::EXPONENT.into()).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let roster = Roster::first(7, 4).unwrap();
    let primes = rsa::SafePrimes::from_be_bytes(&primes[0], &primes[1]).unwrap();
    let (time, shares) = timed(1, || rsa::deal(&roster, &primes, &mut rng).unwrap());
    println!("RSA-2048: dealing {:.0} ms, without the search for primes", time / 1000.0);
    let shares: Vec<Box<dyn KeyShare>> =
        shares.into_iter().map(|share| Box::new(share) as Box<dyn KeyShare>).collect();
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        round(&shares, messages, &mut figures);
        let key = shares[0].group();
        let session = Session::new(key.id(), messages.to_vec(), BTreeMap::new()).unwrap();
        let (time, proof) = timed(1, || shares[0].prove(&session, 0, &mut rng).unwrap());
        figures.note("prove (only in a dispute)", time);
        let mut combiner = key.combiner(&session).unwrap();
        for share in &shares[..4] {
            let nonces = share.commit(messages.len(), &mut rng).unwrap().0;
            let mut partials = share.sign(nonces, &session).unwrap();
            if share.party().number() == 4 {
                partials[9] ^= 1;
            }
            combiner.add(share.party(), &partials).unwrap();
        }
        assert!(matches!(combiner.step().unwrap(), Step::Prove { message: 0, .. }));
        let party = shares[0].party();
        let (time, ()) = timed(1, || combiner.add_proof(party, 0, &proof).unwrap());
        figures.note("verify a proof", time);
        let (time, ()) = timed(messages.len(), || {
            for message in messages {
                let hash = <sha2::Sha256 as sha2::Digest>::digest(message);
                plain.sign(pkcs1v15(), &hash).unwrap();
            }
        });
        figures.note("one signer (crate rsa, CRT)", time);
    }
    figures.print("RSA-2048, 4 of 7, per message", "one signer (crate rsa, CRT)");
}

fn ed25519_figures(messages: &[Vec<u8>]) {
    use ed25519_dalek::Signer;
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let shares = ed25519::deal(&Roster::first(7, 4).unwrap(), &mut rng).unwrap();
    let shares: Vec<Box<dyn KeyShare>> =
        shares.into_iter().map(|share| Box::new(share) as Box<dyn KeyShare>).collect();
    let plain = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        round(&shares, messages, &mut figures);
        let (time, ()) = timed(messages.len(), || {
            for message in messages {
                std::hint::black_box(plain.sign(message));
            }
        });
        figures.note("one signer (ed25519-dalek)", time);
    }
    figures.print("Ed25519, 4 of 7, per message", "one signer (ed25519-dalek)");
}

type ByParty<T> = BTreeMap<Party, T>;

/// What each has dealt, by receiver.
fn turn(dealt: ByParty<ByParty<SecretBytes>>) -> ByParty<ByParty<SecretBytes>> {
    let mut turned = ByParty::<ByParty<SecretBytes>>::new();
    for (from, shares) in dealt {
        for (to, share) in shares {
            turned.entry(to).or_default().insert(from, share);
        }
    }
    turned
}

/// Presigning by five of seven, the time of one party; then what its presignatures are.
fn presign(
    shares: &[ecdsa::EcdsaShare],
    count: usize,
    rng: &mut ChaCha20Rng,
) -> (f64, Vec<ecdsa::Presignatures>) {
    let mut times: ByParty<f64> = ByParty::new();
    let mut note = |party: Party, time: f64| *times.entry(party).or_default() += time;
    let (mut parts, mut packages) = (Vec::new(), ByParty::new());
    for share in &shares[..5] {
        let start = || ecdsa::Presign::start(share, count, rng).unwrap();
        let (time, (part, package)) = timed(count, start);
        note(share.party(), time);
        packages.insert(share.party(), package);
        parts.push((share.party(), part));
    }
    let (mut waiting, mut dealt) = (Vec::new(), ByParty::new());
    for (party, part) in parts {
        let (time, (part, theirs)) = timed(count, || part.deal(&packages).unwrap());
        note(party, time);
        dealt.insert(party, theirs);
        waiting.push((party, part));
    }
    let sealed = turn(dealt);
    let (mut parts, mut packages) = (Vec::new(), ByParty::new());
    for (party, part) in waiting {
        let prove = || part.prove(&sealed[&party], rng).unwrap();
        let (time, (part, package)) = timed(count, prove);
        note(party, time);
        packages.insert(party, package);
        parts.push((party, part));
    }
    let (mut waiting, mut dealt) = (Vec::new(), ByParty::new());
    for (party, part) in parts {
        let (time, (part, theirs)) = timed(count, || part.deal(&packages).unwrap());
        note(party, time);
        dealt.insert(party, theirs);
        waiting.push((party, part));
    }
    let sealed = turn(dealt);
    let mut presignatures = Vec::new();
    for (party, part) in waiting {
        let (time, ours) = timed(count, || part.finish(&sealed[&party]).unwrap());
        note(party, time);
        presignatures.push(ours);
    }
    (times.values().sum::<f64>() / 5.0, presignatures)
}

fn ecdsa_figures(messages: &[Vec<u8>]) {
    use p256::ecdsa::signature::Signer;
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let shares = ecdsa::deal(&Roster::first(7, 3).unwrap(), &mut rng).unwrap();
    let plain = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let mut figures = Figures::default();
    for _ in 0..ROUNDS {
        let (time, mut presignatures) = presign(&shares, messages.len(), &mut rng);
        figures.note("presign with 5, per party", time);
        let (mut all, mut commitments) = (Vec::new(), ByParty::new());
        for (share, ours) in shares.iter().zip(&mut presignatures).take(3) {
            let (nonces, bytes) = ours.take(0, messages.len()).unwrap();
            all.push(nonces);
            commitments.insert(share.party(), bytes);
        }
        let key = shares[0].public();
        let session = Session::new(key.id(), messages.to_vec(), commitments).unwrap();
        let mut sent = Vec::new();
        for (share, nonces) in shares.iter().zip(all) {
            let sign = || share.sign(nonces, &session).unwrap();
            let (time, partials) = timed(messages.len(), sign);
            figures.note("sign (the only round)", time);
            sent.push((share.party(), partials));
        }
        let (time, step) = timed(messages.len(), || {
            let mut combiner = key.combiner(&session).unwrap();
            for (party, partials) in &sent {
                combiner.add(*party, partials).unwrap();
            }
            combiner.step().unwrap()
        });
        assert!(matches!(step, Step::Done(_)));
        figures.note("combine", time);
        let (time, ()) = timed(messages.len(), || {
            for message in messages {
                let signature: p256::ecdsa::Signature = plain.sign(message);
                std::hint::black_box(signature);
            }
        });
        figures.note("one signer (crate p256)", time);
    }
    figures.print("ECDSA P-256, 3 of 7, per message", "one signer (crate p256)");
}

fn main() {
    let count = std::env::args().nth(1).map_or(100, |count| count.parse().unwrap());
    let messages = |count: usize| -> Vec<Vec<u8>> {
        (0..count).map(|i| format!("RRset {i}").into_bytes()).collect()
    };
    println!("{count} messages for RSA and ECDSA, {} for Ed25519", count * 20);
    ecdsa_figures(&messages(count));
    ed25519_figures(&messages(count * 20));
    rsa_figures(&messages(count));
}
