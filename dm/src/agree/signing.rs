//! From a certified manifest to a signed zone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bftkv_threshold::{Error, KeyShare, Nonces, Party, Session};

use super::content::Hash;
use super::council::Dm;
use super::decide::differing;
use super::dispute::Dispute;
use super::job::{Job, SignJob, Task};
use super::manifest::Manifest;
use super::member::{Action, Member, Refusal};
use super::presign::{Mark, Presigning, Range};
use super::topic::Topic;
use super::values::{NoncesValue, SessionValue, SignedValue, SigsValue, hash_of};
use super::view::{Link, changes_of};
use super::work::{Draft, SignedZone, Work};

/// Two versions of the program, most likely.
pub(super) const OTHER_BYTES: &str = "other bytes are to be signed here than at the others";

/// The signing of one manifest.
#[derive(Debug)]
pub(super) struct Ceremony<P> {
    pub(super) serial: u32,
    pub(super) plan: P,
    /// A hash of the messages of the plan.
    pub(super) messages: Hash,
    /// Whether [`Member::share`] is of the key that signs it. Whoever has no share of that key votes, and does not sign.
    pub(super) has_share: bool,
    /// What the ZONEMD's signature is over, once the others are certified.
    last: Option<Vec<u8>>,
    pub(super) attempt: u8,
    /// Ours for this attempt and each stage; gone when used, in memory only.
    pub(super) nonces: [Option<Nonces>; 2],
    /// The attempt for which our presignatures were taken out.
    pub(super) taken: Option<u8>,
    /// How many attempts have made the round longer.
    pub(super) spoiled: usize,
    /// How many attempts were too short.
    pub(super) hurried: u32,
    /// Presignatures below it were found not to be common to enough signers.
    pub(super) floor: Mark,
    /// As the proposer: until when a session may take to be certified.
    pub(super) called: Option<u64>,
    /// As whoever combines: until when the parts may come.
    pub(super) deadline: Option<u64>,
    /// What was combined: attempt and stage.
    pub(super) combined: BTreeSet<(u8, u8)>,
    /// The last attempt that failed, if it is to be seen by whom.
    pub(super) doubted: Option<u8>,
    /// Whose parts are to be proven.
    pub(super) disputes: Vec<Dispute>,
    /// By attempt and stage, with the commitments as points, which takes long to make.
    sessions: BTreeMap<(u8, u8), (SessionValue, Session)>,
}

impl<P> Ceremony<P> {
    /// Whether a session of this attempt may take presignatures out.
    pub(super) fn is_to_take(&self, attempt: u8) -> bool {
        self.attempt == attempt && self.taken != Some(attempt)
    }
}

impl<W: Work> Member<W> {
    /// Signs, and takes over what is signed.
    pub(super) fn sign_and_commit(&mut self) {
        self.finish_others();
        self.note_missing_base();
        // Each step either finishes a zone or is the last.
        while let Some(serial) = self.to_be_finished() {
            self.plan(serial);
            if !self.commit(serial) {
                if serial == self.chain.tip().link.serial {
                    self.take_part(serial);
                }
                self.fetch(Topic::Sigs { serial });
                self.fetch(Topic::Signed { serial });
                return;
            }
        }
    }

    /// The lowest serial that must be finished before the newest manifest can be, or that one.
    fn to_be_finished(&self) -> Option<u32> {
        let mut serial = self.chain.tip().link.serial;
        if self.chain.has_zone(serial) {
            return None;
        }
        loop {
            let manifest = self.chain.at_serial(serial)?.manifest.as_ref()?;
            match &manifest.base {
                Some(base) if self.chain.zone_at(base).is_none() => {
                    // What it builds on is below it, so this ends.
                    serial = Some(base.serial).filter(|below| *below < serial)?;
                }
                _ => return Some(serial),
            }
        }
    }

