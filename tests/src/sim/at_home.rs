//! What a client process asks of the home of its key, and signs with it.

use std::collections::BTreeSet;

use bftkv_protocol::client::Reserve;
use bftkv_protocol::{
    Abandon, Entry, EntryId, Evidence, NodeId, Purpose, Request, Sign, SignedEntry,
};

use super::ground::{Caller, Event, Ground, HomeWork, OpId};
use super::home::Home;
use super::machine::Machine;
use super::plant::Plant;
use super::process::{Fate, Process};
use crate::invariants::Observation;

impl Process {
    /// The home has done something.
    pub(crate) fn home_done(&mut self, ground: &mut Ground, op: OpId, work: HomeWork) {
        let is_mine = self.runs(op);
        // The process may have died meanwhile: then the work is on the disk, or it is not.
        if !is_mine && ground.rng.percent(50) {
            return;
        }
        let now = self.now(ground);
        match work {
            HomeWork::Reserve(entry) => {
                let reserved = self.reserve(ground, op, *entry);
                if is_mine && let Some(Machine::Write(write)) = self.machine_mut() {
                    write.handle_reserved(now, reserved);
                }
            }
            HomeWork::Assembled(attempt) => {
                self.home(ground).assembled(&attempt);
                ground.observe(&Observation::Assembled { attempt: &attempt });
                if is_mine && let Some(Machine::Write(write)) = self.machine_mut() {
                    write.handle_recorded(now, Ok(()));
                }
            }
        }
        self.pump(ground);
    }

    /// The home signs an entry, if it can.
    pub(super) fn reserve(
        &self,
        ground: &mut Ground,
        op: OpId,
        entry: Entry,
    ) -> Result<SignedEntry, Reserve> {
        let home = self.home(ground);
        let signed = home.reserve(entry, &self.signer, self.id, self.incarnation)?;
        ground.history.attempt(op, signed.hash());
        ground.observe(&Observation::WriterSigned { entry: &signed });
        ground.trace_attempt(&self.name, &signed);
        Ok(signed)
    }

    /// The home of this process's key; a planted bug gives each process one of its own.
    pub(super) fn home<'a>(&self, ground: &'a mut Ground) -> &'a mut Home {
        let is_shared = ground.plant != Some(Plant::NoHomeLock);
        let process = if is_shared { 0 } else { self.id };
        ground.homes.entry((self.signer.id().clone(), process)).or_default()
    }

    pub(super) fn ask_home(&self, ground: &mut Ground, op: OpId, work: HomeWork) -> Fate {
        let delay = ground.rng.millis(0, 8);
        ground.clock.after(delay, Event::Home { process: self.id, op, work });
        if self.is_unlucky(ground) { Fate::Dies } else { Fate::Lives }
    }

    /// Gives an attempt up, in a message that it signs.
    pub(super) fn abandon(
        &self,
        ground: &mut Ground,
        to: BTreeSet<NodeId>,
        attempt: &EntryId,
        evidence: Evidence,
    ) -> Fate {
        if self.is_unlucky(ground) {
            return Fate::Dies;
        }
        let realm = ground.configuration.realm().clone();
        let bytes = Abandon::statement(&realm, attempt, self.key(), &self.owner);
        let Ok(signature) = self.signer.sign(Purpose::Abandon, &bytes) else { return Fate::Lives };
        let assembled = self.home(ground).is_assembled(attempt);
        ground.observe(&Observation::Abandoned { attempt, assembled });
        let (now, name) = (ground.now(), &self.name);
        ground.trace.line(now, || format!("{name} abandons t={}", attempt.timestamp));
        let abandon = Abandon {
            realm,
            attempt: attempt.clone(),
            writer: self.key().clone(),
            owner: self.owner.clone(),
            signature,
        };
        let request = Request::Abandon { abandon, evidence };
        self.send(ground, &to.into_iter().collect::<Vec<_>>(), &Caller::Nobody, &request);
        Fate::Lives
    }
}
