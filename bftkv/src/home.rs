//! A home: the folder of a node or a client.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::{Configurations, StoreError};
use bftkv_storage::{OpenError, RecordStore, Salvage, ScrubStep, StorageConfig, WriterLog};
use bftkv_wot::{AskPassphrase, CertificateError, KeyError, OwnKey, ReadError};

use crate::{Certificates, Config, Error};

/// What to do about damage.
pub(crate) const SALVAGE: &str = "the store is damaged: this node signs nothing more. Start it once \
     with `bftkv serve --salvage`, which keeps what is sound and reads the rest from the others";

/// A folder that holds everything that a node or a client needs:
///
/// ```text
/// config.toml   settings, every one commented
/// key.pgp       the own key with its secret parts (0600)
/// certs/        certificates, one file each
/// revoked/      who was cut out of the web of trust: a proof or a command each
/// store/        a node's data
/// revocation.rev  makes the key worthless if it is lost; to be kept elsewhere (by `bftkv init`)
/// registration/ who waits for the operator of a node, or is about to be certified
/// announced     how far the own store has come, and what other members said of theirs
/// writer.*      what this key has signed as a writer (never copy it to another home)
/// ```
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    config: Config,
    key: OwnKey,
}

/// A home that cannot be used. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// There is none.
    #[error(
        "{0} is not a bftkv home: run `bftkv init --home {0}`, or name another with --home or BFTKV_HOME"
    )]
    NotAHome(PathBuf),
    /// There is one already.
    #[error("{0} is a bftkv home already: choose another folder")]
    Exists(PathBuf),
    /// The operating system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file of the home does not fit its checksum. Restoring an old copy of it would be worse:
    /// a node must not forget what it has signed.
    #[error("{0} is damaged: leave the realm with this node and come back with a new home")]
    Damaged(PathBuf),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Certificates cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A certificate is not one.
    #[error(transparent)]
    Certificate(CertificateError),
    /// The writer's memory cannot be used.
    #[error(transparent)]
    Memory(#[from] bftkv_storage::WriterLogError),
}

/// What a new home is made of.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct NewHome<'a> {
    /// The own key.
    pub key: &'a OwnKey,
    /// Keyrings: certificates that it knows, binary or armored.
    pub certificates: &'a [Vec<u8>],
    /// The configuration file's text, usually made from [`crate::TEMPLATE`].
    pub config: &'a str,
}

impl Home {
    /// The settings.
    pub const CONFIG: &'static str = "config.toml";
    /// The own key.
    pub const KEY: &'static str = "key.pgp";
    /// The certificates.
    pub const CERTIFICATES: &'static str = "certs";
    /// Who was cut out of the web of trust.
    pub const REVOKED: &'static str = "revoked";
    /// What members announced of their memories.
    pub const ANNOUNCED: &'static str = "announced";
    /// Who wants to be registered at a node.
    pub const REGISTER: &'static str = "registration";
    /// A node's data.
    pub const STORE: &'static str = "store";
    /// What a node has promised about members: never copy it to another home, nor restore it.
    pub const MEMBERS: &'static str = "members";
    /// The configurations that a client has adopted.
    pub const CONFIGURATIONS: &'static str = "configurations";

    /// Makes a home. The folder is made if it is missing, for its owner alone.
    ///
    /// # Errors
    /// There is a home already, the key or a certificate cannot be read, or the disk refuses.
    pub fn create(path: &Path, new: &NewHome<'_>) -> Result<Self, Error> {
        if path.join(Self::CONFIG).exists() || path.join(Self::KEY).exists() {
            return Err(HomeError::Exists(path.to_owned()).into());
        }
        let certs = path.join(Self::CERTIFICATES);
        make_folder(path)?;
        make_folder(&certs)?;
        new.key.save(&path.join(Self::KEY)).map_err(HomeError::Key)?;
        let certificates = Certificates::open(&certs)?;
        certificates.import(new.key.record().clone())?;
        for keyring in new.certificates {
            for found in bftkv_wot::read_certificates(keyring).map_err(HomeError::Certificate)? {
                certificates.import(found.map_err(HomeError::Certificate)?)?;
            }
        }
        // The settings come last: with them the folder is a home.
        write_new(&path.join(Self::CONFIG), new.config.as_bytes())?;
        let config = Config::read(&path.join(Self::CONFIG))?;
        Ok(Self { path: path.to_owned(), config, key: new.key.clone() })
    }

