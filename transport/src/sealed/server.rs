//! The server's end: who asks, is it meant for us, is it new; then the handler; then the answer.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use bftkv_protocol::{
    CertificateBytes, MAX_MESSAGE_BYTES, NodeId, Nonce, Opened, Request, Response, Seal, SealError,
    decode,
};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::challenges::{Challenges, RENEW_AFTER};
use super::envelope::{AnswerBody, Body, Envelope, EnvelopeError, MAX_RECIPIENTS, RequestBody};
use crate::TransportRefusal;
use crate::serving::{ServeFailure, Serving, Share};
use crate::wiped::Wiped;

/// Opens requests, has them handled, and seals the answers.
pub(crate) struct SealedServer {
    seal: Arc<dyn Seal>,
    challenges: Challenges,
    serving: Arc<Serving>,
}

/// A sealed answer, and its share of the memory.
pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    #[allow(dead_code, reason = "held, not read: dropping it frees the memory")]
    share: Option<Share>,
}

/// An answer that is yet to be sealed, and the share of the memory for it and for what is made of
/// it. Refusals are small and take none.
struct Plain {
    bytes: Wiped,
    share: Option<Share>,
}

/// What was found in a message.
struct Admission {
    from: Caller,
    /// A new request for us, of the authenticated caller; or why it is refused.
    request: Result<Request, TransportRefusal>,
}

/// To whom, and to which message, the answer goes.
#[derive(Clone)]
struct Caller {
    node: NodeId,
    nonce: Nonce,
    /// Whether the certificate is known, so that the answer can be encrypted.
    known: bool,
}

impl SealedServer {
    /// # Errors
    /// Without random numbers.
    pub(crate) fn new(seal: Arc<dyn Seal>, serving: Arc<Serving>) -> Result<Self, SealError> {
        Ok(Self { seal, challenges: Challenges::new(RENEW_AFTER)?, serving })
    }

