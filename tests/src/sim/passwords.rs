//! A node's part in passwords: the real `bftkv_roaming::server::Server` behind a driver that does
//! what `bftkv` does: before a value under a password is signed, after it is stored, and in between.

use std::collections::BTreeMap;

use bftkv_protocol::server::{Standing, Ticket};
use bftkv_protocol::{
    Answer, Batch, Identities, NodeId, Nonce, Refusal, Request, RoamingAnswer, RoamingRequest,
    Sign, Store, StoreError, Variable,
};
use bftkv_roaming::server::{Action, Asked, Asker, Loaded, Reply, Server, Signing};
use bftkv_roaming::{Protected, Record, rand_core::RngCore as _};

use super::desk::{Call, Number, Place};
use super::ground::{DiskWork, Ground};
use super::node::Node;
use super::plant::Plant;
use crate::invariants::Observation;

/// Tickets of passwords begin here: what they write lies on one disk with what the rules write.
const FIRST: Ticket = 1 << 63;

/// Shares and attempts of passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    server: Server,
    waiting: BTreeMap<Ticket, Waiting>,
    last: Ticket,
}

/// What waits for the machine.
#[derive(Debug)]
enum Waiting {
    Answer { call: Call, request: Box<RoamingRequest> },
    Judge { place: Place, request: Box<Request> },
    Settle(Number),
}

impl Passwords {
    pub(super) fn new(me: NodeId) -> Self {
        Self { server: Server::new(me), waiting: BTreeMap::new(), last: FIRST }
    }

    /// Whether a ticket is one of passwords.
    pub(super) fn is_theirs(ticket: Ticket) -> bool {
        ticket >= FIRST
    }

    /// The machine is forgotten in a crash; tickets of before are not given out again.
    pub(super) fn forget(&mut self, me: NodeId) {
        *self = Self { last: self.last, ..Self::new(me) };
    }
}

impl Node {
    /// Answers what is about shares of passwords.
    pub(super) fn take_password(
        &mut self,
        ground: &mut Ground,
        call: Call,
        request: RoamingRequest,
    ) {
        let refusal = match self.standing() {
            Standing::Serving => None,
            Standing::TakingOver => Some(Refusal::Changing),
            Standing::Guest => Some(Refusal::NotMember),
        };
        if let Some(refusal) = refusal {
            return self.answer(ground, &call, Err(refusal));
        }
        let mut nonce = [0; 32];
        ground.rng.fill_bytes(&mut nonce);
        let id = call.1.clone();
        let address = ground.watch.facts().users.get(&id).cloned();
        let asked = Asked {
            asker: Asker { id, address, is_applicant: false },
            request: request.clone(),
            now: ground.seconds(),
            memory: self.memory(),
            nonce: Nonce::from_bytes(nonce),
        };
        let waiting = Waiting::Answer { call, request: Box::new(request) };
        self.ask_passwords(ground, waiting, |server, ticket| server.handle_request(ticket, asked));
    }

    /// Whether the node holds the share that belongs to the value which it is to sign. The rules have
    /// looked at the request already.
    pub(super) fn judge_share(&mut self, ground: &mut Ground, place: Place, request: Request) {
        let entry = match &request {
            Request::Sign { entry, .. } => &entry.entry,
            _ => return self.desk.judge(place, Ok(request)),
        };
        let Some(signing) = Signing::of(entry, self.memory(), ground.seconds()) else {
            return self.desk.judge(place, Ok(request));
        };
        if ground.plant == Some(Plant::SignWithoutShare) {
            return self.desk.judge(place, Ok(request));
        }
        let waiting = Waiting::Judge { place, request: Box::new(request) };
        self.ask_passwords(ground, waiting, |server, ticket| {
            server.handle_signing(ticket, signing);
        });
    }

    /// A value under a password was stored: the share of the record before is erased.
    pub(super) fn settle_password(
        &mut self,
        ground: &mut Ground,
        exchange: Number,
        variable: Variable,
    ) {
        let (memory, now) = (self.memory(), ground.seconds());
        self.ask_passwords(ground, Waiting::Settle(exchange), |server, ticket| {
            server.handle_stored(ticket, variable, memory, now);
        });
    }

    fn ask_passwords(
        &mut self,
        ground: &mut Ground,
        waiting: Waiting,
        what: impl FnOnce(&mut Server, Ticket),
    ) {
        let passwords = &mut self.passwords;
        passwords.last = passwords.last.saturating_add(1);
        passwords.waiting.insert(passwords.last, waiting);
        what(&mut passwords.server, passwords.last);
        self.pump_passwords(ground);
    }

    /// Which of its memories the node speaks from: it takes a fresh key with each.
    fn memory(&self) -> u64 {
        u64::from(self.signer.subkey())
    }

