//! Durable stores for bftkv: records with checksums over an ordered key-value backend.
//!
//! ```text
//!   protocol::Store     load, version, versions, scan, proofs, commit(batch)
//!        |
//!   RecordStore         keys, checksums, census, group commit, cache, check after opening
//!        |
//!   Backend             get, scan, commit: atomic and synced
//!        |
//!   redb behind a log | LevelDB | plain files | memory
//!        |
//!   Disk                files and folders; tests fail it
//! ```
//!
//! [`open()`] makes a store from a [`StorageConfig`]. [`WriterLog`] is the memory of a writer.
//! `docs/storage.md` describes what lies on disk and what each backend survives.
//!
//! What it does not do: it does not judge entries. Whether one is valid, who may write and what
//! an equivocation is, the rules in `bftkv-protocol` decide.

mod backend;
mod background;
mod cache;
mod census;
mod check;
mod commit_log;
mod config;
mod disk;
mod files_backend;
mod group_commit;
mod head;
mod head_index;
mod health;
mod identity;
mod inner;
mod journal;
mod key;
mod ledger;
mod leveldb_backend;
mod leveldb_env;
mod logged_backend;
mod memory;
mod open;
mod overlay;
mod pending;
mod record;
mod record_store;
mod redb_backend;
mod redb_file;
mod redb_leaves;
mod salvage;
mod source;
mod writer_file;
mod writer_log;
mod writer_record;

pub use backend::{Backend, Change, Checked, Checking, Pair};
pub use check::{Damaged, ScrubStep};
pub use config::{StorageConfig, StorageKind};
pub use disk::{Disk, DiskFile, DiskLock, OpenMode, RealDisk, syncs};
pub use identity::{Opening, StoreIdentity};
pub use memory::MemoryBackend;
pub use open::{OpenError, open, open_on};
pub use record_store::RecordStore;
pub use salvage::{Salvage, open_salvaging};
pub use writer_log::{ReserveError, WriterLog, WriterLogError};
