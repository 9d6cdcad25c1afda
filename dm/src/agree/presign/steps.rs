//! A member's part in making batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bftkv_threshold::{Party, Scheme};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::batch::{Part, Presigning};
use super::job::{Desk, Outcome, Packages, PresignJob, Presigned, Rng, Step, Trouble};
use super::judging::KEPT;
use super::sealing::Sealing;
use super::values::{Call, Complaint, Dealt, Done, First, Shape};
use crate::agree::content::Hash;
use crate::agree::council::Dm;
use crate::agree::job::{Job, Task};
use crate::agree::member::{Action, Member};
use crate::agree::topic::Topic;
use crate::agree::work::Work;

impl<W: Work> Member<W> {
    /// The most presignatures that a DM makes ahead.
    pub const MAX_PRESIGNATURES: usize = 32 * 1024;

    /// Lets it presign, if its key is one that needs presignatures (P-256). Without it, such a key
    /// does not sign. To be called before anything else.
    pub fn presign_with(&mut self, sealing: Arc<dyn Sealing>) {
        if self.share.group().scheme() == Scheme::EcdsaP256 {
            let key = *self.share.group().id().as_bytes();
            let shape = Shape { key, count: self.settings.batch.max(1) };
            let next = self.memory.batch.saturating_add(1);
            self.presigning = Some(Presigning::new(sealing, shape, next));
        }
    }

    pub(in crate::agree) fn take_presigned(&mut self, Presigned { batch, result }: Presigned) {
        let me = self.settings.me;
        let Some(presigning) = &mut self.presigning else { return };
        let is_current = presigning.batch.number == batch;
        let (part, topic, value) = match result {
            Ok(Outcome::Finished(_)) if batch < presigning.since => return,
            // Whoever is late with the last step still holds them.
            Ok(Outcome::Finished(presignatures)) => {
                presigning.pool.hold(batch, presignatures);
                if is_current {
                    presigning.batch.part = Part::Finished;
                }
                return;
            }
            _ if !is_current => return,
            Ok(Outcome::Began(part, package)) => {
                let first = First { shape: presigning.shape, package };
                (Part::Began(part), Topic::First { batch, dm: me }, first.to_bytes())
            }
            Ok(Outcome::Dealt(part, dealt)) => {
                (Part::Shared(part), Topic::Dealt { batch, round: 1, dm: me }, dealt)
            }
            Ok(Outcome::Proven(part, package)) => {
                (Part::Proven(part), Topic::Second { batch, dm: me }, package)
            }
            Ok(Outcome::DealtAgain(part, dealt)) => {
                (Part::Dealt(part), Topic::Dealt { batch, round: 2, dm: me }, dealt)
            }
            Err(trouble) => {
                presigning.batch.part = Part::Out;
                return self.handle_trouble(batch, trouble);
            }
        };
        presigning.batch.part = part;
        self.publish(topic, value);
    }

    fn handle_trouble(&mut self, batch: u32, trouble: Trouble) {
        match trouble {
            // All who presign come to this by themselves.
            Trouble::Caught(dm, offence) => {
                self.culprits.insert(dm, format!("batch {batch}: {offence}"));
                self.leave_batch(&[dm]);
            }
            Trouble::Complain { round, about, signed } => {
                let topic = Topic::Complaint { batch, round, dm: self.settings.me };
                self.publish(topic, Complaint { about, signed }.to_bytes());
            }
            Trouble::Failed(why) => self.trouble = Some(format!("batch {batch}: {why}")),
        }
    }

    /// Does what there is to do for presignatures. Agreement goes first: while a zone is being
    /// signed and there are enough for it, nothing new is begun.
    pub(in crate::agree) fn presign(&mut self) {
        if self.presigning.is_none() {
            return;
        }
        self.learn_spent();
        self.learn_done();
        self.follow_batches();
        self.set_deadline();
        self.end_batches();
        // Those who lack some cannot make them alone, and the zone may wait for them.
        let is_enough = self.has_unfinished() && !self.lacks_presignatures();
        if is_enough && !self.others_want_presignatures() {
            self.ask_for_batch();
            return self.postpone();
        }
        self.begin_batch();
        self.call_batch();
        self.continue_batch();
        self.write_done();
        self.ask_for_batch();
    }

