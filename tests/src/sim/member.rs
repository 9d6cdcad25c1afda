//! A node's part in changes of members. The rules are the real ones of `server::Membership`; this
//! does what they say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::Lost;
use bftkv_protocol::server::{Certifications, Judgement, Membership, Proposal, Standing};
use bftkv_protocol::{
    Answer, Change, NodeId, Objection, Outcome, Purpose, Refusal, Request, Response, Sign,
    SignatureShare, SignedChange,
};

use super::cluster::short;
use super::ground::{Caller, Ground};
use super::node::Node;
use super::plant::Plant;

/// Everybody certifies everybody but those who were distrusted.
struct Trust<'a>(&'a BTreeSet<NodeId>);

impl Certifications for Trust<'_> {
    fn certifies(&self, from: &NodeId, to: &NodeId) -> bool {
        !self.0.contains(from) && !self.0.contains(to)
    }
}

impl Node {
    /// A node that is no member yet, and has no state.
    pub(crate) fn guest(mut self) -> Self {
        let known = Arc::clone(self.membership.configurations());
        self.membership = Membership::arrive(self.signer.id().clone(), known);
        self.record = self.membership.record();
        self
    }

    pub(crate) fn standing(&self) -> Standing {
        self.membership.standing()
    }

    /// Whether it serves under this configuration, or is no member of it.
    pub(crate) fn is_settled(&self, ground: &Ground) -> bool {
        let newest = &ground.configuration;
        let agrees = self.membership.configurations().newest().digest() == newest.digest();
        let serves = agrees && !self.forgot && self.standing() == Standing::Serving;
        !newest.has_member(self.signer.id()) || serves
    }

    /// Answers what concerns members, and refuses what must not be answered now; gives the rest back.
    pub(super) fn take_as_member(
        &mut self,
        ground: &mut Ground,
        call: &(Caller, NodeId),
        request: Request,
    ) -> Option<Request> {
        let outcome = match request {
            Request::Configurations { above } => {
                let known = self.membership.configurations();
                Ok(Answer::Configurations {
                    lineage: Box::new(known.lineage_above(above)),
                    newest: known.newest().digest(),
                    serving: self.standing() == Standing::Serving,
                })
            }
            Request::Propose { predecessor, ref change, binding } => {
                let proposal = Proposal { sender: &call.1, predecessor, change };
                self.vote(ground, &proposal, binding)
            }
            Request::Change(change) => {
                self.hear_of(ground, *change);
                Ok(Answer::Done)
            }
            Request::Accuse(_) => return Some(request),
            _ if self.forgot => Err(Refusal::CatchingUp),
            // It is about to stop: whatever comes now waits, and is refused then.
            _ if self.successor.is_some() => Err(Refusal::Changing),
            other => match self.may_answer(&other) {
                Ok(()) => return Some(other),
                Err(refusal) => Err(refusal),
            },
        };
        self.answer(ground, call, outcome);
        None
    }

    fn may_answer(&self, request: &Request) -> Result<(), Refusal> {
        let recalls = matches!(
            request,
            Request::Recall { .. } | Request::RecallVersions { .. } | Request::RecallEntries { .. }
        );
        match self.standing() {
            Standing::Serving => Ok(()),
            _ if recalls && self.membership.may_hand_over() => Ok(()),
            _ if self.answers_on.is_some() => Ok(()),
            Standing::TakingOver => Err(Refusal::Changing),
            Standing::Guest => Err(Refusal::NotMember),
        }
    }

    /// The vote is on the disk before its signature leaves.
    fn vote(&mut self, ground: &Ground, proposal: &Proposal<'_>, binding: bool) -> Outcome {
        let newest = self.membership.configurations().newest();
        // Operators would not let more than b liars into a group: the promise needs it.
        if newest.digest() == proposal.predecessor && !ground.fits(newest, proposal.change) {
            return Err(Refusal::Objection(Objection::StillCertified(
                proposal.change.member.clone(),
            )));
        }
        let trust = Trust(&ground.distrusted);
        let by = Judgement { trust: &trust, cut: &self.cut, allow_small: false };
        if self.successor.is_some() || !binding {
            self.membership.judge(proposal, &by).map_err(Refusal::Objection)?;
            return Ok(Answer::Vote(None));
        }
        let mut bound = self.membership.clone();
        let statement = bound.vote(proposal, &by).map_err(Refusal::Objection)?;
        if ground.plant != Some(Plant::VotesTwice) {
            self.membership = bound;
        }
        self.record = self.membership.record();
        let signature = self
            .signer
            .sign(Purpose::Change, &statement.signed_bytes())
            .map_err(|_| Refusal::StorageUnavailable)?;
        let signer = self.signer.id().clone();
        Ok(Answer::Vote(Some(SignatureShare { signer, signature })))
    }

