//! What the refusals of an attempt mean, taken together.

use std::collections::BTreeSet;

use super::{Phase, Problem};
use crate::{Address, Group, NodeId, Refusal, RoamingRefusal, Slot, Tally};

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
            None => Self::Retry(obstacle(all, cliques)),
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
                // The value has to be made anew, with shares that are dealt anew.
                | Refusal::Roaming(RoamingRefusal::NoShare)
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

/// The obstacle that tells most: an own outstanding Final, which the writer can finish by writing
/// that value, unless so many members name another owner that no quorum is left for it. However
/// many name him up to n-q, they may all be liars, or give way; the Final may be what stands in the
/// way alone. A liar can choose the words of a failure, not the failure: writing the value again
/// does what its owner has asked for once.
fn obstacle(refusals: &Tally<Refusal>, cliques: &[Group]) -> Obstacle {
    let others = outstanding(refusals);
    let is_contention = |(_, refusal): (&NodeId, &Refusal)| {
        matches!(
            refusal,
            Refusal::OldTimestamp { .. }
                | Refusal::TimestampTooFar { .. }
                | Refusal::TooManySlots(_)
                | Refusal::Busy
        )
    };
    match (own_final(refusals), others.first()) {
        (Some(slot), _) if leave_a_quorum(refusals, cliques) => {
            Obstacle::Final(Box::new(slot.clone()))
        }
        (_, Some(slot)) => Obstacle::Others(slot.owner.clone()),
        _ if refusals.iter().any(is_contention) => Obstacle::Contention,
        _ => Obstacle::None,
    }
}

/// Whether those who name another owner leave a quorum of each clique.
fn leave_a_quorum(refusals: &Tally<Refusal>, cliques: &[Group]) -> bool {
    let names_another = |refusal: &Refusal| matches!(refusal, Refusal::Outstanding(_));
    let by: BTreeSet<&NodeId> =
        refusals.iter().filter(|(_, refusal)| names_another(refusal)).map(|(id, _)| id).collect();
    cliques.iter().all(|clique| {
        let left = clique.len().saturating_sub(clique.count(by.iter().copied()));
        left >= clique.thresholds().q()
    })
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

/// The outstanding Final of the value that most members name, and its latest attempt.
fn own_final(refusals: &Tally<Refusal>) -> Option<&Slot> {
    let finals: Vec<&Slot> = refusals
        .iter()
        .filter_map(|(_, refusal)| match refusal {
            Refusal::OutstandingFinal(slot) => Some(&**slot),
            _ => None,
        })
        .collect();
    let named = |slot: &Slot| finals.iter().filter(|other| other.value == slot.value).count();
    finals.iter().copied().max_by_key(|slot| (named(slot), slot.timestamp))
}
