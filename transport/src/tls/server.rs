//! The server's end of a question: does the connection's key belong to whoever asks, now; then the
//! handler; then the answer.

use std::net::IpAddr;
use std::sync::Arc;

use bftkv_protocol::{
    Channel, ChannelKey, ChannelStanding, MAX_MESSAGE_BYTES, NodeId, Request, Response, decode,
    encode,
};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::question::Question;
use crate::TransportRefusal;
use crate::serving::{ServeFailure, Serving, Share};

/// Answers questions.
pub(crate) struct TlsServer {
    channel: Arc<dyn Channel>,
    serving: Arc<Serving>,
}

/// An answer, and its share of the memory; refusals are small and take none.
pub(crate) struct Answered {
    pub(crate) bytes: Vec<u8>,
    #[allow(dead_code, reason = "held, not read: dropping it frees the memory")]
    share: Option<Share>,
}

/// Why a question is not handled.
enum Refused {
    /// The asker is told why.
    By(TransportRefusal),
    /// The asker, or its address, asks too often, and is told so by a status.
    TooMany,
}

impl From<TransportRefusal> for Refused {
    fn from(refusal: TransportRefusal) -> Self {
        Self::By(refusal)
    }
}

impl TlsServer {
    pub(crate) fn new(channel: Arc<dyn Channel>, serving: Arc<Serving>) -> Self {
        Self { channel, serving }
    }

    /// Answers one question that came from `address`, over a connection with `key` at its other
    /// end. `guard` is dropped when the handler has ended, which may be after the answer.
    pub(crate) async fn exchange<G: Send + 'static>(
        self: &Arc<Self>,
        message: Bytes,
        address: IpAddr,
        key: ChannelKey,
        guard: G,
    ) -> Result<Answered, ServeFailure> {
        let (this, runtime) = (self.clone(), Handle::current());
        // On a thread that may block, and not stopped half-way by a timeout or a lost connection.
        let work = self.serving.work(move || {
            let answer = match this.admit(&message, address, &key) {
                Ok((sender, request)) => {
                    drop(message);
                    Ok(this.serving.handle(&runtime, sender, request))
                }
                Err(refused) => Err(refused),
            };
            drop(guard);
            this.write(answer)
        });
        match timeout(self.serving.handler_timeout(), work).await {
            Ok(answer) => answer,
            Err(_) => Ok(refusal(TransportRefusal::Overloaded)),
        }
    }

    /// Everything is looked at anew for each question: a resumed connection was checked by nobody,
    /// and what was true when a connection was made may have been revoked since.
    fn admit(
        &self,
        message: &[u8],
        address: IpAddr,
        key: &ChannelKey,
    ) -> Result<(NodeId, Request), Refused> {
        let question: Question = decode(message).map_err(|_| TransportRefusal::Malformed)?;
        if !question.is_of_this_version() {
            return Err(TransportRefusal::UnsupportedVersion.into());
        }
        if question.to != *self.channel.id() {
            return Err(TransportRefusal::WrongRecipient.into());
        }
        let refusal = match self.channel.standing(&question.from, key) {
            ChannelStanding::Valid => return self.admit_known(question),
            ChannelStanding::NotValidNow => TransportRefusal::SenderNotValid,
            _ => TransportRefusal::UnknownSender,
        };
        if !self.serving.throttles().allow_stranger(address) {
            return Err(Refused::TooMany);
        }
        self.admit_joining(question, key, refusal)
    }

    fn admit_known(&self, question: Question) -> Result<(NodeId, Request), Refused> {
        if !self.serving.allow_identity(&question.from) {
            return Err(TransportRefusal::TooManyRequests.into());
        }
        let request: Request =
            decode(&question.request).map_err(|_| TransportRefusal::Malformed)?;
        self.serving.charge_identity(&question.from, request.weight());
        Ok((question.from, request))
    }

    /// A stranger, or somebody whose key has run out here, may do one thing: join, with the
    /// certificate that holds the connection's key.
    fn admit_joining(
        &self,
        question: Question,
        key: &ChannelKey,
        refusal: TransportRefusal,
    ) -> Result<(NodeId, Request), Refused> {
        let request = decode(&question.request).map_err(|_| refusal)?;
        let Request::Join { certificate } = &request else { return Err(refusal.into()) };
        match self.channel.standing_in(&question.from, key, certificate) {
            ChannelStanding::Valid => Ok((question.from, request)),
            ChannelStanding::NotValidNow => Err(TransportRefusal::SenderNotValid.into()),
            _ => Err(refusal.into()),
        }
    }

    fn write(&self, answer: Result<Response, Refused>) -> Result<Answered, ServeFailure> {
        let response = match answer {
            Ok(response) => response,
            Err(Refused::By(why)) => return Ok(refusal(why)),
            Err(Refused::TooMany) => return Err(ServeFailure::TooMany),
        };
        let bytes = encode(&Ok::<_, TransportRefusal>(response));
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Ok(refusal(TransportRefusal::TooLarge));
        }
        Ok(match self.serving.memory().take(bytes.len()) {
            Some(share) => Answered { bytes, share: Some(share) },
            None => refusal(TransportRefusal::Overloaded),
        })
    }
}

fn refusal(refusal: TransportRefusal) -> Answered {
    Answered { bytes: encode(&Err::<Response, _>(refusal)), share: None }
}

impl std::fmt::Debug for TlsServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsServer").field("node", self.channel.id()).finish_non_exhaustive()
    }
}
