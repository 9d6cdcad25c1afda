//! The asker's end: seals once for a whole group, and believes only answers to this very question.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::{MAX_MESSAGE_BYTES, NodeId, Nonce, Request, Response, Seal, SealError};
use bytes::Bytes;
use lru::LruCache;
use tokio::sync::OnceCell;

use super::envelope::{
    AnswerBody, Body, Challenge, Envelope, EnvelopeError, MAX_RECIPIENTS, Recipient, RequestBody,
    random_nonce,
};
use super::workers::{WorkError, Workers};
use crate::answers::distinct;
use crate::asking::{Wanted, ask_each};
use crate::wiped::Wiped;
use crate::{Answers, AskOptions, BoxFuture, Peer, TransportError, TransportRefusal};

/// How many nodes' challenges are remembered. Forgetting one costs one more round trip.
const REMEMBERED_CHALLENGES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How often one question is sealed again for a node that refuses it as stale or replayed. Once is
/// the rule; the second time is for a node that restarts or renews its challenge just then.
const RESEALS: usize = 2;

/// Brings sealed bytes to a node and what it sends back. Knows nothing of what is inside.
pub(crate) trait Carrier: Send + Sync {
    fn carry(
        &self,
        peer: Peer,
        message: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Asks nodes by sealed messages.
pub(crate) struct SealedClient {
    seal: Arc<dyn Seal>,
    carrier: Box<dyn Carrier>,
    challenges: Mutex<LruCache<NodeId, Challenge>>,
    workers: Workers,
}

/// One request for up to [`MAX_RECIPIENTS`] nodes; whoever of them is first seals it for all.
struct Question {
    request: Wiped,
    nodes: Vec<NodeId>,
    sealed: OnceCell<Sealed>,
}

/// The sealed message, and the nodes for which it could not be sealed.
struct Sealed {
    message: Result<Message, TransportError>,
    left_out: BTreeMap<NodeId, SealError>,
}

#[derive(Clone)]
struct Message {
    bytes: Bytes,
    nonce: Nonce,
}

impl SealedClient {
    pub(crate) fn new(seal: Arc<dyn Seal>, carrier: Box<dyn Carrier>, workers: Workers) -> Self {
        let challenges = Mutex::new(LruCache::new(REMEMBERED_CHALLENGES));
        Self { seal, carrier, challenges, workers }
    }

    pub(crate) fn id(&self) -> &NodeId {
        self.seal.id()
    }

    pub(crate) fn ask(
        self: &Arc<Self>,
        to: Vec<Peer>,
        request: &Request,
        options: AskOptions,
    ) -> Answers {
        let peers = distinct(to);
        let questions = Question::for_all(&peers, request);
        ask_each(peers, options, |peer, wanted| {
            let question = questions.get(&peer.node).cloned();
            let this = self.clone();
            async move {
                let question = question.ok_or(TransportError::Busy)?;
                this.exchange(&question, peer, wanted).await
            }
        })
    }

    async fn exchange(
        self: Arc<Self>,
        question: &Arc<Question>,
        peer: Peer,
        wanted: Wanted,
    ) -> Result<Response, TransportError> {
        let sealed = question.sealed.get_or_init(|| self.seal_for_all(question.clone())).await;
        let mut message = sealed.message_for(&peer.node)?;
        let mut reseals = 0;
        loop {
            let reply = self.carrier.carry(peer.clone(), message.bytes).await?;
            if wanted.is_given_up() {
                return Err(TransportError::TimedOut);
            }
            let refusal = match self.open(peer.node.clone(), message.nonce, reply).await? {
                Ok(response) => return Ok(response),
                Err(refusal) => refusal,
            };
            if reseals == RESEALS || !is_mended_by_sealing_again(refusal) {
                return Err(TransportError::Refused(refusal));
            }
            reseals += 1;
            message = self.seal_again(question.clone(), &peer.node).await?;
        }
    }

    async fn seal_for_all(self: &Arc<Self>, question: Arc<Question>) -> Sealed {
        let this = self.clone();
        let sealed = self.work(move || Ok(this.seal_for(&question, question.nodes.clone()))).await;
        sealed.unwrap_or_else(|error| Sealed { message: Err(error), left_out: BTreeMap::new() })
    }

    async fn seal_again(
        self: &Arc<Self>,
        question: Arc<Question>,
        node: &NodeId,
    ) -> Result<Message, TransportError> {
        let this = self.clone();
        let nodes = vec![node.clone()];
        self.work(move || Ok(this.seal_for(&question, nodes))).await?.message_for(node)
    }

    async fn open(
        self: &Arc<Self>,
        asked: NodeId,
        nonce: Nonce,
        reply: Bytes,
    ) -> Result<Result<Response, TransportRefusal>, TransportError> {
        let this = self.clone();
        self.work(move || this.open_answer(&asked, nonce, &reply)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        match self.workers.run(work).await {
            Ok(done) => done,
            Err(WorkError::Full) => Err(TransportError::Busy),
            Err(WorkError::Died) => {
                Err(TransportError::Seal(SealError::OwnKey("a worker failed".to_owned())))
            }
        }
    }

    //----- Sealing and opening; runs on a worker -----

    /// Seals for all nodes whose certificates allow it.
    fn seal_for(&self, question: &Question, nodes: Vec<NodeId>) -> Sealed {
        let mut nodes: BTreeSet<NodeId> = nodes.into_iter().collect();
        let mut left_out = BTreeMap::new();
        loop {
            match self.seal_once(question, nodes.iter().cloned().collect()) {
                Err(TransportError::Seal(SealError::Recipient { recipient, reason }))
                    if nodes.remove(&recipient) =>
                {
                    let error = SealError::Recipient { recipient: recipient.clone(), reason };
                    left_out.insert(recipient, error);
                }
                message => return Sealed { message, left_out },
            }
        }
    }

    fn seal_once(
        &self,
        question: &Question,
        nodes: Vec<NodeId>,
    ) -> Result<Message, TransportError> {
        if nodes.is_empty() {
            // Every node has been left out with its own reason; nobody sees this one.
            return Err(TransportError::Busy);
        }
        let nonce = random_nonce().map_err(TransportError::Seal)?;
        let recipients = self.with_challenges(&nodes);
        let body = RequestBody { recipients, request: question.request.clone() };
        let plaintext = Envelope::new(nonce, Body::Request(body)).to_bytes();
        if plaintext.len() > MAX_MESSAGE_BYTES {
            let length = plaintext.len();
            return Err(TransportError::RequestTooLarge { length, max: MAX_MESSAGE_BYTES });
        }
        let sealed = self.seal.seal(&nodes, &plaintext).map_err(TransportError::Seal)?;
        Ok(Message { bytes: sealed.into(), nonce })
    }

    fn with_challenges(&self, nodes: &[NodeId]) -> Vec<Recipient> {
        let mut known = self.lock();
        let recipient = |node: &NodeId| {
            let challenge = known.get(node).copied();
            Recipient { node: node.clone(), challenge }
        };
        nodes.iter().map(recipient).collect()
    }

    /// The answer counts only if the node that was asked signed it, for this request, for us.
    fn open_answer(
        &self,
        asked: &NodeId,
        nonce: Nonce,
        reply: &[u8],
    ) -> Result<Result<Response, TransportRefusal>, TransportError> {
        let opened = self.seal.open(reply, MAX_MESSAGE_BYTES).map_err(not_opened)?;
        if opened.sender != *asked {
            return Err(TransportError::WrongSigner { signer: opened.sender });
        }
        let body = answer_in(&opened.plaintext, nonce)?;
        if body.asker != *self.seal.id() {
            return refused_as_stranger(&body).ok_or(TransportError::WrongRequest).map(Err);
        }
        self.lock().put(asked.clone(), body.challenge);
        Ok(body.outcome)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<NodeId, Challenge>> {
        // A panic in the cache itself is the only way to poison it; the worst that a damaged
        // entry does is one more round trip.
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for SealedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedClient").field("id", self.seal.id()).finish_non_exhaustive()
    }
}

impl Question {
    /// One question for each [`MAX_RECIPIENTS`] peers, by node.
    fn for_all(peers: &[Peer], request: &Request) -> BTreeMap<NodeId, Arc<Self>> {
        let request = Wiped::encoded(request);
        let mut questions = BTreeMap::new();
        for part in peers.chunks(MAX_RECIPIENTS) {
            let nodes: Vec<NodeId> = part.iter().map(|peer| peer.node.clone()).collect();
            let request = request.clone();
            let question = Self { request, nodes: nodes.clone(), sealed: OnceCell::new() };
            let question = Arc::new(question);
            questions.extend(nodes.into_iter().map(|node| (node, question.clone())));
        }
        questions
    }
}

impl Sealed {
    fn message_for(&self, node: &NodeId) -> Result<Message, TransportError> {
        match self.left_out.get(node) {
            Some(error) => Err(TransportError::Seal(error.clone())),
            None => self.message.clone(),
        }
    }
}

/// Every request may be asked again (rule R3: the same signed entry again is harmless), so a
/// message that arrived twice is simply sent with a fresh nonce.
fn is_mended_by_sealing_again(refusal: TransportRefusal) -> bool {
    matches!(refusal, TransportRefusal::StaleChallenge | TransportRefusal::Replayed)
}

fn answer_in(plaintext: &[u8], nonce: Nonce) -> Result<AnswerBody, TransportError> {
    match Envelope::read(plaintext) {
        Ok(Envelope { nonce: found, body: Body::Answer(body), .. }) if found == nonce => Ok(*body),
        // A request of that node, or an answer to something else, can have been put here by
        // anybody who saw it.
        Ok(_) => Err(TransportError::WrongRequest),
        Err(EnvelopeError::OtherVersion(version)) => Err(TransportError::OtherVersion { version }),
        Err(EnvelopeError::Malformed(_)) => Err(TransportError::MalformedAnswer),
    }
}

/// Who does not know our certificate knows us by the key that signed, which may be a subkey. So
/// this one refusal may name another asker; all that follows from it is that we join.
fn refused_as_stranger(body: &AnswerBody) -> Option<TransportRefusal> {
    let refusal = body.outcome.as_ref().err().copied();
    refusal.filter(|refusal| *refusal == TransportRefusal::UnknownSender)
}

fn not_opened(error: SealError) -> TransportError {
    match error {
        SealError::OwnKey(_) => TransportError::Seal(error),
        error => TransportError::NotOpened(error.to_string()),
    }
}
