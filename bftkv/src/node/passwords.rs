//! Runs the server's state machine of passwords: performs its actions on the store.
//!
//! There are no decisions in here; they are in `bftkv_roaming::server`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bftkv_protocol::server::Standing;
use bftkv_protocol::{
    Answer, Batch, NodeId, Nonce, Outcome, Refusal, RoamingRequest, Sign, Store, StoreError,
    Variable,
};
use bftkv_roaming::server::{Action, Asked, Asker, Loaded, Reply, Server, Ticket};
use tokio::sync::oneshot;

use super::core::Core;
use super::recovery::Recovery;
use crate::random::Random;

/// Shares and attempts of passwords.
pub(super) struct Passwords {
    core: Arc<Core>,
    recovery: Recovery,
    server: Mutex<Server>,
    waiting: Mutex<BTreeMap<Ticket, oneshot::Sender<Outcome>>>,
    next_ticket: AtomicU64,
}

impl Passwords {
    pub(super) fn new(core: Arc<Core>, recovery: Recovery) -> Self {
        let server = Mutex::new(Server::new(recovery.key.id().clone()));
        let (waiting, next_ticket) = (Mutex::default(), AtomicU64::new(0));
        Self { core, recovery, server, waiting, next_ticket }
    }

    /// Answers. The node speaks already, so it knows whether its memory is whole. It blocks for
    /// the disk, as handlers may.
    pub(super) async fn answer(&self, sender: NodeId, request: RoamingRequest) -> Outcome {
        // What a member that takes over has stored may be old, and with it the password record.
        match self.recovery.members.seen().standing() {
            Standing::Serving => {}
            Standing::TakingOver => return Err(Refusal::Changing),
            Standing::Guest => return Err(Refusal::NotMember),
        }
        let registration = self.core.registration();
        let is_applicant = match &request {
            RoamingRequest::Certify { variable } => {
                return registration.certify(&self.core.writers(), &sender, variable);
            }
            RoamingRequest::Deal { variable, .. } => {
                registration.apply(&self.core.writers(), &sender, variable)?
            }
            _ => false,
        };
        let (reply_to, reply) = oneshot::channel();
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let asked = self.asked(sender, request, is_applicant)?;
        lock(&self.waiting).insert(ticket, reply_to);
        lock(&self.server).handle_request(ticket, asked);
        self.work();
        // It fails only if the thread that had the reply panicked.
        reply.await.unwrap_or(Err(Refusal::Busy))
    }

    /// A certified entry with a password record was stored: the share of the record before it is
    /// erased. Whether or not that succeeds, the share is evaluated no more.
    pub(super) async fn settle(&self, variable: Variable) {
        let (reply_to, reply) = oneshot::channel();
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert(ticket, reply_to);
        lock(&self.server).handle_stored(ticket, variable, self.memory(), seconds_now());
        self.work();
        let _ = reply.await;
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
    fn work(&self) {
        loop {
            let action = lock(&self.server).poll();
            match action {
                Some(action) => self.perform(action),
                None => return,
            }
        }
    }

    fn perform(&self, action: Action) {
        match action {
            Action::Load { ticket, variable } => {
                let loaded = self.load(&variable);
                note_failure(&loaded);
                lock(&self.server).handle_loaded(ticket, loaded, &self.core.writers());
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
        let latest = store.load(variable)?.latest;
        Ok(Loaded { latest, vault: store.vault(variable)? })
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

/// A poisoned lock means that a thread panicked; what is behind these locks is changed in single
/// steps, so it is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
