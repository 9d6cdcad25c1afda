//! Keeps `docs/paper-map.md` true: every item that carries a `Paper:` tag is in the map, every
//! function and test that the map names exists, and every section that a tag names is in the
//! map's list of sections.
//!
//! A reference is `path/of/file.rs::name` or `path/of/file.rs::Type::name`, in backticks.

use crate::assert_none;
use crate::tree::{self, TextFile};

const MAP: &str = "docs/paper-map.md";

/// What stands in the test column while a step has no test of its own.
const NO_TEST: &str = "none yet";

/// A row of the map's table of steps.
struct Step<'a> {
    name: &'a str,
    functions: Vec<&'a str>,
    tests: Vec<&'a str>,
    says_no_test: bool,
}

/// The steps: rows of three cells under the heading `| step | function | test |`.
fn steps(map: &str) -> Vec<Step<'_>> {
    let table = |line: &&str| line.starts_with('|');
    let mut steps = Vec::new();
    for (heading, _) in map.match_indices("| step | function | test |") {
        for row in map[heading..].lines().skip(2).take_while(table) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 3, "a step has three cells: {row}");
            let (functions, tests) = (references(cells[1]), references(cells[2]));
            let says_no_test = cells[2] == NO_TEST;
            steps.push(Step { name: cells[0], functions, tests, says_no_test });
        }
    }
    steps
}

/// The backticked words of a cell that are references.
pub(crate) fn references(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).filter(|word| word.contains("::")).collect()
}

/// Whether the line of code declares `name`: a function, a type, a constant, a variant, a field,
/// or a type that a macro defines (`Name, "what", 1, 2`).
fn declares(line: &str, name: &str) -> bool {
    let line = line.trim();
    let keywords = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];
    let after = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let item = keywords.iter().any(|keyword| {
        let declared = line.split_once(&format!("{keyword} {name}"));
        declared.is_some_and(|(before, rest)| {
            after(rest) && !before.contains('"') && !before.ends_with(char::is_alphanumeric)
        })
    });
    let member = line.trim_start_matches("pub ").strip_prefix(name);
    // A variant or a macro's type begins with a capital; whatever else begins a line is a field
    // or a call.
    let is_type = name.starts_with(char::is_uppercase);
    let end = |rest: &str| match is_type {
        true => rest.is_empty() || (rest.starts_with([',', '(', ' ']) && !rest.ends_with(';')),
        false => rest.starts_with(": "),
    };
    item || member.is_some_and(end)
}

/// The name that the line of code declares, if it declares one.
fn declared_name(line: &str) -> Option<&str> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    let modifiers = ["pub", "crate", "super", "in", "async", "const", "unsafe", "extern", ""];
    let keywords = ["fn", "struct", "enum", "trait", "type", "static", "mod", "impl", "let"];
    let mut names = words.filter(|w| !modifiers.contains(w) && !keywords.contains(w));
    names.next().filter(|name| declares(line, name))
}

/// Why a reference names nothing, if so.
pub(crate) fn broken(
    page: &str,
    reference: &str,
    files: &[TextFile],
    is_test: bool,
) -> Option<String> {
    let mut parts = reference.split("::");
    let path = parts.next().unwrap_or_default();
    let Some(file) = files.iter().find(|file| file.path == path) else {
        return Some(format!("{page} names {reference}: there is no such file"));
    };
    let lines: Vec<&str> = file.text.lines().collect();
    for name in parts {
        let Some(at) = lines.iter().position(|line| declares(line, name)) else {
            return Some(format!("{page} names {reference}: {path} does not declare {name}"));
        };
        let attributes = &lines[at.saturating_sub(4)..at];
        let test = |line: &&str| line.trim_start().starts_with("#[") && line.contains("test");
        if is_test && !attributes.iter().any(test) {
            return Some(format!("{page} names {reference}: it is not a test"));
        }
    }
    None
}

/// A `Paper:` tag: where it stands, what it says, and the item that it belongs to. A tag of a
/// whole file (`//!`) belongs to no single item.
struct Tag {
    path: String,
    line: usize,
    text: String,
    item: Option<String>,
}

/// The tags of a file. Tags in unit tests do not count.
fn tags(file: &TextFile) -> Vec<Tag> {
    let lines: Vec<&str> = file.code().lines().collect();
    let tag = |(at, line): (usize, &&str)| {
        let comment = line.trim_start().starts_with("//");
        let (_, text) = line.split_once("Paper: ").filter(|_| comment)?;
        let (path, text) = (file.path.clone(), text.to_owned());
        let of_file = line.trim_start().starts_with("//!");
        let item = (!of_file).then(|| tagged_item(&lines, at));
        Some(Tag { path, line: at + 1, text, item })
    };
    lines.iter().enumerate().filter_map(tag).collect()
}

/// The item below the comment, or, for a comment inside a function, that function.
fn tagged_item(lines: &[&str], at: usize) -> String {
    let is_code = |line: &&&str| !line.trim_start().starts_with(['/', '#']) && !line.is_empty();
    let below = lines[at..].iter().find(is_code).and_then(|line| declared_name(line));
    let function = |line: &&&str| line.contains("fn ") && is_code(line);
    let above = || lines[..at].iter().rev().find(function).and_then(|line| declared_name(line));
    below.or_else(above).unwrap_or("(no item)").to_owned()
}

