//! Signing files, and checking them offline: by us and by GnuPG.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Cluster, text};

/// A file of u1 that is signed.
fn signed(cluster: &Cluster) -> (PathBuf, PathBuf) {
    let file = cluster.path("report.txt");
    std::fs::write(&file, "what was signed\n").unwrap();
    cluster.at("u1", &["sign", text(&file)]).expect(0);
    (file, cluster.path("report.txt.asc"))
}

#[test]
fn whoever_knows_the_clique_checks_a_signature_of_somebody_unknown() {
    let cluster = Cluster::create(&[]);
    let (file, signature) = signed(&cluster);
    let alice = cluster.id("u1");
    std::fs::remove_file(cluster.path(&format!("n1/certs/{alice}.pgp"))).unwrap();
    let unknown = cluster.at("n1", &["cert", "list"]).expect(0).text();
    assert!(!unknown.contains(&alice), "{unknown}");

    let shown = cluster.at("n1", &["--json", "verify", text(&file)]).expect(0).json();
    assert_eq!((&shown["valid"], &shown["signer"]), (&true.into(), &alice.clone().into()));
    assert_eq!(shown["identities"][0]["user_id"], "u1 <u1@example.org>");
    assert_eq!(shown["identities"][0]["certified_by"].as_array().unwrap().len(), 4, "{shown}");
    for arguments in [
        &["verify", text(&signature)][..],
        &["verify", text(&file), "--signature", text(&signature)],
    ] {
        let shown = cluster.at("n1", arguments).expect(0).text();
        assert!(shown.contains("signed by: u1 <u1@example.org>"), "{shown}");
    }
    let piped = ["verify", "-", "--signature", text(&signature)];
    cluster.at_with("n1", &piped, b"what was signed\n").expect(0);
    cluster.at_with("n1", &piped, b"what was signed").expect(7);
    let streamed = cluster.at_with("u1", &["sign", "-"], b"from a pipe").expect(0).stdout;
    std::fs::write(cluster.path("pipe.asc"), streamed).unwrap();
    let piped = ["verify", "-", "--signature", text(&cluster.path("pipe.asc"))].map(str::to_owned);
    let piped: Vec<&str> = piped.iter().map(String::as_str).collect();
    cluster.at_with("n1", &piped, b"from a pipe").expect(0);
    let unknown = cluster.at("n1", &["cert", "list"]).expect(0).text();
    assert!(!unknown.contains(&alice), "checking changes nothing in the home");
}

#[test]
fn what_is_wrong_with_a_signature_is_said() {
    let cluster = Cluster::create(&[]);
    let (file, signature) = signed(&cluster);
    let again = cluster.at("u1", &["sign", text(&file)]).expect(1);
    assert!(again.stderr.contains("exists") && again.stderr.contains("--signature"), "{again:?}");

    std::fs::write(&file, "what was singed\n").unwrap();
    let changed = cluster.at("n1", &["verify", text(&file)]).expect(7);
    assert!(changed.stderr.contains("the file is not the one that was signed"), "{changed:?}");
    let lonely = cluster.path("lonely.txt");
    std::fs::write(&lonely, "x").unwrap();
    let none = cluster.at("n1", &["verify", text(&lonely)]).expect(7);
    assert!(none.stderr.contains("--signature"), "{none:?}");
    std::fs::rename(&signature, cluster.path("of-what.asc")).unwrap();
    let of_what = cluster.at("n1", &["verify", text(&cluster.path("of-what.asc"))]).expect(2);
    assert!(of_what.stderr.contains("of which file?"), "{of_what:?}");
    let own = ["verify", text(&lonely), "--signature", text(&lonely)];
    let rubbish = cluster.at("n1", &own).expect(7);
    assert!(rubbish.stderr.contains("not an OpenPGP signature"), "{rubbish:?}");
}

/// A PNG begins like an old signature packet, and a proof is a file that can be signed, too.
#[test]
fn a_file_is_what_it_holds_whatever_its_first_byte() {
    let cluster = Cluster::create(&[]);
    let picture = cluster.path("picture.png");
    std::fs::write(&picture, b"\x89PNG\r\n\x1a\n").unwrap();
    let alone = cluster.at("n1", &["verify", text(&picture)]).expect(7);
    assert!(alone.stderr.contains("no signature of it lies beside it"), "{alone:?}");
    cluster.at("u1", &["sign", text(&picture)]).expect(0);
    cluster.at("n1", &["verify", text(&picture)]).expect(0);
    cluster.at("n1", &["verify", text(&cluster.path("picture.png.asc"))]).expect(0);
    let proof = cluster.path("bad.proof");
    std::fs::write(&proof, "bftkv proof 1\nrubbish").unwrap();
    cluster.at("u1", &["sign", text(&proof)]).expect(0);
    let damaged = cluster.at("n1", &["verify", text(&proof)]).expect(7);
    assert!(damaged.stderr.contains("damaged proof"), "{damaged:?}");
    let signature = cluster.path("bad.proof.asc");
    cluster.at("n1", &["verify", text(&proof), "--signature", text(&signature)]).expect(0);
}

