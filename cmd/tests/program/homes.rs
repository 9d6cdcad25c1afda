//! Homes, certificates and the graph, without any node.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod signing;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Ran, bftkv, bftkv_with, text};

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn at(&self, home: &str, arguments: &[&str]) -> Ran {
        self.at_with(home, arguments, b"")
    }

    pub(crate) fn at_with(&self, home: &str, arguments: &[&str], stdin: &[u8]) -> Ran {
        bftkv_with(&[&["--home", text(&self.path(home))], arguments].concat(), stdin)
    }

    pub(crate) fn init(&self, home: &str, user_id: &str) -> String {
        let ran = self.at(home, &["--json", "init", "--name", user_id]).expect(0);
        ran.json()["fingerprint"].as_str().unwrap().to_owned()
    }
}

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../wot/testdata").join(name)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_home_is_for_its_owner_alone_and_is_made_once() {
    let folder = Folder::new();
    folder.init("n1", "n1 (http://127.0.0.1:5701)");
    assert_eq!(mode(&folder.path("n1")), 0o700);
    assert_eq!(mode(&folder.path("n1/key.pgp")), 0o600);
    assert_eq!(mode(&folder.path("n1/revocation.rev")), 0o600);
    let again = folder.at("n1", &["init", "--name", "n1 (http://127.0.0.1:5701)"]).expect(1);
    assert!(again.stderr.contains("home already"), "{again:?}");
}

#[test]
fn what_is_no_home_says_how_to_make_one() {
    let folder = Folder::new();
    for command in [&["graph"][..], &["get", "x"], &["serve"], &["cert", "list"], &["verify", "x"]]
    {
        let ran = folder.at("nothing", command).expect(1);
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
        assert!(ran.stderr.contains("bftkv init"), "{ran:?}");
    }
    let json = folder.at("nothing", &["--json", "graph"]).expect(1).stderr;
    let error: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&error["exit"], &error["kind"]), (&1.into(), &"failed".into()));
}

#[test]
fn a_user_id_must_be_an_identity() {
    let folder = Folder::new();
    for user_id in ["nobody", "a@b <c@d>", "x (ftp://h)", "x\u{1b}[2J <a@b.c>"] {
        let ran = folder.at("h", &["init", "--name", user_id]).expect(2);
        assert!(ran.stderr.contains("hint: "), "{ran:?}");
        assert!(!ran.stderr.contains('\u{1b}'), "nothing steers the terminal: {ran:?}");
    }
    assert!(!folder.path("h/config.toml").exists());
}

#[test]
fn settings_reach_the_file() {
    let folder = Folder::new();
    let options = ["--realm", "test", "--listen", "127.0.0.1:1", "--storage", "files"];
    let init = [&["init", "--name", "n (http://127.0.0.1:1)"], &options[..]].concat();
    folder.at("n", &init).expect(0);
    let config = std::fs::read_to_string(folder.path("n/config.toml")).unwrap();
    for line in ["name = \"test\"", "listen = \"127.0.0.1:1\"", "kind = \"files\""] {
        assert!(config.lines().any(|found| found == line), "{line}: {config}");
    }
    let bad = folder.at("m", &["init", "--name", "n (http://h:1)", "--storage", "tape"]).expect(2);
    assert!(bad.stderr.contains("redb"), "{bad:?}");
}

/// Four homes certify each other by hand, as on four machines.
#[test]
fn four_homes_that_certify_each_other_are_a_quorum() {
    let folder = Folder::new();
    let names = ["n1", "n2", "n3", "n4"];
    let ids = names.map(|name| {
        let number = &name[1..];
        folder.init(name, &format!("{name} (http://127.0.0.1:570{number})"))
    });
    let alone = folder.at("n1", &["graph"]).expect(1);
    assert!(alone.stderr.contains("no quorum") && alone.stderr.contains("hint: "), "{alone:?}");
    exchange(&folder, &names);
    for name in names {
        for id in &ids {
            if *id != ids[names.iter().position(|n| *n == name).unwrap()] {
                folder.at(name, &["cert", "certify", id]).expect(0);
            }
        }
    }
    let partly = folder.at("n1", &["graph"]).expect(1).text();
    assert!(partly.contains("n2 has not certified n1"), "{partly}");
    exchange(&folder, &names);
    let graphs = names.map(|name| folder.at(name, &["--json", "graph"]).expect(0).json());
    assert_eq!(graphs[0]["cliques"][0]["members"].as_array().unwrap().len(), 4);
    assert_eq!(graphs[0]["cliques"][0]["b"], 1);
    let digest = graphs[0]["configuration"].as_str().unwrap();
    assert!(graphs.iter().all(|graph| graph["configuration"] == digest), "all see the same");
    let shown = folder.at("n1", &["graph"]).expect(0).text();
    assert!(shown.contains("n = 4, b = 1, q = 3: tolerates 1 faulty node"), "{shown}");
    let dot = folder.at("n1", &["graph", "--dot"]).expect(0).text();
    assert!(dot.starts_with("digraph") && dot.matches("[dir=both]").count() == 6, "{dot}");
}

