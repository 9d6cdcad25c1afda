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