    /// The lowest batch of which values are kept, and the lowest that may be used.
    pub(in crate::agree) fn batch_floors(&self) -> (u32, u32) {
        let Some(presigning) = &self.presigning else {
            return (self.memory.spent.batch, self.memory.spent.batch);
        };
        (presigning.batch.number.saturating_sub(KEPT), presigning.pool.floor)
    }

    fn number(&self) -> u32 {
        self.presigning.as_ref().map_or(0, |presigning| presigning.batch.number)
    }

    /// The others wait, too.
    fn postpone(&mut self) {
        let until = self.now.saturating_add(self.settings.presign_wait);
        let Some(presigning) = &mut self.presigning else { return };
        if let Some(deadline) = &mut presigning.batch.deadline {
            *deadline = until.max(*deadline);
        }
    }

    fn learn_done(&mut self) {
        let Some(presigning) = &mut self.presigning else { return };
        let mut is_new = false;
        for (topic, value) in &self.heard {
            if let Topic::Done { batch } = topic
                && !presigning.pool.is_certified(*batch)
                && let Ok(done) = Done::from_bytes(value)
            {
                is_new |= presigning.pool.certify(*batch, done.public);
            }
        }
        // Whoever waits for presignatures sees that it goes on.
        if is_new && self.has_unfinished() {
            let until = self.now.saturating_add(self.patience());
            self.round.deadline = self.round.deadline.map(|deadline| deadline.max(until));
        }
    }

    /// The batches that DMs have written commitments for, the highest of each.
    fn begun_by(&self) -> BTreeMap<Dm, u32> {
        let mut begun: BTreeMap<Dm, u32> = BTreeMap::new();
        for topic in self.heard.keys() {
            if let Topic::First { batch, dm } = topic {
                let known = begun.entry(*dm).or_default();
                *known = (*known).max(*batch);
            }
        }
        begun
    }

    /// Goes to a batch in which at least one honest DM is for sure.
    fn follow_batches(&mut self) {
        let mut begun: Vec<u32> = self.begun_by().into_values().collect();
        begun.sort_unstable_by(|a, b| b.cmp(a));
        let begun = begun.get(self.settings.council.faults()).copied();
        let called = self.heard.keys().filter_map(|topic| match topic {
            Topic::Call { batch } => Some(*batch),
            _ => None,
        });
        let Some(target) = called.max().max(begun) else { return };
        let Some(presigning) = &mut self.presigning else { return };
        let number = presigning.batch.number;
        let finishes = presigning.batch.part.is_under_way() && presigning.pool.is_certified(number);
        if target > number && !finishes {
            presigning.enter(target);
        }
    }

    fn end_batches(&mut self) {
        // Each turn goes on to a higher number, or ends it.
        loop {
            let number = self.number();
            let Some(presigning) = &mut self.presigning else { return };
            let is_late = presigning.batch.deadline.is_some_and(|until| self.now >= until);
            let is_under_way = presigning.batch.part.is_under_way();
            if presigning.pool.is_certified(number) {
                if is_under_way && !is_late {
                    return;
                }
                presigning.note_success();
                presigning.enter(number.saturating_add(1));
            } else if let Some(complaint) = self.complaint(number) {
                self.leave_batch(&complaint);
            } else if is_late {
                let silent = self.silent_in_batch(number);
                self.leave_batch(&silent);
            } else {
                return;
            }
        }
    }

    /// It came to nothing; these are asked last for the next ones.
    fn leave_batch(&mut self, whose: &[Dm]) {
        let Some(presigning) = &mut self.presigning else { return };
        whose.iter().for_each(|dm| presigning.note_absent(*dm));
        presigning.failures = presigning.failures.saturating_add(1);
        presigning.enter(presigning.batch.number.saturating_add(1));
    }

