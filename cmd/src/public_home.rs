//! A home without its secrets, for commands that only look.

use std::path::Path;

use bftkv::{Certificates, Config, Configuration, Home, HomeError, NodeId};

use crate::failure::Failure;

/// A home whose secret key stays closed.
#[derive(Debug)]
pub(crate) struct PublicHome {
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
        Ok(Self { id: own.id().clone(), config, certificates })
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
}
