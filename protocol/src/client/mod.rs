//! The client's side: rules R2 and R5, without IO.
//!
//! [`Write`], [`Read`], [`Repair`] and [`ListVersions`] are state machines for one operation each. A driver
//! calls a `handle_*` method for everything that happens, drains `poll`, and calls
//! `handle_timeout` when the time that `wake_at` names has come. The time is a duration since any
//! fixed moment.
//!
//! ```text
//! Write:  time --> sign (share by share) --> store --> done     Read:  ask q --> write back if needed
//!           ^                  |                                        |  verify the newest
//!           +-- abandon, back off (fresh t)                             v  unless b+1 agree
//! ```

mod announcing;
mod ask;
mod candidates;
mod catch_up;
mod convoys;
mod error;
mod hedge;
mod jitter;
mod lanes;
mod many;
mod read;
mod refused;
mod repair;
mod timestamp_choice;
mod versions;
mod write;

pub use announcing::{Announcing, Standing};
pub use catch_up::{
    CatchUp, CatchUpAction, CatchUpOptions, MAX_UNCERTIFIED, OldVersions, OldVersionsAction,
    Recovered, Source, absent, kept,
};
pub use convoys::{Convoys, Due};
pub use error::{ClientError, Fault, Phase, Problem};
pub use hedge::Hedge;
pub use lanes::{Departure, Lanes};
pub use many::{Many, ManyAction, Single};
pub use read::{Found, Read, ReadOptions};
pub use repair::{Repair, RepairOptions, Repaired};
pub use versions::ListVersions;
pub use write::{Options, Reserve, Write, Written};

use std::collections::BTreeSet;

use std::time::Duration;

use crate::{CertifiedEntry, Entry, EntryId, EquivocationProof, Evidence, NodeId, Request};

/// How far a refusal may push a writer's timestamp above what honest members have seen: 2^16.
///
/// A liar can waste so much for each write and no more, well within what servers accept.
pub const MAX_HINT: u64 = 1 << 16;

/// How soon a round is repeated that failed because members were taking over the state of a
/// predecessor: it takes them less than a second in a small realm.
const RETRY_CHANGING: Duration = Duration::from_millis(50);

/// What a read promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Consistency {
    /// Reads and writes appear in one order: a value that was read is known to a quorum before
    /// it is returned.
    #[default]
    Linearizable,
    /// A read sees the last write that was acknowledged before it began, or a concurrent one; two
    /// reads during a write may see the new value and then the old one. Saves the wait for the
    /// write-back, which still happens in the background.
    Regular,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "either it is silent or it lies")]
pub enum Lost {
    /// The node could not be reached in time.
    Silent,
    /// The node sent something that is not an answer to what was asked.
    Lied,
}

/// Names one round of questions; late answers to an earlier one are ignored.
pub type Round = u32;

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Action {
    /// Send the request to all of these; report each answer with `handle_response`.
    Send {
        /// Answers carry it back.
        round: Round,
        /// To whom.
        to: BTreeSet<NodeId>,
        /// What.
        request: Box<Request>,
    },
    /// Send the request to all of these and forget about it.
    Post {
        /// To whom.
        to: BTreeSet<NodeId>,
        /// What.
        request: Box<Request>,
    },
    /// Sign the entry and make (x, t, hash) durable under the lock of the writer's home, then call
    /// [`Write::handle_reserved`].
    Reserve(Box<Entry>),
    /// Make durable that the attempt has all its shares, then call [`Write::handle_recorded`].
    RecordAssembled(EntryId),
    /// Note that the attempt needs no more attention.
    Settle(EntryId),
    /// Sign an abandon message and send it to all of these.
    Abandon {
        /// To whom.
        to: BTreeSet<NodeId>,
        /// What is given up.
        attempt: EntryId,
        /// What to show to members that lag behind.
        evidence: Evidence,
    },
    /// Find these certificates (ask the nodes), then call `handle_fetched`.
    Fetch(BTreeSet<NodeId>),
    /// Somebody is convicted: cut him out and tell the others.
    Accuse(EquivocationProof),
    /// A node has another configuration: ask the nodes for the changes that are not known here,
    /// then call `handle_configurations`, whether or not there were any.
    Refresh,
}

/// The certified entry with the larger timestamp.
fn newer(a: Option<CertifiedEntry>, b: CertifiedEntry) -> CertifiedEntry {
    match a {
        Some(a) if a.timestamp() >= b.timestamp() => a,
        _ => b,
    }
}
