//! The commands of `docs/gnupg.md`, from the first to the last, as they stand there: keys made
//! by `gpg` alone become a cluster, and `gpg` judges what it signs.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

const GUIDE: &str = include_str!("../../../docs/gnupg.md");

/// All blocks of commands in their order: those of gpg are marked `sh`, ours `bash`.
fn commands() -> String {
    let mut commands = String::new();
    let mut is_command = false;
    for line in GUIDE.lines() {
        match line {
            "```sh" | "```bash" => is_command = true,
            "```" => is_command = false,
            _ if is_command => commands.extend([line, "\n"]),
            _ => {}
        }
    }
    commands
}

/// The same with ports that are free here.
fn with_free_ports(commands: &str) -> String {
    let hold = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    let held: Vec<TcpListener> = (1..=4).map(hold).collect();
    let mut changed = commands.to_owned();
    for (n, listener) in (1..).zip(&held) {
        let port = listener.local_addr().unwrap().port();
        changed = changed.replace(&format!(":570{n})"), &format!(":{port})"));
    }
    changed
}

fn gpg_is_missing() -> bool {
    let missing = Command::new("gpg").arg("--version").output().is_err();
    assert!(!missing || std::env::var("CI").is_err(), "gpg is missing");
    missing
}

#[test]
fn keys_of_gpg_become_a_cluster_that_gpg_judges() {
    if gpg_is_missing() {
        eprintln!("skipped: gpg missing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_bftkv")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    // Whatever fails, no node stays behind.
    let script = format!(
        "nodes=\ntrap 'kill $nodes 2>/dev/null || true' EXIT\n{}",
        with_free_ports(&commands())
    );
    let mut command = Command::new("timeout");
    command.args(["120", "sh", "-c", &script]).current_dir(folder.path());
    let output = command.env("PATH", path).env("LC_ALL", "C").output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains("n = 4, b = 1, q = 3: tolerates 1 faulty node"), "{stdout}");
    assert!(stdout.contains("hello, world"), "{stdout}");
    let tls = stdout.lines().filter(|line| line.contains("  TLS  ")).count();
    assert_eq!(tls, 5, "the keys for TLS are found: {stdout}");
    // Alice's signature and at least three shares.
    assert!(stderr.matches("Good signature").count() >= 4, "{stderr}");
}
