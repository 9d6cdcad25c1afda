//! A fresh home registers itself with a password, and another takes its place when its key is lost.

use super::support::{Cluster, Ran};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// A home that knows the nodes, and that nobody knows.
fn fresh(cluster: &Cluster, home: &str) -> String {
    let made = cluster.at(home, &["--json", "init", "--name", "Dora <dora@example.org>"]).expect(0);
    for node in NODES {
        let id = cluster.id(node);
        let exported = cluster.at(node, &["cert", "export", &id]).expect(0).stdout;
        cluster.at_with(home, &["cert", "import", "-"], &exported).expect(0);
        cluster.at(home, &["cert", "certify", &id]).expect(0);
    }
    made.json()["fingerprint"].as_str().unwrap().to_owned()
}

fn with(cluster: &Cluster, home: &str, command: &str, password: &str) -> Ran {
    cluster.at_with(home, &[command, "--password-fd", "0"], password.as_bytes())
}

#[test]
fn a_fresh_home_registers_with_a_password_and_a_lost_key_is_recovered_by_it() {
    let mut cluster = Cluster::create(&[]);
    cluster.run(&[]);
    let id = fresh(&cluster, "dora");
    cluster.at("dora", &["put", "diary", "day 1"]).expect(3);

    // By default the operators must approve: a quorum of them.
    let waits = with(&cluster, "dora", "register", "correct horse\n").expect(5);
    assert!(waits.stderr.contains("the operator has not approved yet"), "{waits:?}");
    assert!(waits.stderr.contains("registration approve"), "{waits:?}");
    for node in &NODES[..3] {
        let listed = cluster.at(node, &["registration", "list"]).expect(0).text();
        assert!(listed.contains(&id) && listed.contains("dora@example.org"), "{listed}");
        cluster.at(node, &["registration", "approve", &id]).expect(0);
        let none = cluster.at(node, &["registration", "list"]).expect(0).text();
        assert!(none.contains("nobody waits"), "{none}");
    }
    cluster.at("n1", &["registration", "approve", &id]).expect(4);
    let done = with(&cluster, "dora", "register", "correct horse\n").expect(0);
    assert!(done.text().contains("a quorum certifies it"), "{done:?}");
    cluster.at("dora", &["put", "diary", "day 1"]).expect(0);

    // The key is lost; the password is not.
    let new = fresh(&cluster, "dora-again");
    cluster.at("dora-again", &["put", "diary", "day 2"]).expect(3);
    let taken = with(&cluster, "dora-again", "register", "correct horse\n").expect(3);
    assert!(taken.stderr.contains("bftkv recover"), "{taken:?}");
    let wrong = with(&cluster, "dora-again", "recover", "correct hose\n").expect(3);
    assert!(wrong.stderr.contains("wrong password; 9"), "{wrong:?}");
    let recovered = with(&cluster, "dora-again", "recover", "correct horse\n").expect(0).text();
    // It is a version that everybody can read, and it says what became of the old key.
    let log = cluster.at("u1", &["--json", "history", "roaming/dora@example.org"]).expect(0).json();
    let newest = &log["versions"][0];
    assert_eq!(newest["writer"].as_str().unwrap().to_lowercase(), new.to_lowercase(), "{log}");
    let version = format!("version {} of roaming/dora@example.org", newest["timestamp"]);
    assert!(recovered.contains(&version), "{recovered}");
    assert!(
        recovered.contains(&format!("still certified, and able to do what this key can: {id}")),
        "{recovered}"
    );
    assert!(recovered.contains("bftkv cert revoke"), "{recovered}");
    cluster.at("dora-again", &["put", "diary", "day 2"]).expect(0);
    assert_eq!(cluster.at("dora-again", &["get", "diary"]).expect(0).stdout, b"day 2");

    // The first key was not lost at all: then these are two devices of one owner.
    cluster.at("dora", &["put", "diary", "day 3"]).expect(0);
    assert_eq!(cluster.at("dora-again", &["get", "diary"]).expect(0).stdout, b"day 3");
    let put = ["put", "--password-fd", "0", "safe", "from the first"];
    cluster.at_with("dora", &put, b"battery staple\n").expect(0);
    let get = ["get", "--password-fd", "0", "safe"];
    let opened = cluster.at_with("dora-again", &get, b"battery staple\n").expect(0);
    assert_eq!(opened.stdout, b"from the first");
}
