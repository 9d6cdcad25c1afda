//! What the refusals of an attempt mean, taken together.

use std::collections::BTreeSet;

use super::{Phase, Problem};
use crate::{Address, Group, NodeId, Refusal, Slot, Tally};

/// What stood in the way of the last attempt. It may go away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Nothing is known.
    None,
    /// Too few answered: what for, how many did, how many are needed, who did not.
    Silence(Phase, usize, usize, BTreeSet<NodeId>),
    /// Other attempts were ahead.
    Contention,
    /// Another owner's attempt is outstanding.
    Others(Address),
    /// An own write-once attempt with another value is outstanding.
    Final(Box<Slot>),
}

impl Obstacle {
    /// In the words of an error.
    pub(super) fn into_problem(self) -> Problem {
        match self {
            Self::None | Self::Contention => Problem::Contention,
            Self::Silence(phase, have, need, missing) => {
                Problem::Unreachable { phase, have, need, missing }
            }
            Self::Others(owner) => Problem::Blocked { owner },
            Self::Final(slot) => Problem::OutstandingFinal(slot),
        }
    }
}

/// Whether another attempt can help.
pub(super) enum Verdict {
    /// It cannot: more than b members of a clique say so, so one that is honest.
    Fatal(Problem),
    /// It can.
    Retry(Obstacle),
}

impl Verdict {
    /// Judges the refusals of one attempt, and what each member said last in `all` attempts.
    pub(super) fn of(refusals: &Tally<Refusal>, all: &Tally<Refusal>, cliques: &[Group]) -> Self {
        match fatal(refusals, cliques) {
            Some(problem) => Self::Fatal(problem),
            None => Self::Retry(obstacle(all)),
        }
    }
}

/// Refusals that no retry mends, if at least one honest member gives one.
fn fatal(refusals: &Tally<Refusal>, cliques: &[Group]) -> Option<Problem> {
    let is_fatal = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::NoQuorumCertificate { .. }
                | Refusal::BadWriterSignature
                | Refusal::SenderNotWriter
                | Refusal::WrongRealm
                | Refusal::UnusableTimestamp
                | Refusal::NotMember
                | Refusal::Malformed
                | Refusal::Reserved(_)
        )
    };
    for (_, refusal) in refusals.iter().filter(|(_, refusal)| is_fatal(refusal)) {
        let by: BTreeSet<NodeId> = refusals
            .iter()
            .filter(|(_, other)| other.code() == refusal.code())
            .map(|(node, _)| node.clone())
            .collect();
        if cliques.iter().any(|c| c.count(&by) >= c.thresholds().one_honest()) {
            return Some(match refusal {
                Refusal::NoQuorumCertificate { owner } => {
                    Problem::NoQuorumCertificate { owner: owner.clone(), by }
                }
                other => Problem::Refused { code: other.code(), reason: other.to_string() },
            });
        }
    }
    None
}

/// The obstacle that tells most: an own outstanding Final, which the writer can finish, unless more
/// members name another owner. A lone liar can choose the words of a failure, not the failure.
fn obstacle(refusals: &Tally<Refusal>) -> Obstacle {
    let (others, finals) = (outstanding(refusals), outstanding_finals(refusals));
    let is_contention = |(_, refusal): (&NodeId, &Refusal)| {
        matches!(
            refusal,
            Refusal::OldTimestamp { .. }
                | Refusal::TimestampTooFar { .. }
                | Refusal::TooManySlots(_)
                | Refusal::Busy
        )
    };
    match (finals.last(), others.first()) {
        (Some(slot), _) if finals.len() >= others.len() => {
            Obstacle::Final(Box::new((*slot).clone()))
        }
        (_, Some(slot)) => Obstacle::Others(slot.owner.clone()),
        _ if refusals.iter().any(is_contention) => Obstacle::Contention,
        _ => Obstacle::None,
    }
}

/// For each member that refused because of another owner's attempts, the first of these.
pub(super) fn outstanding(refusals: &Tally<Refusal>) -> Vec<&Slot> {
    let slots = refusals.iter().filter_map(|(_, refusal)| match refusal {
        Refusal::Outstanding(slots) => slots.first(),
        _ => None,
    });
    slots.collect()
}

/// The slots of this writer's owner that members say are too many.
pub(super) fn too_many(refusals: &Tally<Refusal>) -> Vec<&Slot> {
    let slots = refusals.iter().filter_map(|(_, refusal)| match refusal {
        Refusal::TooManySlots(slots) => Some(slots),
        _ => None,
    });
    slots.flatten().collect()
}

fn outstanding_finals(refusals: &Tally<Refusal>) -> Vec<&Slot> {
    let slots = refusals.iter().filter_map(|(_, refusal)| match refusal {
        Refusal::OutstandingFinal(slot) => Some(&**slot),
        _ => None,
    });
    slots.collect()
}
