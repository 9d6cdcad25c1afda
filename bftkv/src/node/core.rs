//! Runs the server's state machine: performs its actions on the store and the key.
//!
//! There are no decisions in here; they are in `bftkv_protocol::server`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bftkv_protocol::server::{
    Admitted, Context, Loaded, Membership, Reply, Server, ServerAction, Standing, Ticket, admit,
    page,
};
use bftkv_protocol::{
    Answer, Batch, CertifiedEntry, Configurations, MAX_BATCH, NodeId, Outcome, Part, Purpose,
    Refusal, Request, Response, RoamingRequest, ShareStatement, Sign, SignatureBytes,
    SignatureShare, Store, StoreError, Variable, answer_many, sign_batch,
};
use bftkv_roaming::Protected;
use bftkv_wot::{OwnKey, QuorumCertificates};

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::lock;
use super::members::{Members, Serving};
use super::passwords::Passwords;
use super::policy::Policy;
use super::registration::{Registration, Writers};
use super::revocation::Revocation;
use crate::Certificates;
use crate::together::Together;

/// How many requests work at once, each with a value of up to a MiB in its hands; the others wait
/// with what they brought. Enough that commits are grouped well.
const WORKING: usize = 32;

/// How many changes go into one commit.
const MAX_COMMIT: usize = 512;

/// The rules, a store and a key.
pub(super) struct Core {
    me: NodeId,
    certificates: Certificates,
    key: OwnKey,
    store: Arc<dyn Store>,
    /// What is known of writers by the members of the configuration in force.
    writers: RwLock<QuorumCertificates>,
    revocation: Revocation,
    registration: Registration,
    passwords: Arc<Passwords>,
    members: Arc<Members>,
    server: Mutex<Server>,
    working: Semaphore,
    waiting: Mutex<BTreeMap<Ticket, Waiting>>,
    next_ticket: AtomicU64,
    policy: OnceLock<Arc<dyn Policy>>,
    /// Changes that wait for the disk: those of all requests under way share a commit.
    commits: Together<(Ticket, Batch)>,
    /// Shares that wait for the key: they share a signature.
    shares: Together<(Ticket, ShareStatement)>,
}

/// Whom to tell the outcome, and the configuration under which it is.
type Waiting = (oneshot::Sender<Outcome>, Arc<Serving>);

/// An entry, and who wants to know that it is stored.
type Told = (CertifiedEntry, Arc<dyn Policy>);

impl Core {
    /// A core over an opened store. Whoever was convicted before stays cut out.
    pub(super) fn new(
        revocation: Revocation,
        registration: Registration,
        passwords: Passwords,
        store: Arc<dyn Store>,
    ) -> Result<Self, StoreError> {
        let Revocation { members, certificates, key, .. } = revocation.clone();
        let configurations = members.configurations();
        let mut server = Server::new(Arc::clone(&configurations));
        for proof in store.proofs()? {
            certificates.revoked().convict(&proof);
            server.note_convicted([proof.guilty().clone()]);
        }
        Ok(Self {
            me: key.id().clone(),
            server: Mutex::new(server),
            writers: RwLock::new(
                certificates.quorum_certificates(configurations.newest(), key.id()),
            ),
            members,
            certificates,
            key,
            store,
            revocation,
            registration,
            passwords: Arc::new(passwords),
            working: Semaphore::new(WORKING),
            waiting: Mutex::new(BTreeMap::new()),
            next_ticket: AtomicU64::new(0),
            policy: OnceLock::new(),
            commits: Together::new(MAX_COMMIT),
            shares: Together::new(MAX_BATCH),
        })
    }

    /// The node's certificate.
    pub(super) fn id(&self) -> &NodeId {
        &self.me
    }

    /// Answers a request about a variable. It blocks for the disk, as handlers may; many requests
    /// run at once, and those for one variable wait for each other in the state machine.
    ///
    /// The answer comes with the digest of the configuration under which it is given.
    pub(super) async fn answer(&self, sender: NodeId, request: Request) -> Response {
        let serving = self.members.hold().await;
        let configuration = serving.configurations().newest().digest();
        let outcome = match may_answer(&serving, &request) {
            Ok(()) => self.answer_under(serving, sender, request).await,
            Err(refusal) => Err(refusal),
        };
        Response { configuration, outcome }
    }

    async fn answer_under(&self, serving: Serving, sender: NodeId, request: Request) -> Outcome {
        let serving = Arc::new(serving);
        if let Request::Many(parts) = request {
            return self.answer_many(parts, &sender, serving).await;
        }
        let stored = self.to_be_told(&request);
        allowed(self.ask_before_signing(&sender, &request, &serving)).await?;
        // The semaphore is never closed.
        let working = self.working.acquire().await.map_err(|_| Refusal::Busy)?;
        let begun = self.begin(&sender, request, &serving);
        self.work();
        drop((working, serving));
        let outcome = reply_of(begun).await;
        tell_stored(stored, &outcome);
        outcome
    }

