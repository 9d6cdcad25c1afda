//! The way to other nodes, for clients and for nodes among themselves.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bftkv_protocol::client::Lost;
use bftkv_protocol::{
    Answer, NodeId, PartAnswer, PartOutcome, Refusal, Request, Response, Sign, SignatureBytes,
    SignatureShare,
};
use bftkv_transport::{AskOptions, Fault, Peer, Transport, TransportError, TransportRefusal};
use bftkv_wot::OwnKey;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Certificates;

/// An answer as the state machines take it.
pub(crate) type Heard = (NodeId, Result<Response, Lost>);

/// How long a message that nobody waits for may take.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many nodes are asked for a newer certificate of one whose answer cannot be opened.
const MAX_REFRESHED_FROM: usize = 3;

/// Asks nodes and posts to them. Cheap to clone; clones share everything.
///
/// A node that does not know us, or the writer of what we bring, is told and asked once more.
#[derive(Clone)]
pub(crate) struct Peers {
    parts: Arc<Parts>,
}

struct Parts {
    certificates: Certificates,
    key: OwnKey,
    transport: Arc<dyn Transport>,
    /// Whether we may be asked too: a client with a node's key is not that node.
    asks_itself: bool,
    background: Mutex<JoinSet<()>>,
}

/// How patiently to ask, and whether the question outlives its asker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    options: AskOptions,
    lingers: bool,
}

impl Patience {
    /// Waits so long; what is open when nobody waits any more is given up.
    pub(crate) fn within(deadline: Duration) -> Self {
        Self { options: AskOptions::within(deadline), lingers: false }
    }

    /// Goes on in the background when nobody waits any more: a store phase reaches all nodes.
    pub(crate) fn lingering(deadline: Duration) -> Self {
        Self { options: AskOptions::within(deadline).in_background(), lingers: true }
    }
}

impl Peers {
    pub(crate) fn new(
        certificates: Certificates,
        key: OwnKey,
        transport: Arc<dyn Transport>,
        asks_itself: bool,
    ) -> Self {
        let background = Mutex::default();
        Self { parts: Arc::new(Parts { certificates, key, transport, asks_itself, background }) }
    }

    /// Who asks.
    pub(crate) fn me(&self) -> &NodeId {
        self.parts.key.id()
    }

