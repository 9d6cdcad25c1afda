//! A home without its secrets, for commands that only look.

use std::path::{Path, PathBuf};

use bftkv::protocol::Configurations;
use bftkv::{Certificates, Config, Configuration, Home, HomeError, NodeId, Register};

use crate::failure::Failure;

/// A home whose secret key stays closed.
#[derive(Debug)]
pub(crate) struct PublicHome {
    path: PathBuf,
    id: NodeId,
    config: Config,
    certificates: Certificates,
}

impl PublicHome {
    /// Reads settings and certificates.
    ///
    /// # Errors
    /// It is no home, or something in it cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if !path.join(Home::CONFIG).is_file() {
            return Err(HomeError::NotAHome(path.to_owned()).into());
        }
        let config = Config::read(&path.join(Home::CONFIG))?;
        let key = path.join(Home::KEY);
        let found = bftkv::wot::read_file(&key).map_err(Failure::failed)?;
        let own = found.certificates.into_iter().next();
        let own = own.ok_or_else(|| Failure::failed(format!("{}: no key", key.display())))?;
        let certificates = Certificates::open(&path.join(Home::CERTIFICATES))?;
        let certificates = certificates.with_revoked(&path.join(Home::REVOKED))?;
        Ok(Self { path: path.to_owned(), id: own.id().clone(), config, certificates })
    }

    /// The own certificate.
    pub(crate) fn id(&self) -> &NodeId {
        &self.id
    }

    /// The settings.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The certificates.
    pub(crate) fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Who wants to be registered at this node.
    pub(crate) fn register(&self) -> Register {
        Register::of_home(&self.path, &self.config.node)
    }

    /// Whether the own certificate is a node's.
    pub(crate) fn is_node(&self) -> bool {
        self.certificates.url(&self.id).is_some()
    }

    /// The configuration that this home sees.
    ///
    /// # Errors
    /// The certificates make no quorum.
    pub(crate) fn configuration(&self) -> Result<Configuration, Failure> {
        Ok(self.certificates.configuration(&self.id, &self.config.realm)?)
    }

    /// All configurations that this home knows: those that it has adopted, as a node or as a client. If it
    /// never had to, what its web of trust shows, with those whom it has cut out since: they stay in n, and
    /// what they had signed stays valid.
    ///
    /// # Errors
    /// The file is damaged, or there is none and the certificates make no quorum.
    pub(crate) fn configurations(&self) -> Result<Configurations, Failure> {
        if let Some(known) = Home::known_configurations(&self.path)? {
            return Ok(known);
        }
        let derived = self.configuration().or_else(|failure| {
            let uncut = Certificates::open(&self.path.join(Home::CERTIFICATES))?;
            uncut.configuration(&self.id, &self.config.realm).map_err(|_| failure)
        });
        Ok(Configurations::starting_with(derived?))
    }
}