    /// A zone may build on one that we do not have: we were the only one that had heard of the next, and have kept
    /// that one alone. All there is to do is to fetch everything again, for which an operator must know.
    fn note_missing_base(&mut self) {
        let tip = self.chain.tip();
        let serial = tip.link.serial;
        let base = tip.manifest.as_ref().and_then(|manifest| manifest.base);
        let Some(base) = base.filter(|_| !self.chain.has_zone(serial)) else { return };
        if self.chain.zone_at(&base).is_none() && self.chain.at_serial(base.serial).is_none() {
            self.trouble = Some(format!(
                "serial {serial} builds on the zone of {}, which was not kept here: stop, remove the file of the \
                 kept zone and start again",
                base.serial
            ));
        }
    }

    /// Zones that were agreed on although a later manifest does not build on them, because those
    /// who voted for it had not heard of them yet.
    fn finish_others(&mut self) {
        let current = self.ceremony.as_ref().map(|ceremony| ceremony.serial);
        let signed = self.heard.keys().filter_map(|topic| match topic {
            Topic::Signed { serial } if Some(*serial) != current => Some(*serial),
            _ => None,
        });
        let signed: Vec<u32> = signed.filter(|serial| !self.chain.has_zone(*serial)).collect();
        for serial in signed {
            if !self.heard.contains_key(&Topic::Sigs { serial }) {
                self.fetch(Topic::Sigs { serial });
                continue;
            }
            if let Some(plan) = self.plan_of(serial) {
                self.finish(serial, &plan);
            }
        }
    }

    fn plan_of(&mut self, serial: u32) -> Option<W::Plan> {
        let tip = self.chain.at_serial(serial)?;
        let manifest = tip.manifest.as_ref()?;
        let base = match &manifest.base {
            Some(base) => Some(self.chain.zone_at(base)?),
            None => None,
        };
        let draft = Draft { manifest, content: &tip.content, base: base.map(Arc::as_ref) };
        match self.work.plan(&draft) {
            Ok(plan) => Some(plan),
            Err(reason) => {
                self.trouble = Some(format!("serial {serial}: {reason}"));
                None
            }
        }
    }

    fn plan(&mut self, serial: u32) {
        if self.ceremony.as_ref().is_some_and(|ceremony| ceremony.serial == serial) {
            return;
        }
        let Some(plan) = self.plan_of(serial) else { return };
        let has_share = self.take_up_share(&plan);
        if !has_share {
            self.trouble = Some(format!("serial {serial}: no share of the key that signs it"));
        }
        let messages = hash_of(self.work.messages(&plan));
        self.ceremony = Some(Ceremony {
            serial,
            plan,
            messages,
            has_share,
            last: None,
            attempt: 0,
            nonces: [None, None],
            taken: None,
            spoiled: 0,
            hurried: 0,
            floor: Mark::default(),
            called: None,
            deadline: None,
            combined: BTreeSet::new(),
            doubted: None,
            disputes: Vec::new(),
            sessions: BTreeMap::new(),
        });
    }

    /// Takes the share of the key that signs this. Whether there is one.
    fn take_up_share(&mut self, plan: &W::Plan) -> bool {
        if self.work.is_signer(plan, self.share.group()) {
            return true;
        }
        let is_right = |share: &&mut Arc<dyn KeyShare>| self.work.is_signer(plan, share.group());
        let Some(share) = self.other_shares.iter_mut().find(is_right) else { return false };
        std::mem::swap(share, &mut self.share);
        // What was made for the key of before is of no more use.
        let presigning = self.presigning.take();
        if let Some((sealing, last)) = presigning.map(Presigning::into_sealing) {
            // What is still being computed for that batch must not be taken for the new key's.
            self.memory.batch = self.memory.batch.max(last);
            self.presign_with(sealing);
        }
        true
    }

    /// Whether this DM has a share of the key that signs now.
    pub(super) fn has_share(&self) -> bool {
        self.ceremony.as_ref().is_some_and(|ceremony| ceremony.has_share)
    }

    fn commit(&mut self, serial: u32) -> bool {
        let Some(ceremony) = self.ceremony.take() else { return false };
        let is_done = self.finish(serial, &ceremony.plan);
        if is_done {
            self.round.failures = 0;
            self.failed.note_success();
        } else {
            self.ceremony = Some(ceremony);
        }
        is_done
    }

