//! Runs the server's state machine of passwords: performs its actions on the store.
//!
//! There are no decisions in here; they are in `bftkv_roaming::server`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bftkv_protocol::server::Standing;
use bftkv_protocol::{
    Answer, Batch, Entry, NodeId, Nonce, Outcome, Refusal, RoamingRequest, Sign, Store, StoreError,
    Variable,
};
use bftkv_roaming::server::{Action, Asked, Asker, Loaded, Reply, Server, Signing, Ticket};
use bftkv_wot::QuorumCertificates;
use tokio::sync::oneshot;

use super::lock;
use super::recovery::Recovery;
use super::registration::Registration;
use crate::random::Random;

/// Shares and attempts of passwords.
pub(super) struct Passwords {
    recovery: Recovery,
    server: Mutex<Server>,
    waiting: Mutex<BTreeMap<Ticket, oneshot::Sender<Outcome>>>,
    next_ticket: AtomicU64,
}

impl Passwords {
    pub(super) fn new(recovery: Recovery) -> Self {
        let server = Mutex::new(Server::new(recovery.key.id().clone()));
        let (waiting, next_ticket) = (Mutex::default(), AtomicU64::new(0));
        Self { recovery, server, waiting, next_ticket }
    }

    /// Answers. The node speaks already, so it knows whether its memory is whole. It blocks for
    /// the disk, as handlers may.
    pub(super) async fn answer(
        &self,
        sender: NodeId,
        request: RoamingRequest,
        writers: &QuorumCertificates,
        registration: &Registration,
    ) -> Outcome {
        // What a member that takes over has stored may be old, and with it the password record.
        match self.recovery.members.seen().standing() {
            Standing::Serving => {}
            Standing::TakingOver => return Err(Refusal::Changing),
            Standing::Guest => return Err(Refusal::NotMember),
        }
        let is_applicant = match &request {
            RoamingRequest::Certify { variable } => {
                return registration.certify(writers, &sender, variable);
            }
            RoamingRequest::Deal { variable, .. } => {
                registration.apply(writers, &sender, variable)?
            }
            _ => false,
        };
        let asked = self.asked(sender, request, is_applicant)?;
        self.ask(writers, |server, ticket| server.handle_request(ticket, asked)).await
    }

    /// Whether the node may sign the entry: if its value is under a password, only while it holds the share
    /// that belongs to it, and then it keeps it.
    pub(super) async fn may_sign(
        &self,
        entry: &Entry,
        writers: &QuorumCertificates,
    ) -> Result<(), Refusal> {
        let signing = Signing::of(entry, self.memory(), seconds_now());
        let Some(signing) = signing else { return Ok(()) };
        let asked = self.ask(writers, |server, ticket| server.handle_signing(ticket, signing));
        asked.await.map(|_| ())
    }

    /// A certified entry with a password record was stored: the share of the record before it is
    /// erased. Whether or not that succeeds, the share is evaluated no more.
    pub(super) async fn settle(&self, variable: Variable, writers: &QuorumCertificates) {
        let (memory, now) = (self.memory(), seconds_now());
        let settle = |server: &mut Server, ticket| {
            server.handle_stored(ticket, variable, memory, now);
        };
        let _ = self.ask(writers, settle).await;
    }

    /// Hands the machine something to do and waits for what it says.
    async fn ask(
        &self,
        writers: &QuorumCertificates,
        what: impl FnOnce(&mut Server, Ticket),
    ) -> Outcome {
        let (reply_to, reply) = oneshot::channel();
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(ticket, reply_to);
        what(&mut lock(&self.server), ticket);
        self.work(writers);
        // It fails only if the thread that had the reply panicked.
        reply.await.unwrap_or(Err(Refusal::Busy))
    }

    /// Which of its memories the node speaks from.
    fn memory(&self) -> u64 {
        self.recovery.announced.own().map_or(0, |own| own.epoch)
    }

    fn asked(
        &self,
        sender: NodeId,
        request: RoamingRequest,
        is_applicant: bool,
    ) -> Result<Asked, Refusal> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|error| {
            tracing::error!(%error, "no randomness: no password can be used");
            Refusal::StorageUnavailable
        })?;
        let (now, memory) = (seconds_now(), self.memory());
        let address = self.recovery.certificates.address(&sender);
        let asker = Asker { id: sender, address, is_applicant };
        Ok(Asked { asker, request, now, memory, nonce: Nonce::from_bytes(nonce) })
    }

    /// Performs actions until there are none. Every thread that brings work takes part.
    fn work(&self, writers: &QuorumCertificates) {
        loop {
            let action = lock(&self.server).poll();
            match action {
                Some(action) => self.perform(action, writers),
                None => return,
            }
        }
    }

    fn perform(&self, action: Action, writers: &QuorumCertificates) {
        match action {
            Action::Load { ticket, variable } => {
                let loaded = self.load(&variable);
                note_failure(&loaded);
                lock(&self.server).handle_loaded(ticket, loaded, writers);
            }
            Action::Persist { ticket, variable, vault } => {
                let batch = Batch { vaults: vec![(variable, vault)], ..Batch::default() };
                let persisted = self.recovery.store.commit(batch);
                note_failure(&persisted);
                lock(&self.server).handle_persisted(ticket, persisted);
            }
            Action::Reply { ticket, reply } => {
                let outcome = match reply {
                    Reply::Plain(outcome) => outcome,
                    Reply::Evaluate(evaluate) => evaluate.run(&mut Random),
                };
                if let Some(waiting) = lock(&self.waiting).remove(&ticket) {
                    // The asker may have gone; what was counted stays counted.
                    let _ = waiting.send(outcome.map(Answer::Roaming));
                }
            }
        }
    }

    fn load(&self, variable: &Variable) -> Result<Loaded, StoreError> {
        let store: &dyn Store = &*self.recovery.store;
        Ok(Loaded { state: store.load(variable)?, vault: store.vault(variable)? })
    }
}

/// A clock before 1970 gives nothing back.
fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn note_failure<T>(result: &Result<T, StoreError>) {
    if let Err(error) = result {
        tracing::error!(%error, "the store failed: this node evaluates no passwords");
    }
}
