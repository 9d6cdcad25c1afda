//! One run of a whole cluster from one seed.
//!
//! ```text
//!   seed --> shape, traitors, people, weather          clock: a queue of events, nothing else
//!            |
//!            v    Request / Response          Load, Persist           Reserve, RecordAssembled
//!   processes <----- network -----> nodes <---- disks          processes <---- homes
//!   (client::{Write, Read, ..})     (server::Server)           (durable slots of a key)
//!            \________________________|__________________________/
//!                                     v
//!                     invariants watch; the oracle judges the history
//! ```

mod at_home;
mod cast;
mod clock;
mod closing;
mod cluster;
mod desk;
mod device;
mod disk;
mod fake_keys;
mod fault;
mod forgetful;
mod ground;
mod home;
mod lanes;
mod machine;
mod member;
mod network;
mod node;
mod operation;
mod operator;
mod password_work;
mod passwords;
mod planning;
mod plant;
mod process;
mod repairing;
mod rng;
mod schemers;
mod secrets;
mod shape;
mod theft;
mod together;
mod trace;
mod traitor;

pub(crate) use disk::Disk;
pub(crate) use fake_keys::{FakeKeys, FakeSigner};
pub(crate) use rng::Rng;
pub(crate) use shape::node;

pub use fault::{Fault, Faults};
pub use plant::Plant;
pub use shape::Shape;

use closing::Closing;
use cluster::Cluster;
use device::{Device, Tally};

use crate::adversary::Adversary;
use crate::invariants::Violation;
use crate::oracle::{Kind, Outcome};

/// What a run is to be like, besides its seed.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in what they want")]
pub struct Settings {
    /// This shape; `None` lets the seed choose.
    pub shape: Option<Shape>,
    /// A bug to put in.
    pub plant: Option<Plant>,
    /// More nodes lie than the configuration tolerates. Then everything may go wrong, but nobody
    /// honest may be accused.
    pub over_budget: bool,
    /// The Byzantine servers and users behave like this; `None` twice lets the seed choose.
    pub adversaries: [Option<Adversary>; 2],
    /// Faults that the run must have.
    pub faults: Faults,
    /// People use passwords, instead of plain values.
    pub passwords: bool,
    /// Keep the trace as lines.
    pub record: bool,
}

/// How operations ended, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Acknowledged writes.
    pub written: u64,
    /// Writes that failed for good.
    pub refused: u64,
    /// Writes whose outcome their client does not know.
    pub unknown: u64,
    /// Reads and lists that ended well.
    pub read: u64,
    /// Reads and lists that did not.
    pub unread: u64,
    /// Empty variables that unfinished attempts block at the end.
    pub blocked_empty: u64,
    /// Variables with an owner that unfinished attempts block at the end.
    pub blocked_owned: u64,
    /// Changes of members that had their votes.
    pub changes: u64,
    /// Runs that ended with votes split between two changes.
    pub split: u64,
    /// Entries that had lost signers and were certified again.
    pub repaired: u64,
    /// Runs in which stolen keys of old members made a quorum of theirs.
    pub stolen: u64,
    /// Messages that carried requests of several operations.
    pub shared: u64,
    /// Operations that were begun together, as one machine.
    pub together: u64,
    /// Values under passwords that were opened.
    pub opened: u64,
    /// Changes of passwords that ended well.
    pub changed: u64,
    /// Logins with another password than the newest that were played to their end.
    pub guessed: u64,
    /// Records of which a quorum, but not t+b, acknowledged shares.
    pub degraded: u64,
    /// Keys that were convicted of equivocation.
    pub convicted: u64,
    /// Timestamps at which an honest node signed a second value with a fresh subkey, after its
    /// disk was lost (ADR 0013).
    pub signed_again: u64,
    /// Those of them of which all writers were honest.
    pub signed_again_for_honest: u64,
}

