//! Asking over HTTP.

use std::sync::Arc;

use bftkv_protocol::{NodeId, Request, Seal};

use super::carrier::HttpCarrier;
use crate::sealed::{SealedClient, Workers};
use crate::{Answers, AskOptions, ClientLimits, Peer, Transport};

/// Asks nodes over HTTP by sealed messages. Clones share connections and challenges.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: Arc<SealedClient>,
}

impl HttpTransport {
    /// A client that signs and decrypts by `seal`.
    #[must_use]
    pub fn new(seal: Arc<dyn Seal>, limits: ClientLimits) -> Self {
        let workers = Workers::new(limits.waiting_work);
        let carrier = Box::new(HttpCarrier::new(limits));
        Self { client: Arc::new(SealedClient::new(seal, carrier, workers)) }
    }
}

impl Transport for HttpTransport {
    fn id(&self) -> &NodeId {
        self.client.id()
    }

    fn ask(&self, to: Vec<Peer>, request: Request, options: AskOptions) -> Answers {
        self.client.ask(to, &request, options)
    }
}
