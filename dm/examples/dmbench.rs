//! What signing the whole root zone costs, beside other signers in the same run.
//!
//! ```text
//! cargo build --release -p bftkv-dm --example dmbench
//! target/release/examples/dmbench [ROUNDS] [P256-MESSAGES]
//! ```
//!
//! For each algorithm: CPU time of `dnssec-signzone`, `ldns-signzone` and `kzonesign` (whatever is
//! installed; the whole program, reading and writing among it), then of one distribution master of
//! four out of seven (P-256: three of seven): everything but the shares, that is reading the zone,
//! NSEC, the messages, checking the signatures, ZONEMD and writing; then its share's work; then
//! combining. Medians over the rounds, in seconds. With P-256 the shares' work is measured for a
//! part of the messages (presigning for all takes minutes) and multiplied.
//!
//! Linux: CPU times come from `/proc`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement, not a library"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bftkv_dm::sample::root_zone_text;
use bftkv_dm::sign::{BatchSigner as _, Denial, Dnskey, KeySet, Recipe, Role, ShareSigner, Terms};
use bftkv_dm::threshold::ecdsa::{self, EcdsaShare, Presign};
use bftkv_dm::threshold::{KeyShare, Nonces, Party, Roster, Session, Step, ed25519, rsa};
use bftkv_dm::zone::{Limits, Name, Zone};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

const PRIMES: &str = include_str!("../../threshold/tests/data/safe-primes.txt");
/// What the two batches of a whole root zone have together.
const MESSAGES: f64 = 2_792.0;

/// CPU time of this thread so far, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let before = cpu();
    let result = work();
    (cpu() - before, result)
}

/// CPU time of all children so far, in seconds: the clock ticks 100 times a second.
fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split_whitespace().collect();
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) / 100.0
}

#[derive(Default)]
struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    fn note(&mut self, name: &str, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(value);
    }

    fn median(&mut self, name: &str) -> Option<f64> {
        let values = self.0.get_mut(name)?;
        values.sort_by(f64::total_cmp);
        Some(values[values.len() / 2])
    }
}

fn others(folder: &Path, algorithm: &str, bits: &[&str], figures: &mut Figures) {
    let run = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).current_dir(folder).args(arguments).output().ok()?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{program}: {said}");
        Some(String::from_utf8(out.stdout).unwrap().trim().to_owned())
    };
    let key = |more: &[&str]| {
        run("dnssec-keygen", &[&["-q", "-a", algorithm], bits, more, &["."]].concat())
    };
    let (Some(ksk), Some(zsk)) = (key(&["-f", "KSK"]), key(&[])) else { return };
    let mut one = |name: &str, arguments: &[&str]| {
        let before = children();
        if run(name, arguments).is_some() {
            figures.note(name, children() - before);
        }
    };
    one("dnssec-signzone", &["-n", "1", "-P", "-S", "-o", ".", "-f", "bind", "zone"]);
    one("ldns-signzone", &["-z", "1:1", "-o", ".", "-f", "ldns", "zone", &ksk, &zsk]);
    // Knot makes keys of its own, which for RSA costs some of its time.
    std::fs::create_dir_all(folder.join("out")).unwrap();
    std::fs::write(folder.join("knot.conf"), knot_conf(folder, algorithm, bits)).unwrap();
    let mut knot = Command::new("kzonesign");
    knot.current_dir(folder).args(["-c", "knot.conf", "-o", "out", "."]);
    let before = children();
    match knot.output() {
        Ok(out) if out.status.success() => figures.note("kzonesign", children() - before),
        Ok(out) => eprintln!("kzonesign: {}", String::from_utf8_lossy(&out.stderr)),
        Err(_) => {}
    }
}

fn knot_conf(folder: &Path, algorithm: &str, bits: &[&str]) -> String {
    let sizes = if bits.is_empty() { "" } else { "    ksk-size: 2048\n    zsk-size: 2048\n" };
    let folder = folder.display();
    let policy = format!("policy:\n  - id: p\n    algorithm: {algorithm}\n{sizes}");
    let zone = format!("  - domain: .\n    file: {folder}/zone\n    dnssec-policy: p\n");
    format!("database:\n    storage: {folder}\n{policy}zone:\n{zone}    dnssec-signing: on\n")
}

