//! The certificates that a node or a client knows, and the folder where it keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bftkv_protocol::{
    Address, CertificateBytes, Channel, Configuration, NodeId, Seal, Sign, Verify,
};
use bftkv_transport::{ClientLimits, HttpTransport};
use bftkv_wot::{
    CertificateError, CertificateRecord, ChannelKeys, ConfigurationOptions, Keyring,
    KeyringOptions, Origin, OwnKey, QuorumCertificates, ReadError, Sealer, Statement,
    derive_configuration, read_file, read_folder,
};

use crate::config::RealmConfig;
use crate::files::{lock, replace};
use crate::{Error, HomeError, Revoked};

/// A keyring and, if it has one, the folder that it is kept in: one file for each certificate.
///
/// Certificates of strangers live in memory, within bounds. Those of members, and of whoever has
/// written something that is stored here, are kept on disk: what is stored can always be checked.
#[derive(Debug, Clone)]
pub struct Certificates {
    keyring: Keyring,
    folder: Option<PathBuf>,
    kept: Arc<Mutex<BTreeSet<NodeId>>>,
    revoked: Revoked,
}

/// What came of reading a home's certificates again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// How many certificates are new or have changed.
    pub certificates: usize,
    /// How many certificates are cut out of the graph that were not before.
    pub cut: usize,
}

