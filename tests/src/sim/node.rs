//! An honest node: the real server behind a driver that does exactly what it is told.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::server::{
    Admitted, Context, Membership, MembershipRecord, Reply, Server, ServerAction, Ticket, admit,
    page,
};
use bftkv_protocol::{
    Address, Answer, Configurations, EquivocationProof, Identities, NodeId, Outcome, Purpose,
    Refusal, Request, Response, ShareStatement, Sign, SignatureShare, SignedChange, Store,
    TimeStatement, VouchStatement,
};
use bftkv_roaming::Protected;

use super::desk::{Call, Desk, Number};
use super::disk::{Disk, Synced};
use super::fake_keys::FakeSigner;
use super::forgetful::CatchingUp;
use super::ground::{Caller, DiskWork, Event, Ground};
use super::passwords::Passwords;
use super::plant::Plant;
use super::repairing::Repairing;
use crate::invariants::Observation;

/// One honest node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) signer: FakeSigner,
    pub(super) disk: Disk,
    server: Server,
    up: bool,
    /// Counts restarts: what an earlier life was waiting for does not reach a later one.
    pub(super) epoch: u64,
    /// The requests under way.
    pub(super) desk: Desk,
    pub(super) passwords: Passwords,
    pub(super) cut: BTreeSet<NodeId>,
    /// An old copy of the disk.
    pub(super) backup: Option<Synced>,
    /// It lost its memory and has not read all from the others yet: it is silent.
    pub(super) forgot: bool,
    pub(super) catch_up: Option<CatchingUp>,
    /// Counts what it read from others: an answer to an earlier reading is not one to a later.
    pub(super) reading: u64,
    pub(super) membership: Membership,
    /// What of it is on the disk.
    pub(super) record: MembershipRecord,
    /// A successor that it takes as soon as everything under way is answered.
    pub(super) successor: Option<SignedChange>,
    /// A planted bug: it has stopped, and answers under these as long as it does not serve again.
    pub(super) answers_on: Option<Arc<Configurations>>,
    /// Who was cut out by its operator's command: on the disk.
    pub(super) condemned: BTreeSet<NodeId>,
    /// The entry that it has certified again.
    pub(super) repairing: Repairing,
}

