//! The asker's end: one question for each node, over a connection to that node.

use std::fmt;
use std::sync::Arc;

use bftkv_protocol::{MAX_MESSAGE_BYTES, NodeId, Request, Response, decode};
use bytes::Bytes;

use super::connector::Connector;
use super::question::{Question, encoded};
use crate::asking::{Wanted, ask_each};
use crate::http::HttpCarrier;
use crate::wiped::Wiped;
use crate::{Answers, AskOptions, Peer, TransportError, TransportRefusal};

/// Larger answers are read by a thread that may block.
const SMALL_ANSWER: usize = 64 * 1024;

/// Asks nodes over TLS.
pub(crate) struct TlsClient {
    carrier: HttpCarrier,
    connector: Connector,
}

impl TlsClient {
    pub(crate) fn new(carrier: HttpCarrier, connector: Connector) -> Self {
        Self { carrier, connector }
    }

    /// Whether the certificates say that the node is asked in this way, and in no other.
    pub(crate) fn offers(&self, node: &NodeId) -> bool {
        self.connector.channel().offers(node)
    }

    pub(crate) fn ask(
        self: &Arc<Self>,
        to: Vec<Peer>,
        request: &Request,
        options: AskOptions,
    ) -> Answers {
        let request = Arc::new(encoded(request));
        ask_each(to, options, |peer, wanted| self.clone().exchange(request.clone(), peer, wanted))
    }

    async fn exchange(
        self: Arc<Self>,
        request: Arc<Wiped>,
        peer: Peer,
        wanted: Wanted,
    ) -> Result<Response, TransportError> {
        let from = self.connector.channel().id().clone();
        let question = Question::new(from, peer.node.clone(), (*request).clone());
        let message = Wiped::encoded(&question);
        if message.len() > MAX_MESSAGE_BYTES {
            let length = message.len();
            return Err(TransportError::RequestTooLarge { length, max: MAX_MESSAGE_BYTES });
        }
        let reply = self.carrier.clone().post_by_tls(peer, Bytes::from_owner(message)).await?;
        if wanted.is_given_up() {
            return Err(TransportError::TimedOut);
        }
        read(reply).await
    }
}

/// The node is at the other end, so what does not decode is of its making.
async fn read(reply: Bytes) -> Result<Response, TransportError> {
    type Outcome = Result<Response, TransportRefusal>;
    let outcome = if reply.len() <= SMALL_ANSWER {
        decode::<Outcome>(&reply)
    } else {
        let decoded = tokio::task::spawn_blocking(move || decode::<Outcome>(&reply)).await;
        decoded.map_err(|_| TransportError::Busy)?
    };
    outcome.map_err(|_| TransportError::MalformedAnswer)?.map_err(TransportError::Refused)
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("connector", &self.connector).finish_non_exhaustive()
    }
}
