//! Posts messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};

use super::endpoint::Endpoint;
use super::pool::{Connection, Destination, Pool, Slot};
use crate::sealed::Carrier;
use crate::tls::{Connector, TLS_PATH};
use crate::{BoxFuture, ClientLimits, Peer, TransportError};

/// How much of the reason of a status other than 200 is kept, in bytes.
const MAX_REASON_BYTES: usize = 200;

/// Carries messages by HTTP. No redirects, no proxies, no cookies: a node is where its URL says.
#[derive(Debug, Clone)]
pub(crate) struct HttpCarrier {
    pool: Arc<Pool>,
    traffic: Arc<Counters>,
    body_bytes: usize,
}

/// What a client has sent and received so far: bodies of requests and of answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// How many, both ways.
    pub messages: u64,
    /// Their bytes, without HTTP's and TLS's own.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct Counters {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Counters {
    fn count(&self, body: &Bytes) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl HttpCarrier {
    pub(super) fn new(limits: ClientLimits, connector: Option<Connector>) -> Self {
        let body_bytes = limits.body_bytes;
        Self { body_bytes, traffic: Arc::default(), pool: Arc::new(Pool::new(limits, connector)) }
    }

    pub(super) fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic { messages: read(&self.traffic.messages), bytes: read(&self.traffic.bytes) }
    }

    /// Posts a question over TLS, to the node that is asked and to nobody else.
    pub(crate) async fn post_by_tls(
        self,
        peer: Peer,
        message: Bytes,
    ) -> Result<Bytes, TransportError> {
        let endpoint = Endpoint::parse(&peer.url)?;
        let to = Destination { endpoint, node: Some(peer.node) };
        self.post(to, TLS_PATH, message).await
    }

    async fn post_sealed(self, peer: Peer, message: Bytes) -> Result<Bytes, TransportError> {
        let to = Destination { endpoint: Endpoint::parse(&peer.url)?, node: None };
        self.post(to, super::PATH, message).await
    }

    async fn post(
        self,
        to: Destination,
        path: &'static str,
        message: Bytes,
    ) -> Result<Bytes, TransportError> {
        let slot = self.pool.slot(to).await;
        self.traffic.count(&message);
        let (connection, response) = send(&slot, path, message).await?;
        if response.status() != StatusCode::OK {
            return Err(self.status(response).await);
        }
        let body = self.body(response.into_body()).await?;
        self.traffic.count(&body);
        slot.keep(connection);
        Ok(body)
    }

    async fn body(&self, mut body: Incoming) -> Result<Bytes, TransportError> {
        let too_large = TransportError::AnswerTooLarge { max: self.body_bytes };
        let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if least > self.body_bytes {
            return Err(too_large);
        }
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if bytes.len().saturating_add(data.len()) > self.body_bytes {
                return Err(too_large);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes.freeze())
    }

    /// What a status other than 200 says. Anybody may have written it, so it is only shown.
    async fn status(&self, response: Response<Incoming>) -> TransportError {
        let status = response.status().as_u16();
        let text = match response.into_body().frame().await {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            _ => Bytes::new(),
        };
        let printable = text.iter().take(MAX_REASON_BYTES).filter(|b| matches!(b, 0x20..=0x7e));
        TransportError::Http { status, reason: printable.map(|b| char::from(*b)).collect() }
    }
}

impl Carrier for HttpCarrier {
    fn carry(
        &self,
        peer: Peer,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(self.clone().post_sealed(peer, message))
    }
}

/// Sends by a kept connection, or by a new one if there is none or the node has closed it.
///
/// A node can close a connection in the moment in which a request is sent. Then the request is
/// sent once more: if the node has seen it after all, a sealed message is refused as replayed and
/// sealed again; over TLS it is handled twice, as every request may be (rule R3).
async fn send(
    slot: &Slot,
    path: &'static str,
    message: Bytes,
) -> Result<(Connection, Response<Incoming>), TransportError> {
    if let Some(mut connection) = slot.pooled().await
        && let Ok(response) = connection.send(request(slot.endpoint(), path, &message)).await
    {
        return Ok((connection, response));
    }
    let mut connection = slot.fresh().await?;
    let response = connection.send(request(slot.endpoint(), path, &message)).await;
    Ok((connection, response.map_err(broken)?))
}

fn request(endpoint: &Endpoint, path: &'static str, message: &Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(HOST, endpoint.host());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(super::CONTENT_TYPE));
    request
}

fn broken(error: hyper::Error) -> TransportError {
    TransportError::Unreachable(format!("the connection broke: {error}"))
}