    /// Takes over a zone that was agreed on.
    fn finish(&mut self, serial: u32, plan: &W::Plan) -> bool {
        let signed = self.heard.get(&Topic::Signed { serial });
        let signed = signed.and_then(|bytes| SignedValue::from_bytes(bytes).ok());
        let (Some(signed), Some(sigs)) = (signed, self.sigs(serial)) else { return false };
        let zone = match self.work.finish(plan, &sigs, &signed.signature) {
            Ok(zone) if zone.digest() == signed.digest => zone,
            Ok(_) => return self.fail(serial, "the agreed zone is another one here"),
            Err(reason) => return self.fail(serial, &reason),
        };
        let manifest = self.chain.at_serial(serial).and_then(|tip| tip.manifest.clone());
        let Some(manifest) = manifest else { return false };
        let zone = Arc::new(zone);
        self.chain.add_zone(Link { serial, hash: signed.digest }, Arc::clone(&zone));
        self.note_dissent(&manifest);
        self.act(Action::Commit { manifest, zone });
        true
    }

    /// Who saw something else than what was agreed on, for people. By now all views have come that
    /// will.
    fn note_dissent(&mut self, manifest: &Manifest) {
        let before = self.chain.at(&manifest.prev).map(|tip| Arc::clone(&tip.content));
        let after = self.chain.at_serial(manifest.serial).map(|tip| Arc::clone(&tip.content));
        let (Some(before), Some(after)) = (before, after) else { return };
        let agreed = changes_of(&before.delta_to(&after));
        let views = self.views(manifest.serial);
        let views = views.into_iter().map(|(dm, (view, _))| (dm, view)).collect();
        self.dissent = differing(self.settings.apex, manifest.prev, &views, &agreed);
    }

    fn fail(&mut self, serial: u32, reason: &str) -> bool {
        self.trouble = Some(format!("serial {serial}: {reason}"));
        false
    }

    fn take_part(&mut self, serial: u32) {
        let is_over = self.memory.voted.is_some_and(|voted| voted.serial > serial);
        if is_over || self.hold.is_some() || self.ceremony.is_none() {
            return;
        }
        self.follow_retries(serial);
        self.find_last_message(serial);
        if !self.has_share() {
            return;
        }
        self.settle_disputes(serial);
        self.give_nonces(serial);
        self.give_share(serial);
        if self.settings.council.proposer(serial) == self.settings.me {
            self.lead(serial);
        }
    }

    /// Stage 0 until the zone's signatures are certified.
    fn stage(&self) -> u8 {
        u8::from(self.ceremony.as_ref().is_some_and(|ceremony| ceremony.last.is_some()))
    }

    /// Makes nonces once for each attempt. After a restart they are gone, and the attempt goes on
    /// without us.
    fn give_nonces(&mut self, serial: u32) {
        let (attempt, me) = (self.attempt(), self.settings.me);
        let topic = Topic::Nonces { serial, attempt, dm: me };
        let Some(ceremony) = &mut self.ceremony else { return };
        if self.sent.contains(&topic) || self.heard.contains_key(&topic) {
            return;
        }
        if self.presigning.is_some() {
            return self.give_holdings(topic);
        }
        let count = self.work.messages(&ceremony.plan).len();
        let made = self.share.commit(count, &mut *self.rng);
        let made = made.and_then(|zone| Ok((zone, self.share.commit(1, &mut *self.rng)?)));
        match made {
            Ok(((nonces, zone), (last_nonces, last))) => {
                ceremony.nonces = [Some(nonces), Some(last_nonces)];
                self.publish(topic, NoncesValue { stages: [zone, last] }.to_bytes());
            }
            Err(error) => self.trouble = Some(format!("serial {serial}: {error}")),
        }
    }

    fn find_last_message(&mut self, serial: u32) {
        // The signatures are thousands: they are read only while the message is not known.
        if self.stage() == 1 {
            return;
        }
        let Some(SigsValue { last, sigs }) = self.sigs_value(serial) else { return };
        let Some(ceremony) = &mut self.ceremony else { return };
        match self.work.digest_message(&ceremony.plan, &sigs) {
            Ok(message) if Hash::of(&message) == last => {
                ceremony.last = Some(message);
                ceremony.deadline = None;
            }
            Ok(_) => drop(self.fail(serial, OTHER_BYTES)),
            Err(reason) => self.trouble = Some(format!("serial {serial}: {reason}")),
        }
    }