/// The sections that a tag names: `§4.1`, `App. B`.
fn sections(text: &str) -> Vec<String> {
    let word = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        rest[..end.unwrap_or(rest.len())].trim_end_matches('.').to_owned()
    };
    let numbers = text.match_indices('§').map(|(at, sign)| (at, at + sign.len(), "§"));
    let letters = text.match_indices("App. ").map(|(at, sign)| (at, at + sign.len(), "App. "));
    numbers.chain(letters).map(|(_, from, sign)| format!("{sign}{}", word(&text[from..]))).collect()
}

fn complaints_about(tag: &Tag, map: &str, steps: &[Step<'_>]) -> Vec<String> {
    let place = format!("{}:{}", tag.path, tag.line);
    let mut complaints = Vec::new();
    let named = sections(&tag.text);
    for section in named.iter().filter(|section| !map.contains(&format!("| {section} |"))) {
        complaints.push(format!("{place}: {section} is not in the list of sections of {MAP}"));
    }
    // A tag of `lib.rs` as a whole belongs to the crate.
    let of_crate = tag.path.strip_suffix("lib.rs").filter(|_| tag.item.is_none());
    let head = of_crate.map_or_else(|| format!("{}::", tag.path), str::to_owned);
    let is_item = |reference: &str| match &tag.item {
        Some(item) => reference.ends_with(&format!("::{item}")),
        None => true,
    };
    let known = |reference: &&str| reference.starts_with(&head) && is_item(reference);
    if !steps.iter().flat_map(|step| &step.functions).any(known) {
        let item = tag.item.as_deref().unwrap_or("(any item)");
        complaints.push(format!("{place}: add `{head}{item}` to {MAP}: {}", tag.text));
    }
    complaints
}

fn complaints_about_map(map: &str, files: &[TextFile]) -> Vec<String> {
    let mut complaints = Vec::new();
    for step in steps(map) {
        complaints.extend(step.functions.iter().filter_map(|f| broken(MAP, f, files, false)));
        complaints.extend(step.tests.iter().filter_map(|test| broken(MAP, test, files, true)));
        if step.functions.is_empty() {
            complaints.push(format!("{MAP}: the step \"{}\" names no function", step.name));
        }
        if step.tests.is_empty() && !step.says_no_test {
            complaints.push(format!("{MAP}: the step \"{}\" names no test", step.name));
        }
    }
    complaints
}

#[test]
fn the_paper_map_is_true() {
    let files = tree::files();
    let map = &files.iter().find(|file| file.path == MAP).unwrap().text;
    let steps = steps(map);
    let tags: Vec<Tag> = files.iter().filter(|f| f.is_shipped_rust()).flat_map(tags).collect();
    assert!(steps.len() > 10 && tags.len() > 10, "the map or the tags are not read");
    let mut complaints = complaints_about_map(map, &files);
    complaints.extend(tags.iter().flat_map(|tag| complaints_about(tag, map, &steps)));
    assert_none(&complaints);
}

const EXAMPLE: &str = "\
//! Reading. Paper: §4.1.

/// Takes the latest. Paper: §4.1 read.
#[must_use]
pub fn latest() {
    // Counts. Paper: App. B CheckSigs.
    count();
}

pub enum Request {
    /// Paper: §9 nowhere.
    Time { variable: u8 },
}

#[test]
fn two_quorums_read_the_same() {}
";

fn example() -> TextFile {
    TextFile { path: "a/src/a.rs".into(), text: EXAMPLE.into() }
}

#[test]
fn tags_are_read() {
    let tags = tags(&example());
    let items: Vec<_> = tags.iter().map(|tag| tag.item.as_deref()).collect();
    assert_eq!(items, [None, Some("latest"), Some("latest"), Some("Time")]);
    assert_eq!(sections("§3.2 and §5, App. B GetQC."), ["§3.2", "§5", "App. B"]);
}

#[test]
fn a_wrong_map_is_found() {
    let row = |function: &str, test: &str| {
        format!("| step | function | test |\n|---|---|---|\n| s | {function} | {test} |\n")
    };
    let count =
        |function: &str, test: &str| complaints_about_map(&row(function, test), &[example()]).len();
    let (good, test) = ("`a/src/a.rs::latest`", "`a/src/a.rs::two_quorums_read_the_same`");
    assert_eq!(count(good, test), 0);
    assert_eq!(count("`a/src/a.rs::Request::Time`", NO_TEST), 0);
    assert_eq!(count("`a/src/a.rs::lates`", test), 1);
    assert_eq!(count("`b/src/a.rs::latest`", test), 1);
    assert_eq!(count(good, good), 1, "a function is not a test");
    assert_eq!(count("`a/src/a.rs::count`", test), 1, "a call is not a declaration");
    assert_eq!(count("prose", test), 1);
    assert_eq!(count(good, ""), 1);
}

#[test]
fn a_tag_that_the_map_lacks_is_found() {
    let map = "| §4.1 | read |\n| App. B | algorithms |\n\n| step | function | test |\n|---|---|---|\n\
               | read | `a/src/a.rs::latest` | none yet |\n";
    let steps = steps(map);
    let found: Vec<usize> =
        tags(&example()).iter().map(|tag| complaints_about(tag, map, &steps).len()).collect();
    assert_eq!(found, [0, 0, 0, 2], "only the last: no such section, not in the map");
}
