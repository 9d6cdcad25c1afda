//! From a task and the loaded state to a change and an answer.

use super::admit::Task;
use super::{sign_rule, store_rule, vouch_rule};
use crate::planted::{self, Bug};
use crate::{
    Abandon, Answer, Batch, CertifiedEntry, Configurations, EquivocationProof, Outcome, Refusal,
    SMALL_VALUE_BYTES, ShareStatement, TimeStatement, VariableState, Verify, VouchStatement,
};

/// What the store holds of the variable, as far as the task needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// The newest certified entry and the signer's memory.
    pub state: VariableState,
    /// The version that the load asked for.
    pub version: Option<CertifiedEntry>,
}

/// What to send back. A share or a time answer is signed by the driver: the key may live in an
/// agent. By then the slot is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// An answer or a refusal as it is.
    Plain(Outcome),
    /// Sign the statement and answer with the share.
    Share(ShareStatement),
    /// Sign the statement and answer with the vouch.
    Vouch(VouchStatement),
    /// Sign the statement and answer with the time and the entry.
    Time(TimeStatement, Option<Box<CertifiedEntry>>),
}

/// What follows from one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) batch: Batch,
    pub(super) reply: Reply,
    pub(super) accused: Vec<EquivocationProof>,
}

impl Decision {
    pub(super) fn answer(answer: Answer) -> Self {
        Self::reply(Reply::Plain(Ok(answer)))
    }

    pub(super) fn refuse(refusal: Refusal) -> Self {
        Self::reply(Reply::Plain(Err(refusal)))
    }

    pub(super) fn reply(reply: Reply) -> Self {
        Self { batch: Batch::default(), reply, accused: Vec::new() }
    }
}

/// Applies the rules.
pub(super) fn decide(
    task: Task,
    loaded: Loaded,
    known: &Configurations,
    keys: &dyn Verify,
) -> Decision {
    match task {
        Task::Time { evidence: false, .. } => {
            let seen = loaded.state.marks.seen;
            Decision::answer(Answer::Time { seen, latest: None, signature: None })
        }
        Task::Time { variable, evidence: true } => {
            let statement = TimeStatement {
                realm: known.realm().clone(),
                configuration: known.newest().digest(),
                variable,
                seen: loaded.state.marks.seen,
            };
            Decision::reply(Reply::Time(statement, loaded.state.latest.map(Box::new)))
        }
        Task::Sign { entry, attempt, shown } => {
            sign_rule::sign(&entry, &attempt, &shown, loaded, known, keys)
        }
        Task::Suspect { entry, refusal } => {
            store_rule::suspect(&entry, refusal, &loaded, known, keys)
        }
        Task::Store { entry, cut } => store_rule::store(entry, loaded, &cut, known, keys),
        Task::Vouch { entry, cut, storable } => {
            vouch_rule::vouch(entry, loaded, &cut, storable, known, keys)
        }
        Task::Read { at: None, whole, .. } => {
            if planted::is(Bug::SlotHidesEntry) && !loaded.state.marks.slots.is_empty() {
                return Decision::answer(Answer::Entry(None));
            }
            Decision::answer(shown(loaded.state.latest, whole))
        }
        Task::Read { at: Some(_), whole, .. } => Decision::answer(shown(loaded.version, whole)),
        Task::Abandon { abandon, shown } => {
            sign_rule::abandon(abandon, &shown, loaded, known, keys)
        }
        Task::Abandoned { .. } => {
            let abandons: Vec<Abandon> = loaded.state.marks.abandons;
            Decision::answer(Answer::Abandons(abandons))
        }
        // Versions are listed and accusations kept by the machine, which needs no state for them.
        Task::Versions { .. } | Task::Accuse { .. } | Task::Recall { .. } => {
            Decision::refuse(Refusal::Malformed)
        }
    }
}

/// An entry, or which one it is if its value is large and not wanted.
fn shown(entry: Option<CertifiedEntry>, whole: bool) -> Answer {
    let is_small =
        |entry: &CertifiedEntry| entry.entry().value.as_bytes().len() <= SMALL_VALUE_BYTES;
    match entry {
        Some(entry) if !whole && !is_small(&entry) => {
            Answer::Digest { timestamp: entry.timestamp(), hash: entry.hash() }
        }
        entry => Answer::Entry(entry.map(Box::new)),
    }
}