fn primes(line: usize) -> rsa::SafePrimes {
    let lines: Vec<Vec<u8>> = PRIMES
        .lines()
        .map(|line| {
            (0..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                .collect()
        })
        .collect();
    rsa::SafePrimes::from_be_bytes(&lines[line], &lines[line + 1]).unwrap()
}

fn deal(algorithm: &str, rng: &mut ChaCha20Rng) -> Vec<Box<dyn KeyShare>> {
    fn boxed<S: KeyShare + 'static>(shares: Vec<S>) -> Vec<Box<dyn KeyShare>> {
        shares.into_iter().map(|share| Box::new(share) as Box<dyn KeyShare>).collect()
    }
    let roster = |k| Roster::first(7, k).unwrap();
    match algorithm {
        "RSASHA256" => boxed(rsa::deal(&roster(4), &primes(2), rng).unwrap()),
        "ECDSAP256SHA256" => boxed(ecdsa::deal(&roster(3), rng).unwrap()),
        _ => boxed(ed25519::deal(&roster(4), rng).unwrap()),
    }
}

/// Presigning by five of seven; returns each party's nonces, and the first one's CPU time.
fn presign(
    shares: &[EcdsaShare],
    count: usize,
    rng: &mut ChaCha20Rng,
) -> (f64, BTreeMap<Party, (Nonces, Vec<u8>)>) {
    let shares = &shares[..5];
    let first = shares[0].party();
    let mut mine = 0.0;
    let mut note = |party: Party, time: f64| {
        if party == first {
            mine += time
        }
    };
    let (mut packages, mut running, mut dealt) =
        (BTreeMap::new(), Vec::new(), BTreeMap::<Party, BTreeMap<Party, _>>::new());
    for share in shares {
        let (time, (presign, package)) = timed(|| Presign::start(share, count, rng).unwrap());
        note(share.party(), time);
        packages.insert(share.party(), package);
        running.push((share.party(), presign));
    }
    let mut shared = Vec::new();
    for (party, presign) in running {
        let (time, (next, to)) = timed(|| presign.deal(&packages).unwrap());
        note(party, time);
        to.into_iter()
            .for_each(|(other, share)| _ = dealt.entry(other).or_default().insert(party, share));
        shared.push((party, next));
    }
    let (mut packages, mut proven) = (BTreeMap::new(), Vec::new());
    for (party, presign) in shared {
        let received = dealt.remove(&party).unwrap();
        let (time, (next, package)) = timed(|| presign.prove(&received, rng).unwrap());
        note(party, time);
        packages.insert(party, package);
        proven.push((party, next));
    }
    let mut last = Vec::new();
    for (party, presign) in proven {
        let (time, (next, to)) = timed(|| presign.deal(&packages).unwrap());
        note(party, time);
        to.into_iter()
            .for_each(|(other, share)| _ = dealt.entry(other).or_default().insert(party, share));
        last.push((party, next));
    }
    let mut made = BTreeMap::new();
    for (party, presign) in last {
        let received = dealt.remove(&party).unwrap();
        let (time, mut presignatures) = timed(|| presign.finish(&received).unwrap());
        note(party, time);
        made.insert(party, presignatures.take(0, count).unwrap());
    }
    (mine, made)
}