    /// Each part is asked about, begun and answered as if it had come alone.
    async fn answer_many(
        &self,
        parts: Vec<Part>,
        sender: &NodeId,
        serving: Arc<Serving>,
    ) -> Outcome {
        if parts.is_empty() {
            return Err(Refusal::Malformed);
        }
        let mut asked = Vec::with_capacity(parts.len());
        for part in parts {
            let request: Request = part.into();
            let told = self.to_be_told(&request);
            asked.push((told, self.ask_before_signing(sender, &request, &serving), request));
        }
        let mut judged = Vec::with_capacity(asked.len());
        // The program looks at all of them at once.
        for (told, verdict, request) in asked {
            judged.push((told, allowed(verdict).await.map(|()| request)));
        }
        // The semaphore is never closed.
        let working = self.working.acquire().await.map_err(|_| Refusal::Busy)?;
        let begin = |request| self.begin(sender, request, &serving);
        let begun: Vec<(Option<Told>, Begun)> =
            judged.into_iter().map(|(stored, request)| (stored, request.and_then(begin))).collect();
        self.work();
        drop((working, serving));
        let mut outcomes = Vec::with_capacity(begun.len());
        for (stored, one) in begun {
            let outcome = reply_of(one).await;
            tell_stored(stored, &outcome);
            outcomes.push(outcome);
        }
        Ok(answer_many(outcomes))
    }

    /// What the embedding program is told of once it is stored.
    fn to_be_told(&self, request: &Request) -> Option<Told> {
        match (request, self.policy.get()) {
            (Request::Store { entry }, Some(policy)) => Some((entry.clone(), Arc::clone(policy))),
            _ => None,
        }
    }

    /// What is to be signed is subject to what the embedding program says, and to the share of a password
    /// being here. A request that the rules refuse anyway comes to neither.
    fn ask_before_signing(
        &self,
        sender: &NodeId,
        request: &Request,
        serving: &Serving,
    ) -> Result<Option<Verdict>, Refusal> {
        let Request::Sign { entry, .. } = request else { return Ok(None) };
        let (policy, entry) = (self.policy.get().cloned(), &entry.entry);
        let is_protected = Protected::is_one(&entry.value);
        if policy.is_none() && !is_protected {
            return Ok(None);
        }
        self.admit(sender, request.clone(), serving.configurations())?;
        let (entry, writers) = (entry.clone(), self.writers());
        let passwords = is_protected.then(|| Arc::clone(&self.passwords));
        Ok(Some(tokio::spawn(async move {
            if let Some(passwords) = passwords {
                passwords.may_sign(&entry, &writers).await?;
            }
            let Some(policy) = policy else { return Ok(()) };
            let said = tokio::task::spawn_blocking(move || policy.may_sign(&entry)).await;
            said.unwrap_or_else(|error| Err(error.to_string())).map_err(Refusal::Declined)
        })))
    }

    /// Answers a request about shares of passwords.
    pub(super) async fn answer_roaming(&self, sender: NodeId, request: RoamingRequest) -> Outcome {
        let (writers, registration) = (self.writers(), &self.registration);
        self.passwords.answer(sender, request, &writers, registration).await
    }

    /// Values under passwords were stored in these variables: shares of the records before are erased.
    pub(super) async fn settle(&self, protected: BTreeSet<Variable>) {
        for variable in protected {
            self.passwords.settle(variable, &self.writers()).await;
        }
    }

    /// Lets the embedding program have its say from now on. False if there is one already.
    pub(super) fn set_policy(&self, policy: Arc<dyn Policy>) -> bool {
        self.policy.set(policy).is_ok()
    }

    /// Serves the newest of these configurations from now on. No request is under way.
    pub(super) fn reconfigure(&self, known: &Arc<Configurations>) {
        lock(&self.server).reconfigure(Arc::clone(known));
        let writers = self.certificates.quorum_certificates(known.newest(), &self.me);
        *self.writers.write().unwrap_or_else(PoisonError::into_inner) = writers;
    }

