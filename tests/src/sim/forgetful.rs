//! A node that lost its disk: it takes a fresh key, is silent, and reads from the others what it
//! lost. A node that takes over the state of a predecessor reads in the same way. The machines are the real ones.

use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    CatchUp, CatchUpAction, CatchUpOptions, Lost, OldVersions, OldVersionsAction, Recovered, Round,
    Source, absent, kept,
};
use bftkv_protocol::{Batch, NodeId, Request, Response, Sign, Store};

use super::ground::{Caller, Event, Ground};
use super::node::Node;
use super::plant::Plant;

/// How long before those are asked again who did not answer.
const ROUND: Duration = Duration::from_millis(300);

/// What a node reads from the others.
#[derive(Debug)]
pub(super) enum CatchingUp {
    Memory(Box<CatchUp>),
    OldVersions(Box<OldVersions>),
}

impl Node {
    /// Whether it has not read everything yet.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.forgot
    }

    /// An empty disk is put in, or an old copy. The node notices it: its own notes and its peers
    /// know better (`Announcing` has its own tests).
    pub(crate) fn lose_disk(&mut self, ground: &mut Ground) {
        let old = self.backup.take().filter(|_| ground.rng.percent(50));
        self.disk.replace(old.unwrap_or_default());
        self.forgot = true;
        self.signer.renew();
    }

    /// Reads what it lost, or what those hand over who have stopped under the predecessor. Members tell a
    /// guest nothing: one that forgot stays silent until it is a member.
    pub(super) fn begin_to_catch_up(&mut self, ground: &mut Ground) {
        let known = Arc::clone(self.membership.configurations());
        if !known.newest().has_member(self.signer.id()) {
            return;
        }
        let machine = CatchUp::start(ground.now(), known, self.catch_up_options());
        self.reading = self.reading.saturating_add(1);
        self.catch_up = Some(CatchingUp::Memory(Box::new(machine)));
        self.wake_later(ground);
        self.pump_catch_up(ground);
    }

    fn catch_up_options(&self) -> CatchUpOptions {
        let takes_over = !self.forgot;
        CatchUpOptions {
            me: self.signer.id().clone(),
            counts_itself: takes_over && self.membership.may_hand_over(),
            source: if takes_over { Source::Predecessor } else { Source::Peers },
            round_timeout: ROUND,
        }
    }

    /// A member has answered.
    pub(crate) fn recall(
        &mut self,
        ground: &mut Ground,
        reading: u64,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        let Some(machine) = self.catch_up.as_mut().filter(|_| reading == self.reading) else {
            return;
        };
        match machine {
            CatchingUp::Memory(machine) => {
                machine.handle_response(round, from, response, &ground.keys, &ground.keys);
            }
            CatchingUp::OldVersions(machine) => {
                machine.handle_response(round, from, response, &ground.keys);
            }
        }
        self.pump_catch_up(ground);
    }

    /// Time has passed.
    pub(crate) fn catch_up_on(&mut self, ground: &mut Ground, reading: u64) {
        let Some(machine) = self.catch_up.as_mut().filter(|_| reading == self.reading) else {
            return;
        };
        match machine {
            CatchingUp::Memory(machine) => machine.handle_timeout(ground.clock.now()),
            CatchingUp::OldVersions(machine) => machine.handle_timeout(ground.clock.now()),
        }
        self.pump_catch_up(ground);
        if self.catch_up.is_some() && reading == self.reading {
            self.wake_later(ground);
            self.tell_of_change(ground);
            if ground.faults.change_members() {
                self.learn(ground);
            }
        }
    }

    fn wake_later(&self, ground: &mut Ground) {
        let (node, reading) = (self.signer.id().clone(), self.reading);
        ground.clock.after(ROUND, Event::CatchUp { node, reading });
    }

    /// First the memory, then old versions, then it speaks.
    fn pump_catch_up(&mut self, ground: &mut Ground) {
        loop {
            match &mut self.catch_up {
                Some(CatchingUp::Memory(machine)) => {
                    if let Some(action) = machine.poll() {
                        self.perform(ground, action);
                    } else if machine.is_done() {
                        let known = Arc::clone(self.membership.configurations());
                        let options = self.catch_up_options();
                        let machine = OldVersions::start(ground.now(), known, options);
                        self.reading = self.reading.saturating_add(1);
                        self.catch_up = Some(CatchingUp::OldVersions(Box::new(machine)));
                        self.wake_later(ground);
                    } else {
                        return;
                    }
                }
                Some(CatchingUp::OldVersions(machine)) => {
                    let hasty = ground.plant == Some(Plant::NewestOnly);
                    if let Some(action) = machine.poll().filter(|_| !hasty) {
                        self.perform_old(ground, action);
                    } else if machine.is_done() || hasty {
                        self.catch_up = None;
                        if std::mem::take(&mut self.forgot) {
                            self.take_part(ground);
                        } else {
                            self.complete(ground);
                        }
                    } else {
                        return;
                    }
                }
                None => return,
            }
        }
    }

    fn perform_old(&mut self, ground: &mut Ground, action: OldVersionsAction) {
        let Some(CatchingUp::OldVersions(machine)) = &mut self.catch_up else { return };
        match action {
            OldVersionsAction::Ask { round, to, request } => self.ask(ground, round, &to, &request),
            OldVersionsAction::Compare { from, versions } => {
                machine.handle_absent(&from, absent(&self.disk, versions).unwrap_or_default());
            }
            OldVersionsAction::Fetch(_) => machine.handle_fetched(),
            OldVersionsAction::Persist(entries) => {
                // Reading and committing in memory do not fail.
                let _ = kept(&self.disk, entries).and_then(|batch| self.disk.commit(batch));
                self.report_stored(ground);
            }
            _ => {}
        }
    }

    fn ask(&self, ground: &mut Ground, round: Round, to: &NodeId, request: &Request) {
        let me = self.signer.id();
        let caller = Caller::CatchUp { node: me.clone(), reading: self.reading, round };
        ground.request(me, to, caller, request);
    }

    fn perform(&mut self, ground: &mut Ground, action: CatchUpAction) {
        match action {
            CatchUpAction::Ask { round, to, request } => self.ask(ground, round, &to, &request),
            CatchUpAction::Fetch(_) => {
                if let Some(CatchingUp::Memory(machine)) = &mut self.catch_up {
                    machine.handle_fetched(&ground.keys, &ground.keys);
                }
            }
            CatchUpAction::Persist(recovered) => {
                recovered.into_iter().for_each(|one| self.keep(one));
                self.report_stored(ground);
            }
            CatchUpAction::Accuse(proof) => {
                // Committing into memory does not fail.
                let _ =
                    self.disk.commit(Batch { proofs: vec![(*proof).clone()], ..Batch::default() });
                self.cut_out(ground, &proof);
            }
            _ => {}
        }
    }

    fn keep(&self, one: Recovered) {
        let local = self.disk.load(&one.variable).unwrap_or_default();
        let _ = self.disk.commit(one.join(&local));
    }
}