    /// Opens a home whose key has no passphrase.
    ///
    /// # Errors
    /// It is no home, or its settings or key cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &bftkv_wot::no_passphrase)
    }

    /// Opens a home. `ask` gives the passphrase if the key has one.
    ///
    /// # Errors
    /// As [`Home::open`], or the passphrase is wrong.
    pub fn open_with(path: impl AsRef<Path>, ask: AskPassphrase<'_>) -> Result<Self, Error> {
        let path = path.as_ref();
        if !path.join(Self::CONFIG).is_file() {
            return Err(HomeError::NotAHome(path.to_owned()).into());
        }
        let config = Config::read(&path.join(Self::CONFIG))?;
        let key = OwnKey::load(&path.join(Self::KEY), ask).map_err(HomeError::Key)?;
        Ok(Self { path: path.to_owned(), config, key })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The settings, to be overridden by arguments of the command line.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The own key.
    #[must_use]
    pub fn key(&self) -> OwnKey {
        self.key.clone()
    }

    /// Reads the certificates, and who was cut out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn certificates(&self) -> Result<Certificates, HomeError> {
        let certificates = Certificates::open(&self.path.join(Self::CERTIFICATES))?;
        certificates.with_revoked(&self.path.join(Self::REVOKED))
    }

    /// Opens the store.
    ///
    /// # Errors
    /// The disk is at fault, another process has it open, or it is of another kind.
    pub fn store(&self) -> Result<Arc<RecordStore>, Error> {
        let storage = self.storage();
        let store = when_free(|| bftkv_storage::open(&storage))?;
        self.look_after(&store)?;
        Ok(store)
    }

    /// Opens and checks the whole store; one that is damaged is put aside, and what is sound is
    /// copied into a new one. A node notices the new one as a lost memory: it takes a fresh signing
    /// key and reads the rest from the others. Takes minutes for a million entries.
    ///
    /// # Errors
    /// As [`Home::store`], but for damage.
    pub fn salvaged_store(&self) -> Result<(Arc<RecordStore>, Option<Salvage>), Error> {
        let storage = self.storage();
        let (store, salvage) = when_free(|| bftkv_storage::open_salvaging(&storage))?;
        self.look_after(&store)?;
        Ok((store, salvage))
    }

    fn storage(&self) -> StorageConfig {
        let settings = &self.config.storage;
        StorageConfig {
            kind: settings.kind,
            path: self.path.join(Self::STORE),
            cache_bytes: settings.cache_mib.saturating_mul(1024 * 1024),
            ..StorageConfig::default()
        }
    }

    fn look_after(&self, store: &Arc<RecordStore>) -> Result<(), StoreError> {
        store.resume_by_itself(|outcome| match outcome {
            Ok(()) => tracing::info!("the store goes on"),
            Err(error) => tracing::warn!(%error, "the store cannot go on yet"),
        })?;
        match self.config.storage.scrub_every() {
            Some(every) => store.scrub_by_itself(every, tell_scrub),
            None => Ok(()),
        }
    }

    /// The configurations that the home at this path has adopted: as a node, or as a client. `None` if
    /// there is neither file. Only looks: whoever serves may do so meanwhile.
    ///
    /// # Errors
    /// A file cannot be read, or is damaged.
    pub fn known_configurations(path: &Path) -> Result<Option<Configurations>, Error> {
        let of_node = crate::node::known_configurations(&path.join(Self::MEMBERS))?;
        match of_node {
            Some(known) => Ok(Some(known)),
            None => crate::client::known_configurations(&path.join(Self::CONFIGURATIONS)),
        }
    }

    /// Opens the writer's memory.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn writer_log(&self) -> Result<WriterLog, Error> {
        Ok(WriterLog::open(&self.path).map_err(HomeError::Memory)?)
    }
}

/// Opens a store. One that is stopping lets go of its lock a moment after it said so: its last
/// tasks end by themselves.
fn when_free<T>(open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    const TRIES: u32 = 40;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 1..TRIES {
        match open() {
            Err(OpenError::Locked(_)) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    open()
}

fn tell_scrub(step: &Result<ScrubStep, StoreError>) {
    match step {
        Ok(step) if step.damaged.is_empty() => tracing::info!("the store was read, and is sound"),
        Ok(step) => {
            let records: Vec<&str> = step.damaged.iter().map(|one| one.record.as_str()).collect();
            tracing::error!(?records, "{SALVAGE}");
        }
        Err(error @ StoreError::Corrupt { .. }) => tracing::error!(%error, "{SALVAGE}"),
        Err(error) => tracing::warn!(%error, "the store cannot be read"),
    }
}

fn make_folder(path: &Path) -> Result<(), HomeError> {
    let failed = |error| HomeError::Io { path: path.to_owned(), error };
    std::fs::create_dir_all(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)
}

/// Writes a file that must not exist, readable by its owner alone.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let write = || -> std::io::Result<()> {
        let mut options = std::fs::File::options();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| HomeError::Io { path: path.to_owned(), error })
}
