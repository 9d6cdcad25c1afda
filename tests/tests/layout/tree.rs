//! The files of the repository, as a clean clone has them.

use std::fs;
use std::path::{Path, PathBuf};

/// Larger files are data, not text that somebody wrote.
const MAX_TEXT_BYTES: u64 = 2 * 1024 * 1024;

/// A text file: its path from the root, with `/`, and what is in it.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    /// The file without the unit tests at its end.
    pub(crate) fn code(&self) -> &str {
        without_tests(&self.text)
    }

    /// Whether it is Rust that is shipped: in a crate's `src` or `examples`, not in `tests`, and
    /// not a file of unit tests.
    pub(crate) fn is_shipped_rust(&self) -> bool {
        let parts: Vec<&str> = self.path.split('/').collect();
        let name = parts[parts.len() - 1];
        name.ends_with(".rs")
            && !name.ends_with("tests.rs")
            && !parts.contains(&"tests")
            && (parts.contains(&"src") || parts.contains(&"examples"))
    }
}

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every text file of the repository, in order of path. Build folders and `.git` (a file in a
/// worktree) are left out.
pub(crate) fn files() -> Vec<TextFile> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && !is_foreign(&path) {
                folders.push(path);
            } else if kind.is_file() && entry.file_name() != ".git" {
                found.extend(read(&root, &path));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.iter().any(|file| file.path == "Cargo.toml"), "looked in the wrong folder");
    found
}

/// Cargo marks its build folders with a tag.
fn is_foreign(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == ".git") || folder.join("CACHEDIR.TAG").exists()
}

fn read(root: &Path, path: &Path) -> Option<TextFile> {
    if fs::metadata(path).unwrap().len() > MAX_TEXT_BYTES {
        return None;
    }
    let text = String::from_utf8(fs::read(path).unwrap()).ok()?;
    let path = path.strip_prefix(root).unwrap().to_str()?.replace('\\', "/");
    Some(TextFile { path, text })
}

/// By the house rules the unit tests stand at the end of a file.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

#[test]
fn unit_tests_are_not_code() {
    let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
    let file = TextFile { path: "wot/src/a.rs".into(), text };
    assert_eq!(file.code(), "fn a() {}\n");
    assert!(file.is_shipped_rust());
}
