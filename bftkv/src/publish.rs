//! Bringing a certificate to the nodes without having its key.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::{Answer, CertificateBytes, NodeId, Request, Response};
use bftkv_transport::{ClientLimits, HttpTransport};
use bftkv_wot::generate_key;

use crate::peers::{Patience, Peers};
use crate::{Certificates, Error, HomeError, JoinReport};

/// How long the nodes may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Under which name it is brought. Nobody certifies it, so it can do nothing else.
const MESSENGER: &str = "Messenger <messenger@bftkv.invalid>";

/// Hands a certificate to nodes, under a key that is made for this and forgotten. A certificate
/// proves itself, so it does not matter who brings it: a revocation can be published although the
/// key that it revokes is lost.
///
/// # Errors
/// No key could be made; ours. Nodes that did not take it are in the report.
pub async fn publish(
    certificates: &Certificates,
    certificate: &CertificateBytes,
    to: BTreeSet<NodeId>,
) -> Result<JoinReport, Error> {
    let messenger = generate_key(MESSENGER, None).map_err(HomeError::Key)?.key;
    certificates.add(messenger.certificate_bytes()).map_err(HomeError::Certificate)?;
    let transport = HttpTransport::new(certificates.seal(&messenger), ClientLimits::default());
    let peers = Peers::new(certificates.clone(), messenger, Arc::new(transport), true);
    let request = Request::Introduce { certificate: certificate.clone() };
    let mut answers = peers.ask(to, request, Patience::within(PATIENCE));
    let mut report = JoinReport::default();
    while let Some((node, response)) = answers.recv().await {
        if matches!(response, Ok(Response { outcome: Ok(Answer::Done), .. })) {
            report.answered.insert(node);
        } else {
            report.silent.insert(node);
        }
    }
    Ok(report)
}