    /// Whoever is left out after a certified complaint: the dealer, if everybody sees that it lied;
    /// both, if it is one's word against the other's.
    fn complaint(&self, number: u32) -> Option<Vec<Dm>> {
        let from = Topic::Complaint { batch: number, round: 0, dm: Dm::FIRST };
        let all = self.heard.range(from..);
        let mut ours = all.take_while(|(topic, _)| topic.batch() == Some(number)).filter_map(
            |(topic, value)| match topic {
                Topic::Complaint { dm, .. } => Some((*dm, Complaint::from_bytes(value).ok()?)),
                _ => None,
            },
        );
        let (by, Complaint { about, signed }) = ours.next()?;
        Some(if signed.is_empty() { vec![by, about] } else { vec![about] })
    }

    /// Who did not do its part in a batch that was called, in the first step that nobody could go
    /// beyond; its leader, if all did.
    fn silent_in_batch(&self, batch: u32) -> Vec<Dm> {
        let Some(call) = self.call(batch) else { return Vec::new() };
        let steps: [fn(u32, Dm) -> Topic; 3] = [
            |batch, dm| Topic::Dealt { batch, round: 1, dm },
            |batch, dm| Topic::Second { batch, dm },
            |batch, dm| Topic::Dealt { batch, round: 2, dm },
        ];
        let silent = steps.iter().map(|step| {
            let others = call.others(self.settings.me);
            others.filter(|dm| !self.heard.contains_key(&step(batch, *dm))).collect::<Vec<Dm>>()
        });
        let silent = silent.into_iter().find(|silent| !silent.is_empty());
        silent.unwrap_or_else(|| vec![self.settings.council.proposer(batch)])
    }

    pub(super) fn call(&self, batch: u32) -> Option<Call> {
        Call::from_bytes(self.heard.get(&Topic::Call { batch })?).ok()
    }

    /// Whether more are to be made: by our own need, or because others need more.
    fn wants_presignatures(&self) -> bool {
        let (have, goal) = self.presignatures();
        if have < goal {
            return true;
        }
        self.others_want_presignatures() && have < Self::MAX_PRESIGNATURES
    }

    /// Whether more DMs than may lie have begun the batch at which we are.
    fn others_want_presignatures(&self) -> bool {
        let number = self.number();
        let others = self.begun_by().into_values().filter(|begun| *begun == number).count();
        others > self.settings.council.faults()
    }

    fn begin_batch(&mut self) {
        let number = self.number();
        let is_over = self.heard.contains_key(&Topic::Call { batch: number })
            || self.heard.contains_key(&Topic::First { batch: number, dm: self.settings.me });
        let Some(presigning) = &self.presigning else { return };
        if presigning.batch.is_begun || is_over || !self.wants_presignatures() {
            return;
        }
        let share = Arc::clone(&self.share);
        let rng = self.fork_rng();
        self.start_job(Step::Begin(share, rng));
        if let Some(presigning) = &mut self.presigning {
            presigning.batch.is_begun = true;
        }
    }

    /// Once enough are there, it should not take long. Whoever is alone waits for the others.
    fn set_deadline(&mut self) {
        let (batch, council) = (self.number(), self.settings.council);
        let is_there = |dm: &Dm| self.heard.contains_key(&Topic::First { batch, dm: *dm });
        let enough = council.size().saturating_sub(council.faults());
        let begun = council.everyone().filter(is_there).count();
        let is_on = self.heard.contains_key(&Topic::Call { batch }) || begun >= enough;
        // An honest DM has begun it, and another one may never: one that has said half of it and was started again.
        let is_slow = begun > council.faults();
        let Some(presigning) = self.presigning.as_mut().filter(|_| is_on || is_slow) else {
            return;
        };
        let wait = self.settings.presign_wait << presigning.failures.min(3);
        let batch = &mut presigning.batch;
        if is_on && !batch.is_on {
            batch.is_on = true;
            batch.deadline = Some(self.now.saturating_add(wait));
        }
        batch.deadline.get_or_insert(self.now.saturating_add(wait.saturating_mul(4)));
    }