    /// Asks nodes; their answers come as they arrive, one for each node. A node never asks
    /// itself.
    pub(crate) fn ask(
        &self,
        to: BTreeSet<NodeId>,
        request: Request,
        patience: Patience,
    ) -> mpsc::UnboundedReceiver<Heard> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (reachable, homeless) = self.places(to);
        for node in homeless {
            tracing::warn!(%node, "no URL is known for this node");
            let _ = sender.send((node, Err(Lost::Silent)));
        }
        let peers = self.clone();
        let lingers = patience.lingers;
        let work = async move {
            let transport = &peers.parts.transport;
            let mut answers = transport.ask(reachable, request.clone(), patience.options);
            loop {
                let next = tokio::select! {
                    next = answers.next() => next,
                    () = sender.closed(), if !lingers => return,
                };
                let Some((node, answer)) = next else { return };
                match peers.mend_for(&node, &answer) {
                    None => {
                        let _ = sender.send(heard(node, answer));
                    }
                    Some(mend) => peers.mend_and_ask(node, mend, &request, patience, &sender),
                }
            }
        };
        if lingers {
            self.in_background(work);
        } else {
            tokio::spawn(work);
        }
        receiver
    }

    /// Sends a message and forgets about it.
    pub(crate) fn post(&self, to: BTreeSet<NodeId>, request: Request) {
        let mut answers = self.ask(to, request, Patience::lingering(POST_TIMEOUT));
        self.in_background(async move { while answers.recv().await.is_some() {} });
    }

    /// Runs work that [`Peers::finish`] waits for and [`Peers::stop`] ends.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.background();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Waits for work in the background, at most so long.
    pub(crate) async fn finish(&self, patience: Duration) {
        let take = || std::mem::take(&mut *self.background());
        let all = async {
            let mut tasks = take();
            while !tasks.is_empty() {
                while tasks.join_next().await.is_some() {}
                // Work in the background may have begun more of it.
                tasks = take();
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::debug!("left before everything in the background was done");
        }
    }

    /// Ends all work in the background.
    pub(crate) fn stop(&self) {
        self.background().abort_all();
    }

    /// The request by which we hand over our own certificate.
    pub(crate) fn join_request(&self) -> Option<Request> {
        let certificate = self.parts.certificates.bytes(self.me())?;
        Some(Request::Join { certificate })
    }

    /// What an answer shows to be missing. Over TLS a node is known by another key than the one that
    /// it signs with, so a fresh signing key is noticed by what it has signed.
    fn mend_for(&self, node: &NodeId, answer: &Result<Response, TransportError>) -> Option<Mend> {
        let keyring = self.parts.certificates.keyring();
        let is_by_unknown_key = |own: &SignatureBytes| !keyring.holds_maker(node, own);
        match Mend::for_answer(answer) {
            None if own_signatures(node, answer).any(is_by_unknown_key) => Some(Mend::Refresh),
            mend => mend,
        }
    }

    /// Introduces what the node lacks and asks it once more.
    fn mend_and_ask(
        &self,
        node: NodeId,
        mend: Mend,
        request: &Request,
        patience: Patience,
        sender: &mpsc::UnboundedSender<Heard>,
    ) {
        let (peers, request, sender) = (self.clone(), request.clone(), sender.clone());
        tokio::spawn(async move {
            let introduction = match mend {
                Mend::Join => peers.join_request(),
                Mend::Introduce(id) => {
                    let certificate = peers.parts.certificates.bytes(&id);
                    certificate.map(|certificate| Request::Introduce { certificate })
                }
                Mend::Refresh => {
                    peers.refresh(&node, patience).await;
                    None
                }
            };
            if let Some(introduction) = introduction {
                // Whether it helped shows when the node is asked again.
                let _ = peers.ask_one(&node, introduction, patience).await;
            }
            let answer = peers.ask_one(&node, request, patience).await;
            let _ = sender.send(answer);
        });
    }

    /// Asks others for the certificate of a node whose answer cannot be opened, who has another key
    /// for connections, or who signs with another key: it may have made a fresh one.
    async fn refresh(&self, node: &NodeId, patience: Patience) {
        let certificates = &self.parts.certificates;
        let before = certificates.bytes(node);
        let others = certificates.nodes().into_iter().filter(|id| id != node && id != self.me());
        for other in others.take(MAX_REFRESHED_FROM) {
            let request = Request::Certificates { ids: vec![node.clone()] };
            let (_, answer) = self.ask_one(&other, request, patience).await;
            if let Ok(Response { outcome: Ok(Answer::Certificates(found)), .. }) = answer {
                found.iter().for_each(|one| drop(certificates.add(one)));
            }
            if certificates.bytes(node) != before {
                return;
            }
        }
    }

    async fn ask_one(&self, node: &NodeId, request: Request, patience: Patience) -> Heard {
        let (peers, _) = self.places(BTreeSet::from([node.clone()]));
        match self.parts.transport.ask(peers, request, patience.options).next().await {
            Some((node, answer)) => heard(node, answer),
            None => (node.clone(), Err(Lost::Silent)),
        }
    }

    /// The URLs of these nodes, and the nodes whose URL is not known.
    fn places(&self, to: BTreeSet<NodeId>) -> (Vec<Peer>, Vec<NodeId>) {
        let mut peers = Vec::new();
        let mut homeless = Vec::new();
        let asked = |node: &NodeId| self.parts.asks_itself || node != self.me();
        for node in to.into_iter().filter(asked) {
            match self.parts.certificates.url(&node) {
                Some(url) => peers.push(Peer::new(node, url.as_str())),
                None => homeless.push(node),
            }
        }
        (peers, homeless)
    }

    /// Each use of the set is one call, so a panic elsewhere leaves it whole.
    fn background(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.parts.background.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a node lacks before it can answer.
enum Mend {
    /// Our certificate.
    Join,
    /// Somebody else's.
    Introduce(NodeId),
    /// Nothing; but we may lack its newest certificate.
    Refresh,
}

impl Mend {
    fn for_answer(answer: &Result<Response, TransportError>) -> Option<Self> {
        match answer {
            Err(TransportError::Refused(
                TransportRefusal::UnknownSender | TransportRefusal::SenderNotValid,
            ))
            | Ok(Response { outcome: Err(Refusal::UnknownSender), .. }) => Some(Self::Join),
            Err(TransportError::NotOpened(_) | TransportError::WrongKey) => Some(Self::Refresh),
            Ok(Response { outcome: Err(Refusal::UnknownWriter(id)), .. }) => {
                Some(Self::Introduce(id.clone()))
            }
            _ => None,
        }
    }
}

/// What the node itself has signed in its answer.
fn own_signatures<'a>(
    node: &'a NodeId,
    answer: &'a Result<Response, TransportError>,
) -> impl Iterator<Item = &'a SignatureBytes> {
    let answer = answer.as_ref().ok().and_then(|response| response.outcome.as_ref().ok());
    let (one, parts) = match answer {
        Some(Answer::Time { signature, .. }) => (signature.as_ref(), None),
        Some(Answer::Share(share) | Answer::Vote(Some(share))) => (of_signer(node, share), None),
        Some(Answer::Many(parts)) => (None, Some(parts)),
        _ => (None, None),
    };
    let of_part = |part: &'a PartOutcome| match part {
        Ok(PartAnswer::Time { signature, .. }) => signature.as_ref(),
        Ok(PartAnswer::Share(share)) => of_signer(node, share),
        _ => None,
    };
    one.into_iter().chain(parts.into_iter().flatten().filter_map(of_part))
}

fn of_signer<'a>(node: &NodeId, share: &'a SignatureShare) -> Option<&'a SignatureBytes> {
    (share.signer == *node).then_some(&share.signature)
}

/// Only what the node itself signed can be held against it.
fn heard(node: NodeId, answer: Result<Response, TransportError>) -> Heard {
    let response = answer.map_err(|error| {
        tracing::debug!(%node, %error, "no answer that counts");
        if error.fault() == Fault::Peer { Lost::Lied } else { Lost::Silent }
    });
    (node, response)
}
