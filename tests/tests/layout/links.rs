//! Links between the documents lead somewhere.

use std::path::Path;

use crate::assert_none;
use crate::tree::{self, TextFile};

/// The targets of the links in a Markdown text.
fn targets(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// One complaint for each link to a file that is not there. Addresses are not looked up: a test
/// does not depend on the network.
fn dead_links(file: &TextFile, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(&file.path).parent().unwrap();
    let local = |target: &&str| !target.contains("://") && !target.starts_with('#');
    let path = |target: &str| folder.join(target.split('#').next().unwrap_or_default());
    let dead = targets(&file.text).into_iter().filter(local).filter(|t| !exists(&path(t)));
    dead.map(|target| format!("{}: the link to {target} leads nowhere", file.path)).collect()
}

#[test]
fn links_lead_somewhere() {
    let files = tree::files();
    let pages = files.iter().filter(|file| file.path.ends_with(".md"));
    let exists = |path: &Path| tree::root().join(path).exists();
    assert_none(&pages.flat_map(|page| dead_links(page, exists)).collect::<Vec<_>>());
}

#[test]
fn a_dead_link_is_found() {
    let text = "[a](b.md) [c](https://example.org/) [d](#here) [e](f.md#there)".to_owned();
    let page = TextFile { path: "docs/page.md".into(), text };
    let there = |path: &Path| path == Path::new("docs/b.md");
    assert_eq!(dead_links(&page, there), ["docs/page.md: the link to f.md#there leads nowhere"]);
}
