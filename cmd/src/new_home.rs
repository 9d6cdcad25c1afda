//! The settings file of a new home, made from the template in which every setting is explained.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bftkv::protocol::Realm;
use bftkv::storage::StorageKind;
use bftkv::{NodeId, TEMPLATE};
use clap::Args;

use crate::failure::Failure;

/// Settings that are written into a new home.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings of the new home")]
pub(crate) struct NewSettings {
    /// The realm's name, the same at all its nodes and clients [default: bftkv].
    #[arg(long, value_name = "NAME")]
    pub(crate) realm: Option<String>,

    /// Where a node listens [default: the host and port of the URL in the user ID].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,

    /// The store: redb, leveldb, files or memory [default: redb].
    #[arg(long, value_name = "KIND", value_parser = parse_kind)]
    pub(crate) storage: Option<StorageKind>,

    /// Fingerprints of exactly the nodes that sign [default: found in the web of trust].
    #[arg(long, value_name = "FPR", num_args = 1.., value_delimiter = ',')]
    pub(crate) authority: Vec<NodeId>,

    /// Fingerprints of the store group [default: found in the web of trust].
    #[arg(long, value_name = "FPR", num_args = 1.., value_delimiter = ',')]
    pub(crate) store: Vec<NodeId>,

    /// Let cliques of fewer than four nodes sign. They tolerate no fault: for experiments.
    #[arg(long)]
    pub(crate) allow_small: bool,
}

/// The names of [`StorageKind`]s, as in the settings file.
pub(crate) fn parse_kind(name: &str) -> Result<StorageKind, String> {
    let kinds = [StorageKind::Redb, StorageKind::LevelDb, StorageKind::Files, StorageKind::Memory];
    let found = kinds.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| "it is one of redb, leveldb, files, memory".to_owned())
}

impl NewSettings {
    /// The text of the settings file.
    ///
    /// # Errors
    /// The realm's name is not allowed.
    pub(crate) fn config(&self) -> Result<String, Failure> {
        let mut text = TEMPLATE.to_owned();
        if let Some(name) = &self.realm {
            let realm = Realm::new(name.clone()).map_err(Failure::usage)?;
            text = set(&text, "name", &format!("{:?}", realm.as_str()))?;
        }
        if let Some(listen) = self.listen {
            text = set(&text, "listen", &format!("\"{listen}\""))?;
        }
        if let Some(kind) = self.storage {
            text = set(&text, "kind", &format!("{:?}", kind.name()))?;
        }
        if !self.authority.is_empty() {
            text = set(&text, "authority", &list(&self.authority))?;
        }
        if !self.store.is_empty() {
            text = set(&text, "store", &list(&self.store))?;
        }
        if self.allow_small {
            text = set(&text, "allow_small", "true")?;
        }
        Ok(text)
    }
}

/// The file with which a lost or stolen key is revoked.
const REVOCATION: &str = "revocation.rev";

/// Writes the revocation certificate of a new key into its home, for its owner alone.
///
/// # Errors
/// The disk refuses, or there is one already.
pub(crate) fn save_revocation(home: &Path, text: &str) -> Result<PathBuf, Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = home.join(REVOCATION);
    let mut options = std::fs::File::options();
    let opened = options.write(true).create_new(true).mode(0o600).open(&path);
    let written =
        opened.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| Failure::file(&path, &error))?;
    Ok(path)
}

fn list(ids: &[NodeId]) -> String {
    let quoted: Vec<String> = ids.iter().map(|id| format!("\"{id}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// Takes the comment sign away from a setting and gives it a value.
fn set(template: &str, setting: &str, value: &str) -> Result<String, Failure> {
    let stands = |line: &str| {
        let setting_in_comment = line.trim_start_matches(['#', ':', ' ']);
        line.starts_with('#')
            && setting_in_comment.strip_prefix(setting).is_some_and(|rest| rest.starts_with(" = "))
    };
    if !template.lines().any(stands) {
        return Err(Failure::failed(format!("the template has no setting {setting:?}")));
    }
    let line = |line: &str| {
        if stands(line) { format!("{setting} = {value}\n") } else { format!("{line}\n") }
    };
    Ok(template.lines().map(line).collect())
}

#[cfg(test)]
mod tests {
    use bftkv::Config;

    use super::*;

    #[test]
    fn every_setting_reaches_the_file() {
        let id: NodeId = "ab".repeat(20).parse().unwrap();
        let settings = NewSettings {
            realm: Some("test".to_owned()),
            listen: Some("127.0.0.1:5".parse().unwrap()),
            storage: Some(StorageKind::Files),
            authority: vec![id.clone()],
            store: vec![id.clone(), id.clone()],
            allow_small: true,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, settings.config().unwrap()).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.realm.name, "test");
        assert_eq!(config.node.listen, settings.listen);
        assert_eq!(config.storage.kind, StorageKind::Files);
        assert_eq!(config.realm.authority_ids().unwrap(), settings.authority);
        assert_eq!(config.realm.store_ids().unwrap(), settings.store);
        assert!(config.realm.allow_small);
    }

    #[test]
    fn nothing_set_is_the_template() {
        assert_eq!(NewSettings::default().config().unwrap(), TEMPLATE);
    }

    #[test]
    fn a_bad_realm_is_refused() {
        let settings = NewSettings { realm: Some("A b".to_owned()), ..NewSettings::default() };
        assert!(settings.config().is_err());
    }
}
