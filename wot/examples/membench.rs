//! Resident memory while signatures, messages and certificates of strangers go through a keyring.
//!
//! `cargo run --release -p bftkv-wot --example membench -- signatures 1000000`
//! `cargo run --release -p bftkv-wot --example membench -- messages 200000`
//! `cargo run --release -p bftkv-wot --example membench -- strangers 50000`
//!
//! Signatures and messages are all distinct. Certificates are made by a second process: making one
//! checks its signatures, which would hide what reading it costs.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a library")]

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bftkv_protocol::{CertificateBytes, Purpose, Seal, Sign, Verify};
use bftkv_wot::{Keyring, KeyringOptions, OwnKey, Sealer, generate_key, no_passphrase};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "signatures".to_owned());
    let count = arguments.next().map_or(1_000_000, |text| text.parse().unwrap());
    match what.as_str() {
        "signatures" => signatures(count),
        "messages" => messages(count),
        "strangers" => strangers(count),
        "make" => make(count),
        _ => println!("signatures, messages or strangers, and how many"),
    }
}

fn signatures(count: u64) {
    let (own, ring) = (own_key("n1"), keyring("n1"));
    report("verified signatures", count, |n| {
        let message = n.to_be_bytes();
        let signature = own.sign(Purpose::Share, &message).unwrap();
        ring.verify(own.id(), Purpose::Share, &message, &signature).unwrap();
    });
}

fn messages(count: u64) {
    let from = Sealer::new(keyring("n1"), own_key("n1"));
    let to = Sealer::new(keyring("n2"), own_key("n2"));
    report("opened messages", count, |n| {
        let sealed = from.seal(&[to.id().clone()], &n.to_be_bytes()).unwrap();
        drop(to.open(&sealed, 100).unwrap());
    });
}

/// Each certificate joins and is asked for its addresses, as when its first message is opened.
fn strangers(count: u64) {
    let ring = keyring("n1");
    let program = std::env::current_exe().unwrap();
    let mut maker = Command::new(program);
    maker.args(["make", &count.to_string()]).stdout(Stdio::piped());
    let mut maker = maker.spawn().unwrap();
    let mut certificates = BufReader::new(maker.stdout.take().unwrap());
    report("strangers", count, |_| {
        let mut length = [0; 4];
        certificates.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
        certificates.read_exact(&mut bytes).unwrap();
        let id = ring.add_stranger(&CertificateBytes::new(bytes).unwrap()).unwrap();
        drop(ring.identities(&id));
    });
    maker.wait().unwrap();
}

fn make(count: u64) {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for n in 0..count {
        let key = generate_key(&format!("u{n} <u{n}@example.org>"), None).unwrap().key;
        let bytes = key.certificate_bytes().as_bytes();
        out.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).unwrap();
        out.write_all(bytes).unwrap();
    }
    out.flush().unwrap();
}

fn report(what: &str, count: u64, mut each: impl FnMut(u64)) {
    println!("{:>10} {what}, resident {:>8} KiB", 0, resident());
    let step = (count / 10).max(1);
    for n in 1..=count {
        each(n);
        if n % step == 0 {
            println!("{n:>10} {what}, resident {:>8} KiB", resident());
        }
    }
}

/// From Linux; elsewhere nothing.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(String::new, |line| line.trim().trim_end_matches(" kB").to_owned())
}

fn own_key(name: &str) -> OwnKey {
    OwnKey::from_bytes(&read(name, "secring.gpg"), &no_passphrase).unwrap()
}

fn keyring(name: &str) -> Keyring {
    let ring = Keyring::new(KeyringOptions::default());
    ring.import(&read(name, "pubring.gpg")).unwrap();
    ring
}

fn read(name: &str, file: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/gnupg-ed25519");
    std::fs::read(root.join(name).join(file)).unwrap()
}