impl Node {
    pub(crate) fn new(signer: FakeSigner, ground: &Ground) -> Self {
        let (me, known) = (signer.id().clone(), Arc::clone(&ground.configurations));
        let membership = Membership::begin(me, known);
        Self {
            record: membership.record(),
            membership,
            successor: None,
            answers_on: None,
            condemned: BTreeSet::new(),
            repairing: Repairing::default(),
            reading: 0,
            desk: Desk::default(),
            passwords: Passwords::new(signer.id().clone()),
            signer,
            disk: Disk::with_flaw(ground.plant),
            server: Server::new(Arc::clone(&ground.configurations)),
            up: true,
            epoch: 0,
            cut: BTreeSet::new(),
            backup: None,
            forgot: false,
            catch_up: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The configurations under the newest of which it answers.
    fn served_to(&self, caller: &Caller) -> Arc<Configurations> {
        let known = self.membership.configurations();
        let is_for_member = matches!(caller, Caller::CatchUp { .. });
        let old = self.answers_on.as_ref().filter(|_| !is_for_member);
        Arc::clone(old.unwrap_or(known))
    }

    /// A request has arrived.
    pub(crate) fn take(
        &mut self,
        ground: &mut Ground,
        caller: Caller,
        sender: NodeId,
        request: Request,
    ) {
        let call = (caller, sender);
        let Some(request) = self.take_as_member(ground, &call, request) else { return };
        match (request, ground.plant) {
            (Request::Roaming(request), _) => self.take_password(ground, call, request),
            (Request::Vouch { entry, .. }, Some(Plant::VouchUnstored)) => {
                let known = self.served_to(&call.0);
                let statement = VouchStatement::about(&entry.signed, known.newest());
                let outcome = self.sign_vouch(ground, &statement);
                self.answer(ground, &call, outcome);
            }
            (request, _) => self.open(ground, call, request),
        }
    }

    /// Looks at a request, or at each of many that came together, before the rules have it.
    fn open(&mut self, ground: &mut Ground, call: Call, request: Request) {
        let (requests, is_many): (Vec<Request>, bool) = match request {
            Request::Many(parts) => (parts.into_iter().map(Request::from).collect(), true),
            one => (vec![one], false),
        };
        if requests.is_empty() {
            return self.answer(ground, &call, Err(Refusal::Malformed));
        }
        let number = self.desk.open(call.clone(), &requests, is_many);
        for (index, request) in requests.into_iter().enumerate() {
            let place = (number, index);
            if !signs_protected(&request) {
                self.desk.judge(place, Ok(request));
                continue;
            }
            match self.admit(ground, &call, request.clone()) {
                Err(refusal) => self.desk.judge(place, Err(refusal)),
                Ok(_) => self.judge_share(ground, place, request),
            }
        }
        self.begin_judged(ground, number);
    }

    /// Hands everything to the rules once all of it is judged.
    pub(super) fn begin_judged(&mut self, ground: &mut Ground, number: Number) {
        let judged = self.desk.take_judged(number);
        if judged.is_empty() {
            return;
        }
        let Some(call) = self.desk.call(number).cloned() else { return };
        for (index, request) in judged.into_iter().enumerate() {
            let place = (number, index);
            match request.and_then(|request| self.admit(ground, &call, request)) {
                Err(refusal) => self.desk.answer(place, Err(refusal)),
                Ok(admitted) => {
                    let ticket = self.desk.ticket(place);
                    self.server.handle_request(ticket, admitted);
                }
            }
        }
        self.finish(ground, number);
        self.pump(ground);
    }

    /// Answers once everything is done.
    pub(super) fn finish(&mut self, ground: &mut Ground, number: Number) {
        let settles = ground.plant != Some(Plant::OldRecords);
        if let Some(variable) = self.desk.take_protected(number).filter(|_| settles) {
            return self.settle_password(ground, number, variable);
        }
        let mixes = ground.plant == Some(Plant::MixesParts);
        if let Some((call, outcome)) = self.desk.close(number, mixes) {
            self.answer(ground, &call, outcome);
        }
    }

    fn admit(
        &self,
        ground: &Ground,
        (caller, sender): &Call,
        request: Request,
    ) -> Result<Admitted, Refusal> {
        let claimed = match (&request, ground.plant) {
            (Request::Sign { entry, .. }, Some(Plant::ShareForAnybody)) => {
                entry.entry.writer.clone()
            }
            _ => sender.clone(),
        };
        let blind = ground.plant == Some(Plant::BlindIdentities);
        let identities: &dyn Identities = if blind { &Blind } else { &ground.keys };
        let known = self.served_to(caller);
        let context = Context {
            me: self.signer.id(),
            configurations: &known,
            cut: &self.cut,
            keys: &ground.keys,
            identities,
        };
        admit(&claimed, request, &context)
    }

    /// The disk has done something.
    pub(crate) fn disk_done(
        &mut self,
        ground: &mut Ground,
        epoch: u64,
        ticket: Ticket,
        work: DiskWork,
    ) {
        if epoch != self.epoch || !self.up {
            return;
        }
        if Passwords::is_theirs(ticket) {
            return self.password_disk_done(ground, ticket, work);
        }
        match work {
            DiskWork::Load { variable, version } => {
                let loaded = self.disk.loaded(&variable, version);
                self.server.handle_loaded(ticket, loaded, &ground.keys);
            }
            DiskWork::List { variable, below, limit } => {
                let listed = self.disk.versions(&variable, below, usize::from(limit));
                self.server.handle_listed(ticket, listed);
            }
            DiskWork::Recall { what } => {
                let recalled = page(&self.disk, &what);
                self.server.handle_recalled(ticket, recalled);
            }
            DiskWork::Sync => {
                let fails = !ground.healed && ground.rng.percent(ground.disk_failures);
                let persisted = self.disk.end(ticket, fails, &mut ground.rng);
                self.report_stored(ground);
                self.server.handle_persisted(ticket, persisted);
            }
        }
        self.pump(ground);
    }

    /// Power is lost.
    pub(crate) fn crash(&mut self, ground: &mut Ground) {
        let lies =
            [Plant::ShareBeforeSync, Plant::AcknowledgeBeforeSync, Plant::EvaluateBeforeSync];
        if ground.plant.is_some_and(|plant| lies.contains(&plant)) {
            self.disk.lose_writes();
        } else {
            self.disk.crash(&mut ground.rng);
        }
        self.report_stored(ground);
        if ground.faults.lose_disks() && ground.rng.percent(50) {
            self.backup = Some(self.disk.copy());
        }
        self.up = false;
        self.catch_up = None;
        self.epoch = self.epoch.saturating_add(1);
        self.desk.clear();
        self.passwords.forget(self.signer.id().clone());
        self.successor = None;
        self.answers_on = None;
        self.repairing.stop();
    }

    /// The node starts again over what is on its disk.
    pub(crate) fn restart(&mut self, ground: &mut Ground) {
        if ground.plant == Some(Plant::ForgetMarks) {
            self.disk.forget_marks();
        }
        self.restore_membership();
        self.server = Server::new(Arc::clone(self.membership.configurations()));
        let proofs = self.disk.proofs().unwrap_or_default();
        self.cut = proofs.iter().map(|proof| proof.guilty().clone()).collect();
        self.server.note_convicted(self.cut.iter().cloned());
        self.cut.extend(self.condemned.iter().cloned());
        self.up = true;
        if self.forgot {
            self.begin_to_catch_up(ground);
        } else {
            self.take_part(ground);
        }
    }

    /// A disk that failed needs a restart to be trusted again.
    pub(crate) fn restart_if_stopped(&mut self, ground: &mut Ground) {
        if self.disk.is_stopped() {
            self.crash(ground);
            self.restart(ground);
        }
    }

    fn pump(&mut self, ground: &mut Ground) {
        while let Some(action) = self.server.poll() {
            match action {
                ServerAction::Load { ticket, variable, version } => {
                    self.later(ground, 3, ticket, DiskWork::Load { variable, version });
                }
                ServerAction::List { ticket, variable, below, limit } => {
                    self.later(ground, 3, ticket, DiskWork::List { variable, below, limit });
                }
                ServerAction::Recall { ticket, what } => {
                    self.later(ground, 3, ticket, DiskWork::Recall { what });
                }
                ServerAction::Persist { ticket, batch } => {
                    let early = is_early(ground.plant, &batch);
                    self.disk.begin(ticket, batch);
                    self.later(ground, 30, ticket, DiskWork::Sync);
                    if early {
                        self.server.handle_persisted(ticket, Ok(()));
                    }
                }
                ServerAction::Reply { ticket, reply } => {
                    if let Some(place) = self.desk.place(ticket) {
                        let outcome = self.sign(ground, reply);
                        self.desk.answer(place, outcome);
                        self.finish(ground, place.0);
                    }
                }
                ServerAction::Accuse(proof) => self.cut_out(ground, &proof),
                _ => {}
            }
        }
        self.succeed_if_idle(ground);
    }

    /// Whether requests are under way.
    pub(super) fn is_busy(&self) -> bool {
        !self.desk.is_empty()
    }

    /// The server serves the newest configuration that the node knows.
    pub(super) fn reconfigure(&mut self) {
        self.server.reconfigure(Arc::clone(self.membership.configurations()));
    }

    pub(super) fn later(&self, ground: &mut Ground, millis: u64, ticket: Ticket, work: DiskWork) {
        let (node, epoch) = (self.signer.id().clone(), self.epoch);
        let delay: Duration = ground.rng.millis(0, millis);
        ground.clock.after(delay, Event::Disk { node, epoch, ticket, work });
    }

    pub(super) fn answer(
        &self,
        ground: &mut Ground,
        (caller, to): &(Caller, NodeId),
        outcome: Outcome,
    ) {
        let configuration = self.served_to(caller).newest().digest();
        let response = Response { configuration, outcome };
        ground.respond(self.signer.id(), to, caller.clone(), Duration::ZERO, &response);
    }

    fn sign(&self, ground: &mut Ground, reply: Reply) -> Outcome {
        match reply {
            Reply::Plain(outcome) => outcome,
            Reply::Share(statement) => self.sign_share(ground, &statement),
            Reply::Time(statement, latest) => self.sign_time(&statement, latest),
            Reply::Vouch(statement) => self.sign_vouch(ground, &statement),
            _ => Err(Refusal::Busy),
        }
    }

    fn sign_share(&self, ground: &mut Ground, statement: &ShareStatement) -> Outcome {
        let signature = self
            .signer
            .sign(Purpose::Share, &statement.signed_bytes())
            .map_err(|_| Refusal::StorageUnavailable)?;
        let state = self.disk.load(&statement.variable).unwrap_or_default();
        let is_slot = |s: &bftkv_protocol::Slot| {
            s.timestamp == statement.timestamp && s.hash == statement.entry
        };
        let durable = state.marks.slots.iter().any(is_slot);
        let node = self.signer.id();
        let subkey = self.signer.subkey();
        ground.observe(&Observation::Share {
            node,
            subkey,
            statement,
            durable,
            slots: &state.marks,
        });
        Ok(Answer::Share(SignatureShare { signer: node.clone(), signature }))
    }

    fn sign_vouch(&self, ground: &mut Ground, statement: &VouchStatement) -> Outcome {
        let signature = self
            .signer
            .sign(Purpose::Vouch, &statement.signed_bytes())
            .map_err(|_| Refusal::StorageUnavailable)?;
        let node = self.signer.id();
        let kept = self.disk.version(&statement.variable, statement.timestamp).ok().flatten();
        let stored = kept.is_some_and(|kept| kept.hash() == statement.entry);
        ground.observe(&Observation::Vouched { node, statement, stored });
        Ok(Answer::Vouch(SignatureShare { signer: node.clone(), signature }))
    }

    fn sign_time(
        &self,
        statement: &TimeStatement,
        latest: Option<Box<bftkv_protocol::CertifiedEntry>>,
    ) -> Outcome {
        let signature = self
            .signer
            .sign(Purpose::Time, &statement.signed_bytes())
            .map_err(|_| Refusal::StorageUnavailable)?;
        Ok(Answer::Time { seen: statement.seen, latest, signature: Some(signature) })
    }

    /// Cuts somebody out on proof, and tells the others the first time.
    pub(super) fn cut_out(&mut self, ground: &mut Ground, proof: &EquivocationProof) {
        let me = self.signer.id().clone();
        ground.observe(&Observation::Accused { by: &me, guilty: proof.guilty() });
        if self.cut.insert(proof.guilty().clone()) {
            let request = Request::Accuse(Box::new(proof.clone()));
            for other in ground.configuration.everyone().iter().filter(|id| **id != me) {
                ground.request(&me, other, Caller::Nobody, &request);
            }
        }
    }

    pub(super) fn report_stored(&self, ground: &mut Ground) {
        for entry in self.disk.newly_stored() {
            ground.observe(&Observation::Stored { node: self.signer.id(), entry: &entry });
        }
    }
}

/// Whether it is a value under a password that is to be signed.
fn signs_protected(request: &Request) -> bool {
    matches!(request, Request::Sign { entry, .. } if Protected::is_one(&entry.entry.value))
}

/// Whether a planted bug answers before the batch is on the disk.
fn is_early(plant: Option<Plant>, batch: &bftkv_protocol::Batch) -> bool {
    match plant {
        Some(Plant::ShareBeforeSync) => batch.entries.is_empty(),
        Some(Plant::AcknowledgeBeforeSync) => !batch.entries.is_empty(),
        _ => false,
    }
}

/// A planted bug: everybody is who he says he is.
struct Blind;

impl Identities for Blind {
    fn has_quorum_certificate(&self, _: &NodeId, _: &Address) -> bool {
        true
    }

    fn is_known(&self, _: &NodeId) -> bool {
        true
    }
}
