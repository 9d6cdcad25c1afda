//! Learning of changes of members.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use bftkv_protocol::{Answer, Configurations, NodeId, Request, Response, SignedChange};

use super::inner::Inner;
use crate::peers::Patience;

impl Inner {
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
        self.configurations().ok()
    }

    /// Takes changes that follow each other, as many as are good.
    async fn take_changes(&self, from: &NodeId, changes: Vec<SignedChange>) {
        for change in changes {
            let Ok(known) = self.configurations() else { return };
            let mut extended = (*known).clone();
            let mut taken = extended.extend(change.clone(), self.keys());
            if let Err(error) = &taken
                && let Some(missing) = error.missing_certificate()
            {
                self.fetch(BTreeSet::from([missing.clone()])).await;
                taken = extended.extend(change, self.keys());
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
    fn adopt(&self, known: Configurations) {
        let mut current = self.configurations.write().unwrap_or_else(PoisonError::into_inner);
        let newest = known.newest().number();
        if current.as_ref().is_none_or(|current| current.newest().number() < newest) {
            tracing::info!(number = newest, "the members have changed");
            *current = Some(Arc::new(known));
        }
    }
}
