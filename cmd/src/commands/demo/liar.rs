//! A node that lies.

use std::sync::Arc;

use bftkv::protocol::{Answer, CertifiedEntry, NodeId, Request, Response, Value};
use bftkv::transport::{BoxFuture, Handler};

/// How far ahead of the truth the forged entry claims to be.
const AHEAD: u64 = 1000;

/// What the liar wants its readers to believe.
pub(super) const LIE: &[u8] = b"I owe the liar a million";

/// Answers as an honest node would, except to reads: those get a forged newer entry. The
/// signatures in it are real ones, of another entry: it has no others.
pub(super) struct Liar {
    honest: Arc<dyn Handler>,
}

impl Liar {
    /// Puts a liar in front of an honest node's handler.
    pub(super) fn new(honest: Arc<dyn Handler>) -> Self {
        Self { honest }
    }
}

impl Handler for Liar {
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        let is_read = matches!(request, Request::Read { .. } | Request::Digest { .. });
        let answer = self.honest.handle(sender, request);
        Box::pin(async move {
            let mut response = answer.await;
            if let (true, Ok(Answer::Entry(Some(entry)))) = (is_read, &mut response.outcome) {
                forge(entry);
            }
            response
        })
    }
}

fn forge(entry: &mut CertifiedEntry) {
    let told = &mut entry.signed.entry;
    told.timestamp = told.timestamp.saturating_add(AHEAD);
    // The lie is shorter than the greatest value.
    if let Ok(lie) = Value::new(LIE) {
        told.value = lie;
    }
}
