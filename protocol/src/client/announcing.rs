//! Telling the other members from which memory a node speaks, and hearing whether it forgot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Fault, Lost};
use crate::{Announcement, Answer, Configuration, NodeId, Refusal, Response, Verify};

/// What the others say of the own memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Too few have answered: the node says nothing yet.
    Waiting,
    /// More than b others of a group, its own or another, know of nothing later: the node may speak.
    Accepted,
    /// The node itself has signed something that this memory does not know of: it has forgotten.
    Outdated(Box<Announcement>),
}

/// Announces a memory to all other members.
///
/// One that remembers more shows the node's own signature on it, so that a liar cannot make a node
/// believe that it forgot. More than b of one group must accept, so that one of them is honest. It
/// need not be a group of its own: nodes of a store group may not know each other.
#[derive(Debug)]
pub struct Announcing {
    configuration: Arc<Configuration>,
    announcement: Announcement,
    accepted: BTreeSet<NodeId>,
    outdated: Option<Box<Announcement>>,
    culprits: BTreeMap<NodeId, Fault>,
}

impl Announcing {
    /// Begins to announce.
    #[must_use]
    pub fn new(configuration: Arc<Configuration>, announcement: Announcement) -> Self {
        let (accepted, culprits) = (BTreeSet::new(), BTreeMap::new());
        Self { configuration, announcement, accepted, outdated: None, culprits }
    }

    /// What is announced.
    #[must_use]
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// Who has not acknowledged yet: to be asked now, and again until everybody has.
    #[must_use]
    pub fn missing(&self) -> BTreeSet<NodeId> {
        let mut all = self.configuration.everyone();
        all.remove(&self.announcement.node);
        all.retain(|id| !self.accepted.contains(id));
        all
    }

    /// Who lied, and how.
    #[must_use]
    pub fn culprits(&self) -> &BTreeMap<NodeId, Fault> {
        &self.culprits
    }

    /// Takes an answer. Whatever configuration the member has, its memory of ours counts.
    pub fn handle_response(
        &mut self,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        match response.map(|response| response.outcome) {
            Ok(Ok(Answer::Done)) => {
                self.accepted.insert(from.clone());
            }
            Ok(Err(Refusal::Outdated(shown))) => self.take_outdated(from, shown, keys),
            Ok(Ok(_)) => {
                self.culprits.insert(from.clone(), Fault::BadAnswer);
            }
            _ => {}
        }
    }

    fn take_outdated(&mut self, from: &NodeId, shown: Box<Announcement>, keys: &dyn Verify) {
        let ours = &self.announcement;
        let is_own = shown.node == ours.node && shown.realm == ours.realm;
        if !is_own || ours.follows(&shown) || shown.verify(keys).is_err() {
            self.culprits.insert(from.clone(), Fault::BadAnswer);
            return;
        }
        let is_later = |known: &Announcement| shown.epoch > known.epoch;
        if self.outdated.as_deref().is_none_or(is_later) {
            self.outdated = Some(shown);
        }
    }

    /// What follows from the answers so far.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if let Some(outdated) = &self.outdated {
            return Standing::Outdated(outdated.clone());
        }
        let me = &self.announcement.node;
        let mut all = self.configuration.cliques().iter().chain([self.configuration.store()]);
        let enough = all.any(|group| {
            let others = group.members().filter(|id| *id != me).count();
            group.count(&self.accepted) >= group.thresholds().one_honest().min(others)
        });
        if enough { Standing::Accepted } else { Standing::Waiting }
    }
}
