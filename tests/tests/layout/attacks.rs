//! Keeps `docs/attacks.md` true: every line of the list of threats that concerns what is built has
//! a row, and every test that the page names exists.

use crate::assert_none;
use crate::paper_map::{broken, references};
use crate::tree::{self, TextFile};

const PAGE: &str = "docs/attacks.md";

fn lines() -> impl Iterator<Item = String> {
    let inputs = (1..=8).map(|n| format!("P{n}"));
    let attacks = (1..=24).map(|n| format!("A{n}"));
    inputs.chain(attacks)
}

fn complaints(page: &str, files: &[TextFile]) -> Vec<String> {
    let row = |line: &String| page.lines().find(|row| row.starts_with(&format!("| {line} |")));
    let missing = lines()
        .filter(|line| row(line).is_none_or(|row| references(row).is_empty()))
        .map(|line| format!("{PAGE} names no test for {line}"));
    missing
        .chain(references(page).into_iter().filter_map(|name| broken(PAGE, name, files, true)))
        .collect()
}

#[test]
fn the_page_of_attacks_is_true() {
    let files = tree::files();
    let page = files.iter().find(|file| file.path == PAGE).unwrap();
    assert!(references(&page.text).len() > 80, "the page is not read");
    assert_none(&complaints(&page.text, &files));
}

#[test]
fn a_missing_line_and_a_test_that_does_not_exist_are_found() {
    let text = "fn helper() {}\n\n#[test]\nfn it_is_refused() {}\n".to_owned();
    let files = [TextFile { path: "a.rs".into(), text }];
    let page = |name: &str| -> String {
        lines().map(|line| format!("| {line} | what | `a.rs::{name}` |\n")).collect()
    };
    assert_eq!(complaints(&page("it_is_refused"), &files), [""; 0]);
    assert_eq!(complaints(&page("helper"), &files).len(), 32);
    assert_eq!(complaints(&page("gone"), &files).len(), 32);
    assert_eq!(complaints("", &files).len(), 32);
}
