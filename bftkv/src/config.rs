//! The configuration file of a home: one TOML file, every setting commented.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bftkv_protocol::client::Consistency;
use bftkv_protocol::{NodeId, Realm, TooLong};
use bftkv_roaming::registration::Mode as RegistrationMode;
use bftkv_storage::StorageKind;
use serde::Deserialize;

/// The file that `bftkv init` writes. Every setting stands in it with its default.
pub const TEMPLATE: &str = include_str!("config.toml");

/// A configuration file that cannot be used. The message says where and why.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {error}; run `bftkv init` to make a home")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// It is not TOML, or has a setting that does not exist or fit.
    #[error("{path}: {error}")]
    Parse {
        /// The file.
        path: String,
        /// What and where.
        error: Box<toml::de::Error>,
    },
    /// The realm's name is not allowed.
    #[error("realm.name: {0}")]
    Realm(#[from] TooLong),
    /// A fingerprint is not one.
    #[error("{setting}: {text:?} is not a full fingerprint (40 or 64 hexadecimal digits)")]
    Fingerprint {
        /// Which setting.
        setting: &'static str,
        /// What stands there.
        text: String,
    },
}

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Who belongs together.
    pub realm: RealmConfig,
    /// For those who run a node.
    pub node: NodeConfig,
    /// Where a node keeps its data.
    pub storage: StorageConfig,
    /// For those who put and get.
    pub client: ClientConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// Section `[realm]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RealmConfig {
    /// The realm's name: the same at all its nodes and clients.
    pub name: String,
    /// How far from the own certificate cliques are looked for: 2 is "myself and whom I certify".
    pub distance: usize,
    /// Fingerprints of exactly the nodes that are the authority; empty: all cliques that are
    /// found.
    pub authority: Vec<String>,
    /// Fingerprints of the store group; empty: derived from the graph.
    pub store: Vec<String>,
    /// Whether cliques below four may sign. They tolerate no fault.
    pub allow_small: bool,
}

impl Default for RealmConfig {
    fn default() -> Self {
        let (authority, store) = (Vec::new(), Vec::new());
        Self { name: "bftkv".to_owned(), distance: 2, authority, store, allow_small: false }
    }
}

impl RealmConfig {
    /// The realm's name, checked.
    ///
    /// # Errors
    /// The writer of the file is to blame.
    pub fn realm(&self) -> Result<Realm, ConfigError> {
        Ok(Realm::new(self.name.clone())?)
    }

    /// The fingerprints of the authority.
    ///
    /// # Errors
    /// The writer of the file is to blame.
    pub fn authority_ids(&self) -> Result<Vec<NodeId>, ConfigError> {
        ids("realm.authority", &self.authority)
    }

    /// The fingerprints of the store group.
    ///
    /// # Errors
    /// The writer of the file is to blame.
    pub fn store_ids(&self) -> Result<Vec<NodeId>, ConfigError> {
        ids("realm.store", &self.store)
    }
}

fn ids(setting: &'static str, texts: &[String]) -> Result<Vec<NodeId>, ConfigError> {
    let parse = |text: &String| {
        text.parse().map_err(|_| ConfigError::Fingerprint { setting, text: text.clone() })
    };
    texts.iter().map(parse).collect()
}

/// Section `[node]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where to listen; by default the host and port of the URL in the own user ID.
    pub listen: Option<SocketAddr>,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_address: usize,
    /// Requests per second from one address, opened or not.
    pub requests_per_address: u32,
    /// Requests per second of one certificate; members of the configuration have four times as
    /// many.
    pub requests_per_identity: u32,
    /// Requests per second of unknown senders at one address; all strangers together have eight
    /// times as many.
    pub requests_of_strangers: u32,
    /// How long a clean shutdown waits for requests under way, in seconds.
    pub shutdown_seconds: u64,
    /// Who may register a certificate by a password.
    pub registration: RegistrationMode,
    /// How long a recovery by password waits, in seconds; until then the old key can stop it.
    pub recovery_delay_seconds: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            listen: None,
            connections: 1024,
            connections_per_address: 256,
            requests_per_address: 4000,
            requests_per_identity: 2000,
            requests_of_strangers: 20,
            shutdown_seconds: 10,
            registration: RegistrationMode::Approve,
            recovery_delay_seconds: 0,
        }
    }
}

