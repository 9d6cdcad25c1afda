//! Helpers of the tests.

use std::path::{Path, PathBuf};

/// The path of a file of test data.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// A file of test data.
pub(crate) fn keyring(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}