    /// What is known of writers.
    pub(super) fn writers(&self) -> QuorumCertificates {
        self.writers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks the request and hands it to the machine; [`Core::work`] does what there is to do.
    fn begin(&self, sender: &NodeId, request: Request, serving: &Arc<Serving>) -> Begun {
        let writers = writers_of(&request);
        let admitted = self.admit(sender, request, serving.configurations())?;
        writers.iter().try_for_each(|writer| self.keep_certificate(writer))?;
        let (reply_to, reply) = oneshot::channel();
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(ticket, (reply_to, Arc::clone(serving)));
        lock(&self.server).handle_request(ticket, admitted);
        Ok(reply)
    }

    fn admit(
        &self,
        sender: &NodeId,
        request: Request,
        configurations: &Configurations,
    ) -> Result<Admitted, Refusal> {
        let (certified, registration) = (self.writers(), &self.registration);
        let writers = Writers { certified, registration };
        let cut = self.certificates.keyring().cut();
        let context = Context {
            me: &self.me,
            configurations,
            cut: &cut,
            keys: self.certificates.keys(),
            identities: &writers,
        };
        admit(sender, request, &context)
    }

    /// What is stored can always be checked: the writer's certificate is on disk before its entry.
    fn keep_certificate(&self, writer: &NodeId) -> Result<(), Refusal> {
        self.certificates.keep(writer).map_err(|error| {
            tracing::error!(%writer, %error, "cannot keep a writer's certificate");
            Refusal::StorageUnavailable
        })
    }

    /// Performs actions until there are none. Every thread that brings work takes part; what waits
    /// for the key or the disk is done by one of them for all.
    fn work(&self) {
        loop {
            let action = lock(&self.server).poll();
            let is_done = match action {
                Some(action) => {
                    self.perform(action);
                    false
                }
                None => !self.sign_waiting() && !self.commit_waiting(),
            };
            if is_done {
                return;
            }
        }
    }

    /// Commits what waits for the disk. Tells whether there was anything to do.
    fn commit_waiting(&self) -> bool {
        let committed = self.commits.turn(|waiting| self.commit(waiting));
        for (ticket, persisted) in committed.iter().flatten() {
            note_failure(persisted);
            lock(&self.server).handle_persisted(*ticket, persisted.clone());
        }
        committed.is_some()
    }

    /// The changes are of different variables: the machine runs one for each at a time.
    fn commit(&self, waiting: Vec<(Ticket, Batch)>) -> Vec<(Ticket, Result<(), StoreError>)> {
        let mut all = Batch::default();
        for (_, batch) in &waiting {
            all.entries.extend(batch.entries.iter().cloned());
            all.marks.extend(batch.marks.iter().cloned());
            all.proofs.extend(batch.proofs.iter().cloned());
            all.vaults.extend(batch.vaults.iter().cloned());
        }
        match self.store.commit(all) {
            // One damaged record must not keep the others from being changed.
            Err(StoreError::Corrupt { .. }) if waiting.len() > 1 => {
                waiting.into_iter().map(|(ticket, one)| (ticket, self.store.commit(one))).collect()
            }
            outcome => waiting.iter().map(|(ticket, _)| (*ticket, outcome.clone())).collect(),
        }
    }

    /// Signs the shares that wait: the slots behind them are durable by now. Tells whether there
    /// was anything to do.
    fn sign_waiting(&self) -> bool {
        let signed = self.shares.turn(|waiting| {
            let (tickets, statements): (Vec<Ticket>, Vec<ShareStatement>) =
                waiting.into_iter().unzip();
            let messages: Vec<Vec<u8>> =
                statements.iter().map(ShareStatement::signed_bytes).collect();
            let sign = |purpose, bytes: &[u8]| self.signed(purpose, bytes);
            (tickets, sign_batch(Purpose::Share, &messages, sign))
        });
        let Some((tickets, signatures)) = signed else { return false };
        match signatures {
            Ok(signatures) => {
                tickets.into_iter().zip(signatures).for_each(|(ticket, signature)| {
                    let share = SignatureShare { signer: self.me.clone(), signature };
                    self.reply(ticket, Ok(Answer::Share(share)));
                })
            }
            Err(refusal) => {
                tickets.into_iter().for_each(|ticket| self.reply(ticket, Err(refusal.clone())));
            }
        }
        true
    }

    fn reply(&self, ticket: Ticket, outcome: Outcome) {
        let waiting = lock(&self.waiting).remove(&ticket);
        if let Some((waiting, serving)) = waiting {
            // The asker may have gone; what was done stays done.
            let _ = waiting.send(outcome);
            drop(serving);
        }
    }

    fn perform(&self, action: ServerAction) {
        match action {
            ServerAction::Load { ticket, variable, version } => {
                let loaded = self.load(&variable, version);
                note_failure(&loaded);
                lock(&self.server).handle_loaded(ticket, loaded, self.certificates.keys());
            }
            ServerAction::List { ticket, variable, below, limit } => {
                let listed = self.store.versions(&variable, below, usize::from(limit));
                note_failure(&listed);
                lock(&self.server).handle_listed(ticket, listed);
            }
            ServerAction::Recall { ticket, what } => {
                let page = page(&*self.store, &what);
                note_failure(&page);
                lock(&self.server).handle_recalled(ticket, page);
            }
            ServerAction::Persist { ticket, batch } => {
                // Whoever performs actions takes a turn afterwards, see `Core::work`.
                let _ = self.commits.add((ticket, batch));
            }
            ServerAction::Reply { ticket, reply: Reply::Share(statement) } => {
                let _ = self.shares.add((ticket, statement));
            }
            ServerAction::Reply { ticket, reply } => self.reply(ticket, self.sign(reply)),
            ServerAction::Accuse(proof) => self.revocation.convict(proof),
            other => tracing::error!(?other, "an action of the protocol is not known here"),
        }
    }

    fn load(
        &self,
        variable: &Variable,
        version: Option<bftkv_protocol::Timestamp>,
    ) -> Result<Loaded, StoreError> {
        let state = self.store.load(variable)?;
        let version = match version {
            Some(t) => self.store.version(variable, t)?,
            None => None,
        };
        Ok(Loaded { state, version })
    }

    fn signed(&self, purpose: Purpose, bytes: &[u8]) -> Result<SignatureBytes, Refusal> {
        self.certificates.keyring().sign_with(&self.key, purpose, bytes).map_err(|error| {
            tracing::error!(%error, "cannot sign");
            Refusal::StorageUnavailable
        })
    }

    /// Signs what the machine decided to state.
    fn sign(&self, reply: Reply) -> Outcome {
        match reply {
            Reply::Vouch(statement) => {
                let signature = self.signed(Purpose::Vouch, &statement.signed_bytes())?;
                Ok(Answer::Vouch(SignatureShare { signer: self.me.clone(), signature }))
            }
            Reply::Time(statement, latest) => {
                let signature = Some(self.signed(Purpose::Time, &statement.signed_bytes())?);
                Ok(Answer::Time { seen: statement.seen, latest, signature })
            }
            Reply::Plain(outcome) => outcome,
            _ => Err(Refusal::Malformed),
        }
    }
}

/// Whether the entry may be signed, once everybody has made up his mind.
type Verdict = JoinHandle<Result<(), Refusal>>;

async fn allowed(asked: Result<Option<Verdict>, Refusal>) -> Result<(), Refusal> {
    let Some(verdict) = asked? else { return Ok(()) };
    // It fails only if that thread panicked.
    verdict.await.unwrap_or(Err(Refusal::Busy))
}

/// A request that the machine has, or why not.
type Begun = Result<oneshot::Receiver<Outcome>, Refusal>;

/// It fails only if the thread that had the reply panicked.
async fn reply_of(begun: Begun) -> Outcome {
    begun?.await.unwrap_or(Err(Refusal::Busy))
}

/// A member that has stopped under the old configuration, and has not taken over the state for the
/// new one, promises nothing. It hands over what it has, and hears of the convicted.
fn may_answer(membership: &Membership, request: &Request) -> Result<(), Refusal> {
    match (membership.standing(), request) {
        (Standing::Serving, _) | (_, Request::Accuse(_)) => Ok(()),
        (
            _,
            Request::Recall { .. } | Request::RecallVersions { .. } | Request::RecallEntries { .. },
        ) if membership.may_hand_over() => Ok(()),
        (Standing::TakingOver, _) => Err(Refusal::Changing),
        (Standing::Guest, _) => Err(Refusal::NotMember),
    }
}

/// Whose entries the request would have signed or stored.
fn writers_of(request: &Request) -> Vec<NodeId> {
    let of = |entry: &CertifiedEntry| entry.entry().writer.clone();
    match request {
        Request::Sign { entry, evidence } => {
            let shown = evidence.latest.as_deref().map(of);
            std::iter::once(entry.entry.writer.clone()).chain(shown).collect()
        }
        Request::Abandon { evidence, .. } => {
            evidence.latest.as_deref().map(of).into_iter().collect()
        }
        Request::Store { entry } => vec![of(entry)],
        Request::Vouch { entry, .. } => vec![of(entry)],
        _ => Vec::new(),
    }
}

fn note_failure<T>(result: &Result<T, StoreError>) {
    if let Err(error) = result {
        tracing::error!(%error, "the store failed: this node signs nothing until it is mended");
    }
}

fn tell_stored(told: Option<Told>, outcome: &Outcome) {
    if let (Some((entry, policy)), Ok(Answer::Done)) = (told, outcome) {
        tokio::task::spawn_blocking(move || policy.stored(&entry));
    }
}
