//! What all parties of a run share: time, network, chance, keys, and who watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Lanes, Lost, Round};
use bftkv_protocol::server::{Recall, Ticket};
use bftkv_protocol::{
    Change, ChangeError, Configuration, Configurations, Group, NodeId, Request, Response,
    SignedChange, SignedEntry, Timestamp, Variable, decode, encode,
};

use bftkv_roaming::server::DAY_SECONDS;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::clock::Clock;
use super::fake_keys::{FakeKeys, FakeSigner};
use super::fault::{Fault, Faults};
use super::home::Home;
use super::network::Network;
use super::plant::Plant;
use super::rng::Rng;
use super::secrets::Secrets;
use super::trace::Trace;
use crate::adversary::Loot;
use crate::invariants::{Observation, Watch};
use crate::oracle::History;

/// When a run begins, in seconds since 1970.
const EPOCH: u64 = 1_800_000_000;

/// What is checked when every message is encoded and decoded on its way.
const WIRE: &str = "messages survive the wire";

/// What is checked whenever a change has its votes.
pub(super) const ONE_SUCCESSOR: &str = "a configuration has one successor";

/// Names a client process.
pub(crate) type ProcessId = u32;

/// Names an operation.
pub(crate) type OpId = u64;

/// Who waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Nobody: the message was posted.
    Nobody,
    /// An operation of a client.
    Op { process: ProcessId, op: OpId, round: Round },
    /// A traitor who gathers shares.
    Traitor,
    /// A node that reads what it lost, or takes over, for the so-many-th time.
    CatchUp { node: NodeId, reading: u64, round: Round },
    /// A node that asks for changes of members.
    Learn { node: NodeId },
    /// An operator who collects votes.
    Operator { number: usize },
    /// A traitor who collects votes.
    Schemer,
    /// What a client sent for some of its operations together.
    Lane { client: NodeId, message: u64 },
    /// Writes of a client that are one machine: the message of theirs.
    Together { process: ProcessId, number: OpId, message: u64 },
    /// A device that deals shares or logs in for the so-many-th time; `shows`: it shows a node the
    /// entry first.
    Password { process: ProcessId, number: u64, shows: bool },
    /// A node that has the so-many-th entry certified again.
    Repair { node: NodeId, number: u64, round: Round },
}

/// What can happen.
#[derive(Debug)]
pub(crate) enum Event {
    Request {
        to: NodeId,
        sender: NodeId,
        caller: Caller,
        request: Box<Request>,
    },
    Response {
        from: NodeId,
        caller: Caller,
        response: Result<Response, Lost>,
    },
    Disk {
        node: NodeId,
        epoch: u64,
        ticket: Ticket,
        work: DiskWork,
    },
    Home {
        process: ProcessId,
        op: OpId,
        work: HomeWork,
    },
    Fetched {
        process: ProcessId,
        op: OpId,
        ids: Vec<NodeId>,
        answered: Vec<NodeId>,
    },
    Wake {
        process: ProcessId,
        op: OpId,
    },
    Begin {
        process: ProcessId,
    },
    Restart {
        process: ProcessId,
    },
    Crash {
        node: NodeId,
        lasts: Duration,
    },
    Recover {
        node: NodeId,
    },
    CatchUp {
        node: NodeId,
        reading: u64,
    },
    Learn {
        node: NodeId,
    },
    Operate {
        number: usize,
    },
    /// A liar proposes a change, or tells of one.
    Scheme,
    /// The operator of this node cuts somebody out.
    Condemn {
        by: NodeId,
        who: NodeId,
    },
    /// The node looks for entries that have lost signers.
    Repair {
        node: NodeId,
    },
    /// Time has passed for the entry that it has certified again.
    RepairOn {
        node: NodeId,
        number: u64,
    },
    Refreshed {
        process: ProcessId,
        op: OpId,
    },
    Split {
        how: Fault,
        lasts: Duration,
    },
    ClockJumps {
        process: ProcessId,
    },
    /// What waits in a lane leaves.
    Depart {
        client: NodeId,
        message: u64,
    },
    /// A message takes long.
    Late {
        client: NodeId,
        message: u64,
    },
    /// Something happens to operations that are under way together.
    Together {
        process: ProcessId,
        number: OpId,
        work: TogetherWork,
    },
    /// Something happens to a login, or to the dealing of shares.
    Password {
        process: ProcessId,
        number: u64,
        work: PasswordWork,
    },
    /// All clocks go on by a day.
    DayPasses,
    Join,
    Mischief {
        traitor: usize,
    },
}