    /// A partial signature, for a certified session only, and once.
    fn give_share(&mut self, serial: u32) {
        let (attempt, stage, me) = (self.attempt(), self.stage(), self.settings.me);
        let Some(session) = self.session(serial, attempt) else {
            return self.fetch(Topic::Session { serial, attempt });
        };
        if !session.signers.contains_key(&me) {
            return;
        }
        self.take_presignatures(attempt, &session);
        let has_nonces = |nonces: &[Option<Nonces>; 2]| {
            nonces.get(usize::from(stage)).is_some_and(Option::is_some)
        };
        if !self.ceremony.as_ref().is_some_and(|ceremony| has_nonces(&ceremony.nonces)) {
            return;
        }
        let Some(session) = self.threshold_session(serial, attempt, stage) else { return };
        let Some(ceremony) = &mut self.ceremony else { return };
        let nonces = ceremony.nonces.get_mut(usize::from(stage)).and_then(Option::take);
        let Some(nonces) = nonces else { return };
        let topic = Topic::Share { serial, attempt, stage, dm: me };
        let job = SignJob { topic, share: Arc::clone(&self.share), nonces, session };
        self.act(Action::Compute(Box::new(Job(Task::Sign(job)))));
    }

    /// The proposer's part: who signs, and putting together.
    fn lead(&mut self, serial: u32) {
        let attempt = self.attempt();
        if self.session(serial, attempt).is_none() {
            return self.call_signers(serial, attempt);
        }
        let (stage, wait) = (self.stage(), self.now + self.share_patience());
        let Some(ceremony) = &mut self.ceremony else { return };
        let deadline = *ceremony.deadline.get_or_insert(wait);
        let is_done = self.sent.contains(&match stage {
            0 => Topic::Sigs { serial },
            _ => Topic::Signed { serial },
        });
        if is_done {
            return;
        }
        match self.combine(serial, attempt, stage) {
            Some(Ok(signatures)) => self.write_signatures(serial, stage, signatures),
            Some(Err(liars)) => self.retry(serial, liars),
            None if self.now >= deadline => {
                let silent = self.silent(serial, stage);
                self.retry(serial, silent);
            }
            None => {
                for dm in self.silent(serial, stage) {
                    self.fetch(Topic::Share { serial, attempt, stage, dm });
                }
            }
        }
    }

    fn write_signatures(&mut self, serial: u32, stage: u8, mut signatures: Vec<Vec<u8>>) {
        if stage == 0 {
            return self.write_sigs(serial, signatures);
        }
        let (Some(sigs), Some(ceremony)) = (self.sigs(serial), &self.ceremony) else { return };
        let Some(signature) = signatures.pop() else { return };
        match self.work.finish(&ceremony.plan, &sigs, &signature) {
            Ok(zone) => {
                let value = SignedValue { digest: zone.digest(), signature }.to_bytes();
                self.publish(Topic::Signed { serial }, value);
            }
            Err(reason) => self.trouble = Some(format!("serial {serial}: {reason}")),
        }
    }

    fn write_sigs(&mut self, serial: u32, sigs: Vec<Vec<u8>>) {
        let Some(ceremony) = &self.ceremony else { return };
        match self.work.digest_message(&ceremony.plan, &sigs) {
            Ok(message) => {
                let value = SigsValue { last: Hash::of(&message), sigs };
                self.publish(Topic::Sigs { serial }, value.to_bytes());
            }
            Err(reason) => drop(self.fail(serial, &reason)),
        }
    }

    fn sigs_value(&self, serial: u32) -> Option<SigsValue> {
        SigsValue::from_bytes(self.heard.get(&Topic::Sigs { serial })?).ok()
    }

