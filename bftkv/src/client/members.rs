//! Changes of members, driven from outside: proposing, collecting votes, waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::{
    Answer, Change, ChangeError, ChangeKind, ChangeStatement, CollectiveSignature, Configuration,
    Group, NodeId, Objection, Purpose, Refusal, Request, Response, SignatureShare, SignedChange,
};

use super::Client;
use crate::Error;
use crate::peers::Patience;

/// How long to wait before members are asked again that have not completed a change.
const PAUSE: Duration = Duration::from_millis(100);

/// Which group a new member enters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The authority clique, and the store group too where both are one. With several cliques,
    /// the one whose members certify the node.
    #[default]
    Clique,
    /// The store group only.
    Store,
}

/// What one node says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Whether it answered.
    pub answered: bool,
    /// Whether its newest configuration is ours.
    pub agrees: bool,
    /// Whether it has taken over the state and serves.
    pub serving: bool,
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeProgress {
    /// An earlier change is not complete at these members: waiting.
    Waiting(BTreeSet<NodeId>),
    /// So many members would sign, and so many must.
    Agreed(usize, usize),
    /// So many have voted, and so many must.
    Voted(usize, usize),
    /// The change has its votes; these members still take over the state.
    TakingOver(BTreeSet<NodeId>),
}

/// Why a change did not happen, or is not known to be complete.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeFailure {
    /// It makes no sense.
    #[error("no such change: {0}")]
    Change(#[from] ChangeError),
    /// Too few members would sign it. Nothing was promised; mend what they say and try again.
    #[error("too few members agree ({have} of {need})")]
    Refused {
        /// How many would sign, in the clique that lacks most.
        have: usize,
        /// How many must.
        need: usize,
        /// Who would not, and why; no reason stands for no answer.
        why: BTreeMap<NodeId, Option<Refusal>>,
    },
    /// Members have voted for different changes, so that none can get a quorum. It cannot be undone
    /// by bftkv: see docs/membership.md.
    #[error("the members' votes are split between two changes")]
    Split {
        /// Who has voted for something else.
        others: BTreeMap<NodeId, Change>,
    },
    /// The change has its votes and will happen, but too few members had completed it by the
    /// deadline.
    #[error("the change is made, but not complete at {} yet", waiting(.0))]
    Unconfirmed(BTreeSet<NodeId>),
    /// Something else.
    #[error(transparent)]
    Other(#[from] Error),
}

fn waiting(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// What members answered to a proposal.
#[derive(Default)]
struct Votes {
    given: BTreeMap<NodeId, Option<SignatureShare>>,
    why: BTreeMap<NodeId, Option<Refusal>>,
}

impl Client {
    /// What every member says about itself.
    ///
    /// # Errors
    /// No configuration is known.
    pub async fn member_status(&self) -> Result<BTreeMap<NodeId, MemberStatus>, Error> {
        self.inner.refresh().await;
        let configuration = self.configuration()?;
        Ok(self.statuses(&configuration).await)
    }

    async fn statuses(&self, configuration: &Configuration) -> BTreeMap<NodeId, MemberStatus> {
        let nobody = MemberStatus { answered: false, agrees: false, serving: false };
        let members = configuration.everyone();
        let mut found: BTreeMap<NodeId, MemberStatus> =
            members.iter().map(|id| (id.clone(), nobody.clone())).collect();
        let request = Request::Configurations { above: configuration.number() };
        let patience = Patience::within(self.inner.settings.round());
        let mut answers = self.inner.peers.ask(members, request, patience);
        while let Some((node, response)) = answers.recv().await {
            if let Ok(Response {
                outcome: Ok(Answer::Configurations { newest, serving, .. }),
                ..
            }) = response
            {
                let agrees = newest == configuration.digest();
                found.insert(node, MemberStatus { answered: true, agrees, serving });
            }
        }
        found
    }

    /// Adds or removes one member: asks whether the members would sign, collects their votes, tells
    /// everybody, and waits until a quorum of every group serves under the new configuration.
    ///
    /// The own key must be a member's, or that of the node which comes or goes.
    ///
    /// # Errors
    /// [`ChangeFailure`]: who refused and why. Unless votes were collected, nothing has changed.
    pub async fn change_members(
        &self,
        kind: ChangeKind,
        member: &NodeId,
        place: Place,
        deadline: Duration,
        mut progress: impl FnMut(&ChangeProgress),
    ) -> Result<Arc<Configuration>, ChangeFailure> {
        let ends = tokio::time::Instant::now() + deadline;
        self.join().await;
        self.reconfigure().await?;
        let old = self.configuration()?;
        let change = self.plan(&old, kind, member, place)?;
        let new = Arc::new(change.apply(&old, true)?);
        self.introduce(&old, &new).await;
        while let Some(open) = self.would_sign(&old, &change, &mut progress).await? {
            if tokio::time::Instant::now() >= ends {
                return Err(ChangeFailure::Unconfirmed(open));
            }
            progress(&ChangeProgress::Waiting(open));
            tokio::time::sleep(PAUSE).await;
        }
        let signed = self.collect(&old, &new, change, &mut progress).await?;
        let mut known = (*self.inner.configurations()?).clone();
        known.extend(signed.clone(), self.inner.keys())?;
        self.inner.adopt(known);
        let everybody: BTreeSet<NodeId> = old.everyone().union(&new.everyone()).cloned().collect();
        self.inner.peers.post(everybody, Request::Change(Box::new(signed)));
        self.wait(&new, ends, &mut progress).await?;
        Ok(new)
    }

    /// Where the node enters, or what it leaves.
    fn plan(
        &self,
        old: &Configuration,
        kind: ChangeKind,
        member: &NodeId,
        place: Place,
    ) -> Result<Change, ChangeFailure> {
        let number = |at: usize| u8::try_from(at).ok();
        let (clique, store) = match (kind, place) {
            (ChangeKind::Remove, _) => {
                let clique = old.cliques().iter().position(|clique| clique.contains(member));
                (clique.and_then(number), old.store().contains(member))
            }
            (ChangeKind::Add, Place::Store) => (None, true),
            (ChangeKind::Add, Place::Clique) => {
                let graph = self.inner.certificates.keyring().graph();
                let certified = |clique: &Group| {
                    clique.members().filter(|id| graph.certifies(id, member)).count()
                };
                let cliques = old.cliques().iter().enumerate();
                let best = cliques.max_by_key(|(_, clique)| certified(clique)).map(|(at, _)| at);
                (best.and_then(number), old.store_is_authority())
            }
        };
        let is_in = old.has_member(member);
        if is_in == (kind == ChangeKind::Add) && place == Place::Clique {
            return Err(ChangeError::Membership(member.clone()).into());
        }
        Ok(Change { member: member.clone(), kind, clique, store })
    }

    /// Brings everybody the certificates of everybody, with the certifications on them and what was
    /// withdrawn: it may be known here only.
    async fn introduce(&self, old: &Configuration, new: &Configuration) {
        for member in &(&old.everyone() | &new.everyone()) {
            let Some(certificate) = self.inner.certificates.bytes(member) else { continue };
            let request = Request::Introduce { certificate };
            let patience = Patience::within(self.inner.settings.round());
            let mut answers = self.inner.peers.ask(new.everyone(), request, patience);
            while answers.recv().await.is_some() {}
        }
    }

    /// Whether enough members would sign; those for whom the last change is not complete, if that
    /// is all that is lacking.
    async fn would_sign(
        &self,
        old: &Configuration,
        change: &Change,
        progress: &mut impl FnMut(&ChangeProgress),
    ) -> Result<Option<BTreeSet<NodeId>>, ChangeFailure> {
        let votes = self.ask_votes(old, change, false).await;
        let (have, need) = shortfall(old, &votes);
        progress(&ChangeProgress::Agreed(have, need));
        if have >= need {
            return Ok(None);
        }
        let unconfirmed = |refusal: &Option<Refusal>| {
            matches!(refusal, Some(Refusal::Objection(Objection::Unconfirmed)))
        };
        let open = votes.why.iter().filter(|(_, why)| unconfirmed(why));
        let open: BTreeSet<NodeId> = open.map(|(id, _)| id.clone()).collect();
        if have.saturating_add(open.len()) >= need {
            return Ok(Some(open));
        }
        Err(failure(have, need, votes.why))
    }

    async fn collect(
        &self,
        old: &Configuration,
        new: &Configuration,
        change: Change,
        progress: &mut impl FnMut(&ChangeProgress),
    ) -> Result<SignedChange, ChangeFailure> {
        let votes = self.ask_votes(old, &change, true).await;
        let statement = ChangeStatement::of(old, new).signed_bytes();
        let valid = |vote: &&SignatureShare| {
            let (signer, signature) = (&vote.signer, &vote.signature);
            self.inner.keys().verify(signer, Purpose::Change, &statement, signature).is_ok()
        };
        let given = votes
            .given
            .iter()
            .filter(|(id, vote)| vote.as_ref().is_some_and(|vote| vote.signer == **id));
        let good: Vec<SignatureShare> =
            given.filter_map(|(_, vote)| vote.as_ref()).filter(valid).cloned().collect();
        let counted = Votes {
            given: good.iter().map(|vote| (vote.signer.clone(), None)).collect(),
            why: BTreeMap::new(),
        };
        let (have, need) = shortfall(old, &counted);
        progress(&ChangeProgress::Voted(have, need));
        if have < need {
            return Err(failure(have, need, votes.why));
        }
        Ok(SignedChange { change, votes: CollectiveSignature::new(old.digest(), good) })
    }

    async fn ask_votes(&self, old: &Configuration, change: &Change, binding: bool) -> Votes {
        let cut = self.inner.cut();
        let members: BTreeSet<NodeId> = old.authority().difference(&cut).cloned().collect();
        let mut votes = Votes::default();
        votes.why.extend(members.iter().map(|id| (id.clone(), None)));
        let request =
            Request::Propose { predecessor: old.digest(), change: change.clone(), binding };
        let patience = Patience::within(self.inner.settings.deadline());
        let mut answers = self.inner.peers.ask(members, request, patience);
        while let Some((node, response)) = answers.recv().await {
            match response.map(|response| response.outcome) {
                Ok(Ok(Answer::Vote(vote))) => {
                    votes.why.remove(&node);
                    votes.given.insert(node, vote);
                }
                Ok(Err(refusal)) => drop(votes.why.insert(node, Some(refusal))),
                Ok(Ok(_)) | Err(_) => {}
            }
        }
        votes
    }

    /// Waits until a quorum of every group serves under the new configuration.
    async fn wait(
        &self,
        new: &Configuration,
        ends: tokio::time::Instant,
        progress: &mut impl FnMut(&ChangeProgress),
    ) -> Result<(), ChangeFailure> {
        loop {
            let statuses = self.statuses(new).await;
            let (done, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
                statuses.into_iter().partition(|(_, status)| status.agrees && status.serving);
            let open: BTreeSet<NodeId> = open.into_keys().collect();
            progress(&ChangeProgress::TakingOver(open.clone()));
            let enough = |group: &Group| group.count(done.keys()) >= group.thresholds().q();
            if new.cliques().iter().chain([new.store()]).all(enough) {
                return Ok(());
            }
            if tokio::time::Instant::now() >= ends {
                return Err(ChangeFailure::Unconfirmed(open));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// How many votes there are in the clique that lacks most, and how many it needs.
fn shortfall(old: &Configuration, votes: &Votes) -> (usize, usize) {
    let each = old
        .cliques()
        .iter()
        .map(|clique| (clique.count(votes.given.keys()), clique.thresholds().q()));
    each.max_by_key(|(have, need)| need.saturating_sub(*have)).unwrap_or_default()
}

fn failure(have: usize, need: usize, why: BTreeMap<NodeId, Option<Refusal>>) -> ChangeFailure {
    let others: BTreeMap<NodeId, Change> = why
        .iter()
        .filter_map(|(id, refusal)| match refusal {
            Some(Refusal::Objection(Objection::Voted(change))) => {
                Some((id.clone(), (**change).clone()))
            }
            _ => None,
        })
        .collect();
    if others.is_empty() {
        ChangeFailure::Refused { have, need, why }
    } else {
        ChangeFailure::Split { others }
    }
}