/// One master's part for these messages, times `scale`; the signatures.
fn shares_work(
    shares: &[Box<dyn KeyShare>],
    messages: &[Vec<u8>],
    scale: f64,
    (rng, figures): (&mut ChaCha20Rng, &mut Figures),
) -> Vec<Vec<u8>> {
    let key = shares[0].group();
    let k = key.roster().threshold();
    let mut nonces = BTreeMap::new();
    let bytes: Vec<_> = shares.iter().map(|share| share.to_secret_bytes()).collect();
    if bytes[0][0] == 13 {
        let own: Vec<_> =
            bytes.iter().map(|bytes| EcdsaShare::from_secret_bytes(bytes).unwrap()).collect();
        let (time, made) = presign(&own, messages.len(), rng);
        figures.note("presigning", time * scale);
        nonces = made;
    } else {
        for share in &shares[..k] {
            let (time, made) = timed(|| share.commit(messages.len(), rng).unwrap());
            if share.party() == shares[0].party() {
                figures.note("nonces", time * scale);
            }
            nonces.insert(share.party(), made);
        }
    }
    let commitments: BTreeMap<_, _> = nonces
        .iter()
        .filter(|(_, (_, commitments))| !commitments.is_empty())
        .map(|(party, (_, commitments))| (*party, commitments.clone()))
        .collect();
    // A session of its own for each, as if nobody had looked at it yet.
    let session = || Session::new(key.id(), messages.to_vec(), commitments.clone()).unwrap();
    let own = session();
    let mut combiner = key.combiner(&own).unwrap();
    for (place, share) in shares[..k].iter().enumerate() {
        let nonces = nonces.remove(&share.party()).unwrap().0;
        let (time, partial) = if place == 0 {
            timed(|| share.sign(nonces, &own).unwrap())
        } else {
            (0.0, share.sign(nonces, &session()).unwrap())
        };
        if place == 0 {
            figures.note("share", time * scale);
        }
        combiner.add(share.party(), &partial).unwrap();
    }
    let (time, step) = timed(|| combiner.step().unwrap());
    figures.note("combine", time * scale);
    let Step::Done(signatures) = step else { panic!("no signatures") };
    signatures
}

fn ours(algorithm: &str, messages: usize, figures: &mut Figures) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (shares, ksk) = (deal(algorithm, &mut rng), deal(algorithm, &mut rng));
    let ksk: Vec<_> = ksk.iter().map(|share| share.to_secret_bytes()).collect();
    let mut ksk = ShareSigner::new(&ksk, rng.clone()).unwrap();
    let terms = Terms::usual(1_800_000_000).unwrap();
    let zsk = Dnskey::of(shares[0].group(), Role::Zsk).unwrap();
    let _ = ksk.key();
    let keys = KeySet::sign(&Name::root(), vec![zsk.clone()], 172_800, &terms, &mut ksk).unwrap();
    let recipe = Recipe::new(keys, zsk, Denial::Nsec, true, terms).unwrap();
    let (before, signing) = timed(|| {
        let zone =
            Zone::read(root_zone_text().as_bytes(), Some(Name::root()), Limits::default()).unwrap();
        recipe.begin(&zone, None).unwrap()
    });
    let all = signing.messages();
    let part = if algorithm == "ECDSAP256SHA256" { messages } else { all.len() };
    let scale = MESSAGES / part as f64;
    let signatures = shares_work(&shares, &all[..part], scale, (&mut rng, figures));
    if part < all.len() {
        figures.note("zone", before);
        return;
    }
    let (after, digesting) = timed(|| signing.put(&signatures).unwrap());
    let last =
        shares_work(&shares, &digesting.messages(), 0.0, (&mut rng, &mut Figures::default()));
    let (end, _) = timed(|| digesting.put(&last).unwrap().to_string());
    figures.note("zone", before + after + end);
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<usize>().unwrap());
    let (rounds, messages) = (arguments.next().unwrap_or(3), arguments.next().unwrap_or(50));
    for (algorithm, bits) in
        [("RSASHA256", &["-b", "2048"][..]), ("ECDSAP256SHA256", &[]), ("ED25519", &[])]
    {
        let mut figures = Figures::default();
        for _ in 0..rounds {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("zone"), root_zone_text()).unwrap();
            others(folder.path(), algorithm, bits, &mut figures);
            ours(algorithm, messages, &mut figures);
        }
        println!("{algorithm}: CPU seconds for the whole root zone, medians of {rounds} rounds");
        let base = figures.median("dnssec-signzone");
        for name in [
            "dnssec-signzone",
            "ldns-signzone",
            "kzonesign",
            "zone",
            "nonces",
            "presigning",
            "share",
            "combine",
        ] {
            if let Some(time) = figures.median(name) {
                let ratio = base.map_or(f64::NAN, |base| time / base);
                println!("  {name:<18}{time:>9.2}  x {ratio:.2}");
            }
        }
    }
}