    fn fork_rng(&mut self) -> Rng {
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        self.rng.fill_bytes(&mut *seed);
        Box::new(ChaCha20Rng::from_seed(*seed))
    }

    fn start_job(&mut self, step: Step) {
        let me = self.settings.me;
        let Some(presigning) = &mut self.presigning else { return };
        presigning.batch.part = Part::Away;
        let (sealing, shape) = (Arc::clone(&presigning.sealing), presigning.shape);
        let desk = Desk { sealing, shape, batch: presigning.batch.number, me };
        let task = Task::Presign(PresignJob { desk, step });
        self.act(Action::Compute(Box::new(Job(task))));
    }

    /// As its leader: names those who presign.
    fn call_batch(&mut self) {
        let (batch, council) = (self.number(), self.settings.council);
        let topic = Topic::Call { batch };
        let is_there = |dm: &Dm| self.heard.contains_key(&Topic::First { batch, dm: *dm });
        let enough = council.size().saturating_sub(council.faults());
        if council.proposer(batch) != self.settings.me
            || self.sent.contains(&topic)
            || council.everyone().filter(is_there).count() < enough
        {
            return;
        }
        let firsts = self.firsts(batch);
        let (now, grace) = (self.now, self.settings.grace);
        let Some(presigning) = &mut self.presigning else { return };
        if firsts.len() < enough {
            return;
        }
        let since = *presigning.batch.enough_at.get_or_insert(now);
        if firsts.len() < council.size() && now < since.saturating_add(grace) {
            return;
        }
        let absent = |dm: &Dm| presigning.absent.get(dm).copied().unwrap_or(0);
        let rank = |dm: &Dm| (self.culprits.contains_key(dm), absent(dm));
        let mut able: Vec<Dm> = firsts.keys().copied().collect();
        able.sort_by_key(rank);
        let good = able.iter().filter(|dm| rank(dm) == (false, 0)).count();
        let chosen: BTreeSet<Dm> = able.into_iter().take(good.max(enough)).collect();
        let parties = firsts.into_iter().filter(|(dm, _)| chosen.contains(dm)).collect();
        let call = Call { shape: presigning.shape, parties };
        self.publish(topic, call.to_bytes());
    }

    /// The commitments for our key, by their hashes.
    fn firsts(&self, batch: u32) -> BTreeMap<Dm, Hash> {
        let shape = self.presigning.as_ref().map(|presigning| presigning.shape);
        let one = |dm: Dm| {
            let bytes = self.heard.get(&Topic::First { batch, dm })?;
            let first = First::from_bytes(bytes).ok()?;
            (Some(first.shape) == shape).then(|| (dm, Hash::of(bytes)))
        };
        self.settings.council.everyone().filter_map(one).collect()
    }

    /// The next step of our part, if what it needs is there.
    fn continue_batch(&mut self) {
        let number = self.number();
        let Some(call) = self.call(number) else { return };
        let Some(presigning) = &mut self.presigning else { return };
        let is_ours =
            call.shape == presigning.shape && call.parties.contains_key(&self.settings.me);
        if !is_ours {
            // We are left out of it.
            presigning.batch.part = Part::Out;
            return;
        }
        match std::mem::replace(&mut presigning.batch.part, Part::Out) {
            Part::Began(part) => match self.packages(&call, |batch, dm| Topic::First { batch, dm })
            {
                Some(packages) => self.start_job(Step::Deal(part, packages)),
                None => self.put_back(Part::Began(part)),
            },
            Part::Shared(part) => match self.dealt_to_us(&call, 1) {
                Some(sealed) => {
                    let rng = self.fork_rng();
                    self.start_job(Step::Prove(part, sealed, rng));
                }
                None => self.put_back(Part::Shared(part)),
            },
            Part::Proven(part) => {
                match self.packages(&call, |batch, dm| Topic::Second { batch, dm }) {
                    Some(packages) => self.start_job(Step::DealAgain(part, packages)),
                    None => self.put_back(Part::Proven(part)),
                }
            }
            Part::Dealt(part) => match self.dealt_to_us(&call, 2) {
                Some(sealed) => self.start_job(Step::Finish(part, sealed)),
                None => self.put_back(Part::Dealt(part)),
            },
            other => self.put_back(other),
        }
    }

