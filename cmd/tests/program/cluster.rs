//! Put, get and the rest against a cluster of real processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test stops at a surprise")]

use std::net::TcpListener;

use crate::support::{Cluster, bftkv, program, text};

/// Every byte that there is, in an order that no line ending or text encoding survives.
fn all_bytes() -> Vec<u8> {
    (0..=255).rev().chain(*b"\r\n\xff\x00").collect()
}

#[test]
fn values_come_back_byte_for_byte() {
    let mut cluster = Cluster::create(&[]);
    cluster.run(&[]);
    let u1 = |arguments: &[&str]| cluster.at("u1", arguments);

    let absent = u1(&["get", "x"]).expect(4);
    assert!(absent.stdout.is_empty() && absent.stderr.starts_with("absent: "), "{absent:?}");
    u1(&["put", "x", "hello"]).expect(0);
    assert_eq!(u1(&["get", "x"]).expect(0).stdout, b"hello");

    u1(&["put", "empty", ""]).expect(0);
    let empty = u1(&["get", "empty"]).expect(0);
    assert!(empty.stdout.is_empty() && empty.stderr.is_empty(), "empty is not absent: {empty:?}");

    cluster.at_with("u1", &["put", "bytes", "-"], &all_bytes()).expect(0);
    assert_eq!(u1(&["get", "bytes"]).expect(0).stdout, all_bytes());

    let file = cluster.path("value");
    std::fs::write(&file, vec![0x0a; 1024 * 1024]).unwrap();
    u1(&["put", "large", "--file", text(&file)]).expect(0);
    assert_eq!(u1(&["get", "large"]).expect(0).stdout, std::fs::read(&file).unwrap());
    std::fs::write(&file, vec![0x0a; 1024 * 1024 + 1]).unwrap();
    let larger = u1(&["put", "larger", "--file", text(&file)]).expect(1);
    assert!(larger.stderr.contains("1048576"), "{larger:?}");

    // Names that would be harmful as paths, lines or terminal input.
    for (name, hex) in [("../x", "2e2e2f78"), ("-x", "2d78"), ("\u{1b}[2J", "1b5b324a")] {
        u1(&["put", "--", name, name]).expect(0);
        let by_hex = u1(&["get", "--hex", hex]).expect(0);
        assert_eq!(by_hex.stdout, name.as_bytes(), "a pipe gets the bytes");
    }
    let nul = u1(&["put", "--hex", "6100620a", "nul"]).expect(0);
    assert_eq!(nul.text(), "a\\x00b\\x0a written at timestamp 1\n");
    assert_eq!(u1(&["get", "--hex", "6100620a"]).expect(0).stdout, b"nul");
}

#[test]
fn refusals_histories_and_proofs() {
    let mut cluster = Cluster::create(&["--users", "2"]);
    cluster.run(&[]);
    let u1 = |arguments: &[&str]| cluster.at("u1", arguments);
    let u2 = |arguments: &[&str]| cluster.at("u2", arguments);

    for value in ["one", "two"] {
        u1(&["put", "x", value]).expect(0);
    }
    let refused = u2(&["put", "x", "three"]).expect(3);
    assert!(refused.stderr.contains("not the owner") && refused.stderr.contains("hint: "));
    assert_eq!(u2(&["get", "x"]).expect(0).stdout, b"two", "everybody may read");

    let history = u1(&["history", "x"]).expect(0).text();
    let values: Vec<&str> = history.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(values, ["two", "one"], "newest first");
    let json = u1(&["--json", "history", "x", "--limit", "1"]).expect(0).json();
    assert_eq!(json["versions"].as_array().unwrap().len(), 1);
    let oldest = u1(&["--json", "history", "x"]).expect(0).json()["versions"][1].clone();
    let t = oldest["timestamp"].to_string();
    assert_eq!(u1(&["get", "x", "--at", &t]).expect(0).stdout, b"one");
    u1(&["get", "x", "--at", "4000"]).expect(4);
    u1(&["history", "nothing"]).expect(4);

    u1(&["put", "motto", "for ever", "--once"]).expect(0);
    let sealed = u1(&["--json", "put", "motto", "not so"]).expect(3);
    let error: serde_json::Value = serde_json::from_str(&sealed.stderr).unwrap();
    assert_eq!((&error["kind"], &error["exit"]), (&"refused".into(), &3.into()), "{sealed:?}");
    assert_eq!(u1(&["--json", "get", "motto"]).expect(0).json()["sealed"], true);

    let proof = cluster.path("x.proof");
    u1(&["get", "x", "--proof", text(&proof)]).expect(0);
    cluster.stop();
    verify_offline(&cluster, &proof);
}

