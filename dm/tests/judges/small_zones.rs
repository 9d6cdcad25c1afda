//! Small zones of all kinds, signed by us and judged by others; signed by others and judged by us.

use std::path::Path;
use std::process::Command;

use bftkv_dm::sign::{
    BatchSigner as _, Denial, DigestCheck, Dnskey, KeySet, Nsec3, Recipe, Role, Terms, verify,
};
use bftkv_dm::zone::{Limits, Name, Zone};

use crate::programs::{all_accept, is_here, now};
use crate::signers::{Signer, ed25519_key, p256_key, rsa_key};

const CONTENT: &str = "\
$TTL 3600
@ SOA ns admin 7 1800 900 604800 600
@ NS ns
@ MX 10 Mail.Example.
@ CAA 0 issue \"ca.example.net; policy=ev\"
ns A 192.0.2.1
ns AAAA 2001:db8::1
mail A 192.0.2.25
sub NS ns.sub
sub DS 31852 8 2 89F7670AFC091B199B47900E4CE4135B9463B7F74D3D19A1C732E78C345D4DE6
ns.sub A 192.0.2.2
insecure NS ns.sub
*.wild TXT \"a b\" \"c;d\" \"\\\"quoted\\\"\"
far.below.here AAAA 2001:db8::2
alias CNAME Mail
moved DNAME example.net.
_sip._tcp SRV 0 5 5060 Sip.Example.
svc HTTPS 1 . alpn=h2
odd TYPE65280 \\# 3 010203
";

fn content() -> Zone {
    Zone::read(CONTENT.as_bytes(), Some(apex()), Limits::default()).unwrap()
}

fn apex() -> Name {
    "example.".parse().unwrap()
}

fn signed(mut ksk: Signer, mut zsk: Signer, denial: Denial) -> Zone {
    let terms = Terms::usual(now()).unwrap();
    let key = Dnskey::of(zsk.key(), Role::Zsk).unwrap();
    let keys = KeySet::sign(&apex(), vec![key.clone()], 3600, &terms, &mut ksk).unwrap();
    let recipe = Recipe::new(keys, key, denial, true, terms).unwrap();
    recipe.sign(&content(), None, &mut zsk).unwrap()
}

#[test]
fn every_algorithm_and_denial_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let nsec3 = |opt_out| Denial::Nsec3(Nsec3 { opt_out, ..Nsec3::default() });
    let salted = Nsec3 { iterations: 1, salt: vec![0xab, 0xcd], opt_out: false };
    for (denial, (ksk, zsk)) in [
        (Denial::Nsec, (ed25519_key(1), ed25519_key(2))),
        (nsec3(false), (ed25519_key(1), ed25519_key(2))),
        (nsec3(true), (ed25519_key(1), ed25519_key(2))),
        (Denial::Nsec3(salted), (p256_key(3), p256_key(4))),
        (Denial::Nsec, (p256_key(3), p256_key(4))),
        (nsec3(true), (rsa_key(2_048, 5), rsa_key(1_536, 6))),
    ] {
        all_accept(&signed(ksk, zsk, denial), folder.path());
    }
}

/// Writes the zone and a key pair of BIND's making, and runs a signer over them.
fn signed_by_others(folder: &Path, algorithm: &str, signer: &str, options: &[&str]) -> Zone {
    std::fs::write(folder.join("zone"), content().to_string()).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let out = Command::new(program).current_dir(folder).args(arguments).output().unwrap();
        assert!(out.status.success(), "{program}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let ksk = run("dnssec-keygen", &["-q", "-a", algorithm, "-f", "KSK", "example."]);
    let zsk = run("dnssec-keygen", &["-q", "-a", algorithm, "example."]);
    let arguments = match signer {
        "dnssec-signzone" => [options, &["-S", "-o", "example.", "-f", "signed", "zone"]].concat(),
        _ => [options, &["-o", "example.", "-f", "signed", "zone", &ksk, &zsk]].concat(),
    };
    run(signer, &arguments);
    Zone::read_file(&folder.join("signed"), Some(apex()), Limits::default()).unwrap()
}

#[test]
fn what_others_sign_is_accepted_by_us() {
    for program in ["dnssec-keygen", "dnssec-signzone", "ldns-signzone"] {
        if !is_here(program) {
            return;
        }
    }
    for (algorithm, signer, options, digest) in [
        ("RSASHA256", "dnssec-signzone", &[][..], DigestCheck::Absent),
        ("ECDSAP256SHA256", "dnssec-signzone", &["-3", "-"], DigestCheck::Absent),
        ("ED25519", "dnssec-signzone", &["-3", "abcd", "-H", "2", "-A"], DigestCheck::Absent),
        ("ECDSAP384SHA384", "dnssec-signzone", &[], DigestCheck::Absent),
        ("RSASHA512", "dnssec-signzone", &[], DigestCheck::Absent),
        ("ED25519", "ldns-signzone", &["-z", "1:1"], DigestCheck::Right),
        ("ECDSAP256SHA256", "ldns-signzone", &["-n", "-z", "1:2"], DigestCheck::Right),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let zone = signed_by_others(folder.path(), algorithm, signer, options);
        let report = verify(&zone, now());
        assert!(report.is_right(), "{signer} {algorithm} {options:?}: {:?}", report.problems);
        assert_eq!(report.digest, Some(digest), "{signer} {algorithm} {options:?}");
    }
}
