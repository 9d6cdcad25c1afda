//! Which store a node uses.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The kinds of store, named in the configuration in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StorageKind {
    /// One redb file: the default.
    #[default]
    Redb,
    /// LevelDB.
    LevelDb,
    /// Plain files, for looking inside.
    Files,
    /// Memory, for tests: everything is gone when the process ends.
    Memory,
}

impl StorageKind {
    /// The name in configurations and in the marker of a store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::LevelDb => "leveldb",
            Self::Files => "files",
            Self::Memory => "memory",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Redb, Self::LevelDb, Self::Files, Self::Memory]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// The configuration of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Which backend.
    pub kind: StorageKind,
    /// The store's own folder. It is made if it is missing; its parent must exist.
    pub path: PathBuf,
    /// How much memory the caches may take together, in bytes.
    pub cache_bytes: usize,
    /// How long the write-ahead log of redb may grow, in bytes; before that, from half of it on, the
    /// commits in it move into the tree. As much memory holds them until then.
    pub log_bytes: u64,
}

impl StorageConfig {
    /// The cache of a node that is not told otherwise: 16 MiB, which keeps a node with 100,000
    /// variables well below 80 MB.
    pub const DEFAULT_CACHE_BYTES: usize = 16 * 1024 * 1024;
    /// 2 MiB: two thousand puts of 100 bytes, while many come at once.
    pub const DEFAULT_LOG_BYTES: u64 = 2 * 1024 * 1024;
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            kind: StorageKind::default(),
            path: PathBuf::from("store"),
            cache_bytes: Self::DEFAULT_CACHE_BYTES,
            log_bytes: Self::DEFAULT_LOG_BYTES,
        }
    }
}