fn verify_offline(cluster: &Cluster, proof: &std::path::Path) {
    let shown = cluster.at("u2", &["--json", "verify", text(proof)]).expect(0).json();
    assert_eq!((&shown["valid"], &shown["owner"]), (&true.into(), &"u1@example.org".into()));
    assert!(shown["signers"].as_array().unwrap().len() >= 3);
    let parts = cluster.path("parts");
    cluster.at("u2", &["verify", text(proof), "--export", text(&parts)]).expect(0);
    assert!(parts.join("entry.bin").is_file() && parts.join("entry.sig").is_file());

    let mut bytes = std::fs::read(proof).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let changed = cluster.at_with("u2", &["verify", "-"], &bytes).expect(7);
    assert!(changed.stdout.is_empty() && changed.stderr.starts_with("error: "), "{changed:?}");
    cluster.at_with("u2", &["verify", "-"], b"rubbish").expect(7);
    cluster.at_with("u2", &["verify", "-"], b"").expect(7);
}

#[test]
fn nodes_may_be_missing_but_not_too_many() {
    let mut cluster = Cluster::create(&["--store", "4"]);
    let graph = cluster.at("u1", &["--json", "graph"]).expect(0).json();
    assert_eq!((&graph["cliques"][0]["n"], &graph["store"]["n"]), (&4.into(), &4.into()));
    cluster.run(&["--nodes", "n1,n2,n3,s1,s2,s3"]);
    cluster.at("u1", &["put", "x", "one"]).expect(0);
    cluster.stop();
    cluster.run(&["--nodes", "n2,n3,n4,s2,s3,s4"]);
    assert_eq!(cluster.at("u1", &["get", "x"]).expect(0).stdout, b"one", "it was on disk");
    cluster.at("u1", &["put", "x", "two"]).expect(0);
    cluster.stop();
    cluster.run(&["--nodes", "n1,n2,s1,s2"]);
    for command in [&["put", "x", "three"][..], &["get", "x"]] {
        let ran = cluster.at("u1", &[command, &["--deadline", "2"]].concat()).expect(5);
        assert!(ran.stderr.contains("of the 3 nodes"), "{ran:?}");
        assert!(ran.stderr.contains("http://127.0.0.1:"), "it names who is missing: {ran:?}");
    }
    cluster.stop();
    cluster.run(&[]);
    assert_eq!(cluster.at("u1", &["get", "x"]).expect(0).stdout, b"two", "nothing half-done");
    let unknown = bftkv(&["cluster", "run", text(&cluster.path("")), "--nodes", "n9"]).expect(2);
    assert!(unknown.stderr.contains("n1, n2"), "{unknown:?}");
}

/// Clusters of every small size see the groups that were asked for.
#[test]
fn clusters_have_the_groups_that_were_asked_for() {
    for (authority, store) in [(1, 0), (1, 1), (3, 0), (2, 3), (4, 1), (5, 4), (7, 2)] {
        let (n, m) = (authority.to_string(), store.to_string());
        let cluster = Cluster::create(&["--authority", &n, "--store", &m]);
        let graph = cluster.at("u1", &["--json", "graph"]).expect(0).json();
        let expected = if store == 0 { authority } else { store };
        assert_eq!(graph["cliques"].as_array().unwrap().len(), 1, "{n}+{m}: {graph}");
        let sizes = (&graph["cliques"][0]["n"], &graph["store"]["n"]);
        assert_eq!(sizes, (&authority.into(), &expected.into()), "{n}+{m}");
    }
}

#[test]
fn a_port_in_use_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cluster = Cluster::create(&[]);
    let ran = cluster.at("n1", &["serve", "--listen", &address]).expect(1);
    assert!(ran.stderr.contains(&address) && ran.stderr.contains("--listen"), "{ran:?}");
}

