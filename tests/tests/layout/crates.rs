//! Who depends on whom, and that every crate has the lints of the house.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::{assert_none, tree};

/// Crates that nobody who builds the program waits for.
const OUTSIDE: &[&str] = &["fuzz/Cargo.toml", "compare/etcd/Cargo.toml"];

/// The floors of the house (`ARCHITECTURE.md`). A crate may depend on crates of lower floors only.
const FLOORS: &[(&str, u8)] = &[
    ("bftkv-protocol", 1),
    ("bftkv-threshold", 1),
    ("bftkv-wot", 2),
    ("bftkv-transport", 2),
    ("bftkv-storage", 2),
    ("bftkv-roaming", 2),
    ("bftkv", 3),
    ("bftkv-dm", 4),
    ("bftkv-cmd", 5),
    ("bftkv-tests", u8::MAX),
];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor)
}

/// One complaint for each dependency that points up or sideways, and for each crate that has no
/// floor. Dependencies of tests and build scripts count as well.
fn wrong_edges(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().unwrap();
    let names: Vec<&str> = packages.iter().map(|p| p["name"].as_str().unwrap()).collect();
    let mut complaints = Vec::new();
    for package in packages {
        let from = package["name"].as_str().unwrap();
        if floor(from).is_none() {
            complaints.push(format!("{from} has no floor: give it one in FLOORS and ARCHITECTURE"));
        }
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            if names.contains(&to) && floor(from) <= floor(to) {
                complaints.push(format!("{from} must not depend on {to}: arrows point down only"));
            }
        }
    }
    complaints
}

fn cargo_metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(tree::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn arrows_point_down() {
    assert_none(&wrong_edges(&cargo_metadata()));
}

#[test]
fn an_arrow_up_or_sideways_is_found() {
    let edge = |from: &str, to: &str| {
        serde_json::json!({ "packages": [
            { "name": from, "dependencies": [{ "name": to, "kind": "dev" }, { "name": "serde" }] },
            { "name": to, "dependencies": [] },
        ]})
    };
    assert_eq!(wrong_edges(&edge("bftkv", "bftkv-wot")).len(), 0);
    assert_eq!(wrong_edges(&edge("bftkv-wot", "bftkv")).len(), 1);
    assert_eq!(wrong_edges(&edge("bftkv-wot", "bftkv-storage")).len(), 1);
    assert_eq!(wrong_edges(&edge("bftkv-threshold", "bftkv-protocol")).len(), 1);
    assert!(!wrong_edges(&edge("bftkv-unheard-of", "bftkv-wot")).is_empty());
}

/// Every package of a build with its features, one line each.
fn features(of: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--prefix",
            "none",
            "--no-dedupe",
            "-f",
            "{p} [{f}]",
        ])
        .args(of)
        .current_dir(tree::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| line.replace(" (proc-macro)", ""))
        .collect()
}

/// A newcomer runs the demo, then the tests: whatever has other features in the second build is
/// compiled once more with everything above it, Sequoia included.
#[test]
fn the_demo_and_the_tests_compile_everything_once() {
    let tests = features(&["--workspace"]);
    let program = features(&["-p", "bftkv-cmd", "-e", "normal,build"]);
    assert!(program.iter().any(|line| line.starts_with("sequoia-openpgp")), "no tree was read");
    let twice = program.difference(&tests).map(|line| format!("compiled twice: {line}"));
    assert_none(&twice.collect::<Vec<_>>());
}

/// Who enables the feature that lets bugs be planted.
fn planters(metadata: &Value) -> Vec<String> {
    let names_it = |value: &Value| {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).any(|name| name.contains("planted"))
    };
    let mut planters = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let by_dependency = package["dependencies"].as_array().into_iter().flatten();
        let features = package["features"].as_object().into_iter().flatten();
        let by_default = package["features"].get("default").is_some_and(names_it);
        let by_feature = features.filter(|(_, enables)| names_it(enables)).count() > 0;
        if by_default || by_feature || by_dependency.map(|d| &d["features"]).any(names_it) {
            planters.push(package["name"].as_str().unwrap().to_owned());
        }
    }
    planters
}

