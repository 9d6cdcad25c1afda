//! What a client has: certificates, a key, a way to the nodes, and its own memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bftkv_protocol::client::{Lost, Reserve};
use bftkv_protocol::{
    Abandon, Address, Answer, Configuration, Entry, EntryId, EquivocationProof, Evidence, Group,
    NodeId, Purpose, Refusal, Request, Response, Sign, SignedEntry, Verify, WriterSignature,
};
use bftkv_storage::{ReserveError, WriterLog};
use bftkv_transport::{AskOptions, Fault, Peer, Transport, TransportError, TransportRefusal};
use bftkv_wot::OwnKey;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{ClientConfig, RealmConfig};
use crate::{Certificates, Error, HomeError};

/// An answer as the state machines take it.
pub(super) type Heard = (NodeId, Result<Response, Lost>);

/// How long a message that nobody waits for may take.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything that operations share.
pub(super) struct Inner {
    pub(super) certificates: Certificates,
    pub(super) key: OwnKey,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) memory: WriterLog,
    pub(super) realm: RealmConfig,
    pub(super) settings: ClientConfig,
    pub(super) configuration: RwLock<Option<Arc<Configuration>>>,
    pub(super) cut: Mutex<BTreeSet<NodeId>>,
    pub(super) background: Mutex<JoinSet<()>>,
    pub(super) began: Instant,
}

impl Inner {
    /// The driver's clock: time since the client was made.
    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    pub(super) fn keys(&self) -> &dyn Verify {
        self.certificates.keys()
    }

    pub(super) fn configuration(&self) -> Result<Arc<Configuration>, Error> {
        let current = self.configuration.read().unwrap_or_else(PoisonError::into_inner);
        current.clone().ok_or(Error::NotConfigured)
    }

    /// Everybody in the configuration.
    fn everyone(&self) -> BTreeSet<NodeId> {
        self.configuration().map(|c| c.everyone()).unwrap_or_default()
    }

    /// The address under which this client writes.
    pub(super) fn owner(&self) -> Result<Address, Error> {
        self.certificates.address(self.key.id()).ok_or(Error::NoAddress)
    }

    pub(super) fn cut(&self) -> BTreeSet<NodeId> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // ----- messages -----

