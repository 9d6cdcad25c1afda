//! The server's side: shares and attempts, without IO.
//!
//! Requests about one variable run one at a time. Each is decided on what is stored, what changes
//! is made durable, and only then is it answered: so an attempt is on disk before the evaluation
//! leaves, and no crash, and no number of questions at once, gives a free guess.
//!
//! ```text
//!  Asked --> Load -> decide -> Persist -> Reply
//! ```

mod decide;
mod ledger;

use std::collections::{BTreeMap, VecDeque};

use bftkv_protocol::{
    Identities, LoginPurpose, NodeId, RecordId, Refusal, StoreError, Variable, Vault,
};

pub use self::decide::{Asked, Asker, Evaluate, Loaded, Reply, Signing};
use self::decide::{Decision, before_signing, decide, settle};
use self::ledger::Ledger;

/// L: how many attempts there are to begin with, for known keys and for strangers each.
pub const ATTEMPTS: u16 = 10;

/// How long it takes until a used attempt comes back, and until the owner may give all back again.
pub const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How many records may wait to be certified.
pub const MAX_PENDING: usize = 16;

/// How many records of one dealer may wait to be certified. Devices with one key are one dealer.
pub const MAX_PENDING_PER_DEALER: usize = 4;

/// Of how many outstanding entries with one record is remembered that they were signed: more than an owner
/// may have ([`bftkv_protocol::Slot::MAX_PER_OWNER`]).
const MAX_SIGNED: usize = 32;

/// How many attempts are remembered so that they can be repeated and proven.
pub const MAX_SESSIONS: usize = 32;

/// How many requests may wait for one variable; more are refused as busy.
pub const MAX_QUEUE: usize = 256;

/// Whether a vault holds a share of this record from this dealer, waiting or in use. `memory` and `now`
/// are as in [`Asked`].
#[must_use]
pub fn has_dealt(vault: &Vault, dealer: &NodeId, record: RecordId, memory: u64, now: u64) -> bool {
    Ledger::open(Some(vault), memory, now).is_some_and(|ledger| ledger.has_dealt(dealer, record))
}

/// For what, and under which record, this asker has lately shown the password: what
/// [`crate::registration::Registrar::recover`] asks.
#[must_use]
pub fn shown_by(
    vault: &Vault,
    asker: &NodeId,
    memory: u64,
    now: u64,
) -> Option<(RecordId, LoginPurpose)> {
    Ledger::open(Some(vault), memory, now)?.shown_by(asker, now)
}

/// Names a request between driver and machine.
pub type Ticket = u64;

/// What the driver is to do.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "the driver does all of them")]
#[must_use]
pub enum Action {
    /// Load the newest certified entry and the vault; then call [`Server::handle_loaded`].
    Load {
        /// For which request.
        ticket: Ticket,
        /// Which variable.
        variable: Variable,
    },
    /// Make the vault durable; then call [`Server::handle_persisted`]. The answer is held until
    /// then.
    Persist {
        /// For which request.
        ticket: Ticket,
        /// Of which variable.
        variable: Variable,
        /// What to keep.
        vault: Vault,
    },
    /// Send the answer.
    Reply {
        /// To which request.
        ticket: Ticket,
        /// What to answer.
        reply: Reply,
    },
}

/// One server. Call a `handle_*` method for everything that happens, then drain
/// [`Server::poll`].
#[derive(Debug)]
pub struct Server {
    me: NodeId,
    /// What waits, for every variable with something under way.
    queues: BTreeMap<Variable, VecDeque<(Ticket, Job)>>,
    running: BTreeMap<Ticket, Running>,
    actions: VecDeque<Action>,
}

/// What is to be done for one variable.
#[derive(Debug)]
enum Job {
    Answer(Box<Asked>),
    Settle { memory: u64, now: u64 },
    BeforeSigning(Box<Signing>),
}

#[derive(Debug)]
enum Running {
    Loading(Variable, Job),
    Persisting(Variable, Reply),
}

