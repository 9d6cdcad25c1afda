//! A node that lost its disk: it takes a fresh key, is silent, and reads from the others what it
//! lost. The machine is the real one.

use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    CatchUp, CatchUpAction, CatchUpOptions, Lost, Recovered, Round, Source,
};
use bftkv_protocol::{Batch, NodeId, Response, Sign, Store};

use super::ground::{Caller, Event, Ground};
use super::node::Node;

/// How long before those are asked again who did not answer.
const ROUND: Duration = Duration::from_millis(300);

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

    pub(super) fn begin_to_catch_up(&mut self, ground: &mut Ground) {
        let me = self.signer.id().clone();
        let options = CatchUpOptions {
            me,
            counts_itself: false,
            source: Source::Peers,
            round_timeout: ROUND,
        };
        let known = Arc::clone(&ground.configurations);
        self.catch_up = Some(Box::new(CatchUp::start(ground.now(), known, options)));
        self.wake_later(ground);
        self.pump_catch_up(ground);
    }

    /// A member has answered.
    pub(crate) fn recall(
        &mut self,
        ground: &mut Ground,
        epoch: u64,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
    ) {
        let Some(machine) = self.catch_up.as_mut().filter(|_| epoch == self.epoch) else { return };
        machine.handle_response(round, from, response, &ground.keys, &ground.keys);
        self.pump_catch_up(ground);
    }

    /// Time has passed.
    pub(crate) fn catch_up_on(&mut self, ground: &mut Ground, epoch: u64) {
        let Some(machine) = self.catch_up.as_mut().filter(|_| epoch == self.epoch) else { return };
        machine.handle_timeout(ground.clock.now());
        self.pump_catch_up(ground);
        if self.catch_up.is_some() {
            self.wake_later(ground);
        }
    }

    fn wake_later(&self, ground: &mut Ground) {
        let (node, epoch) = (self.signer.id().clone(), self.epoch);
        ground.clock.after(ROUND, Event::CatchUp { node, epoch });
    }

    fn pump_catch_up(&mut self, ground: &mut Ground) {
        while let Some(action) = self.catch_up.as_mut().and_then(|machine| machine.poll()) {
            self.perform(ground, action);
        }
        if self.catch_up.as_ref().is_some_and(|machine| machine.is_done()) {
            self.catch_up = None;
            self.forgot = false;
        }
    }

    fn perform(&mut self, ground: &mut Ground, action: CatchUpAction) {
        match action {
            CatchUpAction::Ask { round, to, request } => {
                let me = self.signer.id().clone();
                let caller = Caller::CatchUp { node: me.clone(), epoch: self.epoch, round };
                ground.request(&me, &to, caller, &request);
            }
            CatchUpAction::Fetch(_) => {
                if let Some(machine) = &mut self.catch_up {
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