/// What a disk was asked for.
#[derive(Debug)]
pub(crate) enum DiskWork {
    Load { variable: Variable, version: Option<Timestamp> },
    List { variable: Variable, below: Option<Timestamp>, limit: u16 },
    Recall { what: Recall },
    Sync,
}

/// What a writer's home was asked for.
#[derive(Debug)]
pub(crate) enum HomeWork {
    Reserve(Box<bftkv_protocol::Entry>),
    Assembled(bftkv_protocol::EntryId),
}

/// What operations that are under way together wait for.
#[derive(Debug)]
pub(crate) enum TogetherWork {
    Wake,
    Reserve { ops: Vec<OpId>, entries: Vec<(usize, bftkv_protocol::Entry)> },
    Assembled(Vec<(usize, bftkv_protocol::EntryId)>),
    Fetched { index: usize, ids: Vec<NodeId>, answered: Vec<NodeId> },
    Refreshed,
}

/// What a device waits for with a password.
#[derive(Debug)]
pub(crate) enum PasswordWork {
    /// Time.
    Wake,
    /// This node has taken the entry that it was shown, or not.
    Shown(NodeId),
    /// Argon2id.
    Stretched,
}

/// What all parties share.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The newest configuration that has its votes, whoever knows of it.
    pub(crate) configuration: Arc<Configuration>,
    /// All that have their votes.
    pub(crate) configurations: Arc<Configurations>,
    /// The most that an honest node knows: what clients learn when they ask.
    pub(crate) learned: Arc<Configurations>,
    /// Nodes whose operators have lost their trust in them: they may be removed.
    pub(crate) distrusted: BTreeSet<NodeId>,
    /// Nodes that operators cut out by command, one after the other.
    pub(crate) condemned: BTreeSet<NodeId>,
    /// A node that hears of no change until then: such messages get lost.
    pub(crate) deaf: Option<(NodeId, Duration)>,
    pub(crate) clock: Clock<Event>,
    pub(crate) network: Network,
    pub(crate) rng: Rng,
    pub(crate) keys: FakeKeys,
    /// Keys that traitors made up.
    pub(crate) sybils: Vec<FakeSigner>,
    pub(crate) homes: BTreeMap<(NodeId, ProcessId), Home>,
    pub(crate) loot: Loot,
    pub(crate) history: History,
    pub(crate) watch: Watch,
    pub(crate) trace: Trace,
    pub(crate) plant: Option<Plant>,
    pub(crate) faults: Faults,
    /// Every message is encoded and decoded on its way.
    pub(crate) on_the_wire: bool,
    /// Users ask a quorum first, and the others if need be.
    pub(crate) hedges: bool,
    /// Some values are larger than what is sent where a digest was asked for.
    pub(crate) large_values: bool,
    /// Users write above their own last entry without asking for the time.
    pub(crate) remembers: bool,
    /// What operations of one client ask of one node at once goes together.
    pub(crate) together: bool,
    /// How many messages of lanes carried several requests, and how many operations were begun together.
    pub(crate) together_counts: (u64, u64),
    /// By the key of the client.
    pub(crate) lanes: BTreeMap<NodeId, Lanes<Caller>>,
    /// What owners of passwords know.
    pub(crate) secrets: Secrets,
    /// How many days have passed besides the time of the run.
    pub(crate) days: u64,
    /// Percent of syncs that fail.
    pub(crate) disk_failures: u64,
    /// The end of the run: nothing fails any more.
    pub(crate) healed: bool,
}

impl Ground {
    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// What the clocks of nodes show, in seconds since 1970.
    pub(crate) fn seconds(&self) -> u64 {
        let days = self.days.saturating_mul(DAY_SECONDS);
        EPOCH.saturating_add(days).saturating_add(self.now().as_secs())
    }