/// SIGTERM ends a node cleanly, and so does the end of stdin for whoever starts nodes.
#[test]
fn a_node_stops_when_it_is_told() {
    let cluster = Cluster::create(&[]);
    let home = cluster.path("n1");
    let serve = |extra: &[&str]| {
        let mut command = program();
        command.arg("--home").arg(&home).args(["serve", "--listen", "127.0.0.1:0"]).args(extra);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
        assert!(line.starts_with("listening on 127.0.0.1:"), "{line}");
        child
    };
    let mut child = serve(&[]);
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut child = serve(&["--stop-with-stdin"]);
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The damaged node says what to do, and doing it helps.
#[test]
fn a_damaged_store_is_salvaged_by_command() {
    let mut cluster = Cluster::create(&[]);
    cluster.run(&[]);
    cluster.at("u1", &["put", "x", "kept"]).expect(0);
    cluster.stop();
    let data = cluster.path("n1").join("store/data.redb");
    let mut bytes = std::fs::read(&data).unwrap();
    bytes[..4096].fill(0x55);
    std::fs::write(&data, bytes).unwrap();
    let refused = cluster.at("n1", &["serve", "--stop-with-stdin"]).expect(1);
    assert!(refused.stderr.contains("hint") && refused.stderr.contains("--salvage"), "{refused:?}");
    let salvaged = cluster.at("n1", &["serve", "--salvage", "--stop-with-stdin"]).expect(0);
    assert!(salvaged.stderr.contains("store.damaged-1"), "{salvaged:?}");
    let again = cluster.at("n1", &["serve", "--salvage", "--stop-with-stdin"]).expect(0);
    assert!(again.stderr.contains("the store is sound"), "{again:?}");
    cluster.run(&[]);
    cluster.at("u1", &["put", "y", "more"]).expect(0);
    assert_eq!(cluster.at("u1", &["get", "x"]).expect(0).stdout, b"kept");
}

#[test]
fn a_password_opens_what_was_put_under_it_and_wrong_ones_are_counted() {
    let mut cluster = Cluster::create(&[]);
    cluster.run(&[]);
    let with = |arguments: &[&str], password: &str| {
        cluster.at_with("u1", &[arguments, &["--password-fd", "0"]].concat(), password.as_bytes())
    };
    with(&["put", "notes", "the spare key is under the stone"], "correct horse\n").expect(0);
    // Whoever reads without the password gets what the nodes have: sealed bytes.
    let sealed = cluster.at("u1", &["get", "notes"]).expect(0);
    assert!(!String::from_utf8_lossy(&sealed.stdout).contains("stone"));

    let opened = with(&["get", "notes"], "correct horse\n").expect(0);
    assert_eq!(opened.text(), "the spare key is under the stone");
    let wrong = with(&["get", "notes"], "correct hose\n").expect(3);
    assert!(wrong.stderr.contains("wrong password; 9"), "{wrong:?}");
    // The owner's key gives the attempt back.
    cluster.at("u1", &["password", "reset", "notes"]).expect(0);
    let wrong = with(&["get", "notes"], "incorrect horse\n").expect(3);
    assert!(wrong.stderr.contains("wrong password; 9"), "{wrong:?}");

    with(&["put", "notes", "moved it"], "wrong again\n").expect(3);
    with(&["put", "notes", "moved it"], "correct horse\n").expect(0);
    assert_eq!(with(&["get", "notes"], "correct horse\n").expect(0).text(), "moved it");
    let json =
        cluster.at_with("u1", &["--json", "secret", "put", "--file", "-"], b"key").expect(0).json();
    let (name, secret) = (json["name"].as_str().unwrap(), json["secret"].as_str().unwrap());
    assert_eq!(with(&["secret", "get", name], secret).expect(0).stdout, b"key");
    with(&["get", "never"], "correct horse\n").expect(4);
    // A password is no argument: other users of the machine see arguments.
    cluster.at("u1", &["get", "notes", "--password=correct horse"]).expect(2);
    with(&["put", "--once", "motto", "x"], "correct horse\n").expect(2);
}

/// Killed with no chance to say goodbye, in the middle of its lines; then it goes on with what is left.
#[test]
fn a_batch_that_was_killed_is_resumed() {
    const LINES: usize = 2048;
    let mut cluster = Cluster::create(&[]);
    cluster.run(&[]);
    let file = cluster.path("lines");
    let line = |n: usize| format!("line{n}\tvalue {n}\n");
    std::fs::write(&file, (0..LINES).map(line).collect::<String>()).unwrap();
    let mut putting = program();
    putting.arg("--home").arg(cluster.path("u1")).args(["put", "--batch"]).arg(&file);
    let mut putting = putting.stdout(std::process::Stdio::null()).spawn().unwrap();
    while cluster.at("u1", &["get", "line0"]).code != 0 {
        assert_eq!(putting.try_wait().unwrap(), None, "it ends only when all is written");
    }
    putting.kill().unwrap();
    putting.wait().unwrap();

    let resumed = || {
        let report = cluster.at("u1", &["--json", "put", "--batch", text(&file), "--resume"]);
        let report = report.expect(0).json();
        ["written", "kept", "failed"]
            .map(|what| usize::try_from(report[what].as_u64().unwrap()).unwrap())
    };
    let [written, kept, failed] = resumed();
    assert!(written > 0 && kept > 0, "it was killed in the middle: {written} and {kept}");
    assert_eq!((written + kept, failed), (LINES, 0));
    assert_eq!(resumed(), [0, LINES, 0], "nothing is written twice");
    for n in [0, LINES / 2, LINES - 1] {
        let found = cluster.at("u1", &["get", &format!("line{n}")]).expect(0);
        assert_eq!(found.stdout, format!("value {n}").as_bytes());
    }
    let history = cluster.at("u1", &["--json", "history", "line0"]).expect(0).json();
    assert_eq!(history["versions"].as_array().unwrap().len(), 1);
}