impl Counts {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            written: self.written.saturating_add(other.written),
            refused: self.refused.saturating_add(other.refused),
            unknown: self.unknown.saturating_add(other.unknown),
            read: self.read.saturating_add(other.read),
            unread: self.unread.saturating_add(other.unread),
            blocked_empty: self.blocked_empty.saturating_add(other.blocked_empty),
            blocked_owned: self.blocked_owned.saturating_add(other.blocked_owned),
            changes: self.changes.saturating_add(other.changes),
            split: self.split.saturating_add(other.split),
            repaired: self.repaired.saturating_add(other.repaired),
            stolen: self.stolen.saturating_add(other.stolen),
            shared: self.shared.saturating_add(other.shared),
            together: self.together.saturating_add(other.together),
            opened: self.opened.saturating_add(other.opened),
            changed: self.changed.saturating_add(other.changed),
            guessed: self.guessed.saturating_add(other.guessed),
            degraded: self.degraded.saturating_add(other.degraded),
            convicted: self.convicted.saturating_add(other.convicted),
            signed_again: self.signed_again.saturating_add(other.signed_again),
            signed_again_for_honest: self
                .signed_again_for_honest
                .saturating_add(other.signed_again_for_honest),
        }
    }
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// What did not hold. Empty is good.
    pub violations: Vec<Violation>,
    /// Equal for two runs of one seed and settings.
    pub trace_hash: u64,
    /// How many events there were.
    pub events: u64,
    /// How operations ended.
    pub counts: Counts,
    /// The trace, if it was recorded.
    pub lines: Vec<String>,
}

/// Plays one run.
#[must_use]
pub fn run(seed: u64, settings: &Settings) -> Report {
    let mut cluster = Cluster::new(seed, settings);
    cluster.play();
    cluster.heal();
    cluster.finish_changes();
    cluster.finish_catching_up();
    let split = cluster.is_split();
    cluster.finish_repairs();
    let stolen = cluster.use_stolen_keys();
    let (split, stolen) = (u64::from(split), u64::from(stolen));
    let repaired = cluster.nodes.values().map(|node| node.repaired()).sum();
    let mut counts = Counts { split, stolen, repaired, ..Counts::default() };
    if settings.passwords {
        cluster.close_passwords();
    }
    for variable in cluster.variables.clone() {
        match cluster.close(&variable) {
            Closing::BlockedEmpty => counts.blocked_empty = counts.blocked_empty.saturating_add(1),
            Closing::BlockedOwned => counts.blocked_owned = counts.blocked_owned.saturating_add(1),
            Closing::Good | Closing::Foreign | Closing::Bad => {}
        }
        cluster.compare_quorums(&variable);
    }
    cluster.find_old_versions();
    report(cluster, counts)
}

fn report(cluster: Cluster, mut counts: Counts) -> Report {
    let ground = cluster.ground;
    counts.changes = u64::try_from(ground.configurations.changes().len()).unwrap_or(u64::MAX);
    let devices = cluster.devices.values().map(Device::tally).fold(Tally::default(), Tally::plus);
    (counts.opened, counts.changed) = (devices.opened, devices.changed);
    (counts.guessed, counts.degraded) = (devices.guessed, devices.degraded);
    (counts.shared, counts.together) = ground.together_counts;
    counts.convicted = ground.watch.convicted();
    (counts.signed_again, counts.signed_again_for_honest) = ground.watch.signed_again();
    for operation in ground.history.operations() {
        let is_write = matches!(operation.kind, Kind::Write { .. });
        let counter = match (&operation.outcome, is_write) {
            (Outcome::Written(_), _) => &mut counts.written,
            (Outcome::Failed(_), true) => &mut counts.refused,
            (Outcome::Unknown, true) => &mut counts.unknown,
            (Outcome::Found(_) | Outcome::Listed(_), _) => &mut counts.read,
            (_, false) => &mut counts.unread,
        };
        *counter = counter.saturating_add(1);
    }
    let now = ground.clock.now();
    let events = ground.trace.events();
    let violations = ground.watch.finish(now, &ground.history);
    let (trace_hash, lines) = ground.trace.finish();
    Report { violations, trace_hash, events, counts, lines }
}