impl Server {
    /// The server with this certificate.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self { me, queues: BTreeMap::new(), running: BTreeMap::new(), actions: VecDeque::new() }
    }

    /// Takes a request. `ticket` must be new.
    pub fn handle_request(&mut self, ticket: Ticket, asked: Asked) {
        let variable = asked.request.variable().clone();
        self.enqueue(ticket, variable, Job::Answer(Box::new(asked)));
    }

    /// Learns that a certified entry with a password record was stored: a share that waited for it is
    /// taken into use, and the share of the record before it erased. Answered with
    /// [`bftkv_protocol::RoamingAnswer::Done`]. `memory` and `now` are as in [`Asked`], `ticket` must be new.
    pub fn handle_stored(&mut self, ticket: Ticket, variable: Variable, memory: u64, now: u64) {
        self.enqueue(ticket, variable, Job::Settle { memory, now });
    }

    /// Asks whether an entry may be signed. [`bftkv_protocol::RoamingAnswer::Done`]: it may, and the
    /// share that belongs to it is kept until something newer is certified, so that whatever comes to be
    /// certified can be opened. [`bftkv_protocol::RoamingRefusal::NoShare`]: it may not. `ticket` must be new.
    pub fn handle_signing(&mut self, ticket: Ticket, signing: Signing) {
        let variable = signing.variable.clone();
        self.enqueue(ticket, variable, Job::BeforeSigning(Box::new(signing)));
    }

    fn enqueue(&mut self, ticket: Ticket, variable: Variable, job: Job) {
        match self.queues.get_mut(&variable) {
            None => {
                self.queues.insert(variable.clone(), VecDeque::new());
                self.start(ticket, job, variable);
            }
            Some(queue) if queue.len() < MAX_QUEUE => queue.push_back((ticket, job)),
            Some(_) => {
                let reply = Reply::Plain(Err(Refusal::Busy));
                self.actions.push_back(Action::Reply { ticket, reply });
            }
        }
    }

    /// Takes what [`Action::Load`] asked for.
    pub fn handle_loaded(
        &mut self,
        ticket: Ticket,
        loaded: Result<Loaded, StoreError>,
        identities: &dyn Identities,
    ) {
        let Some(Running::Loading(variable, job)) = self.running.remove(&ticket) else { return };
        let decision = match (loaded, job) {
            (Ok(loaded), Job::Answer(asked)) => decide(&self.me, *asked, loaded, identities),
            (Ok(loaded), Job::Settle { memory, now }) => settle(loaded, memory, now),
            (Ok(loaded), Job::BeforeSigning(signing)) => before_signing(&self.me, loaded, &signing),
            (Err(_), _) => Decision::unavailable(),
        };
        let Decision { vault, reply } = decision;
        match vault {
            None => self.finish(ticket, variable, reply),
            Some(vault) => {
                self.running.insert(ticket, Running::Persisting(variable.clone(), reply));
                self.actions.push_back(Action::Persist { ticket, variable, vault });
            }
        }
    }

    /// Learns that the vault of [`Action::Persist`] is on disk, or that it may not be: then nothing
    /// is given away.
    pub fn handle_persisted(&mut self, ticket: Ticket, persisted: Result<(), StoreError>) {
        let Some(Running::Persisting(variable, reply)) = self.running.remove(&ticket) else {
            return;
        };
        let reply = match persisted {
            Ok(()) => reply,
            Err(_) => Reply::Plain(Err(Refusal::StorageUnavailable)),
        };
        self.finish(ticket, variable, reply);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn start(&mut self, ticket: Ticket, job: Job, variable: Variable) {
        self.running.insert(ticket, Running::Loading(variable.clone(), job));
        self.actions.push_back(Action::Load { ticket, variable });
    }

    fn finish(&mut self, ticket: Ticket, variable: Variable, reply: Reply) {
        self.actions.push_back(Action::Reply { ticket, reply });
        match self.queues.get_mut(&variable).and_then(VecDeque::pop_front) {
            Some((ticket, job)) => self.start(ticket, job, variable),
            None => {
                self.queues.remove(&variable);
            }
        }
    }
}
