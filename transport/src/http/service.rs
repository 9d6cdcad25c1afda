//! One HTTP request: from the headers to the answer.

use std::net::IpAddr;
use std::sync::Arc;

use bftkv_protocol::ChannelKey;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::ServerLimits;
use crate::limits::allowance;
use crate::sealed::{Sealed, SealedServer};
use crate::serving::{ServeFailure, Serving, Share};
use crate::tls::{Answered, TLS_PATH, TlsServer};

/// Answers HTTP requests of all connections.
#[derive(Debug)]
pub(super) struct Service {
    sealed: Arc<SealedServer>,
    tls: Option<Arc<TlsServer>>,
    limits: ServerLimits,
    in_flight: Arc<Semaphore>,
    serving: Arc<Serving>,
}

/// A request that is refused by an HTTP status. It is not authenticated and says little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Problem {
    status: StatusCode,
    reason: &'static str,
}

/// A body and its share of the memory.
type Held = (Bytes, Option<Share>);

impl Service {
    pub(super) fn new(
        sealed: SealedServer,
        tls: Option<TlsServer>,
        serving: Arc<Serving>,
        limits: ServerLimits,
    ) -> Self {
        let in_flight = Arc::new(Semaphore::new(limits.in_flight.min(Semaphore::MAX_PERMITS)));
        Self { sealed: Arc::new(sealed), tls: tls.map(Arc::new), limits, in_flight, serving }
    }

    pub(super) fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    /// Returns when no request is opened, handled or sealed any more.
    pub(super) async fn quiet(&self) {
        let all = u32::try_from(self.limits.in_flight).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        drop(self.in_flight.acquire_many(all).await);
    }

    /// Whether an address may begin a handshake.
    pub(super) fn allows_handshake(&self, from: IpAddr) -> bool {
        self.serving.throttles().allow_address(from)
    }

    /// A handshake came to nothing.
    pub(super) fn charge_handshake(&self, from: IpAddr) {
        self.serving.throttles().charge_junk(from);
    }

    /// Answers a request. `key` is at the other end of TLS; `None`: no TLS.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        key: Option<ChannelKey>,
    ) -> Response<Full<Bytes>> {
        match self.exchange(request, from, key).await {
            Ok(sealed) => answer(StatusCode::OK, super::CONTENT_TYPE, sealed),
            Err(problem) => refuse(problem),
        }
    }

    async fn exchange(
        &self,
        request: Request<Incoming>,
        from: IpAddr,
        key: Option<ChannelKey>,
    ) -> Result<Bytes, Problem> {
        if !self.serving.throttles().allow_address(from) {
            return Err(TOO_MANY);
        }
        let (head, body) = request.into_parts();
        let path = if key.is_some() { TLS_PATH } else { super::PATH };
        self.check_head(path, &head, &body)?;
        let (message, memory) = self.read(body).await?;
        let in_flight = self.in_flight.clone().try_acquire_owned().map_err(|_| BUSY)?;
        // Held here until the answer is sealed, and by the handler until it has ended.
        let held = Arc::new((in_flight, memory));
        if let (Some(key), Some(tls)) = (key, &self.tls) {
            let answered = tls.exchange(message, from, key, held).await;
            return Ok(Bytes::from_owner(Inside(answered.map_err(problem_of)?)));
        }
        let sealed = self.sealed.exchange(message, from, held.clone()).await;
        if matches!(sealed, Err(ServeFailure::NotForUs(_))) {
            self.serving.throttles().charge_junk(from);
        }
        let sealed = sealed.map_err(problem_of)?;
        drop(held);
        Ok(Bytes::from_owner(Counted(sealed)))
    }

    fn check_head(&self, path: &str, head: &Parts, body: &Incoming) -> Result<(), Problem> {
        if head.uri.path() != path || head.uri.query().is_some() {
            return Err(problem(StatusCode::NOT_FOUND, "nothing is here"));
        }
        if head.method != Method::POST {
            return Err(problem(StatusCode::METHOD_NOT_ALLOWED, "messages are posted"));
        }
        if !is_message(&head.headers) {
            let reason = "the body must be application/octet-stream, not encoded";
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
        }
        let chunked = head.headers.contains_key(TRANSFER_ENCODING);
        if body.size_hint().upper() == Some(0) && !chunked {
            return Err(problem(StatusCode::LENGTH_REQUIRED, "a body is needed"));
        }
        let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if least > self.limits.body_bytes { Err(TOO_LARGE) } else { Ok(()) }
    }

    async fn read(&self, mut body: Incoming) -> Result<Held, Problem> {
        let begun = Instant::now();
        let (timeout, rate) = (self.limits.body_timeout, self.limits.least_bytes_per_second);
        let mut message = BytesMut::new();
        let mut memory: Option<Share> = None;
        loop {
            let deadline = begun + allowance(timeout, message.len(), rate);
            let frame = timeout_at(deadline, body.frame()).await.map_err(|_| SLOW)?;
            let Some(frame) = frame else { return Ok((message.freeze(), memory)) };
            let frame = frame.map_err(|_| BROKEN_BODY)?;
            let Ok(data) = frame.into_data() else { continue };
            if message.len().saturating_add(data.len()) > self.limits.body_bytes {
                return Err(TOO_LARGE);
            }
            // Memory is taken as bytes arrive: a length that is only announced costs nothing.
            let share = self.serving.memory().take(data.len()).ok_or(BUSY)?;
            match &mut memory {
                Some(memory) => memory.merge(share),
                None => memory = Some(share),
            }
            message.extend_from_slice(&data);
        }
    }
}

const BUSY: Problem = problem(StatusCode::SERVICE_UNAVAILABLE, "too busy: try again later");
const TOO_MANY: Problem =
    problem(StatusCode::TOO_MANY_REQUESTS, "too many requests: wait a little");
const SLOW: Problem = problem(StatusCode::REQUEST_TIMEOUT, "the body came too slowly");
const TOO_LARGE: Problem = problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
const BROKEN_BODY: Problem = problem(StatusCode::BAD_REQUEST, "the body is broken");

const fn problem(status: StatusCode, reason: &'static str) -> Problem {
    Problem { status, reason }
}

/// The reasons are for the log only: whoever sends junk learns nothing of how it failed.
fn problem_of(failure: ServeFailure) -> Problem {
    match failure {
        ServeFailure::NotForUs(reason) => {
            tracing::debug!(reason, "not a sealed message for this node");
            let reason = "not a message for this node, signed by a key that is valid now";
            problem(StatusCode::BAD_REQUEST, reason)
        }
        ServeFailure::Overloaded => BUSY,
        ServeFailure::TooMany => TOO_MANY,
        ServeFailure::Broken(reason) => {
            tracing::error!(reason, "a request could not be served");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "the node cannot answer")
        }
    }
}

fn is_message(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(super::CONTENT_TYPE.as_bytes()))
        && !headers.contains_key(CONTENT_ENCODING)
}

fn answer(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn refuse(problem: Problem) -> Response<Full<Bytes>> {
    let reason = Bytes::from_static(problem.reason.as_bytes());
    let mut response = answer(problem.status, "text/plain", reason);
    let headers = response.headers_mut();
    if problem.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    // What is left of the body is not worth reading.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Bytes that give their share of the memory back when hyper has written them.
struct Counted(Sealed);

/// The same for an answer over TLS.
struct Inside(Answered);

impl AsRef<[u8]> for Inside {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}
