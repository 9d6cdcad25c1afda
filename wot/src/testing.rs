//! Helpers of the tests.

use std::cell::Cell;
use std::path::{Path, PathBuf};

/// The path of a file of test data.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// A file of test data.
pub(crate) fn keyring(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The own key of a folder of test data.
pub(crate) fn key(folder: &str) -> crate::OwnKey {
    let bytes = keyring(&format!("{folder}/secring.gpg"));
    crate::OwnKey::from_bytes(&bytes, &crate::no_passphrase).unwrap()
}

/// The keyring of a folder of test data.
pub(crate) fn keyring_of(folder: &str) -> crate::Keyring {
    let ring = crate::Keyring::new(crate::KeyringOptions::default());
    ring.import(&keyring(&format!("{folder}/pubring.gpg"))).unwrap();
    ring
}

thread_local! {
    static GULLIBLE: Cell<bool> = const { Cell::new(false) };
}

/// Plants a bug in this thread: certifications count without a look at their signatures.
pub(crate) fn be_gullible(is_gullible: bool) {
    GULLIBLE.set(is_gullible);
}

/// Whether that bug is planted.
pub(crate) fn is_gullible() -> bool {
    GULLIBLE.get()
}
