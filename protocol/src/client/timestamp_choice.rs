//! Choosing t (rule R2).

use std::collections::BTreeMap;

use super::MAX_HINT;
use crate::planted::{self, Bug};
use crate::{Group, NodeId, SignedTime, Tally, Timestamp};

/// A member's verified time answer.
#[derive(Debug, Clone)]
pub(super) struct TimeAnswer {
    pub(super) seen: Timestamp,
    pub(super) signed: Option<SignedTime>,
}

/// The (b+1)-th largest answer of a clique, and the largest of those over all cliques: b liars
/// cannot raise it above what an honest member has seen.
///
/// Differs: the text takes max(t_i)+1, so one faulty server could close the variable.
pub(super) fn base(answers: &Tally<TimeAnswer>, cliques: &[Group]) -> Timestamp {
    cliques
        .iter()
        .filter_map(|clique| largest(answers, clique).get(clique.thresholds().b()).copied())
        .map(|answer| answer.seen)
        .max()
        .unwrap_or(Timestamp::ZERO)
}

/// b+1 signed answers of each clique whose smallest is the base: proof for a lagging member.
pub(super) fn proof(answers: &Tally<TimeAnswer>, cliques: &[Group]) -> Vec<SignedTime> {
    cliques
        .iter()
        .flat_map(|clique| {
            largest(answers, clique).into_iter().take(clique.thresholds().one_honest())
        })
        .filter_map(|answer| answer.signed.clone())
        .collect()
}

fn largest<'a>(answers: &'a Tally<TimeAnswer>, clique: &Group) -> Vec<&'a TimeAnswer> {
    let by_node: BTreeMap<&NodeId, &TimeAnswer> =
        answers.iter().filter(|(node, _)| clique.contains(node)).collect();
    let mut all: Vec<&TimeAnswer> = by_node.into_values().collect();
    all.sort_by_key(|answer| std::cmp::Reverse(answer.seen));
    all
}

/// t: above the base, above what a refusal named (within [`MAX_HINT`] of the base, because the
/// refusal may be a lie), above the newest certified entry and above the writer's own marks.
pub(super) fn choose(
    base: Timestamp,
    hint: Timestamp,
    known: Timestamp,
    mark: Timestamp,
) -> Timestamp {
    let most = base.saturating_add(MAX_HINT);
    let hint = if planted::is(Bug::HintsUnclipped) { hint } else { hint.min(most) };
    base.max(hint).max(known).max(mark).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(seen: &[u64]) -> (Tally<TimeAnswer>, Vec<Group>) {
        let mut tally = Tally::default();
        let ids: Vec<NodeId> = (0..4).map(|i| NodeId::from_bytes(&[i; 20]).unwrap()).collect();
        for (id, t) in ids.iter().zip(seen) {
            tally.note(id.clone(), TimeAnswer { seen: Timestamp::new(*t), signed: None });
        }
        (tally, vec![Group::new(ids)])
    }

    #[test]
    fn one_liar_cannot_raise_the_base() {
        let (tally, cliques) = answers(&[u64::MAX, 5, 5, 4]);
        assert_eq!(base(&tally, &cliques), Timestamp::new(5));
    }

    #[test]
    fn a_hint_is_clipped() {
        let t = |n| Timestamp::new(n);
        assert_eq!(choose(t(5), t(9), t(0), t(0)), t(10));
        assert_eq!(choose(t(5), t(u64::MAX), t(0), t(0)), t(5 + MAX_HINT + 1));
        assert_eq!(choose(t(5), t(0), t(7), t(8)), t(9));
    }
}
