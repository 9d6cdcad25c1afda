//! The homes of a cluster that is to be measured.

use std::path::{Path, PathBuf};

use bftkv::wot::{OwnKey, no_passphrase, read_certificates};
use bftkv::{Home, NewHome};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::ClusterArgs;
use crate::commands::cluster::{ClusterHomes, ClusterSize};
use crate::failure::Failure;
use crate::limited_read;
use crate::new_home::NewSettings;
use crate::public_home::PublicHome;

/// The largest keyring that is read.
const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// Homes of nodes and of one user.
#[derive(Debug)]
pub(super) struct BenchHomes {
    /// The nodes of the configuration.
    pub(super) nodes: Vec<PathBuf>,
    /// Who puts and gets: one for each process.
    pub(super) users: Vec<PathBuf>,
    /// What kind of keys, for people.
    pub(super) keys: String,
    /// Gone with it, if it is temporary.
    _folder: Option<TempDir>,
}

/// What GnuPG exported for one party.
struct Exported {
    name: String,
    key: OwnKey,
    certificates: Vec<u8>,
}

impl BenchHomes {
    /// Makes or finds them.
    ///
    /// # Errors
    /// The disk refuses, or the folders hold no cluster.
    pub(super) fn prepare(args: &ClusterArgs) -> Result<Self, Failure> {
        if let Some(cluster) = &args.cluster {
            return Self::of(cluster, args.processes, "the cluster's".to_owned(), None);
        }
        let folder = tempfile::tempdir().map_err(Failure::failed)?;
        let path = folder.path().to_owned();
        if args.keys == Path::new("ed25519") {
            let size = ClusterSize { authority: args.nodes, store: args.store };
            let settings = NewSettings::default();
            size.create(&path, args.processes, None, settings, args.sealed)?;
            let keys = if args.sealed { "fresh Ed25519, sealed" } else { "fresh Ed25519, TLS" };
            return Self::of(&path, args.processes, keys.to_owned(), Some(folder));
        }
        make_from_exports(&args.keys, &path)?;
        let keys = args.keys.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self::of(&path, args.processes, keys, Some(folder))
    }

    fn of(
        path: &Path,
        processes: u16,
        keys: String,
        folder: Option<TempDir>,
    ) -> Result<Self, Failure> {
        let ClusterHomes { mut nodes, mut users } = ClusterHomes::find(path)?;
        users.retain(|home| may_write(home));
        users.truncate(usize::from(processes));
        let Some(user) = users.first().filter(|_| users.len() == usize::from(processes)) else {
            let (found, path) = (users.len(), path.display());
            let message = format!("{path}: {found} homes of users that see a quorum");
            return Err(Failure::failed(message)
                .hint(format!("{processes} are needed, one for each process of clients")));
        };
        let configuration = PublicHome::open(user)?.configuration()?;
        nodes.retain(|home| {
            PublicHome::open(home).is_ok_and(|node| configuration.has_member(node.id()))
        });
        Ok(Self { nodes, users, keys, _folder: folder })
    }
}

/// Whether more than b members of every clique have certified this user.
fn may_write(home: &Path) -> bool {
    let Ok(home) = PublicHome::open(home) else { return false };
    let Ok(configuration) = home.configuration() else { return false };
    let graph = home.certificates().keyring().graph();
    configuration.cliques().iter().all(|clique| {
        clique.count(graph.certifiers_of(home.id())) >= clique.thresholds().one_honest()
    })
}

/// Makes homes of GnuPG exports. The clique is what the web of trust says; the other nodes in the
/// folder are pinned as the store group, whether or not the clique has certified them.
fn make_from_exports(exports: &Path, folder: &Path) -> Result<(), Failure> {
    let parties = read_exports(exports)?;
    let certificates: Vec<Vec<u8>> =
        parties.iter().map(|party| party.certificates.clone()).collect();
    let write = |settings: &NewSettings, folder: &Path| -> Result<(), Failure> {
        let config = settings.config()?;
        for party in &parties {
            let new = NewHome { key: &party.key, certificates: &certificates, config: &config };
            Home::create(&folder.join(&party.name), &new)?;
        }
        Ok(())
    };
    // A first look finds the clique.
    let draft = tempfile::tempdir().map_err(Failure::failed)?;
    write(&NewSettings::default(), draft.path())?;
    let found = ClusterHomes::find(draft.path())?;
    let clique = found
        .users
        .iter()
        .chain(&found.nodes)
        .find_map(|home| Some(PublicHome::open(home).ok()?.configuration().ok()?.authority()));
    let clique = clique.ok_or_else(|| {
        Failure::failed(format!("{}: the keys make no quorum", exports.display()))
    })?;
    let nodes = found.nodes.iter().map(|home| Ok(PublicHome::open(home)?.id().clone()));
    let nodes: Vec<_> = nodes.collect::<Result<_, Failure>>()?;
    let store = nodes.into_iter().filter(|id| !clique.contains(id)).collect();
    let authority = clique.into_iter().collect();
    write(&NewSettings { authority, store, ..NewSettings::default() }, folder)
}

fn read_exports(exports: &Path) -> Result<Vec<Exported>, Failure> {
    let entries = std::fs::read_dir(exports).map_err(|error| Failure::file(exports, &error))?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("secring.gpg").is_file())
        .collect();
    folders.sort();
    folders.iter().map(|folder| read_export(folder)).collect()
}

fn read_export(folder: &Path) -> Result<Exported, Failure> {
    let failed =
        |error: &dyn std::error::Error| Failure::failed(format!("{}: {error}", folder.display()));
    let secret = limited_read::read(&folder.join("secring.gpg"), MAX_FILE_BYTES)?;
    let secret = Zeroizing::new(secret);
    let key = OwnKey::from_bytes(&secret, &no_passphrase).map_err(|error| failed(&error))?;
    let certificates = limited_read::read(&folder.join("pubring.gpg"), MAX_FILE_BYTES)?;
    read_certificates(&certificates).map_err(|error| failed(&error))?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Exported { name, key, certificates })
}
