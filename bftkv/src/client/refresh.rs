//! Which configurations a client uses: what it has adopted, changes of members, first contact.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use bftkv_protocol::{
    Answer, Configuration, Configurations, Lineage, NodeId, Request, Response, Sign as _,
    SignedChange,
};

use super::inner::Inner;
use crate::Error;
use crate::bootstrap;
use crate::peers::Patience;
use crate::record_file::RecordFile;

/// The first line of the file with the adopted configurations.
pub(super) const MAGIC: &[u8] = b"bftkv configurations 1\n";

/// What the home of a client has in this file.
pub(crate) fn known_configurations(
    path: &std::path::Path,
) -> Result<Option<Configurations>, Error> {
    read(&RecordFile::new(Some(path.to_owned()), MAGIC))
}

/// What was adopted earlier.
pub(super) fn read(file: &RecordFile) -> Result<Option<Configurations>, Error> {
    let lineage: Option<Lineage> = file.read()?;
    lineage.map(|lineage| Configurations::restore(lineage).map_err(Error::Members)).transpose()
}

impl Inner {
    /// Whether more than the web of trust speaks for what is known: a quorum, or signed changes.
    pub(super) fn is_adopted(&self) -> bool {
        self.file.exists() || self.configurations().is_ok_and(|known| !known.changes().is_empty())
    }

    /// Takes what the web of trust shows.
    pub(super) fn derive(&self) -> Result<(), Error> {
        let derived = self.certificates.configuration(self.key.id(), &self.realm)?;
        // Members that were learned by joining are needed offline too, to check proofs.
        self.certificates.keep_members(&derived);
        let mut current = self.configurations.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::new(Configurations::starting_with(derived)));
        Ok(())
    }

    /// First contact: takes what a quorum of the nodes answers. Tells whether there was one.
    pub(super) async fn bootstrap(&self) -> bool {
        let derived = self.certificates.configuration(self.key.id(), &self.realm).ok();
        let patience = Patience::within(self.settings.round());
        let found =
            bootstrap::find(&self.peers, &self.certificates, derived.as_ref(), patience).await;
        let Some(found) = found else { return false };
        *self.configurations.write().unwrap_or_else(PoisonError::into_inner) = None;
        self.adopt(found);
        true
    }

    /// Asks the nodes for changes of members that are not known here, and takes those that have
    /// their votes. Gives what is known then; `None` if nothing is.
    pub(super) async fn refresh(&self) -> Option<Arc<Configurations>> {
        let above = self.configurations().ok()?.newest().number();
        let nodes: BTreeSet<NodeId> =
            self.everyone().union(&self.certificates.nodes()).cloned().collect();
        let request = Request::Configurations { above };
        let mut answers = self.peers.ask(nodes, request, Patience::within(self.settings.round()));
        while let Some((node, response)) = answers.recv().await {
            let Ok(Response { outcome: Ok(Answer::Configurations { lineage, .. }), .. }) = response
            else {
                continue;
            };
            self.take_changes(&node, lineage.changes).await;
            // One honest answer is enough: what it says proves itself.
            if self.configurations().is_ok_and(|known| known.newest().number() > above) {
                break;
            }
        }
        let known = self.configurations().ok()?;
        self.meet_members(known.newest()).await;
        Some(known)
    }

    /// Gets the certificates of members that are new here: their URLs stand in them.
    async fn meet_members(&self, configuration: &Configuration) {
        let is_new = |id: &NodeId| !self.certificates.keyring().contains(id);
        let (new, known): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
            configuration.everyone().into_iter().partition(is_new);
        if !new.is_empty() {
            self.fetch_from(known, new).await;
            self.certificates.keep_members(configuration);
        }
    }

    /// Takes changes that follow each other, as many as are good.
    async fn take_changes(&self, from: &NodeId, changes: Vec<SignedChange>) {
        for change in changes {
            let Ok(known) = self.configurations() else { return };
            let mut extended = (*known).clone();
            let mut taken = extended.extend(change.clone(), self.keys());
            while let Err(error) = &taken
                && let Some(missing) = error.missing_certificate().cloned()
            {
                self.fetch(BTreeSet::from([missing.clone()])).await;
                if !self.certificates.keyring().contains(&missing) {
                    break;
                }
                taken = extended.extend(change.clone(), self.keys());
            }
            match taken {
                Ok(()) => self.adopt(extended),
                Err(error) => {
                    tracing::debug!(node = %from, %error, "a change of members does not count");
                    return;
                }
            }
        }
    }

    /// Uses these configurations from now on, unless newer ones are known already.
    pub(super) fn adopt(&self, known: Configurations) {
        self.certificates.keep_members(known.newest());
        let mut current = self.configurations.write().unwrap_or_else(PoisonError::into_inner);
        let newest = known.newest().number();
        if current.as_ref().is_none_or(|current| current.newest().number() < newest) {
            tracing::info!(number = newest, "adopted the configuration that the nodes have");
            if let Err(error) = self.file.write(&known.lineage()) {
                tracing::warn!(%error, "cannot keep the adopted configuration");
            }
            *current = Some(Arc::new(known));
        }
    }
}