    /// Whether it would vote for this change of the newest configuration that it knows.
    pub(crate) fn would_vote(&self, ground: &Ground, sender: &NodeId, change: &Change) -> bool {
        let trust = Trust(&ground.distrusted);
        let by = Judgement { trust: &trust, cut: &self.cut, allow_small: false };
        let predecessor = ground.configuration.digest();
        let proposal = Proposal { sender, predecessor, change };
        ground.fits(&ground.configuration, change) && self.membership.judge(&proposal, &by).is_ok()
    }

    /// Somebody tells of a change.
    fn hear_of(&mut self, ground: &mut Ground, change: SignedChange) {
        let is_deaf = |(who, until): &(NodeId, Duration)| {
            who == self.signer.id() && !ground.healed && ground.now() < *until
        };
        if ground.deaf.as_ref().is_some_and(is_deaf) {
            return;
        }
        let checked = self.membership.clone().extend(change.clone(), &ground.keys);
        if checked == Ok(true) {
            ground.note_taken(&change);
        }
        if checked == Ok(true) && self.successor.is_none() {
            self.successor = Some(change);
            self.succeed_if_idle(ground);
        }
    }

    /// Stops under the old configuration, durably, once everything under way is answered; then tells
    /// the others and takes over.
    pub(super) fn succeed_if_idle(&mut self, ground: &mut Ground) {
        if self.is_busy() {
            return;
        }
        let Some(change) = self.successor.take() else { return };
        let served = Arc::clone(self.membership.configurations());
        if self.membership.extend(change, &ground.keys) != Ok(true) {
            return;
        }
        self.record = self.membership.record();
        if ground.plant == Some(Plant::AnswersOn) {
            self.answers_on.get_or_insert(served);
        } else {
            self.reconfigure();
        }
        self.catch_up = None;
        let known = Arc::clone(self.membership.configurations());
        ground.note_learned(&known);
        let (now, number) = (ground.now(), known.newest().number());
        let me = short(self.signer.id());
        ground.trace.line(now, || format!("{me} knows of configuration {number}"));
        self.tell_of_change(ground);
        self.take_part(ground);
    }

    /// Tells everybody whom the last change concerns. Whoever takes over does so again and again: those
    /// who have not stopped yet are waited for.
    pub(super) fn tell_of_change(&self, ground: &mut Ground) {
        let known = self.membership.configurations();
        let (Some(change), Some(old)) = (known.changes().last(), known.predecessor()) else {
            return;
        };
        let (me, request) = (self.signer.id(), Request::Change(Box::new(change.clone())));
        for other in (&old.everyone() | &known.newest().everyone()).iter().filter(|id| *id != me) {
            ground.request(me, other, Caller::Nobody, &request);
        }
    }

    /// What is on the disk is what it has promised.
    pub(super) fn restore_membership(&mut self) {
        let restored = Membership::restore(self.signer.id().clone(), self.record.clone());
        if let Ok(membership) = restored {
            self.membership = membership;
        }
    }

    /// Learns of changes that it missed, and takes over if it must.
    pub(super) fn take_part(&mut self, ground: &mut Ground) {
        if !ground.faults.change_members() {
            return;
        }
        self.learn(ground);
        if self.forgot {
            // Those of the new configuration are asked for what it lost.
            return self.begin_to_catch_up(ground);
        }
        if self.standing() != Standing::TakingOver {
            return;
        }
        if ground.plant == Some(Plant::ServeAtOnce) {
            self.complete(ground);
        } else {
            self.begin_to_catch_up(ground);
        }
    }

    /// Asks the others for changes.
    pub(crate) fn learn(&self, ground: &mut Ground) {
        if !self.is_up() {
            return;
        }
        let known = self.membership.configurations();
        let request = Request::Configurations { above: known.newest().number() };
        let me = self.signer.id();
        for other in known.newest().everyone().iter().filter(|id| *id != me) {
            ground.request(me, other, Caller::Learn { node: me.clone() }, &request);
        }
    }

    /// Another node has told which changes it knows.
    pub(crate) fn learned(&mut self, ground: &mut Ground, response: Result<Response, Lost>) {
        let Ok(Response { outcome: Ok(Answer::Configurations { lineage, .. }), .. }) = response
        else {
            return;
        };
        if self.is_up() {
            lineage.changes.into_iter().for_each(|change| self.hear_of(ground, change));
        }
    }

    /// The state of the predecessor is here and on the disk.
    pub(super) fn complete(&mut self, ground: &mut Ground) {
        let newest = self.membership.configurations().newest().digest();
        self.membership.complete(newest);
        if self.answers_on.take().is_some() {
            self.reconfigure();
        }
        self.record = self.membership.record();
        let (me, now) = (short(self.signer.id()), ground.now());
        ground.trace.line(now, || format!("{me} has taken over"));
    }
}