    /// Answers one sealed message that came from `address`. `guard` is dropped when the handler has
    /// ended, which may be after the answer.
    pub(crate) async fn exchange<G: Send + 'static>(
        self: &Arc<Self>,
        sealed: Bytes,
        address: IpAddr,
        guard: G,
    ) -> Result<Sealed, ServeFailure> {
        let caller = Arc::new(OnceLock::new());
        let (this, runtime, to) = (self.clone(), Handle::current(), caller.clone());
        // Neither a lost connection nor the timeout stops it half-way.
        let work = self.serving.work(move || this.serve(&runtime, &sealed, address, guard, &to));
        match (timeout(self.serving.handler_timeout(), work).await, caller.get()) {
            (Ok(answer), _) => answer,
            (Err(_), Some(caller)) => {
                let (this, to) = (self.clone(), caller.clone());
                let refusal = self.refuse(&to, TransportRefusal::Overloaded);
                self.serving.work(move || this.seal_answer(to, refusal)).await
            }
            // Too slow even to find out who asks.
            (Err(_), None) => Err(ServeFailure::Overloaded),
        }
    }

    /// Opens, has handled, and seals; runs on a thread that may block. Tells early who asks.
    fn serve<G>(
        &self,
        runtime: &Handle,
        sealed: &[u8],
        address: IpAddr,
        guard: G,
        caller: &OnceLock<Caller>,
    ) -> Result<Sealed, ServeFailure> {
        let Admission { mut from, request } = self.admit(sealed, address)?;
        let answer = match request {
            Err(refusal) => self.refuse(&from, refusal),
            Ok(request) => {
                // Whoever joins is known afterwards, or the answer is signed only.
                from.known = true;
                // Nobody else sets it.
                let _ = caller.set(from.clone());
                let response = self.serving.handle(runtime, from.node.clone(), request);
                drop(guard);
                self.write(&from, response)
            }
        };
        self.seal_answer(from, answer)
    }

    //----- Opening -----

    fn admit(&self, sealed: &[u8], address: IpAddr) -> Result<Admission, ServeFailure> {
        let (signer, plaintext, refusal) = match self.seal.open(sealed, MAX_MESSAGE_BYTES) {
            Ok(opened) => {
                let admission = self.examine(&opened, true);
                drop(Wiped::new(opened.plaintext));
                return admission;
            }
            Err(SealError::Stranger(it)) => {
                (it.claimed_key, it.plaintext, TransportRefusal::UnknownSender)
            }
            Err(SealError::NotValidNow(it)) => {
                (Some(it.sender), it.plaintext, TransportRefusal::SenderNotValid)
            }
            Err(SealError::OwnKey(reason)) => return Err(ServeFailure::Broken(reason)),
            Err(error) => return Err(ServeFailure::NotForUs(error.to_string())),
        };
        if !self.serving.throttles().allow_stranger(address) {
            return Err(ServeFailure::TooMany);
        }
        match joining(&plaintext) {
            Some(certificate) => self.admit_joining(sealed, &certificate),
            None => refuse(signer, &plaintext, refusal),
        }
    }

    /// A stranger, or somebody whose key has run out here, may do one thing: join, with the
    /// certificate that its message was signed by.
    fn admit_joining(
        &self,
        sealed: &[u8],
        certificate: &CertificateBytes,
    ) -> Result<Admission, ServeFailure> {
        match self.seal.open_from(sealed, MAX_MESSAGE_BYTES, certificate) {
            Ok(opened) => self.examine(&opened, false),
            Err(SealError::NotValidNow(it)) => {
                refuse(Some(it.sender), &it.plaintext, TransportRefusal::SenderNotValid)
            }
            Err(error) => Err(ServeFailure::NotForUs(error.to_string())),
        }
    }

    fn examine(&self, opened: &Opened, known: bool) -> Result<Admission, ServeFailure> {
        let nonce = Envelope::nonce_of(&opened.plaintext)
            .ok_or_else(|| ServeFailure::NotForUs("too short".to_owned()))?;
        let from = Caller { node: opened.sender.clone(), nonce, known };
        let request = self.check(opened, nonce);
        let is_too_much = request == Err(TransportRefusal::TooManyRequests);
        if is_too_much && !self.serving.throttles().allow_refusal(&from.node) {
            return Err(ServeFailure::TooMany);
        }
        Ok(Admission { from, request })
    }

    fn check(&self, opened: &Opened, nonce: Nonce) -> Result<Request, TransportRefusal> {
        let body = request_in(&opened.plaintext)?;
        let own = body.recipients.iter().find(|recipient| recipient.node == *self.seal.id());
        let own = own.ok_or(TransportRefusal::WrongRecipient)?;
        self.challenges.admit(&opened.sender, nonce, own.challenge)?;
        // After the check for replays: nobody can use up what another may ask.
        if !self.serving.allow_identity(&opened.sender) {
            return Err(TransportRefusal::TooManyRequests);
        }
        let request: Request = decode(&body.request).map_err(|_| TransportRefusal::Malformed)?;
        self.serving.charge_identity(&opened.sender, request.weight());
        Ok(request)
    }

    //----- Answering -----

    /// The answer, if it is not too large and there is memory for it; else a refusal.
    fn write(&self, to: &Caller, response: Response) -> Plain {
        let bytes = self.envelope(to, Ok(response));
        if bytes.len() > MAX_MESSAGE_BYTES {
            return self.refuse(to, TransportRefusal::TooLarge);
        }
        match self.serving.memory().take(bytes.len().saturating_mul(2)) {
            Some(share) => Plain { bytes, share: Some(share) },
            None => self.refuse(to, TransportRefusal::Overloaded),
        }
    }

    fn refuse(&self, to: &Caller, refusal: TransportRefusal) -> Plain {
        Plain { bytes: self.envelope(to, Err(refusal)), share: None }
    }

    fn seal_answer(&self, to: Caller, answer: Plain) -> Result<Sealed, ServeFailure> {
        let recipients = std::slice::from_ref(&to.node);
        let recipients = if to.known { recipients } else { &[] };
        match self.seal.seal(recipients, &answer.bytes) {
            Ok(bytes) => Ok(Sealed { bytes, share: answer.share.map(half) }),
            // It joined, and the handler did not take its certificate.
            Err(SealError::Recipient { .. }) if to.known => {
                let to = Caller { known: false, ..to };
                let refusal = self.refuse(&to, TransportRefusal::UnknownSender);
                self.seal_answer(to, refusal)
            }
            Err(error) => Err(ServeFailure::Broken(error.to_string())),
        }
    }

    fn envelope(&self, to: &Caller, outcome: Result<Response, TransportRefusal>) -> Wiped {
        let challenge = self.challenges.current();
        let body = AnswerBody { asker: to.node.clone(), challenge, outcome };
        Envelope::new(to.nonce, Body::Answer(Box::new(body))).to_bytes()
    }
}

impl std::fmt::Debug for SealedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedServer").field("node", self.seal.id()).finish_non_exhaustive()
    }
}

/// The plaintext is gone; what is sealed remains.
fn half(mut share: Share) -> Share {
    drop(share.split(share.num_permits() / 2));
    share
}

/// A refusal to somebody whose certificate does not help to encrypt it: signed only.
fn refuse(
    signer: Option<NodeId>,
    plaintext: &[u8],
    refusal: TransportRefusal,
) -> Result<Admission, ServeFailure> {
    match (signer, Envelope::nonce_of(plaintext)) {
        (Some(node), Some(nonce)) => {
            Ok(Admission { from: Caller { node, nonce, known: false }, request: Err(refusal) })
        }
        _ => Err(ServeFailure::NotForUs(refusal.to_string())),
    }
}

fn request_in(plaintext: &[u8]) -> Result<RequestBody, TransportRefusal> {
    match Envelope::read(plaintext) {
        Ok(Envelope { body: Body::Request(body), .. })
            if body.recipients.len() <= MAX_RECIPIENTS =>
        {
            Ok(body)
        }
        Ok(_) | Err(EnvelopeError::Malformed(_)) => Err(TransportRefusal::Malformed),
        Err(EnvelopeError::OtherVersion(_)) => Err(TransportRefusal::UnsupportedVersion),
    }
}

/// The certificate in a join request, which nobody has verified yet.
fn joining(plaintext: &[u8]) -> Option<CertificateBytes> {
    match decode(&request_in(plaintext).ok()?.request).ok()? {
        Request::Join { certificate } => Some(certificate),
        _ => None,
    }
}