/// Section `[storage]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StorageConfig {
    /// Which backend.
    pub kind: StorageKind,
    /// How much of it is kept in memory, in MiB.
    pub cache_mib: usize,
    /// How long after a look for damage the next one begins, in hours; 0: never.
    pub scrub_hours: u64,
}

impl StorageConfig {
    /// How long after a look for damage the next one begins.
    pub(crate) fn scrub_every(&self) -> Option<Duration> {
        const HOUR: u64 = 3600;
        (self.scrub_hours > 0).then(|| Duration::from_secs(self.scrub_hours.saturating_mul(HOUR)))
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { kind: StorageKind::Redb, cache_mib: 16, scrub_hours: 24 }
    }
}

/// Section `[client]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientConfig {
    /// When an operation gives up, in milliseconds.
    pub deadline_ms: u64,
    /// How long one round of questions may take, in milliseconds.
    pub round_ms: u64,
    /// The unit of the waiting time between attempts, in milliseconds.
    pub backoff_ms: u64,
    /// What a read promises: "linearizable" or "regular".
    pub consistency: ConfiguredConsistency,
}

/// [`Consistency`] as it stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ConfiguredConsistency {
    /// Reads and writes appear in one order.
    #[default]
    Linearizable,
    /// Saves the wait for the write-back.
    Regular,
}

impl From<ConfiguredConsistency> for Consistency {
    fn from(configured: ConfiguredConsistency) -> Self {
        match configured {
            ConfiguredConsistency::Linearizable => Self::Linearizable,
            ConfiguredConsistency::Regular => Self::Regular,
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            deadline_ms: 10_000,
            round_ms: 2_000,
            backoff_ms: 50,
            consistency: ConfiguredConsistency::Linearizable,
        }
    }
}

impl ClientConfig {
    /// When an operation gives up.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// How long one round of questions may take.
    #[must_use]
    pub fn round(&self) -> Duration {
        Duration::from_millis(self.round_ms)
    }

    /// The unit of the waiting time between attempts.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        Duration::from_millis(self.backoff_ms)
    }
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogConfig {
    /// error, warn, info, debug, trace, or a filter such as "info,bftkv=debug".
    pub level: String,
    /// One JSON object for each line instead of text.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "warn".to_owned(), json: false }
    }
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, the line and the setting.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let path_text = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &path_text),
            Err(error) => Err(ConfigError::Read { path: path_text, error }),
        }
    }

    /// Reads the text of a file; `path` is its name in messages.
    ///
    /// # Errors
    /// [`ConfigError`], which names the file, the line and the setting.
    pub fn parse(text: &str, path: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let (path, error) = (path.to_owned(), Box::new(error));
            ConfigError::Parse { path, error }
        })?;
        config.realm.realm()?;
        config.realm.authority_ids()?;
        config.realm.store_ids()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template without its comment signs sets everything to the default: so what stands in
    /// the file is true, and no setting is missing.
    #[test]
    fn the_template_holds_every_default() {
        let uncommented: String = TEMPLATE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let parsed: Config = toml::from_str(&uncommented).unwrap();
        assert_eq!(parsed, Config::default());
        let as_is: Config = toml::from_str(TEMPLATE).unwrap();
        assert_eq!(as_is, Config::default());
        for setting in ["name", "distance", "authority", "store", "allow_small", "connections"] {
            assert!(uncommented.contains(&format!("\n{setting} = ")), "{setting} is missing");
        }
    }

    #[test]
    fn an_unknown_setting_is_an_error_that_names_it() {
        let error = toml::from_str::<Config>("[realm]\nnmae = \"x\"").unwrap_err().to_string();
        assert!(error.contains("nmae"), "{error}");
    }
}
