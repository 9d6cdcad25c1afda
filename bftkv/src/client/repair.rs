//! How far the nodes have come with certifying entries again whose signers were cut out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bftkv_protocol::{Answer, NodeId, RepairProgress, Request, Response};

use super::Client;
use crate::Error;
use crate::peers::Patience;

/// How long to wait before the nodes are asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// What each member says; `None`: it did not answer.
pub type RepairStatus = BTreeMap<NodeId, Option<RepairProgress>>;

impl Client {
    /// What every member that was not cut out says about certifying entries again. With `begin`, each
    /// is asked to try at once what is left over; without, it does so by itself, later.
    ///
    /// # Errors
    /// No configuration is known.
    pub async fn repair_status(&self, begin: bool) -> Result<RepairStatus, Error> {
        let configuration = self.configuration()?;
        let members: BTreeSet<NodeId> =
            configuration.everyone().difference(&self.inner.cut()).cloned().collect();
        let mut found: RepairStatus = members.iter().map(|id| (id.clone(), None)).collect();
        let patience = Patience::within(self.inner.settings.round());
        let mut answers = self.inner.peers.ask(members, Request::Repair { begin }, patience);
        while let Some((node, response)) = answers.recv().await {
            if let Ok(Response { outcome: Ok(Answer::Repair(progress)), .. }) = response {
                found.insert(node, Some(progress));
            }
        }
        Ok(found)
    }

    /// Asks the members to certify again what has lost signers, and waits until each says that
    /// nothing is left, at most so long. Gives what they said last.
    ///
    /// # Errors
    /// No configuration is known.
    pub async fn repair(
        &self,
        patience: Duration,
        mut show: impl FnMut(&RepairStatus),
    ) -> Result<RepairStatus, Error> {
        self.inner.refresh().await;
        let until = Instant::now() + patience;
        let mut status = self.repair_status(true).await?;
        loop {
            show(&status);
            let is_done = |said: &Option<RepairProgress>| said.is_some_and(|said| said.done);
            if status.values().all(is_done) || Instant::now() >= until {
                return Ok(status);
            }
            tokio::time::sleep(PAUSE).await;
            status = self.repair_status(false).await?;
        }
    }
}
