//! CPU time of each operation with keys, for the test keys that GnuPG made.
//!
//! `cargo run --release -p bftkv-wot --example cryptobench`
//!
//! With `RUST_BACKTRACE=1` each error that Sequoia makes and handles inside costs some 30 µs; set
//! `RUST_LIB_BACKTRACE=0` beside it.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, not a library")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bftkv_protocol::{Identities, NodeId, Purpose, Realm, Seal, Sign, Verify};
use bftkv_wot::{
    Certificate, ConfigurationOptions, Keyring, KeyringOptions, OwnKey, QuorumCertificates, Sealer,
    derive_configuration, no_passphrase,
};

fn main() {
    println!("operation                                                CPU µs");
    measure("Ed25519", &folders("gnupg-ed25519", &["n1", "n2", "n3", "n4", "n5", "n6", "n7"]));
    measure("RSA-2048", &folders("gnupg-rsa2048", &["a01", "a02", "a03", "a04"]));
}

fn folders(keyring: &str, names: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(keyring);
    names.iter().map(|name| root.join(name)).collect()
}

fn measure(kind: &str, folders: &[PathBuf]) {
    let sealers: Vec<Sealer> = folders.iter().map(|folder| sealer(folder)).collect();
    let ids: Vec<NodeId> = sealers.iter().map(|sealer| sealer.id().clone()).collect();
    let (first, second) = (sealers.first().unwrap(), sealers.get(1).unwrap());
    let own = own_key(folders.first().unwrap());
    let ring = keyring(folders.first().unwrap());
    let to_second = ids.get(1..2).unwrap();
    let message = [7; 200];

    let mut signature = own.sign(Purpose::Share, &message).unwrap();
    time(kind, "sign", || signature = own.sign(Purpose::Share, &message).unwrap());
    let mut distinct = (0u32..).map(u32::to_be_bytes);
    let count = if kind == "Ed25519" { 5000 } else { 500 };
    let signed: Vec<_> =
        distinct.by_ref().take(count).map(|m| (m, own.sign(Purpose::Share, &m).unwrap())).collect();
    let mut next = signed.iter();
    times(kind, "verify (each once)", count, || {
        let (message, signature) = next.next().unwrap();
        ring.verify(own.id(), Purpose::Share, message, signature).unwrap();
    });
    time(kind, "verify (remembered)", || {
        ring.verify(own.id(), Purpose::Share, &message, &signature).unwrap();
    });
    time(kind, "seal to 1", || drop(first.seal(to_second, &message).unwrap()));
    let label = format!("seal to {}", ids.len());
    time(kind, &label, || drop(first.seal(&ids, &message).unwrap()));
    let sealed = first.seal(to_second, &message).unwrap();
    time(kind, "open", || drop(second.open(&sealed, 1000).unwrap()));
    let sealed = first.seal(&ids, &message).unwrap();
    time(kind, &format!("open, of {}", ids.len()), || drop(second.open(&sealed, 1000).unwrap()));
    let sealed = first.seal(&[], &message).unwrap();
    time(kind, "open, signed only", || drop(second.open(&sealed, 1000).unwrap()));

    let record = ring.record(own.id()).unwrap();
    time(kind, "parse a certificate", || drop(Certificate::parse(record.bytes()).unwrap()));
    let configuration = derive_configuration(
        &ring.graph(),
        own.id(),
        Realm::new("bench").unwrap(),
        &ConfigurationOptions::default(),
    );
    let writers = QuorumCertificates::new(ring.clone(), &configuration.unwrap(), own.id());
    let writer = ids.get(1).unwrap();
    let address = ring.url(writer).unwrap();
    time(kind, "quorum certificate of a writer", || {
        assert!(writers.has_quorum_certificate(writer, &address));
    });
    let folder = folders.first().unwrap();
    time(kind, "keyring from its file and graph", || drop(keyring(folder).graph()));
}

fn sealer(folder: &Path) -> Sealer {
    Sealer::new(keyring(folder), own_key(folder))
}

fn own_key(folder: &Path) -> OwnKey {
    let bytes = std::fs::read(folder.join("secring.gpg")).unwrap();
    OwnKey::from_bytes(&bytes, &no_passphrase).unwrap()
}

fn keyring(folder: &Path) -> Keyring {
    let ring = Keyring::new(KeyringOptions::default());
    ring.import(&std::fs::read(folder.join("pubring.gpg")).unwrap()).unwrap();
    ring
}

/// Runs for about half a second of CPU.
fn time(kind: &str, what: &str, mut operation: impl FnMut()) {
    operation();
    let (start, mut runs) = (cpu(), 0u32);
    let mut spent = Duration::ZERO;
    while spent < Duration::from_millis(500) {
        operation();
        runs += 1;
        spent = cpu().saturating_sub(start);
    }
    print(kind, what, spent / runs);
}

fn times(kind: &str, what: &str, runs: usize, mut operation: impl FnMut()) {
    let start = cpu();
    (0..runs).for_each(|_| operation());
    print(kind, what, cpu().saturating_sub(start) / u32::try_from(runs).unwrap());
}

fn print(kind: &str, what: &str, each: Duration) {
    println!("{kind:<10}{what:<40}{:>12.1}", each.as_secs_f64() * 1e6);
}

/// CPU time of this thread, from Linux; elsewhere, time as it passes.
fn cpu() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match text.split(' ').next().and_then(|nanos| nanos.parse().ok()) {
        Some(nanos) => Duration::from_nanos(nanos),
        None => START.get_or_init(Instant::now).elapsed(),
    }
}
