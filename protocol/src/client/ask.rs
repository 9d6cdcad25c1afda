//! One round of questions and what came of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Action, Fault, Lost, Problem, Round};
use crate::planted::{self, Bug};
use crate::{
    Configuration, ConfigurationDigest, Configurations, EquivocationProof, Group, NodeId, Outcome,
    Progress, Response, Tally, Verify,
};

/// A round: who answered what, and who is lost for it.
#[derive(Debug, Clone)]
pub(super) struct Ask<T> {
    pub(super) round: Round,
    pub(super) answers: Tally<T>,
    pub(super) lost: BTreeSet<NodeId>,
}

impl<T> Ask<T> {
    pub(super) fn new(round: Round) -> Self {
        Self { round, answers: Tally::default(), lost: BTreeSet::new() }
    }

    /// Notes that nothing good will come from this node. One that has answered stays counted.
    pub(super) fn lose(&mut self, node: &NodeId) {
        if !self.answers.has(node) {
            self.lost.insert(node.clone());
        }
    }

    /// The round is over for those who were silent.
    pub(super) fn lose_silent(&mut self, asked: &BTreeSet<NodeId>) {
        self.lost.extend(asked.difference(&self.answers.nodes()).cloned());
    }

    /// Those who have answered or still may.
    pub(super) fn not_lost(&self, asked: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        asked.difference(&self.lost).cloned().collect()
    }

    /// Takes a node's answer back: it counts as lost.
    pub(super) fn withdraw(&mut self, node: &NodeId) {
        self.answers.remove(node);
        self.lost.insert(node.clone());
    }

    /// Whether a quorum of every group has answered.
    pub(super) fn progress<'a>(&self, groups: impl IntoIterator<Item = &'a Group>) -> Progress {
        self.progress_without(&BTreeSet::new(), groups)
    }

    /// Whether there can be a quorum of every group only if these are asked too.
    pub(super) fn needs<'a>(
        &self,
        spare: &BTreeSet<NodeId>,
        groups: impl IntoIterator<Item = &'a Group>,
    ) -> bool {
        !spare.is_empty() && self.progress_without(spare, groups) == Progress::Unreachable
    }

    fn progress_without<'a>(
        &self,
        spare: &BTreeSet<NodeId>,
        groups: impl IntoIterator<Item = &'a Group>,
    ) -> Progress {
        let good = self.answers.nodes();
        let lost = self.lost.union(spare).cloned().collect();
        groups.into_iter().fold(Progress::Reached, |progress, group| {
            let thresholds = group.thresholds();
            let small = planted::is(Bug::SmallQuorums);
            let wanted = if small { thresholds.one_honest() } else { thresholds.q() };
            let of_group = group.progress(wanted, &good, &lost);
            progress.and(of_group)
        })
    }
}

/// What a node answered, if it counts: an answer under another configuration does not (rule R1),
/// and is noted; whoever sent what is no answer is to blame.
pub(super) fn open_response(
    configuration: &Configuration,
    from: &NodeId,
    response: Result<Response, Lost>,
    elsewhere: &mut Elsewhere,
    culprits: &mut BTreeMap<NodeId, Fault>,
) -> Option<Outcome> {
    match response {
        Ok(response) if response.configuration == configuration.digest() => Some(response.outcome),
        Ok(response) => {
            elsewhere.note(from.clone(), response.configuration);
            None
        }
        Err(Lost::Lied) => {
            culprits.entry(from.clone()).or_insert(Fault::BadAnswer);
            None
        }
        Err(Lost::Silent) => None,
    }
}

/// Who has another configuration, and whether somebody is asking what it is.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    nodes: Tally<ConfigurationDigest>,
    pub(super) refreshing: bool,
    news: bool,
}

impl Elsewhere {
    pub(super) fn note(&mut self, node: NodeId, theirs: ConfigurationDigest) {
        self.news |= !self.nodes.has(&node);
        self.nodes.note(node, theirs);
    }

    /// Whether it is time to ask for the changes: each node that has another configuration is
    /// a reason once, so that a liar cannot keep anybody busy.
    pub(super) fn wants_refresh(&mut self) -> bool {
        let wants = self.news && !self.refreshing;
        if wants {
            (self.news, self.refreshing) = (false, true);
        }
        wants
    }

    /// More than b members of a group are elsewhere, so one that is honest is; and nobody could
    /// say how one gets there.
    pub(super) fn problem<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a Group>,
    ) -> Option<Problem> {
        let nodes = self.nodes.nodes();
        let lost = |group: &Group| group.count(&nodes) >= group.thresholds().one_honest();
        let (_, theirs) = self.nodes.iter().next()?;
        let any = groups.into_iter().any(lost);
        (any && !self.refreshing).then_some(Problem::OtherConfiguration { theirs: *theirs })
    }
}

/// The proofs in a refusal that hold. Whoever sends one that does not hold has lied.
pub(super) fn check_proofs(
    from: &NodeId,
    mut proofs: Vec<EquivocationProof>,
    configurations: &Configurations,
    keys: &dyn Verify,
    culprits: &mut BTreeMap<NodeId, Fault>,
) -> Vec<EquivocationProof> {
    let shown = proofs.len();
    proofs.retain(|proof| proof.verify(configurations, keys).is_ok());
    if proofs.len() < shown {
        culprits.entry(from.clone()).or_insert(Fault::BadAnswer);
    }
    proofs
}

/// Names the guilty, and has everybody told.
pub(super) fn convict(
    proofs: Vec<EquivocationProof>,
    culprits: &mut BTreeMap<NodeId, Fault>,
    actions: &mut VecDeque<Action>,
) {
    for proof in proofs {
        // What is proven is worse than whatever else was seen.
        culprits.insert(proof.guilty().clone(), Fault::Equivocation);
        actions.push_back(Action::Accuse(proof));
    }
}

/// For the words of an error: the group that lacks most, how many it has and needs.
pub(super) fn shortfall<'a>(
    good: &BTreeSet<NodeId>,
    groups: impl IntoIterator<Item = &'a Group>,
) -> (usize, usize, BTreeSet<NodeId>) {
    groups
        .into_iter()
        .map(|group| {
            let missing = group.members().filter(|id| !good.contains(*id)).cloned().collect();
            (group.count(good), group.thresholds().q(), missing)
        })
        .max_by_key(|(have, need, _)| need.saturating_sub(*have))
        .unwrap_or_default()
}