    /// The disk has done something for them.
    pub(super) fn password_disk_done(
        &mut self,
        ground: &mut Ground,
        ticket: Ticket,
        work: DiskWork,
    ) {
        match work {
            DiskWork::Load { variable, .. } => {
                let loaded = self.load_vault(ground, ticket, &variable);
                self.passwords.server.handle_loaded(ticket, loaded, &ground.keys);
            }
            DiskWork::Sync => {
                let fails = !ground.healed && ground.rng.percent(ground.disk_failures);
                let persisted = self.disk.end(ticket, fails, &mut ground.rng);
                self.passwords.server.handle_persisted(ticket, persisted);
            }
            DiskWork::List { .. } | DiskWork::Recall { .. } => {}
        }
        self.pump_passwords(ground);
    }

    fn load_vault(
        &self,
        ground: &Ground,
        ticket: Ticket,
        variable: &Variable,
    ) -> Result<Loaded, StoreError> {
        let mut loaded =
            Loaded { state: self.disk.load(variable)?, vault: self.disk.vault(variable)? };
        let asked = match self.passwords.waiting.get(&ticket) {
            Some(Waiting::Answer { request, .. }) => &**request,
            _ => return Ok(loaded),
        };
        // A planted bug: a record that was replaced is as good as the newest.
        if let (RoamingRequest::Evaluate { record, .. }, Some(Plant::OldRecords)) =
            (asked, ground.plant)
        {
            for t in self.disk.versions(variable, None, usize::MAX)? {
                let version = self.disk.version(variable, t)?;
                let of = version.as_ref().map(|entry| Protected::from_value(&entry.entry().value));
                if matches!(of, Some(Ok(protected)) if protected.record().id() == *record) {
                    loaded.state.latest = version;
                }
            }
        }
        Ok(loaded)
    }

    fn pump_passwords(&mut self, ground: &mut Ground) {
        while let Some(action) = self.passwords.server.poll() {
            match action {
                Action::Load { ticket, variable } => {
                    self.later(ground, 3, ticket, DiskWork::Load { variable, version: None });
                }
                Action::Persist { ticket, variable, vault } => {
                    let batch = Batch { vaults: vec![(variable, vault)], ..Batch::default() };
                    self.disk.begin(ticket, batch);
                    self.later(ground, 30, ticket, DiskWork::Sync);
                    if ground.plant == Some(Plant::EvaluateBeforeSync) {
                        self.passwords.server.handle_persisted(ticket, Ok(()));
                    }
                }
                Action::Reply { ticket, reply } => {
                    if let Some(waiting) = self.passwords.waiting.remove(&ticket) {
                        self.password_decided(ground, waiting, reply);
                    }
                }
            }
        }
    }

    fn password_decided(&mut self, ground: &mut Ground, waiting: Waiting, reply: Reply) {
        let outcome = match reply {
            Reply::Plain(outcome) => outcome,
            Reply::Evaluate(evaluate) => evaluate.run(&mut ground.rng),
        };
        match waiting {
            Waiting::Answer { call, request } => {
                if let Ok(answer) = &outcome {
                    self.observe_password(ground, &call.1, &request, answer);
                }
                self.answer(ground, &call, outcome.map(Answer::Roaming));
            }
            Waiting::Judge { place, request } => {
                self.desk.judge(place, outcome.map(|_| *request));
                self.begin_judged(ground, place.0);
            }
            Waiting::Settle(exchange) => self.finish(ground, exchange),
        }
    }

    fn observe_password(
        &self,
        ground: &mut Ground,
        asker: &NodeId,
        request: &RoamingRequest,
        answer: &RoamingAnswer,
    ) {
        let (node, variable) = (self.signer.id(), request.variable());
        match (request, answer) {
            (RoamingRequest::Evaluate { element, .. }, RoamingAnswer::Evaluated(evaluated)) => {
                let Some((record, known)) = self.record_and_class(ground, variable, asker) else {
                    return;
                };
                let (memory, days) = (self.memory(), ground.days);
                ground.observe(&Observation::Evaluated {
                    node,
                    memory,
                    asker,
                    record: &record,
                    known,
                    element,
                    nonce: evaluated.nonce,
                    days,
                });
            }
            (RoamingRequest::Prove { proof, .. }, RoamingAnswer::Done) => {
                ground.observe(&Observation::Proven { node, nonce: proof.nonce });
            }
            _ => {}
        }
    }

    /// The record that is certified here, and whether the asker is known to its owner.
    fn record_and_class(
        &self,
        ground: &Ground,
        variable: &Variable,
        asker: &NodeId,
    ) -> Option<(Record, bool)> {
        let latest = self.disk.load(variable).ok()?.latest?;
        let known = ground.keys.has_quorum_certificate(asker, &latest.entry().owner);
        Some((Protected::from_value(&latest.entry().value).ok()?.record().clone(), known))
    }
}
