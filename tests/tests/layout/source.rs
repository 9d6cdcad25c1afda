//! What the core may touch, how long a file may be, and words that must not stay.

use crate::assert_none;
use crate::tree::{self, TextFile};

/// Lines of a file without its unit tests. The house aims at 500 with tests; this is the fence.
const MAX_LINES: usize = 600;

/// What `protocol` and `threshold` must not name: they are told the time, do no IO, and have no map
/// whose order changes from run to run. Their `clippy.toml` bans the same; this also sees what clippy does not
/// (a path inside a macro, a function that is not on the list).
const BANNED_IN_CORE: &[&str] = &[
    "std::time",
    "std::net",
    "std::fs",
    "std::io",
    "std::thread",
    "std::env",
    "std::process",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant::now",
];

/// Where they are.
const PURE: &[&str] = &["protocol/src/", "threshold/src/", "roaming/src/"];

/// A length of time is a number like any other; only clocks are banned.
const ALLOWED_IN_CORE: &[&str] = &["std::time::Duration"];

/// Code in one line: no comments, no line breaks, and `use std::{a, b}` written as `std::a`,
/// `std::b`, so that one search finds a path however it is written.
fn flat_code(code: &str) -> String {
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let flat = lines.collect::<Vec<_>>().join(" ");
    let mut parts = flat.split("std::{");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (group, rest) = part.split_once(';').unwrap_or((part, ""));
        for name in group.split(',') {
            result.push_str(&format!("std::{}; ", name.trim()));
        }
        result.push_str(rest);
    }
    result
}

fn banned_in_core(path: &str, code: &str) -> Vec<String> {
    let allowed = ALLOWED_IN_CORE.iter().fold(flat_code(code), |code, name| code.replace(name, ""));
    let found = BANNED_IN_CORE.iter().filter(|name| allowed.contains(**name));
    found
        .map(|name| format!("{path} names {name}: the core has no IO, clock or hash map"))
        .collect()
}

#[test]
fn the_core_is_pure() {
    let files = tree::files();
    let core: Vec<&TextFile> = files
        .iter()
        .filter(|file| PURE.iter().any(|folder| file.path.starts_with(folder)))
        .filter(|file| file.is_shipped_rust())
        .collect();
    for folder in PURE {
        assert!(core.iter().any(|file| file.path.starts_with(folder)), "{folder} was not found");
    }
    let complaints: Vec<String> =
        core.iter().flat_map(|file| banned_in_core(&file.path, file.code())).collect();
    assert_none(&complaints);
}

#[test]
fn io_in_the_core_is_found_however_it_is_written() {
    for bad in [
        "use std::fs;",
        "use std::{collections::BTreeMap, net::TcpStream};",
        "use std::collections::{BTreeMap, HashMap};",
        "fn f() { let _ = std::time::SystemTime::now(); }",
        "use std::{\n    fmt,\n    thread,\n};",
    ] {
        assert!(!banned_in_core("a", bad).is_empty(), "{bad}");
    }
    for good in [
        "use std::time::Duration;",
        "// std::fs is banned here.",
        "use std::{collections::BTreeMap, fmt};",
    ] {
        assert_none(&banned_in_core("a", good));
    }
}

fn too_long(file: &TextFile) -> Option<String> {
    let lines = file.code().lines().count();
    let long = lines > MAX_LINES;
    long.then(|| format!("{} has {lines} lines without tests, more than {MAX_LINES}", file.path))
}

#[test]
fn files_are_short() {
    let files = tree::files();
    let shipped = files.iter().filter(|file| file.is_shipped_rust());
    assert_none(&shipped.filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn a_long_file_is_found() {
    let file = |lines: usize| TextFile { path: "a".into(), text: "// A line.\n".repeat(lines) };
    assert_eq!(too_long(&file(MAX_LINES)), None);
    assert!(too_long(&file(MAX_LINES + 1)).is_some());
}

/// Words that are put together here, so that this file does not hold them.
fn unwanted_words() -> Vec<(String, &'static str)> {
    vec![
        (["/wo", "rk/"].concat(), "a path of one machine"),
        (["/ro", "ot/"].concat(), "a path of one machine"),
        (["TO", "DO"].concat(), "finish it, or write an issue"),
        (["FIX", "ME"].concat(), "finish it, or write an issue"),
    ]
}

fn unwanted(file: &TextFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for (word, why) in unwanted_words().iter().filter(|(word, _)| stands_in(line, word)) {
            complaints.push(format!("{}:{}: {word}: {why}", file.path, number + 1));
        }
    }
    complaints
}

/// Whether the word stands in the line by itself, not inside a longer one (a base64 block holds
/// any letters, and a longer path is another path).
fn stands_in(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.');
        !joined(before) && (word.ends_with('/') || !joined(after))
    })
}

#[test]
fn nothing_is_left_unfinished_or_bound_to_a_machine() {
    let complaints: Vec<String> = tree::files().iter().flat_map(unwanted).collect();
    assert_none(&complaints);
}

#[test]
fn an_unwanted_word_is_found() {
    for (word, _) in unwanted_words() {
        let file = |text: String| TextFile { path: "a".into(), text };
        assert_eq!(unwanted(&file(format!("// see {word} this"))).len(), 1);
        assert_eq!(unwanted(&file(format!("x0{word}9q=="))).len(), 0);
    }
}
