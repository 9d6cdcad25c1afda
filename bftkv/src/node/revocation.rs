//! What a node does about the convicted: cuts them out, publishes that, and tells the others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::{Answer, EquivocationProof, NodeId, Outcome, Refusal, Request, Response};
use bftkv_wot::OwnKey;

use super::core::Core;
use super::members::Members;
use crate::Certificates;
use crate::peers::{Patience, Peers};

/// How long one round of telling or asking may take.
const ROUND: Duration = Duration::from_secs(10);

/// How long to wait before those are told again who were silent: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How many pages of proofs are taken from one node at a start. One holds two million bytes, so
/// that a liar who sends pages for ever is heard for a while only.
const MAX_PAGES: usize = 64;

/// What is said in the published revocation of an edge.
const REASON: &str = "signed two different entries for one timestamp";

/// Cuts out, publishes, tells. Cheap to clone.
#[derive(Clone)]
pub(super) struct Revocation {
    pub(super) members: Arc<Members>,
    pub(super) certificates: Certificates,
    pub(super) key: OwnKey,
    pub(super) peers: Peers,
}

impl Revocation {
    /// Somebody was convicted just now; the proof is in the store.
    pub(super) fn convict(&self, proof: EquivocationProof) {
        let guilty = proof.guilty();
        if guilty == self.peers.me() {
            tracing::error!(
                "this node's own key signed two entries for one timestamp: nobody trusts it any more"
            );
        } else {
            tracing::warn!(%guilty, "signed two entries for one timestamp: cut out");
        }
        self.certificates.revoked().convict(&proof);
        self.publish(guilty);
        self.peers.in_background(self.clone().tell(proof));
    }

    /// Begins what a node owes at its start: whoever was not there when a proof was told hears of
    /// it now, and the others are asked for proofs that were told while this node was away.
    pub(super) fn begin(&self, core: &Arc<Core>) {
        for guilty in self.certificates.revoked().convicted() {
            self.publish(&guilty);
            if let Some(proof) = self.certificates.revoked().proof(&guilty) {
                self.peers.in_background(self.clone().tell(proof));
            }
        }
        for node in self.others() {
            self.peers.in_background(self.clone().ask(node, Arc::clone(core)));
        }
    }

    /// Revokes the own certifications of the guilty, so that GnuPG shows the cut edge. Everybody
    /// gets it with the certificate (join, certificates).
    fn publish(&self, guilty: &NodeId) {
        if let Err(error) = self.certificates.revoke_edge(&self.key, guilty, REASON) {
            tracing::warn!(%guilty, %error, "cannot publish that an edge was cut");
        }
    }

    /// Tells all members until each has taken it. Once is enough for each.
    async fn tell(self, proof: EquivocationProof) {
        let mut left = self.others();
        left.remove(proof.guilty());
        let mut pause = FIRST_PAUSE;
        loop {
            let request = Request::Accuse(Box::new(proof.clone()));
            let mut answers = self.peers.ask(left.clone(), request, Patience::within(ROUND));
            while let Some((node, response)) = answers.recv().await {
                if response.is_ok_and(|response| is_definite(&response.outcome)) {
                    left.remove(&node);
                }
            }
            if left.is_empty() {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Asks one node for the proofs that it keeps. What it sends is checked like any accusation.
    async fn ask(self, node: NodeId, core: Arc<Core>) {
        let mut after = None;
        for _ in 0..MAX_PAGES {
            let request = Request::Revocations { after };
            let to = BTreeSet::from([node.clone()]);
            let mut answers = self.peers.ask(to, request, Patience::within(ROUND));
            let Some((_, Ok(Response { outcome: Ok(Answer::Proofs { proofs, more }), .. }))) =
                answers.recv().await
            else {
                return;
            };
            after = proofs.last().map(|proof| proof.guilty().clone());
            for proof in proofs {
                let accusation = Request::Accuse(Box::new(proof));
                if let Err(refusal) = core.answer(node.clone(), accusation).await.outcome {
                    tracing::warn!(%node, %refusal, "sent a proof that proves nothing");
                }
            }
            if !more || after.is_none() {
                return;
            }
        }
    }

    fn others(&self) -> BTreeSet<NodeId> {
        self.members.others()
    }
}

/// Whether telling again is of no use: it is taken, or will never be.
fn is_definite(outcome: &Outcome) -> bool {
    !matches!(
        outcome,
        Err(Refusal::Busy
            | Refusal::StorageUnavailable
            | Refusal::UnknownSender
            | Refusal::UnknownWriter(_))
    )
}