/// Signs only who has a quorum certificate: one certification is too few, two are enough.
#[test]
fn a_signer_needs_more_members_than_may_lie() {
    let cluster = Cluster::create(&[]);
    let eve = cluster.at("eve", &["--json", "init", "--name", "Eve <eve@example.org>"]).expect(0);
    let eve = eve.json()["fingerprint"].as_str().unwrap().to_owned();
    let nodes = ["n1", "n2", "n3", "n4"];
    let exported = cluster.path("all.pgp");
    std::fs::write(&exported, cluster.at("n1", &["cert", "export", "--all"]).expect(0).stdout)
        .unwrap();
    cluster.at("eve", &["cert", "import", text(&exported)]).expect(0);
    for node in nodes {
        cluster.at("eve", &["cert", "certify", &cluster.id(node)]).expect(0);
    }
    let file = cluster.path("plan.txt");
    std::fs::write(&file, "a plan").unwrap();
    for (certified, node) in nodes.iter().take(2).enumerate() {
        let refused = cluster.at("eve", &["sign", text(&file)]).expect(3);
        let message = format!("{certified} members of a clique of 4 certify it, and 2 must");
        assert!(refused.stderr.contains(&message), "{refused:?}");
        let certificate = cluster.path("eve.pgp");
        std::fs::write(&certificate, cluster.at("eve", &["cert", "export"]).expect(0).stdout)
            .unwrap();
        cluster.at(node, &["cert", "import", text(&certificate)]).expect(0);
        cluster.at(node, &["cert", "certify", &eve]).expect(0);
        std::fs::write(&certificate, cluster.at(node, &["cert", "export", &eve]).expect(0).stdout)
            .unwrap();
        cluster.at("eve", &["cert", "import", text(&certificate)]).expect(0);
    }
    cluster.at("eve", &["sign", text(&file)]).expect(0);
    cluster.at("n4", &["verify", text(&file)]).expect(0);
    // Whoever knows that the key was revoked does not believe it any more.
    let revocation = cluster.path("eve/revocation.rev");
    let revoke = ["cert", "revoke", "--yes", "--offline", "--self", text(&revocation)];
    cluster.at("n4", &revoke).expect(0);
    let refused = cluster.at("n4", &["verify", text(&file)]).expect(7);
    assert!(refused.stderr.contains("is revoked"), "{refused:?}");
}

#[test]
fn gpg_accepts_a_signature_and_takes_the_certificate_out_of_it() {
    if Command::new("gpg").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "gpg is missing, and CI must have it");
        eprintln!("SKIPPED: gpg is missing, so it did not judge our signatures");
        return;
    }
    let cluster = Cluster::create(&[]);
    let (file, signature) = signed(&cluster);
    let verify = ["--verify", text(&signature), text(&file)];
    let empty = GpgHome::new();
    let taken = empty.run(&[&["--auto-key-import"], &verify[..]].concat());
    assert!(taken.status.success() && good(&taken), "{taken:?}");

    let (parts, importing) = (cluster.path("parts"), GpgHome::new());
    cluster.at("n1", &["verify", text(&file), "--export", text(&parts)]).expect(0);
    assert!(!importing.run(&verify).status.success(), "not before it has the certificate");
    assert!(importing.run(&["--import", text(&parts.join("signer.pgp"))]).status.success());
    assert!(good(&importing.run(&verify)));
    std::fs::write(&file, "what was singed\n").unwrap();
    assert!(!importing.run(&verify).status.success(), "gpg must be able to say no");

    // What gpg signs by itself is for gpg alone.
    let own = GpgHome::new();
    let new_key = ["--passphrase", "", "--quick-generate-key", "G <g@example.org>", "ed25519"];
    assert!(own.run(&new_key).status.success());
    let of_gpg = cluster.path("gpg.sig");
    let sign = ["--include-key-block", "--output", text(&of_gpg), "--detach-sign", text(&file)];
    assert!(own.run(&sign).status.success());
    let refused = cluster.at("n1", &["verify", text(&file), "--signature", text(&of_gpg)]);
    let refused = refused.expect(7);
    assert!(refused.stderr.contains("signature of a file"), "{refused:?}");
}

fn good(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("Good signature from \"u1 <u1@example.org>\"")
}

struct GpgHome(tempfile::TempDir);

impl GpgHome {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("gpg");
        command.env("LC_ALL", "C").arg("--homedir").arg(self.path()).arg("--batch");
        command.args(arguments).output().unwrap()
    }
}

impl Drop for GpgHome {
    fn drop(&mut self) {
        let kill = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.path())
            .args(["--kill", "all"])
            .output();
        drop(kill);
    }
}