impl Certificates {
    /// The certificates in a folder. Files that are no certificates are told in the log.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self, HomeError> {
        let known = Self {
            folder: Some(folder.to_owned()),
            ..Self::in_memory(Keyring::new(KeyringOptions::default()))
        };
        known.read(folder)?;
        Ok(known)
    }

    /// Returns how many certificates are new or have changed.
    fn read(&self, folder: &Path) -> Result<usize, HomeError> {
        let found = read_folder(folder)?;
        for error in &found.refused {
            tracing::warn!(%error, "a certificate was passed over");
        }
        let mut changed = 0_usize;
        for record in found.certificates {
            let id = record.id().clone();
            match self.keyring.add(record, Origin::Local) {
                Ok(is_new) => {
                    changed = changed.saturating_add(usize::from(is_new));
                    self.note_kept(id);
                }
                Err(error) => tracing::warn!(%id, %error, "a certificate was passed over"),
            }
        }
        Ok(changed)
    }

    /// Reads the folders of certificates and of revocations again, for what has been put there
    /// since by the operator's commands or by hand. What is known stays known.
    ///
    /// # Errors
    /// When a folder cannot be read; what was read before that counts.
    pub fn reload(&self) -> Result<Reloaded, HomeError> {
        let certificates = match &self.folder {
            Some(folder) => self.read(folder)?,
            None => 0,
        };
        Ok(Reloaded { certificates, cut: self.revoked.read_folder()? })
    }

    /// The same, with the revocations that a folder keeps: they are cut out of the graph.
    ///
    /// # Errors
    /// When the folder cannot be read; it need not exist.
    pub fn with_revoked(self, folder: &Path) -> Result<Self, HomeError> {
        Ok(Self { revoked: Revoked::open(self.keyring.clone(), folder)?, ..self })
    }

    /// Certificates that are in memory only.
    #[must_use]
    pub fn in_memory(keyring: Keyring) -> Self {
        let revoked = Revoked::in_memory(keyring.clone());
        Self { keyring, folder: None, kept: Arc::default(), revoked }
    }

    /// The keyring.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Who was cut out of the graph, and why.
    #[must_use]
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// Revokes, with the own key, its certifications of a certificate: ordinary OpenPGP
    /// certification revocations, which `gpg --check-sigs` shows. The result is kept here and handed
    /// out with the certificate. Returns whether there was anything to revoke.
    ///
    /// # Errors
    /// The own key cannot certify, or the disk refuses.
    pub fn revoke_edge(&self, key: &OwnKey, of: &NodeId, reason: &str) -> Result<bool, Error> {
        let addresses = self.keyring.vouched_for(key.id(), of);
        for address in &addresses {
            let Some(bytes) = self.bytes(of) else { continue };
            let revoked = key.certify(&bytes, address, Statement::Revoke { reason });
            let record = CertificateRecord::new(&revoked.map_err(HomeError::Key)?);
            self.import(record.map_err(HomeError::Certificate)?)?;
        }
        Ok(!addresses.is_empty())
    }

    /// Checks signatures.
    pub(crate) fn keys(&self) -> &dyn Verify {
        &self.keyring
    }

    /// Seals and opens messages with this key.
    pub(crate) fn seal(&self, key: &OwnKey) -> Arc<dyn Seal> {
        Arc::new(Sealer::new(self.keyring.clone(), key.clone()))
    }

    /// The key for connections, if there is one.
    pub(crate) fn channel(&self, key: &OwnKey) -> Option<Arc<dyn Channel>> {
        let keys = ChannelKeys::of(self.keyring.clone(), key)?;
        Some(Arc::new(keys))
    }

    /// The way to other nodes: by TLS where both certificates have a key for it, by sealed messages
    /// where not.
    ///
    /// # Errors
    /// TLS cannot be set up; ours.
    pub fn transport(&self, key: &OwnKey, limits: ClientLimits) -> Result<HttpTransport, Error> {
        let seal = self.seal(key);
        Ok(match self.channel(key) {
            Some(channel) => HttpTransport::with_tls(seal, channel, limits)?,
            None => HttpTransport::new(seal, limits),
        })
    }

    /// Takes a certificate from a peer. What is new in a copy of one that is kept on disk (a
    /// revocation above all) is kept as well; if the disk refuses, that is told in the log.
    ///
    /// # Errors
    /// The peer's fault: it is no certificate, or too large.
    pub fn add(&self, certificate: &CertificateBytes) -> Result<NodeId, CertificateError> {
        let record = CertificateRecord::new(certificate)?;
        let id = record.id().clone();
        let changed = self.keyring.add(record, Origin::Stranger)?;
        if changed
            && self.is_kept(&id)
            && let Err(error) = self.save(&id)
        {
            tracing::warn!(%id, %error, "cannot keep a certificate on disk");
        }
        Ok(id)
    }

    /// Adds a certificate of one's own and writes it to the folder.
    ///
    /// # Errors
    /// When it is no certificate, or cannot be written.
    pub fn import(&self, record: CertificateRecord) -> Result<NodeId, HomeError> {
        let id = record.id().clone();
        self.keyring.add(record, Origin::Local).map_err(HomeError::Certificate)?;
        self.save(&id)?;
        Ok(id)
    }

    /// Keeps a certificate on disk that is known so far: that of a member, or of the writer of an
    /// entry that is about to be stored.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, id: &NodeId) -> Result<(), HomeError> {
        if self.is_kept(id) {
            return Ok(());
        }
        if self.keyring.keep(id) {
            self.save(id)?;
        }
        Ok(())
    }

    fn is_kept(&self, id: &NodeId) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Writes a certificate to the folder, with what others have put into its file since it was
    /// read: a revocation of an operator's command above all. Commands and nodes wait for each
    /// other; whoever replaces the file by hand in this very moment may lose to us.
    fn save(&self, id: &NodeId) -> Result<(), HomeError> {
        if let Some(folder) = &self.folder {
            let _one_at_a_time = lock(folder)?;
            let path = folder.join(format!("{id}.pgp"));
            self.merge_from(&path, id)?;
            if let Some(bytes) = self.bytes(id) {
                replace(&path, bytes.as_bytes())?;
            }
        }
        self.note_kept(id.clone());
        Ok(())
    }

    /// Takes what a file knows of a certificate. Nothing is taken from one that holds none: the
    /// log tells, and what is known here is better.
    fn merge_from(&self, path: &Path, id: &NodeId) -> Result<(), HomeError> {
        let found = match read_file(path) {
            Ok(found) => found,
            Err(ReadError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(());
            }
            Err(error @ ReadError::Certificate { .. }) => {
                tracing::warn!(%error, "a file that is no certificate is replaced");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        for record in found.certificates.into_iter().filter(|record| record.id() == id) {
            self.keyring.add(record, Origin::Local).map_err(HomeError::Certificate)?;
        }
        Ok(())
    }

    fn note_kept(&self, id: NodeId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    /// The certificate of `id`.
    #[must_use]
    pub fn bytes(&self, id: &NodeId) -> Option<CertificateBytes> {
        self.keyring.record(id).map(|record| record.bytes().clone())
    }

    /// The URL of a node.
    #[must_use]
    pub fn url(&self, id: &NodeId) -> Option<Address> {
        self.keyring.url(id)
    }

    /// The address under which a certificate writes: that of its first identity.
    #[must_use]
    pub fn address(&self, id: &NodeId) -> Option<Address> {
        self.keyring.identities(id).into_iter().next().map(|identity| identity.address)
    }

    /// All nodes that are known.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.keyring.graph().nodes().cloned().collect()
    }

    /// Addresses by fingerprint, for messages to people.
    #[must_use]
    pub fn names(&self) -> BTreeMap<NodeId, String> {
        let name = |id: NodeId| Some((id.clone(), self.address(&id)?.as_str().to_owned()));
        self.keyring.records().iter().filter_map(|(r, _)| name(r.id().clone())).collect()
    }

    /// What a server `own` knows about writers.
    pub(crate) fn quorum_certificates(
        &self,
        configuration: &Configuration,
        own: &NodeId,
    ) -> QuorumCertificates {
        QuorumCertificates::new(self.keyring.clone(), configuration, own)
    }

    /// The configuration that `start` sees: derived from the web of trust, or pinned by lists.
    ///
    /// # Errors
    /// The certificates do not make a quorum, or the lists are wrong; the message says more.
    pub fn configuration(
        &self,
        start: &NodeId,
        realm: &RealmConfig,
    ) -> Result<Configuration, Error> {
        let options = ConfigurationOptions {
            distance: realm.distance,
            authority: realm.authority_ids()?,
            store: realm.store_ids()?,
            allow_small: realm.allow_small,
            ..ConfigurationOptions::default()
        };
        let graph = self.keyring.graph();
        Ok(derive_configuration(&graph, start, realm.realm()?, &options)?)
    }

    /// Keeps the certificates of everybody in the configuration on disk.
    pub(crate) fn keep_members(&self, configuration: &Configuration) {
        for member in configuration.everyone() {
            if let Err(error) = self.keep(&member) {
                tracing::warn!(%member, %error, "cannot keep a member's certificate on disk");
            }
        }
    }
}