fn exchange(folder: &Folder, names: &[&str]) {
    for from in names {
        let certificates = folder.at(from, &["cert", "export", "--all", "-a"]).expect(0).stdout;
        for to in names {
            folder.at_with(to, &["cert", "import", "-"], &certificates).expect(0);
        }
    }
}

#[test]
fn two_certificates_with_one_address_must_be_told_apart() {
    let folder = Folder::new();
    let first = folder.init("a", "Alice <alice@example.org>");
    let second = folder.init("b", "Alice <alice@example.org>");
    let other = folder.at("b", &["cert", "export"]).expect(0).stdout;
    folder.at_with("a", &["cert", "import", "-"], &other).expect(0);
    let ran = folder.at("a", &["cert", "export", "alice@example.org"]).expect(1);
    assert!(ran.stderr.contains(&first) && ran.stderr.contains(&second), "{ran:?}");
    folder.at("a", &["cert", "export", &second]).expect(0);
    let missing = folder.at("a", &["cert", "export", "bob@example.org"]).expect(1);
    assert!(missing.stderr.contains("cert list"), "{missing:?}");
}

#[test]
fn nobody_is_certified_by_mistake() {
    let folder = Folder::new();
    folder.init("a", "Alice <alice@example.org>");
    let bob = folder.init("b", "Bob <bob@example.org>");
    let certificate = folder.at("b", &["cert", "export", "--armor"]).expect(0);
    assert!(certificate.text().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
    folder.at_with("a", &["cert", "import", "-"], &certificate.stdout).expect(0);
    let ran = folder.at("a", &["cert", "certify", "bob@example.org"]).expect(2);
    assert!(ran.stderr.contains(&bob), "it names the fingerprint to compare: {ran:?}");
    folder.at("a", &["cert", "certify", "bob@example.org", "--yes"]).expect(0);
    let list = folder.at("a", &["--json", "cert", "list"]).expect(0).json();
    let listed = list.as_array().unwrap().iter().find(|one| one["fingerprint"] == *bob).unwrap();
    assert_eq!(listed["certified_by"].as_array().unwrap().len(), 1);
}

#[test]
fn folders_that_gnupg_filled_are_taken_as_they_are() {
    let folder = Folder::new();
    let from = testdata("gnupg-ed25519/alice");
    folder.at("alice", &["init", "--from", text(&from)]).expect(0);
    let graph = folder.at("alice", &["--json", "graph"]).expect(0).json();
    let clique = &graph["cliques"][0];
    assert_eq!((&clique["n"], &clique["b"], &clique["q"]), (&7.into(), &2.into(), &5.into()));
    assert_eq!(graph["store"]["n"], 4);

    let folder = Folder::new();
    let key = from.join("secring.gpg");
    let certificates = from.join("pubring.gpg");
    let init = ["init", "--key", text(&key), "--certs", text(&certificates)];
    folder.at("alice", &init).expect(0);
    folder.at("alice", &["graph"]).expect(0);

    let missing = folder.at("x", &["init", "--from", "/no/such/folder"]).expect(1);
    assert!(missing.stderr.contains("pubring.gpg"), "{missing:?}");
}

#[test]
fn rubbish_is_refused() {
    let folder = Folder::new();
    folder.init("a", "Alice <alice@example.org>");
    for rubbish in [&b""[..], b"rubbish", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nxx"] {
        let ran = folder.at_with("a", &["cert", "import", "-"], rubbish).expect(1);
        assert!(ran.stderr.starts_with("error: "), "{ran:?}");
    }
    std::fs::write(folder.path("key"), "rubbish").unwrap();
    folder.at("b", &["init", "--key", text(&folder.path("key"))]).expect(1);
    assert!(!folder.path("b").join("config.toml").exists());
}

/// The passphrase comes over a file descriptor; without it the key stays closed, but the graph
/// can be looked at.
#[test]
fn a_passphrase_protects_a_key() {
    let folder = Folder::new();
    let home = folder.path("a");
    let run = |passphrase: &str, arguments: &str| {
        let program = env!("CARGO_BIN_EXE_bftkv");
        let script = format!(
            "printf '%s\\n' '{passphrase}' | \
             {program} --home {} --passphrase-fd 3 {arguments} 3<&0 < /dev/null",
            home.display()
        );
        std::process::Command::new("sh").args(["-c", &script]).output().unwrap()
    };
    assert!(run("right", "init --name 'Alice <alice@example.org>'").status.success());
    let bob = folder.init("b", "Bob <bob@example.org>");
    let certificate = folder.at("b", &["cert", "export"]).expect(0).stdout;
    folder.at_with("a", &["cert", "import", "-"], &certificate).expect(0);
    assert!(run("right", &format!("cert certify {bob}")).status.success());
    let wrong = run("wrong", &format!("cert certify {bob}"));
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("passphrase"), "{wrong:?}");
    folder.at("a", &["cert", "list"]).expect(0);
    assert_eq!(bftkv(&["--home", text(&home), "graph"]).code, 1, "no quorum, but no question");
}