    pub(super) fn sigs(&self, serial: u32) -> Option<Vec<Vec<u8>>> {
        self.sigs_value(serial).map(|value| value.sigs)
    }

    pub(super) fn session(&self, serial: u32, attempt: u8) -> Option<SessionValue> {
        let bytes = self.heard.get(&Topic::Session { serial, attempt })?;
        SessionValue::from_bytes(bytes).ok()
    }

    pub(super) fn nonces_of(
        &self,
        serial: u32,
        attempt: u8,
        dm: Dm,
    ) -> Option<(NoncesValue, Hash)> {
        let bytes = self.heard.get(&Topic::Nonces { serial, attempt, dm })?;
        Some((NoncesValue::from_bytes(bytes).ok()?, Hash::of(bytes)))
    }

    /// Those for the ZONEMD. The others, thousands, are looked at when their giver is to sign.
    pub(super) fn judge_nonces(&self, dm: Dm, value: &NoncesValue) -> Result<(), Refusal> {
        if !self.has_share() {
            // Those who sign look at them.
            return Ok(());
        }
        let never = |error: Error| Refusal::Never(error.to_string());
        let party = Party::new(dm.number()).map_err(never)?;
        let [_, last] = &value.stages;
        if self.presigning.is_some() {
            return self.judge_holdings(value);
        }
        let lie = |error: Error| Refusal::Lie(error.to_string());
        self.share.group().check_commitments(party, last, 1).map_err(lie)
    }

    /// Checks the commitments of a session's signers, once for each session.
    ///
    /// An error names who gave malformed ones.
    pub(super) fn open_session(
        &mut self,
        serial: u32,
        attempt: u8,
        value: &SessionValue,
    ) -> Result<(), Error> {
        // What has one presignature is for the ZONEMD only.
        let stage = u8::from(Range::total(&value.uses) == 1);
        let session = self.session_for(serial, attempt, stage, value).ok_or(Error::OtherNonces)?;
        // Those who presigned have checked the public parts, and certified them.
        if self.presigning.is_some() {
            return Ok(());
        }
        self.share.group().combiner(&session).map(|_| ())
    }

    /// What is signed at this stage, with the commitments of the certified session.
    pub(super) fn threshold_session(
        &mut self,
        serial: u32,
        attempt: u8,
        stage: u8,
    ) -> Option<Session> {
        let value = self.session(serial, attempt)?;
        if self.ceremony.as_ref()?.messages != value.messages {
            self.fail(serial, OTHER_BYTES);
            return None;
        }
        // We may not have been told of them all.
        for dm in value.signers.keys() {
            self.fetch(Topic::Nonces { serial, attempt, dm: *dm });
        }
        self.session_for(serial, attempt, stage, &value)
    }

    fn session_for(
        &mut self,
        serial: u32,
        attempt: u8,
        stage: u8,
        value: &SessionValue,
    ) -> Option<Session> {
        let ceremony = self.ceremony.as_ref()?;
        let known = ceremony.sessions.get(&(attempt, stage));
        if let Some((_, session)) = known.filter(|(known, _)| known == value) {
            return Some(session.clone());
        }
        let messages = match stage {
            0 => self.work.messages(&ceremony.plan).to_vec(),
            _ => vec![ceremony.last.clone()?],
        };
        let mut commitments = BTreeMap::new();
        for (dm, hash) in &value.signers {
            let (nonces, have) = self.nonces_of(serial, attempt, *dm)?;
            let [zone, last] = nonces.stages;
            if have != *hash {
                return None;
            }
            let theirs = match (&self.presigning, stage) {
                (Some(_), _) => self.spent_commitments(&value.uses, stage)?,
                (None, 0) => zone,
                (None, _) => last,
            };
            commitments.insert(Party::new(dm.number()).ok()?, theirs);
        }
        let session = Session::new(self.share.group().id(), messages, commitments).ok()?;
        let kept = (value.clone(), session.clone());
        self.ceremony.as_mut()?.sessions.insert((attempt, stage), kept);
        Some(session)
    }

    /// The manifest that is being signed, if any.
    #[must_use]
    pub fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.chain.tip().manifest.as_ref()
    }
}