    /// Asks nodes; their answers come as they arrive. A store phase goes on in the background.
    pub(super) fn ask(
        self: &Arc<Self>,
        to: BTreeSet<NodeId>,
        request: Request,
        lingers: bool,
    ) -> mpsc::UnboundedReceiver<Heard> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (reachable, homeless) = self.peers(to);
        for node in homeless {
            tracing::warn!(%node, "no URL is known for this node");
            let _ = sender.send((node, Err(Lost::Silent)));
        }
        let options = AskOptions::within(self.settings.deadline());
        let options = if lingers { options.in_background() } else { options };
        let inner = Arc::clone(self);
        let work = async move {
            let mut answers = inner.transport.ask(reachable, request.clone(), options);
            loop {
                let next = tokio::select! {
                    next = answers.next() => next,
                    () = sender.closed(), if !lingers => return,
                };
                let Some((node, answer)) = next else { return };
                match Mend::for_answer(&answer) {
                    None => {
                        let _ = sender.send(heard(node, answer));
                    }
                    Some(mend) => inner.mend_and_ask(node, mend, &request, options, &sender),
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

    /// Runs work that [`Inner::finish`] waits for.
    pub(super) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Waits for work in the background, at most so long.
    pub(super) async fn finish(&self, patience: Duration) {
        let take =
            || std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
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

    /// Introduces what the node lacks and asks it once more.
    fn mend_and_ask(
        self: &Arc<Self>,
        node: NodeId,
        mend: Mend,
        request: &Request,
        options: AskOptions,
        sender: &mpsc::UnboundedSender<Heard>,
    ) {
        let (inner, request, sender) = (Arc::clone(self), request.clone(), sender.clone());
        tokio::spawn(async move {
            let introduction = match mend {
                Mend::Join => inner.join_request(),
                Mend::Introduce(id) => inner
                    .certificates
                    .bytes(&id)
                    .map(|certificate| Request::Introduce { certificate }),
            };
            if let Some(introduction) = introduction {
                // Whether it helped shows when the node is asked again.
                let _ = inner.ask_one(&node, introduction, options).await;
            }
            let answer = inner.ask_one(&node, request, options).await;
            let _ = sender.send(answer);
        });
    }

    pub(super) fn join_request(&self) -> Option<Request> {
        let certificate = self.certificates.bytes(self.key.id())?;
        Some(Request::Join { certificate })
    }

    async fn ask_one(&self, node: &NodeId, request: Request, options: AskOptions) -> Heard {
        let (peers, _) = self.peers(BTreeSet::from([node.clone()]));
        match self.transport.ask(peers, request, options).next().await {
            Some((node, answer)) => heard(node, answer),
            None => (node.clone(), Err(Lost::Silent)),
        }
    }

    /// Sends a message and forgets about it.
    pub(super) fn post(&self, to: BTreeSet<NodeId>, request: Request) {
        let (peers, _) = self.peers(to);
        let answers = self.transport.ask(peers, request, AskOptions::within(POST_TIMEOUT));
        self.in_background(async move { drop(answers.collect().await) });
    }

    /// The URLs of these nodes, and the nodes whose URL is not known.
    pub(super) fn peers(&self, to: BTreeSet<NodeId>) -> (Vec<Peer>, Vec<NodeId>) {
        let mut peers = Vec::new();
        let mut homeless = Vec::new();
        for node in to {
            match self.certificates.url(&node) {
                Some(url) => peers.push(Peer::new(node, url.as_str())),
                None => homeless.push(node),
            }
        }
        (peers, homeless)
    }

    /// Looks for certificates at all nodes; tells who answered.
    pub(super) async fn fetch(self: &Arc<Self>, ids: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let request = Request::Certificates { ids: ids.iter().cloned().collect() };
        let mut answers = self.ask(self.everyone(), request, false);
        let mut answered = BTreeSet::new();
        while let Some((node, response)) = answers.recv().await {
            let Ok(Response { outcome: Ok(Answer::Certificates(found)), .. }) = response else {
                continue;
            };
            answered.insert(node);
            found.iter().for_each(|certificate| self.learn(certificate));
        }
        answered
    }

    /// Keeps a certificate; one that is no good is not worth more than a word in the log.
    pub(super) fn learn(&self, certificate: &bftkv_protocol::CertificateBytes) {
        if let Err(error) = self.certificates.add(certificate) {
            tracing::debug!(%error, "a node sent a certificate that cannot be used");
        }
    }

    // ----- the writer's own memory and key -----

    /// Signs under the lock of the home, and remembers what was signed before it leaves.
    pub(super) fn reserve(&self, entry: Entry) -> Result<SignedEntry, Reserve> {
        let (variable, timestamp) = (entry.variable.clone(), entry.timestamp);
        let mut signed = None;
        let make = || -> Result<_, String> {
            let bytes = entry.signed_bytes();
            let packet = self.key.sign(Purpose::Entry, &bytes).map_err(|e| e.to_string())?;
            let made = SignedEntry { entry, signature: WriterSignature::new(packet) };
            let hash = made.hash();
            signed = Some(made);
            Ok(hash)
        };
        match self.memory.reserve(&variable, timestamp, make) {
            Ok(_) => signed.ok_or_else(|| Reserve::Failed("nothing was signed".to_owned())),
            Err(ReserveError::Used { mark }) => Err(Reserve::Used { mark }),
            Err(ReserveError::Make(reason)) => Err(Reserve::Failed(reason)),
            Err(error) => Err(Reserve::Failed(error.to_string())),
        }
    }

    pub(super) fn record_assembled(&self, attempt: &EntryId) -> Result<(), String> {
        self.memory.assembled(attempt).map_err(|error| error.to_string())
    }

    pub(super) fn settle(&self, attempt: &EntryId) {
        if let Err(error) = self.memory.settled(attempt) {
            tracing::warn!(%error, "cannot note that an attempt is settled");
        }
    }

    /// Attempts on the variable that a crashed process of this home left behind.
    pub(super) fn leftovers(&self, variable: &bftkv_protocol::Variable) -> Vec<EntryId> {
        self.memory.abandonable(variable).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look for abandoned attempts");
            Vec::new()
        })
    }

    /// Gives an attempt up: first on the own disk, so that it can never be assembled, then at the
    /// members. When a quorum of every clique knows it is settled; until then it is sent again by
    /// the next write of the variable.
    pub(super) async fn abandon(
        self: Arc<Self>,
        to: BTreeSet<NodeId>,
        attempt: EntryId,
        evidence: Evidence,
    ) {
        let inner = Arc::clone(&self);
        let given_up = attempt.clone();
        let sign = move || -> Result<Abandon, Error> {
            inner.memory.abandon(&given_up).map_err(HomeError::Memory)?;
            inner.sign_abandon(&given_up)
        };
        let request = match tokio::task::spawn_blocking(sign).await {
            Ok(Ok(abandon)) => Request::Abandon { abandon, evidence },
            Ok(Err(error)) => return tracing::warn!(%error, "cannot give up an attempt"),
            Err(_) => return,
        };
        let mut answers = self.ask(to, request, true);
        let mut done = BTreeSet::new();
        while let Some((node, response)) = answers.recv().await {
            if matches!(response, Ok(Response { outcome: Ok(Answer::Done), .. })) {
                done.insert(node);
            }
        }
        let known = |group: &Group| group.count(&done) >= group.thresholds().q();
        if self.configuration().is_ok_and(|c| c.cliques().iter().all(known)) {
            self.settle(&attempt);
        } else {
            self.memory.release(&attempt);
        }
    }

    fn sign_abandon(&self, attempt: &EntryId) -> Result<Abandon, Error> {
        let realm = self.configuration()?.realm().clone();
        let (writer, owner) = (self.key.id().clone(), self.owner()?);
        let bytes = Abandon::statement(&realm, attempt, &writer, &owner);
        let signature = self.key.sign(Purpose::Abandon, &bytes)?;
        Ok(Abandon { realm, attempt: attempt.clone(), writer, owner, signature })
    }

    /// Cuts out whoever is convicted, and tells the nodes.
    ///
    /// Paper: §4.1 read, "revoke the signer on the spot, and write back a proof of malicious work".
    pub(super) fn accuse(&self, proof: EquivocationProof) {
        tracing::warn!(guilty = %proof.guilty(), "signed two entries for one timestamp");
        let guilty = proof.guilty().clone();
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).insert(guilty);
        self.post(self.everyone(), Request::Accuse(Box::new(proof)));
    }

    /// A seed for waiting times.
    pub(super) fn seed() -> u64 {
        let mut bytes = [0; 8];
        // Without randomness writers would only wait in step.
        let _ = getrandom::fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// When an operation that begins now gives up.
    pub(super) fn deadline(&self, wanted: Option<Duration>) -> Duration {
        self.now() + wanted.unwrap_or_else(|| self.settings.deadline())
    }
}

/// What a node lacks before it can answer.
enum Mend {
    /// Our certificate.
    Join,
    /// Somebody else's.
    Introduce(NodeId),
}

impl Mend {
    fn for_answer(answer: &Result<Response, TransportError>) -> Option<Self> {
        match answer {
            Err(TransportError::Refused(TransportRefusal::UnknownSender))
            | Ok(Response { outcome: Err(Refusal::UnknownSender), .. }) => Some(Self::Join),
            Ok(Response { outcome: Err(Refusal::UnknownWriter(id)), .. }) => {
                Some(Self::Introduce(id.clone()))
            }
            _ => None,
        }
    }
}

/// Only what the node itself signed can be held against it.
fn heard(node: NodeId, answer: Result<Response, TransportError>) -> Heard {
    let response = answer.map_err(|error| {
        tracing::debug!(%node, %error, "no answer that counts");
        if error.fault() == Fault::Peer { Lost::Lied } else { Lost::Silent }
    });
    (node, response)
}
