//! The commands of `docs/gnupg.md`, run as they stand there, make what the page promises.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

const GUIDE: &str = include_str!("../../../docs/gnupg.md");

/// The blocks of shell commands, one after the other, as a reader pastes them.
fn commands() -> String {
    let blocks = GUIDE.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(folder).output().unwrap()
}

/// Whether gpg is there. On the build machine it must be.
fn gpg_is_missing() -> bool {
    let missing = Command::new("gpg").arg("--version").output().is_err();
    assert!(!missing || std::env::var("CI").is_err(), "gpg is missing");
    if missing {
        eprintln!("skipped: gpg missing");
    }
    missing
}

/// How many certifications by others gpg finds good on the exported certificates.
fn good_certifications(folder: &Path, home: &str) -> usize {
    let check = ["--homedir", home, "--with-colons", "--check-sigs"];
    let output = run(folder, "gpg", &check);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut own = "";
    let mut good = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            ["pub", _, _, _, key, ..] => own = key,
            ["sig", "!", _, _, signer, ..] if *signer != own => good += 1,
            _ => {}
        }
    }
    good
}

#[test]
fn the_guide_makes_four_nodes_that_certify_each_other_and_a_user() {
    if gpg_is_missing() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), "sh", &["-c", &commands()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // A fresh keyring that has seen nothing but the export of one node.
    std::fs::create_dir(folder.path().join("judge")).unwrap();
    run(folder.path(), "gpg", &["--homedir", "judge", "--import", "cluster/n1/pubring.gpg"]);
    let (among_nodes, of_alice, by_alice) = (4 * 3, 4, 4);
    assert_eq!(good_certifications(folder.path(), "judge"), among_nodes + of_alice + by_alice);

    let secret = std::fs::metadata(folder.path().join("cluster/n1/secring.gpg")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600, "others can read the secret key");
    run(folder.path(), "gpgconf", &["--homedir", "judge", "--kill", "all"]);
}
