//! A running node takes what its operator does to its home.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::support::{Cluster, bftkv, program, text};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// Nodes as processes of their own, each with its log in a file.
struct Serving {
    children: Vec<Child>,
}

impl Serving {
    fn start(cluster: &Cluster) -> Self {
        let start = |name: &str| {
            let mut command = program();
            command.arg("-v").arg("--home").arg(cluster.path(name)).arg("serve");
            let log = File::create(cluster.path(&format!("{name}.log"))).unwrap();
            let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            assert!(line.starts_with("listening on "), "{line}");
            child
        };
        Self { children: NODES.map(start).into() }
    }

    /// Tells the first so many nodes to read their homes again, and waits until they have.
    fn reload(&self, cluster: &Cluster, count: usize) {
        for (name, child) in NODES.iter().zip(&self.children).take(count) {
            let pid = child.id().to_string();
            std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap();
            let log = cluster.path(&format!("{name}.log"));
            let has_read =
                || std::fs::read_to_string(&log).unwrap().contains("read the certificates again");
            for _ in 0..200 {
                if has_read() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            assert!(has_read(), "{name}: {}", std::fs::read_to_string(&log).unwrap());
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What is certified and imported while the nodes run counts after SIGHUP, and not before.
#[test]
fn a_user_who_was_certified_meanwhile_may_write_after_a_hangup() {
    let cluster = Cluster::create(&[]);
    let everybody = cluster.path("everybody.pgp");
    std::fs::write(&everybody, cluster.at("n1", &["cert", "export"]).expect(0).stdout).unwrap();
    let eve = cluster.path("eve").display().to_string();
    let name = ["init", "--name", "Eve <eve@example.org>", "--certs", text(&everybody)];
    bftkv(&[&["--home", &eve], &name[..]].concat()).expect(0);
    // She trusts a node, but no node has certified her.
    cluster.at("eve", &["cert", "certify", &cluster.id("n1"), "--yes"]).expect(0);
    let serving = Serving::start(&cluster);
    cluster.at("eve", &["put", "x", "too early"]).expect(3);

    let certificate = cluster.at("eve", &["cert", "export", "eve@example.org"]).expect(0).stdout;
    for certifier in ["n1", "n2"] {
        cluster.at_with(certifier, &["cert", "import", "-"], &certificate).expect(0);
        cluster.at(certifier, &["cert", "certify", "eve@example.org", "--yes"]).expect(0);
        let certified = cluster.at(certifier, &["cert", "export", "eve@example.org"]).expect(0);
        for node in NODES {
            cluster.at_with(node, &["cert", "import", "-"], &certified.stdout).expect(0);
        }
    }
    cluster.at("eve", &["put", "x", "still too early"]).expect(3);
    // A quorum is enough.
    serving.reload(&cluster, 3);
    cluster.at("eve", &["put", "x", "now"]).expect(0);
    assert_eq!(cluster.at("u1", &["get", "x"]).expect(0).stdout, b"now");
}

/// The operator's `cert revoke` in the home of a running node.
#[test]
fn a_running_node_cuts_whom_its_operator_revoked() {
    let cluster = Cluster::create(&[]);
    let serving = Serving::start(&cluster);
    cluster.at("u1", &["put", "x", "before"]).expect(0);
    let n4 = cluster.id("n4");
    let revoked = cluster.at("n1", &["cert", "revoke", &n4, "--offline"]).expect(0).text();
    assert!(revoked.contains("SIGHUP"), "it says what to do: {revoked}");
    serving.reload(&cluster, 1);
    let log = std::fs::read_to_string(cluster.path("n1.log")).unwrap();
    assert!(log.contains("cut=1"), "{log}");
    // The three others are a quorum for n1 as well as for users.
    cluster.at("u1", &["put", "x", "after"]).expect(0);
    assert_eq!(cluster.at("u1", &["get", "x"]).expect(0).stdout, b"after");
}

/// What a node had signed whom its operators revoked is certified again by the others; the command
/// shows how far each has come, and says when a node does not answer.
#[test]
fn values_of_a_revoked_signer_are_certified_again() {
    let cluster = Cluster::create(&[]);
    let serving = Serving::start(&cluster);
    for number in 0..8 {
        cluster.at("u1", &["put", &format!("x{number}"), "value"]).expect(0);
    }
    let before = cluster.at("u1", &["repair"]).expect(0).text();
    assert!(before.contains("done; 0 values looked at, 0 certified again"), "{before}");

    let n1 = cluster.id("n1");
    for name in ["n2", "n3", "n4"] {
        cluster.at(name, &["cert", "revoke", &n1, "--offline"]).expect(0);
    }
    for (name, child) in NODES.iter().zip(&serving.children).skip(1) {
        let pid = child.id().to_string();
        std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        let log = || std::fs::read_to_string(cluster.path(&format!("{name}.log"))).unwrap();
        while !log().contains("cut=1") {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let shown = cluster.at("n2", &["--json", "repair", "--timeout", "120"]).expect(0).json();
    assert_eq!(shown["done"], true, "{shown}");
    let nodes = shown["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "who was cut out is not asked: {shown}");
    assert!(nodes.iter().all(|node| node["done"] == true && node["open"] == 0), "{shown}");
    let repaired: u64 = nodes.iter().map(|node| node["repaired"].as_u64().unwrap()).sum();
    // The first q shares make S: n1 signed some of them, but hardly all.
    assert!(repaired > 0, "{shown}");

    // A proof of a value names nobody that was cut out, and holds offline for others as well.
    let proof = cluster.path("x.proof");
    cluster.at("n2", &["get", "x0", "--proof", text(&proof)]).expect(0);
    let verified = cluster.at("u1", &["--json", "verify", text(&proof)]).expect(0).json();
    let signers = verified["signers"].as_array().unwrap();
    assert!(signers.iter().all(|signer| signer["fingerprint"] != n1.as_str()), "{verified}");

    // It holds in the homes of those who have cut n1 out as well: of a node, which has the configuration on
    // disk, and of a user, who sees no clique of four any more.
    cluster.at("n2", &["verify", text(&proof)]).expect(0);
    cluster.at("u1", &["cert", "revoke", &n1, "--offline"]).expect(0);
    cluster.at("u1", &["verify", text(&proof)]).expect(0);

    drop(serving);
    let silent = cluster.at("n2", &["repair", "--timeout", "0"]).expect(5);
    assert!(silent.text().contains("no answer"), "{silent:?}");
}
