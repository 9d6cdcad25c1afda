//! The demo does what it tells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use crate::support::bftkv;

#[test]
fn the_demo_ends_well() {
    let told = bftkv(&["demo"]).expect(0).text();
    for part in [
        "refused: no quorum certificate",
        "n4 is stopped",
        "liar: ",
        "refused: sealed",
        "gave its signature as a member to two",
        "cut out for ever",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let json = bftkv(&["--json", "demo"]).expect(0).json();
    assert_eq!(json.get("as_claimed"), Some(&true.into()));
}

#[test]
fn the_demo_of_distribution_masters_ends_well() {
    let json = bftkv(&["--json", "dm", "demo", "--small"]).expect(0).json();
    // The lie about com is in no view that counts, and a serial was signed after it.
    assert!(json["serial"].as_u64().unwrap() > 2_026_081_300, "{json}");
    let told = json["liars"].as_array().unwrap().iter().all(|liar| *liar == 4);
    assert!(told, "only the liar may be named: {json}");
}

#[test]
fn the_demo_of_distribution_masters_ends_well_with_a_p256_key() {
    let run = ["--json", "dm", "demo", "--small", "--algorithm", "p256"];
    let json = bftkv(&run).expect(0).json();
    assert!(json["serial"].as_u64().unwrap() > 2_026_081_300, "{json}");
    let told = json["liars"].as_array().unwrap().iter().all(|liar| *liar == 4);
    assert!(told, "only the liar may be named: {json}");
    // Presigning for the whole root zone would take very long.
    bftkv(&["dm", "demo", "--algorithm", "p256"]).expect(2);
}

#[test]
fn measuring_gives_figures() {
    let options = ["--json", "bench", "--store", "0", "--seconds", "0.3", "--clients", "1"];
    let json = bftkv(&options).expect(0).json();
    let figure = |path: &str| json.pointer(path).unwrap().as_f64().unwrap();
    for path in ["/put/operations", "/get/operations", "/put/p50_ms", "/get/messages"] {
        assert!(figure(path) > 0.0, "{path}: {json}");
    }
    // The slot and the entry at three of four nodes at least, and the writer's own log; a read
    // waits for no disk, but one node may tidy its store meanwhile.
    assert!(figure("/put/syncs") >= 7.0 && figure("/get/syncs") < 1.0, "{json}");
    assert!(figure("/resident_mb/3") > 1.0 && figure("/client_resident_mb") > 1.0, "{json}");
    // A read asks three of four nodes, and each of them answers. (Reads at once would share messages.)
    assert!(figure("/get/messages") >= 6.0, "{json}");
    // Clients of two processes, 30 operations due a second for half a second, half of them gets.
    let load = ["--processes", "2", "--rate", "30", "--reads", "50,0"];
    let options =
        [&["--json", "bench", "--store", "0", "--seconds", "0.5", "--clients", "2"], &load[..]];
    let json = bftkv(&options.concat()).expect(0).json();
    for path in ["/put/operations", "/get/operations", "/mixes/0/operations", "/mixes/1/operations"]
    {
        let done = json.pointer(path).unwrap().as_u64();
        assert!(done.is_some_and(|done| (14..=16).contains(&done)), "{path}: {json}");
    }
    let options = ["--json", "bench", "store", "--backend", "memory", "--seconds", "0.1"];
    let json = bftkv(&options).expect(0).json();
    assert_eq!(json.pointer("/puts").unwrap().as_array().unwrap().len(), 3, "{json}");
}
