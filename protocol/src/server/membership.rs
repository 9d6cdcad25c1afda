//! What a node may promise while members change (rule R1). The safety argument is in ADR 0011.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limited::cut_reason;
use crate::{
    Change, ChangeError, ChangeKind, ChangeStatement, Configuration, ConfigurationDigest,
    Configurations, Group, Lineage, NodeId, Objection, SignedChange, Verify,
};

/// The web of trust, as far as a vote needs it.
pub trait Certifications {
    /// Whether `from` certifies `to` now, `to` being a node. Nobody certifies who was cut out,
    /// and nobody certifies him.
    fn certifies(&self, from: &NodeId, to: &NodeId) -> bool;
}

/// What a node is in the newest configuration that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "these three are all there are")]
pub enum Standing {
    /// It belongs to no group: it waits until it is added, or was removed and hands over.
    Guest,
    /// It is a member and has stopped under the predecessor, but has not taken over the state yet:
    /// it gives no shares, time answers, read answers or acknowledgements.
    TakingOver,
    /// It serves.
    Serving,
}

/// One node's part in changes of members. What it promises must be synced to disk
/// ([`Membership::record`]) before it is acted on: [`Membership::vote`] and
/// [`Membership::extend`] say when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    me: NodeId,
    known: Arc<Configurations>,
    /// The number of the newest configuration whose state this node has: it has served under it,
    /// or could have. A guest has none.
    complete: Option<u64>,
    /// The successor of the newest configuration for which this member has voted.
    voted: Option<Change>,
}

/// What must survive of a [`Membership`]: losing it can make an honest member vote twice, or serve
/// under a configuration under which it has stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipRecord {
    lineage: Lineage,
    complete: Option<u64>,
    voted: Option<Change>,
}

impl MembershipRecord {
    /// The configurations that the node knows.
    ///
    /// # Errors
    /// [`ChangeError`]: the record does not hold together.
    pub fn configurations(&self) -> Result<Configurations, ChangeError> {
        Configurations::restore(self.lineage.clone())
    }
}

/// A change that is put to the vote, and by whom.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct Proposal<'a> {
    /// Who asks, as the transport has authenticated him.
    pub sender: &'a NodeId,
    /// The configuration that is to be changed.
    pub predecessor: ConfigurationDigest,
    /// The change.
    pub change: &'a Change,
}

/// By what a member judges a proposal.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it holds a trait object")]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct Judgement<'a> {
    /// Its own web of trust.
    pub trust: &'a dyn Certifications,
    /// Nodes that were cut out.
    pub cut: &'a BTreeSet<NodeId>,
    /// Whether it wants cliques below four members.
    pub allow_small: bool,
}

impl Membership {
    /// A node that begins with what the web of trust gave it: if it is a member it may serve at
    /// once, because nobody has served before.
    #[must_use]
    pub fn begin(me: NodeId, known: Arc<Configurations>) -> Self {
        let newest = known.newest();
        let complete = newest.has_member(&me).then(|| newest.number());
        Self { me, known, complete, voted: None }
    }

    /// A node that comes to a realm whose members have served already: it has no state.
    #[must_use]
    pub fn arrive(me: NodeId, known: Arc<Configurations>) -> Self {
        Self { me, known, complete: None, voted: None }
    }

    /// Puts together what was read from disk.
    ///
    /// # Errors
    /// [`ChangeError`]: the file does not hold together.
    pub fn restore(me: NodeId, record: MembershipRecord) -> Result<Self, ChangeError> {
        let known = Arc::new(Configurations::restore(record.lineage)?);
        Ok(Self { me, known, complete: record.complete, voted: record.voted })
    }

    /// What to keep on disk.
    #[must_use]
    pub fn record(&self) -> MembershipRecord {
        let (lineage, complete, voted) = (self.known.lineage(), self.complete, self.voted.clone());
        MembershipRecord { lineage, complete, voted }
    }

    /// The configurations that this node knows.
    #[must_use]
    pub fn configurations(&self) -> &Arc<Configurations> {
        &self.known
    }

