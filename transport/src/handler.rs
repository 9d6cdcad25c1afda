//! What a server does with a request.

use std::future::Future;
use std::pin::Pin;

use bftkv_protocol::{NodeId, Request, Response};

/// A future on the heap, so that traits with asynchronous functions can be objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The server behind a transport. Implemented by the crate `bftkv`, and by any function
/// `async fn(NodeId, Request) -> Response`.
pub trait Handler: Send + Sync {
    /// Answers one request.
    ///
    /// `sender` has signed the request, and its freshness was checked. For [`Request::Join`] the
    /// sender may be a stranger, whose signature was checked against the certificate that it
    /// brings: keep that certificate before answering, or the answer cannot be encrypted to it.
    ///
    /// The future always runs to its end: neither a lost connection nor a passed deadline cancels
    /// it half-way. It runs on a thread of its own, within the asynchronous runtime: it may block,
    /// for a disk or for work with keys.
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response>;

    /// Whether this is a member of the configuration, which may ask more often than others.
    fn is_member(&self, _sender: &NodeId) -> bool {
        false
    }
}

impl<F, R> Handler for F
where
    F: Fn(NodeId, Request) -> R + Send + Sync,
    R: Future<Output = Response> + Send + 'static,
{
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(self(sender, request))
    }
}