    fn put_back(&mut self, part: Part) {
        if let Some(presigning) = &mut self.presigning {
            presigning.batch.part = part;
        }
    }

    /// What all of those broadcast, if it is there.
    fn packages(&self, call: &Call, topic: fn(u32, Dm) -> Topic) -> Option<Packages> {
        let batch = self.number();
        let mut packages = Packages::new();
        for dm in call.parties.keys() {
            let topic = topic(batch, *dm);
            let bytes = self.heard.get(&topic)?;
            let package = match topic {
                Topic::First { .. } => First::from_bytes(bytes).ok()?.package,
                _ => bytes.clone(),
            };
            packages.insert(Party::new(dm.number()).ok()?, package);
        }
        Some(packages)
    }

    /// What all the others dealt to us in that round, if it is there.
    fn dealt_to_us(&self, call: &Call, round: u8) -> Option<BTreeMap<Dm, Vec<u8>>> {
        let (batch, me) = (self.number(), self.settings.me);
        let mut sealed = BTreeMap::new();
        for dm in call.others(me) {
            let bytes = self.heard.get(&Topic::Dealt { batch, round, dm })?;
            let mut dealt = Dealt::from_bytes(bytes).ok()?;
            sealed.insert(dm, dealt.sealed.remove(&me)?);
        }
        Some(sealed)
    }

    /// As its leader: the public parts, when we have them.
    fn write_done(&mut self) {
        let batch = self.number();
        if self.settings.council.proposer(batch) != self.settings.me {
            return;
        }
        let Some(presigning) = &self.presigning else { return };
        if let Some(public) = presigning.pool.held_public(batch) {
            self.publish(Topic::Done { batch }, Done { public }.to_bytes());
        }
    }

    /// What may have been missed, because the store tells a quorum at first. Not often, because most
    /// of it is only not there yet.
    fn ask_for_batch(&mut self) {
        let wants = self.wants_presignatures();
        let (now, again) = (self.now, self.settings.again);
        let Some(presigning) = &mut self.presigning else { return };
        let batch = &mut presigning.batch;
        let pause = again << if wants { batch.asks.min(2) } else { 4 };
        if now < batch.asked.saturating_add(pause) {
            return;
        }
        batch.asks = batch.asks.saturating_add(1);
        batch.asked = now;
        self.missing(wants).into_iter().for_each(|topic| self.fetch(topic));
    }

    fn missing(&self, wants: bool) -> Vec<Topic> {
        let (batch, council) = (self.number(), self.settings.council);
        let Some(presigning) = &self.presigning else { return Vec::new() };
        let ahead = u32::try_from(council.size()).unwrap_or(Self::WINDOW);
        let calls = (0..=ahead).map(|more| Topic::Call { batch: batch.saturating_add(more) });
        let mut all: Vec<Topic> = calls.collect();
        let unsure = presigning.pool.unsure().into_iter();
        all.extend(unsure.chain([batch]).map(|batch| Topic::Done { batch }));
        let Some(call) = self.call(batch) else {
            let firsts = council.everyone().map(|dm| Topic::First { batch, dm });
            all.extend(firsts.filter(|_| wants));
            return all;
        };
        for dm in call.parties.into_keys() {
            all.extend(match presigning.batch.part {
                Part::Began(_) => Some(Topic::First { batch, dm }),
                Part::Shared(_) => Some(Topic::Dealt { batch, round: 1, dm }),
                Part::Proven(_) => Some(Topic::Second { batch, dm }),
                Part::Dealt(_) => Some(Topic::Dealt { batch, round: 2, dm }),
                _ => None,
            });
            all.extend([1, 2].map(|round| Topic::Complaint { batch, round, dm }));
        }
        all
    }
}