    /// A change has its votes: from now on there is a successor.
    pub(crate) fn succeed(&mut self, change: SignedChange) -> Result<(), ChangeError> {
        let mut known = (*self.configurations).clone();
        known.extend(change, &self.keys)?;
        self.configuration = Arc::clone(known.newest());
        self.configurations = Arc::new(known);
        self.watch.facts_mut().note_configuration(&self.configuration);
        Ok(())
    }

    /// Whether the change leaves at most b traitors in each group; one less where nodes forget.
    pub(crate) fn fits(&self, predecessor: &Configuration, change: &Change) -> bool {
        let Ok(next) = change.apply(predecessor, false) else { return false };
        let traitors = &self.watch.facts().traitors;
        let spare = usize::from(self.faults.lose_disks());
        let fits =
            |group: &Group| group.count(traitors) <= group.thresholds().b().saturating_sub(spare);
        next.cliques().iter().chain([next.store()]).all(fits)
    }

    /// Operators cut somebody out, each within so many milliseconds.
    pub(crate) fn condemn(&mut self, who: &NodeId, within: u64) {
        self.condemned.insert(who.clone());
        let now = self.now();
        self.trace.line(now, || format!("operators cut {who} out"));
        for by in self.watch.facts().nodes.clone() {
            let (delay, who) = (self.rng.millis(1, within), who.clone());
            self.clock.after(delay, Event::Condemn { by, who });
        }
    }

    /// Somebody honest takes this change: a configuration has one successor.
    pub(crate) fn note_taken(&mut self, change: &SignedChange) {
        if let Err(error) = self.succeed(change.clone()) {
            self.watch.fail(self.clock.now(), ONE_SUCCESSOR, format!("{change:?}: {error}"));
        }
    }

    /// An honest node knows these.
    pub(crate) fn note_learned(&mut self, known: &Arc<Configurations>) {
        if known.newest().number() > self.learned.newest().number() {
            self.learned = Arc::clone(known);
        }
    }

    /// Tells those who watch.
    pub(crate) fn observe(&mut self, observation: &Observation<'_>) {
        self.watch.note(self.clock.now(), observation);
    }

    /// Sends a request over the network.
    pub(crate) fn request(
        &mut self,
        sender: &NodeId,
        to: &NodeId,
        caller: Caller,
        request: &Request,
    ) {
        for delay in self.network.arrivals(sender, to, &mut self.rng) {
            let Some(request) = self.over_the_wire(request) else { continue };
            let request = Box::new(request);
            let (to, sender, caller) = (to.clone(), sender.clone(), caller.clone());
            self.clock.after(delay, Event::Request { to, sender, caller, request });
        }
    }

    /// Sends an answer over the network, so much later.
    pub(crate) fn respond(
        &mut self,
        from: &NodeId,
        to: &NodeId,
        caller: Caller,
        later: Duration,
        response: &Response,
    ) {
        if caller == Caller::Nobody {
            return;
        }
        for delay in self.network.arrivals(from, to, &mut self.rng) {
            let Some(response) = self.over_the_wire(response) else { continue };
            let (from, caller) = (from.clone(), caller.clone());
            let event = Event::Response { from, caller, response: Ok(response) };
            self.clock.after(delay.saturating_add(later), event);
        }
    }

    /// What arrives. A message that was changed on the way is decoded, which must not fail badly,
    /// and then thrown away: its seal is broken.
    fn over_the_wire<M>(&mut self, message: &M) -> Option<M>
    where
        M: Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        if self.rng.percent(self.network.corrupt) {
            let mut bytes = encode(message);
            let (index, flip) = (self.rng.index(bytes.len()), self.rng.between(1, 255));
            if let Some(byte) = bytes.get_mut(index) {
                *byte ^= u8::try_from(flip).unwrap_or(1);
            }
            let _ = decode::<M>(&bytes);
            return None;
        }
        if self.on_the_wire && decode::<M>(&encode(message)).as_ref() != Ok(message) {
            self.watch.fail(self.clock.now(), WIRE, format!("{message:?}"));
        }
        Some(message.clone())
    }

    /// Notes for the trace that something was signed by a writer's key.
    pub(crate) fn trace_attempt(&mut self, what: &str, entry: &SignedEntry) {
        let now = self.now();
        self.trace.line(now, || {
            format!(
                "{what} t={} final={} by {}",
                entry.entry.timestamp, entry.entry.is_final, entry.entry.owner
            )
        });
    }
}
