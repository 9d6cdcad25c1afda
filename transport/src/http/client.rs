//! Asking over HTTP.

use std::sync::Arc;

use bftkv_protocol::{Channel, NodeId, Request, Seal, SealError};

use super::carrier::{HttpCarrier, Traffic};
use crate::answers::distinct;
use crate::sealed::{SealedClient, Workers};
use crate::tls::{Connector, TlsClient};
use crate::{Answers, AskOptions, ClientLimits, Peer, Transport};

/// Asks nodes over HTTP: by TLS or by sealed messages, as the certificates say. Clones share
/// connections and challenges.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    sealed: Arc<SealedClient>,
    tls: Option<Arc<TlsClient>>,
    carrier: HttpCarrier,
}

impl HttpTransport {
    /// A client that asks by sealed messages only; it signs and decrypts by `seal`.
    #[must_use]
    pub fn new(seal: Arc<dyn Seal>, limits: ClientLimits) -> Self {
        Self::assemble(seal, None, limits)
    }

    /// A client that asks a node over TLS if both certificates hold a key for it, and by sealed
    /// messages if not.
    ///
    /// # Errors
    /// TLS cannot be set up; ours.
    pub fn with_tls(
        seal: Arc<dyn Seal>,
        channel: Arc<dyn Channel>,
        limits: ClientLimits,
    ) -> Result<Self, SealError> {
        Ok(Self::assemble(seal, Some(Connector::new(channel)?), limits))
    }

    fn assemble(seal: Arc<dyn Seal>, connector: Option<Connector>, limits: ClientLimits) -> Self {
        let workers = Workers::new(limits.waiting_work);
        let carrier = HttpCarrier::new(limits, connector.clone());
        let tls = connector.map(|connector| TlsClient::new(carrier.clone(), connector));
        let sealed = SealedClient::new(seal, Box::new(carrier.clone()), workers);
        Self { sealed: Arc::new(sealed), tls: tls.map(Arc::new), carrier }
    }

    /// What was sent and received so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.carrier.traffic()
    }
}

impl Transport for HttpTransport {
    fn id(&self) -> &NodeId {
        self.sealed.id()
    }

    /// Nothing that a node, or somebody on the way, answers leads to another way of asking it.
    fn ask(&self, to: Vec<Peer>, request: Request, options: AskOptions) -> Answers {
        let Some(tls) = &self.tls else { return self.sealed.ask(to, &request, options) };
        let (by_tls, sealed): (Vec<Peer>, Vec<Peer>) =
            distinct(to).into_iter().partition(|peer| tls.offers(&peer.node));
        match (by_tls.is_empty(), sealed.is_empty()) {
            (true, _) => self.sealed.ask(sealed, &request, options),
            (_, true) => tls.ask(by_tls, &request, options),
            _ => {
                let answers = tls.ask(by_tls, &request, options);
                answers.with(self.sealed.ask(sealed, &request, options))
            }
        }
    }
}
