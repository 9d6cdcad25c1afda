//! Makes the seeds: `cargo test --release -p bftkv-tests --test fuzz_inputs -- --ignored make`.

use std::path::Path;
use std::time::SystemTime;

use bftkv::{ProofFile, TEMPLATE};
use bftkv_protocol::{Purpose, Refusal, Seal, Sign, encode};
use bftkv_wot::{Keyring, KeyringOptions, OwnKey, Sealer, no_passphrase};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::fixtures::{ALICE, certified, entry, one_group};
use crate::samples::{member_proof, samples, writer_proof};
use crate::stored::put;

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = crate::fuzz().join("seeds").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn keyring_file(path: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wot/testdata/gnupg-ed25519");
    std::fs::read(folder.join(path)).unwrap()
}

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds() {
    messages();
    files();
    certificates();
    choices();
}

fn messages() {
    for (number, sample) in samples().iter().enumerate() {
        let target = if sample.name.starts_with("request") { "request" } else { "response" };
        write(target, &number.to_string(), &sample.bytes);
        // Version, nonce, request with one recipient and no challenge, then the message.
        let length = u8::try_from(sample.bytes.len() % 128).unwrap();
        let head = [&[1][..], &[5; 32], &[0, 1, 20], &[7; 20], &[0, length]].concat();
        let part = &sample.bytes[..usize::from(length)];
        if target == "request" && number < 4 {
            write("envelope", &number.to_string(), &[&head[..], part].concat());
        }
    }
    let answer = [&[1][..], &[5; 32], &[1, 20], &[7; 20], &[9; 16]].concat();
    write("envelope", "refused", &[&answer[..], &[1, 7]].concat());
    write("response", "bare-refusal", &encode(&Refusal::Busy));
    for (name, proof) in [("member", member_proof()), ("writer", writer_proof())] {
        write("equivocation", name, &encode(&proof));
    }
    write("equivocation", "two-values", &[0, 0, 0, 7, 0, 0, 1, 7, 0, 9, 1]);
}

fn files() {
    let proof = ProofFile::new(certified(entry(ALICE, 7, "mine"), &one_group())).to_bytes();
    write("proof_file", "good", &[&[0][..], &proof].concat());
    write("proof_file", "damaged", &[1, 0, 20, 1]);
    write("config", "template", TEMPLATE.as_bytes());
    let set: String =
        TEMPLATE.lines().flat_map(|l| [l.strip_prefix("#: ").unwrap_or(l), "\n"]).collect();
    write("config", "everything", set.as_bytes());
    for (number, id) in [
        "n1 (http://127.0.0.1:5701)",
        "Alice Example <alice@example.org>",
        "(https://[2001:db8::1]:443/)",
        "a@b <c@d>",
        "x <a@b> (http://h)",
    ]
    .iter()
    .enumerate()
    {
        write("identity", &number.to_string(), id.as_bytes());
    }
}

fn certificates() {
    let (node, user) = (keyring_file("n1/pubring.gpg"), keyring_file("mallory/cert.asc"));
    write("keyring", "armored", &user);
    let key = |who: &str| {
        OwnKey::from_bytes(&keyring_file(&format!("{who}/secring.gpg")), &no_passphrase).unwrap()
    };
    for who in ["n1", "alice", "mallory"] {
        write("certificate", who, key(who).certificate_bytes().as_bytes());
        write("keyring", who, key(who).certificate_bytes().as_bytes());
    }
    let keyring =
        Keyring::new(KeyringOptions { time: Some(SystemTime::now()), ..KeyringOptions::default() });
    keyring.import(&node).unwrap();
    let (sealer, own) = (Sealer::new(keyring, key("n2")), key("n1").id().clone());
    write("sealed", "encrypted", &sealer.seal(&[own], b"a message").unwrap());
    write("sealed", "signed", &sealer.seal(&[], b"an answer to a stranger").unwrap());
    let signature = key("alice").sign(Purpose::Entry, b"text").unwrap();
    write("sealed", "signature", signature.as_bytes());
}

/// Inputs that are choices: random ones reach much, the fuzzer finds the rest.
fn choices() {
    let mut random = SmallRng::seed_from_u64(1);
    for target in ["clique", "server", "write", "read", "store", "record"] {
        for number in 0..8 {
            let length = [24, 60, 120, 240][number % 4];
            let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            write(target, &format!("random-{number}"), &bytes);
        }
    }
    // Five nodes that all certify each other.
    write("clique", "five", &[4, 0, 0, 0, 31, 0, 31, 0, 31, 0, 31, 0, 31, 0, 0, 2, 4, 4]);
    for kind in 0..4 {
        for (name, how) in [("flip", 5), ("cut", 0), ("delete", 3), ("longer", 2)] {
            write("store", &format!("{name}-{kind}"), &[kind, 0, 1, 0, 90, 3, how, 0, 2, 8, 8]);
        }
    }
    let batch = put(&crate::stored::name("a"), 3, b"value");
    let entry = encode(&batch.entries[0]);
    let length = u16::try_from(entry.len()).unwrap().to_be_bytes();
    write("record", "entry", &[&[0, 3, 3][..], &length, &entry, &[0]].concat());
}
