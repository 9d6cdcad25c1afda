//! Answers requests: those about membership from the certificates, the others from the rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use bftkv_protocol::{
    Announcement, Answer, CertificateBytes, CertifiedEntry, NodeId, Outcome, Part, Refusal,
    Request, Response, Variable,
};
use bftkv_roaming::Protected;
use bftkv_transport::{BoxFuture, Handler};

use super::core::Core;
use super::members::Members;
use super::recovery::Recovery;
use super::repairs::Repairs;
use crate::Certificates;

/// The most certificates that one request may ask for.
const MAX_CERTIFICATES_ASKED: usize = 64;

/// The most bytes of certificates in one answer.
const MAX_CERTIFICATES_BYTES: usize = 2 * 1024 * 1024;

/// The most bytes of proofs in one answer, unless one proof alone is larger: that of a writer has
/// two values of up to 1 MiB.
const MAX_PROOFS_BYTES: usize = 2 * 1024 * 1024;

/// What stands behind the transport.
pub(super) struct Service {
    core: Arc<Core>,
    recovery: Recovery,
    certificates: Certificates,
    members: Arc<Members>,
    repairs: Arc<Repairs>,
}

impl Service {
    pub(super) fn new(
        core: Arc<Core>,
        recovery: Recovery,
        members: Arc<Members>,
        repairs: Arc<Repairs>,
    ) -> Self {
        Self { core, certificates: recovery.certificates.clone(), recovery, members, repairs }
    }

    /// Answers under the configuration that is in force by then; what is about a variable, under
    /// the one in force when it was decided.
    async fn answer(&self, sender: NodeId, request: Request) -> Response {
        let outcome = match request {
            Request::Join { certificate } => self.join(&sender, &certificate),
            Request::Introduce { certificate } => self.introduce(&certificate),
            Request::Certificates { ids } => self.certificates(&ids),
            Request::Revocations { after } => self.revocations(after.as_ref()),
            // One proof against each is enough: another need not even be checked.
            Request::Accuse(proof) if self.is_convicted(proof.guilty()) => Ok(Answer::Done),
            Request::Announce(announcement) => self.announce(&sender, *announcement),
            Request::Repair { begin } => Ok(Answer::Repair(self.repairs.progress(begin))),
            Request::Configurations { above } => self.members.answer_configurations(above),
            Request::Propose { predecessor, change, binding } => {
                self.members.answer_proposal(&sender, predecessor, &change, binding).await
            }
            Request::Change(change) => self.members.answer_change(&self.core, *change).await,
            Request::Accuse(_) => return self.core.answer(sender, request).await,
            Request::Roaming(request) => match self.recovery.gate.pass().await {
                Ok(()) => self.core.answer_roaming(sender, request).await,
                Err(refusal) => Err(refusal),
            },
            other => match self.recovery.gate.pass().await {
                Ok(()) => {
                    let protected = protected_in(&other);
                    let response = self.core.answer(sender, other).await;
                    self.core.settle(protected).await;
                    return response;
                }
                Err(refusal) => Err(refusal),
            },
        };
        Response { configuration: self.members.configurations().newest().digest(), outcome }
    }

    /// Paper: §4.2 join. Everybody may join; the graph alone decides what a certificate may do.
    fn join(&self, sender: &NodeId, certificate: &CertificateBytes) -> Outcome {
        let id = self.certificates.add(certificate).map_err(|_| Refusal::Malformed)?;
        if id != *sender {
            return Err(Refusal::Malformed);
        }
        let members: Vec<NodeId> =
            self.members.configurations().newest().everyone().into_iter().collect();
        let list = self.certificates.keyring().for_join(&members, MAX_CERTIFICATES_BYTES);
        Ok(Answer::Certificates(list))
    }

    fn announce(&self, sender: &NodeId, announcement: Announcement) -> Outcome {
        self.recovery.take(sender, announcement).map(|()| Answer::Done)
    }

    /// A certificate proves itself, so anybody may bring it.
    fn introduce(&self, certificate: &CertificateBytes) -> Outcome {
        self.certificates.add(certificate).map_err(|_| Refusal::Malformed)?;
        Ok(Answer::Done)
    }

    fn is_convicted(&self, id: &NodeId) -> bool {
        self.certificates.revoked().proof(id).is_some()
    }

    fn revocations(&self, after: Option<&NodeId>) -> Outcome {
        let (proofs, more) = self.certificates.revoked().page(after, MAX_PROOFS_BYTES);
        Ok(Answer::Proofs { proofs, more })
    }

    fn certificates(&self, ids: &[NodeId]) -> Outcome {
        let found = ids.iter().take(MAX_CERTIFICATES_ASKED);
        let mut left = MAX_CERTIFICATES_BYTES;
        let fits = |bytes: &CertificateBytes| {
            left = left.saturating_sub(bytes.as_bytes().len());
            left > 0
        };
        let list = found.filter_map(|id| self.certificates.bytes(id)).take_while(fits).collect();
        Ok(Answer::Certificates(list))
    }
}

/// The variables of which the request stores values under passwords.
fn protected_in(request: &Request) -> BTreeSet<Variable> {
    let stored: Vec<&CertifiedEntry> = match request {
        Request::Store { entry } => vec![entry],
        Request::Many(parts) => parts.iter().filter_map(stored_by).collect(),
        _ => Vec::new(),
    };
    let protected = stored.into_iter().filter(|entry| Protected::is_one(&entry.entry().value));
    protected.map(|entry| entry.variable().clone()).collect()
}

fn stored_by(part: &Part) -> Option<&CertifiedEntry> {
    if let Part::Store { entry } = part { Some(entry) } else { None }
}

impl Handler for Service {
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let command = request.command();
            let response = self.answer(sender.clone(), request).await;
            if let Err(refusal) = &response.outcome {
                tracing::debug!(%sender, command, code = refusal.code(), %refusal, "refused");
            }
            response
        })
    }

    fn is_member(&self, sender: &NodeId) -> bool {
        self.members.configurations().newest().has_member(sender)
    }
}