/// Bugs can be planted in the rules by a feature that no crate but the tests names, and that the
/// crate `bftkv`, which everything that ships contains, does not compile with.
#[test]
fn no_planted_bug_can_ship() {
    let metadata = cargo_metadata();
    assert_eq!(planters(&metadata), ["bftkv-tests"]);
    let tests = metadata["packages"].as_array().unwrap().iter();
    let mut tests = tests.filter(|package| package["name"] == "bftkv-tests");
    assert!(tests.next().unwrap()["features"].get("default").is_none());
    let files = tree::files();
    let shipped = files.iter().find(|file| file.path == "bftkv/src/lib.rs").unwrap();
    let guard = "const _: () = assert!(!bftkv_protocol::planted::POSSIBLE";
    assert!(shipped.text.contains(guard), "the crate `bftkv` must not compile with planted bugs");
}

/// The lints in one section of a `Cargo.toml`: name and level.
fn lints(manifest: &str, section: &str) -> BTreeMap<String, String> {
    let header = format!("[{section}]");
    let lines = manifest.lines().skip_while(|line| line.trim() != header).skip(1);
    let inside = lines.take_while(|line| !line.trim_start().starts_with('['));
    let pairs = inside.filter_map(|line| line.split_once('='));
    pairs.map(|(lint, level)| (lint.trim().into(), level.trim().trim_matches('"').into())).collect()
}

fn strictness(level: &str) -> usize {
    ["allow", "warn", "deny", "forbid"].iter().position(|known| *known == level).unwrap_or(0)
}

/// One complaint for each lint of the workspace that the crate does not have at least as strict.
fn missing_lints(workspace: &str, path: &str, manifest: &str) -> Vec<String> {
    if lints(manifest, "lints").get("workspace").is_some_and(|value| value == "true") {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for tool in ["rust", "clippy"] {
        let own = lints(manifest, &format!("lints.{tool}"));
        for (lint, level) in lints(workspace, &format!("workspace.lints.{tool}")) {
            if own.get(&lint).map_or(0, |own| strictness(own)) < strictness(&level) {
                complaints.push(format!("{path} lacks the lint {lint} = \"{level}\""));
            }
        }
    }
    complaints
}

#[test]
fn every_crate_has_the_lints() {
    let files = tree::files();
    let workspace = files.iter().find(|file| file.path == "Cargo.toml").unwrap();
    // The fuzz programs are a workspace of their own; the fuzzer's macro needs what we forbid, and
    // what is behind it is linted as a part of the tests.
    let ours = |path: &str| path.ends_with("/Cargo.toml") && !OUTSIDE.contains(&path);
    let manifests = files.iter().filter(|file| ours(&file.path));
    let complaints: Vec<String> = manifests
        .flat_map(|manifest| missing_lints(&workspace.text, &manifest.path, &manifest.text))
        .collect();
    assert!(lints(&workspace.text, "workspace.lints.rust").len() > 5, "lints are not read");
    assert_none(&complaints);
}

#[test]
fn a_weaker_lint_is_found() {
    let workspace = "[workspace.lints.rust]\nunsafe_code = \"forbid\"\n\n[profile.release]\n";
    let ours = |level: &str| format!("[lints.rust]\nunsafe_code = \"{level}\"\n");
    assert_eq!(missing_lints(workspace, "a", &ours("forbid")).len(), 0);
    assert_eq!(missing_lints(workspace, "a", &ours("deny")).len(), 1);
    assert_eq!(missing_lints(workspace, "a", "[package]\n").len(), 1);
    assert_eq!(missing_lints(workspace, "a", "[lints]\nworkspace = true\n").len(), 0);
}