    /// What the node is now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let newest = self.known.newest();
        if !newest.has_member(&self.me) {
            Standing::Guest
        } else if self.complete == Some(newest.number()) {
            Standing::Serving
        } else {
            Standing::TakingOver
        }
    }

    /// Whether this node counts as one that hands its state to those who take over: it was a
    /// member of the predecessor and promises nothing under it any more.
    ///
    /// It need not have completed the predecessor. If it has not, it has promised nothing under it,
    /// and what was promised before is known to an honest voter among those who are heard: every
    /// voter had completed the predecessor, and q voters and q that are heard share b+1 members. If
    /// only those who had completed it counted, b voters that fall silent and a member that was slow
    /// to take over would keep everybody from taking over, for ever.
    #[must_use]
    pub fn may_hand_over(&self) -> bool {
        self.known.predecessor().is_some_and(|predecessor| predecessor.has_member(&self.me))
    }

    /// The groups of whose stopped members a quorum each must hand over their state before this
    /// node may serve. None if it serves, or is a guest.
    #[must_use]
    pub fn takes_over_from(&self) -> Option<&Arc<Configuration>> {
        match self.standing() {
            Standing::TakingOver => self.known.predecessor(),
            Standing::Guest | Standing::Serving => None,
        }
    }

    /// Notes that the state of the predecessor of `newest` was taken over and is on disk. It counts
    /// only if that is still the newest configuration.
    pub fn complete(&mut self, newest: ConfigurationDigest) {
        let known = self.known.newest();
        if known.digest() == newest && known.has_member(&self.me) {
            self.complete = Some(known.number());
        }
    }

    /// Takes a successor. On `true` the node has stopped under the old configuration: the record
    /// must be on disk before anything is handed over or served under the new one.
    ///
    /// # Errors
    /// [`ChangeError`]: the sender's fault, unless [`ChangeError::missing_certificate`] names one.
    pub fn extend(&mut self, change: SignedChange, keys: &dyn Verify) -> Result<bool, ChangeError> {
        let before = self.known.newest().number();
        let mut known = (*self.known).clone();
        known.extend(change, keys)?;
        if known.newest().number() == before {
            return Ok(false);
        }
        self.known = Arc::new(known);
        self.voted = None;
        Ok(true)
    }

    /// Whether this member would sign the change, and what it would sign.
    ///
    /// # Errors
    /// The objection to send back.
    pub fn judge(
        &self,
        proposal: &Proposal<'_>,
        by: &Judgement<'_>,
    ) -> Result<ChangeStatement, Objection> {
        let newest = self.known.newest();
        if proposal.predecessor != newest.digest() {
            return Err(Objection::Predecessor(newest.digest()));
        }
        let member = &proposal.change.member;
        if proposal.sender != member && !newest.has_member(proposal.sender) {
            return Err(Objection::Stranger);
        }
        // A quorum that signs has thus completed the last change: steps do not overtake.
        if self.standing() != Standing::Serving {
            return Err(Objection::Unconfirmed);
        }
        if let Some(voted) = self.voted.as_ref().filter(|voted| *voted != proposal.change) {
            return Err(Objection::Voted(Box::new(voted.clone())));
        }
        let successor = proposal
            .change
            .apply(newest, by.allow_small)
            .map_err(|error| Objection::Unfit(cut_reason(&error.to_string())))?;
        match proposal.change.kind {
            ChangeKind::Add => self.agree_to_add(proposal.change, by)?,
            ChangeKind::Remove => self.agree_to_remove(proposal, by)?,
        }
        Ok(ChangeStatement::of(newest, &successor))
    }

    /// Judges the change and binds this member to it. The record must be on disk before the
    /// statement is signed.
    ///
    /// # Errors
    /// The objection to send back; nothing was promised.
    pub fn vote(
        &mut self,
        proposal: &Proposal<'_>,
        by: &Judgement<'_>,
    ) -> Result<ChangeStatement, Objection> {
        let statement = self.judge(proposal, by)?;
        self.voted = Some(proposal.change.clone());
        Ok(statement)
    }

    /// A clique takes in whom all its members certify and who certifies them all; members that
    /// were cut out have no say. The store group takes in whom more than b members of a clique
    /// certify.
    fn agree_to_add(&self, change: &Change, by: &Judgement<'_>) -> Result<(), Objection> {
        let newest = self.known.newest();
        let new = &change.member;
        if by.cut.contains(new) {
            return Err(Objection::NotCertified { from: self.me.clone(), to: new.clone() });
        }
        match change.clique.and_then(|place| newest.cliques().get(usize::from(place))) {
            Some(clique) => {
                let asked = clique.members().filter(|member| !by.cut.contains(*member));
                asked.into_iter().try_for_each(|member| {
                    must_certify(member, new, by.trust)?;
                    must_certify(new, member, by.trust)
                })
            }
            None => {
                let votes = newest.cliques().iter().map(|clique| certifiers(clique, new, by.trust));
                let best = votes.min_by_key(|(have, need)| need.saturating_sub(*have));
                match best {
                    Some((have, need)) if have < need => {
                        Err(Objection::TooFewCertifiers { have, need })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// A member goes if it asks itself, was cut out, or this member and it no longer certify each
    /// other. Of a node that is in the store group only, this member's own certification counts.
    fn agree_to_remove(
        &self,
        proposal: &Proposal<'_>,
        by: &Judgement<'_>,
    ) -> Result<(), Objection> {
        let old = &proposal.change.member;
        let in_clique = self.known.newest().clique_of(old).is_some();
        let is_me = *old == self.me;
        let mine = is_me || by.trust.certifies(&self.me, old);
        let its = is_me || !in_clique || by.trust.certifies(old, &self.me);
        if proposal.sender == old || by.cut.contains(old) || !(mine && its) {
            return Ok(());
        }
        Err(Objection::StillCertified(old.clone()))
    }
}

fn must_certify(from: &NodeId, to: &NodeId, trust: &dyn Certifications) -> Result<(), Objection> {
    if trust.certifies(from, to) {
        return Ok(());
    }
    Err(Objection::NotCertified { from: from.clone(), to: to.clone() })
}

/// How many members of the clique certify the node, and how many must.
fn certifiers(clique: &Group, node: &NodeId, trust: &dyn Certifications) -> (u16, u16) {
    let have = clique.members().filter(|member| trust.certifies(member, node)).count();
    let need = clique.thresholds().one_honest();
    let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    (small(have), small(need))
}
