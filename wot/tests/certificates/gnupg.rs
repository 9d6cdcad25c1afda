//! GnuPG judges what we make.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bftkv_protocol::{Address, CertificateBytes, Purpose, Seal, Sign};
use bftkv_wot::{
    Keyring, KeyringOptions, Origin, OwnKey, Sealer, Statement, generate_key, no_passphrase,
    read_certificates,
};

/// A home of GnuPG that goes away with the test.
struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    /// `None`, loudly, if there is no `gpg` here. In CI there must be one.
    fn new() -> Option<Self> {
        if Command::new("gpg").arg("--version").output().is_err() {
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            assert!(!ci, "gpg is missing, and CI=true");
            eprintln!("\n*** skipped: gpg missing ***\n");
            return None;
        }
        Some(Self { home: tempfile::tempdir().unwrap() })
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new("gpg")
            .env("GNUPGHOME", self.home.path())
            .args(["--batch", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "gpg {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &errors
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.home.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn import(&self, certificate: &CertificateBytes) {
        let file = self.file("import.pgp", certificate.as_bytes());
        self.ok(&["--import", &file]);
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let home = self.home.path();
        let _ = Command::new("gpgconf").env("GNUPGHOME", home).args(["--kill", "all"]).output();
    }
}

fn test_key(folder: &str) -> OwnKey {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder).join("secring.gpg");
    OwnKey::from_bytes(&std::fs::read(path).unwrap(), &no_passphrase).unwrap()
}

#[test]
fn gpg_verifies_our_signatures() {
    let Some(gpg) = Gpg::new() else { return };
    let new = generate_key("n1 (http://127.0.0.1:1)", None).unwrap().key;
    for own in [new, test_key("gnupg-ed25519/n1"), test_key("gnupg-rsa2048/a01")] {
        gpg.import(own.certificate_bytes());
        for purpose in [Purpose::Entry, Purpose::Share] {
            let signature = own.sign(purpose, b"signed bytes").unwrap();
            let signature = gpg.file("s.sig", signature.as_bytes());
            let good = gpg.file("good", b"signed bytes");
            let said = gpg.ok(&["--verify", &signature, &good]);
            assert!(said.contains("Good signature"), "{said}");
            let bad = gpg.file("bad", b"other bytes");
            assert!(!gpg.run(&["--verify", &signature, &bad]).status.success());
        }
    }
}

/// A node that lost its memory signs with a fresh subkey; what its old key signed stays good.
#[test]
fn gpg_accepts_a_fresh_signing_subkey() {
    let Some(gpg) = Gpg::new() else { return };
    let new = generate_key("n1 (http://127.0.0.1:1)", None).unwrap().key;
    for own in [new, test_key("gnupg-ed25519/n1"), test_key("gnupg-rsa2048/a01")] {
        let before = own.sign(Purpose::Share, b"signed bytes").unwrap();
        let fresh = own.with_fresh_signing_key().unwrap();
        let after = fresh.sign(Purpose::Share, b"signed bytes").unwrap();
        gpg.import(fresh.certificate_bytes());
        let bytes = gpg.file("bytes", b"signed bytes");
        let mut makers = std::collections::BTreeSet::new();
        for signature in [before, after] {
            let signature = gpg.file("s.sig", signature.as_bytes());
            let said = gpg.ok(&["--status-fd", "1", "--verify", &signature, &bytes]);
            let valid = said.lines().find(|line| line.contains("VALIDSIG ")).unwrap().to_owned();
            makers.extend(valid.split_whitespace().nth(2).map(str::to_owned));
        }
        assert_eq!(makers.len(), 2, "by two subkeys");
    }
}

#[test]
fn gpg_checks_our_certifications() {
    let Some(gpg) = Gpg::new() else { return };
    let certifier = generate_key("a (http://127.0.0.1:1)", None).unwrap().key;
    let target = generate_key("bob <bob@example.org>", None).unwrap().key;
    let address = Address::new("bob@example.org").unwrap();
    let certify = Statement::Certify { valid_for: None };
    let certified = certifier.certify(target.certificate_bytes(), &address, certify).unwrap();
    gpg.import(certifier.certificate_bytes());
    gpg.import(&certified);
    let lines = gpg.ok(&["--with-colons", "--check-sigs", "bob@example.org"]);
    let key_id = certifier.id().to_string().split_off(24);
    let good = |line: &str| line.starts_with("sig:!:") && line.contains(&key_id);
    assert!(lines.lines().any(good), "{lines}");

    let revoke = Statement::Revoke { reason: "signed two values" };
    let revoked = certifier.certify(&certified, &address, revoke).unwrap();
    gpg.import(&revoked);
    let lines = gpg.ok(&["--with-colons", "--check-sigs", "bob@example.org"]);
    let cut = |line: &str| line.starts_with("rev:!:") && line.contains(&key_id);
    assert!(lines.lines().any(cut), "{lines}");
    let packets = gpg.file("revoked.pgp", revoked.as_bytes());
    let packets = gpg.ok(&["--list-packets", "--verbose", &packets]);
    assert!(packets.contains("signed two values"), "the reason can be read: {packets}");
}

/// As with the files of openpgp-revocs.d: whoever imports it has a revoked key.
#[test]
fn gpg_takes_the_revocation_that_comes_with_a_key() {
    let Some(gpg) = Gpg::new() else { return };
    let new = generate_key("n1 (http://127.0.0.1:1)", None).unwrap();
    gpg.import(new.key.certificate_bytes());
    let standing = |gpg: &Gpg| {
        let lines = gpg.ok(&["--with-colons", "--list-keys"]);
        let line = lines.lines().find(|line| line.starts_with("pub:")).unwrap().to_owned();
        line.split(':').nth(1).unwrap().to_owned()
    };
    assert_ne!(standing(&gpg), "r");
    let file = gpg.file("n1.rev", new.revocation_file().unwrap().as_bytes());
    gpg.ok(&["--import", &file]);
    assert_eq!(standing(&gpg), "r", "revoked");
}

/// Sequoia's own program sees the cut edge too. In CI it may be missing: GnuPG judges there.
#[test]
fn sq_shows_a_cut_edge() {
    if Command::new("sq").arg("version").output().is_err() {
        eprintln!("\n*** skipped: sq missing ***\n");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let certifier = generate_key("a (http://127.0.0.1:1)", None).unwrap().key;
    let target = generate_key("bob <bob@example.org>", None).unwrap().key;
    let address = Address::new("bob@example.org").unwrap();
    let revoke = Statement::Revoke { reason: "signed two values" };
    let revoked = certifier.certify(target.certificate_bytes(), &address, revoke).unwrap();
    let path = folder.path().join("bob.pgp");
    std::fs::write(&path, revoked.as_bytes()).unwrap();
    let output = Command::new("sq").args(["packet", "dump"]).arg(&path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("CertificationRevocation"), "{text}");
    assert!(text.contains("signed two values"), "{text}");
}

#[test]
fn gpg_reads_our_keys_signs_with_them_and_opens_our_messages() {
    let Some(gpg) = Gpg::new() else { return };
    let (own, peer) = (
        generate_key("a (http://127.0.0.1:1)", None).unwrap().key,
        generate_key("b (http://127.0.0.1:2)", None).unwrap().key,
    );
    let secret = gpg.home.path().join("peer.key");
    peer.save(&secret).unwrap();
    gpg.ok(&["--import", secret.to_str().unwrap()]);
    gpg.import(own.certificate_bytes());

    let ring = Keyring::new(KeyringOptions::default());
    ring.add(peer.record().clone(), Origin::Local).unwrap();
    let sealed = Sealer::new(ring, own).seal(&[peer.id().clone()], b"for your eyes").unwrap();
    let file = gpg.file("sealed.pgp", &sealed);
    let said = gpg.ok(&["--decrypt", &file]);
    assert!(said.contains("for your eyes") && said.contains("Good signature"), "{said}");

    let listing = gpg.ok(&["--with-colons", "--list-secret-keys"]);
    let usage = |record: &str| {
        let line = listing.lines().find(|line| line.starts_with(record)).unwrap();
        line.split(':').nth(11).unwrap().to_lowercase()
    };
    assert!(usage("sec").starts_with("sc") || usage("sec").starts_with("cs"), "{listing}");
    let subkeys: Vec<&str> = listing.lines().filter(|line| line.starts_with("ssb")).collect();
    assert_eq!(subkeys.len(), 2, "{listing}");
}

#[test]
fn a_certification_by_gpg_with_its_passphrase_is_read_back() {
    let Some(gpg) = Gpg::new() else { return };
    // GnuPG certifies a key of ours, and its own key moves over with a passphrase.
    let target = generate_key("b (http://127.0.0.1:2)", None).unwrap().key;
    gpg.import(target.certificate_bytes());
    let make = ["--quick-generate-key", "a (http://127.0.0.1:1)", "ed25519", "cert,sign", "never"];
    let arguments = [&["--passphrase", "right"][..], &make].concat();
    gpg.ok(&arguments);
    let fingerprint = target.id().to_string();
    gpg.ok(&["--passphrase", "right", "--quick-sign-key", &fingerprint]);
    let exported = gpg.run(&["--export"]).stdout;
    let ring = Keyring::new(KeyringOptions::default());
    for one in read_certificates(&exported).unwrap() {
        ring.add(one.unwrap(), Origin::Local).unwrap();
    }
    let maker = ring.find("http://127.0.0.1:1").unwrap();
    assert!(ring.graph().certifies(&maker, target.id()));

    let secret = gpg.run(&["--passphrase", "right", "--export-secret-keys"]).stdout;
    assert!(OwnKey::from_bytes(&secret, &no_passphrase).is_err());
    let ask = |_: &_| Some(bftkv_wot::Passphrase::new(b"right".to_vec()));
    let own = OwnKey::from_bytes(&secret, &ask).unwrap();
    assert_eq!(own.id(), &maker);
    assert!(own.sign(Purpose::Entry, b"m").is_ok());
}
