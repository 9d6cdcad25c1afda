//! Who spoiled the signatures: parts that are put together, and proofs of them.

use std::collections::BTreeSet;

use bftkv_threshold::{Combiner, Party, Session, Step};

use super::council::Dm;
use super::failed::Failed;
use super::member::Member;
use super::signing::Ceremony;
use super::topic::Topic;
use super::values::retry_from;
use super::work::Work;

/// A message whose signature came out wrong, in a scheme whose parts do not show by themselves who
/// lied. Everybody who has the certified parts comes to the same message, so nobody needs to be
/// asked.
#[derive(Debug)]
pub(super) struct Dispute {
    attempt: u8,
    stage: u8,
    message: usize,
    session: Session,
    combiner: Box<dyn Combiner>,
    /// Who has not proven its part.
    waiting: BTreeSet<Dm>,
    /// Whoever is in `waiting` has been counted as silent. A proof may still come and name a liar.
    is_late: bool,
}

impl<P> Ceremony<P> {
    /// Whether all who were to prove something did. Whoever did not in time counts as silent.
    pub(super) fn proofs_are_there(&mut self, is_late: bool, failed: &mut Failed) -> bool {
        let is_open = |dispute: &&mut Dispute| !dispute.is_late && !dispute.waiting.is_empty();
        for dispute in self.disputes.iter_mut().filter(is_open) {
            if !is_late {
                return false;
            }
            dispute.is_late = true;
            dispute.waiting.iter().for_each(|dm| failed.note(*dm));
        }
        true
    }
}

impl<W: Work> Member<W> {
    /// Puts the parts together when all are there, once. An error names who lied; an empty one
    /// means that nobody can be named, or not before there are proofs.
    pub(super) fn combine(
        &mut self,
        serial: u32,
        attempt: u8,
        stage: u8,
    ) -> Option<Result<Vec<Vec<u8>>, BTreeSet<Dm>>> {
        let was_combined = self.ceremony.as_ref()?.combined.contains(&(attempt, stage));
        if was_combined || !self.silent_in(serial, attempt, stage).is_empty() {
            return None;
        }
        let session = self.threshold_session(serial, attempt, stage)?;
        let mut combiner = self.share.group().combiner(&session).ok()?;
        self.ceremony.as_mut()?.combined.insert((attempt, stage));
        for party in session.commitments().keys() {
            let dm = Dm::new(party.number())?;
            let share = self.heard.get(&Topic::Share { serial, attempt, stage, dm })?;
            // A malformed part is noted by the combiner.
            let _ = combiner.add(*party, share);
        }
        match combiner.step() {
            Ok(Step::Done(signatures)) => return Some(Ok(signatures)),
            Ok(Step::Prove { message, from }) => {
                let waiting = from.iter().filter_map(|party| Dm::new(party.number())).collect();
                let is_late = false;
                let dispute =
                    Dispute { attempt, stage, message, session, combiner, waiting, is_late };
                self.ceremony.as_mut()?.disputes.push(dispute);
                return Some(Err(BTreeSet::new()));
            }
            _ => {}
        }
        let mut liars = BTreeSet::new();
        for (party, offence) in combiner.culprits() {
            let dm = Dm::new(party.number())?;
            liars.insert(dm);
            self.culprits.insert(dm, format!("serial {serial}: {offence}"));
        }
        Some(Err(liars))
    }

    /// Looks into the attempt that failed last: proves our own part, and the others' proofs.
    pub(super) fn settle_disputes(&mut self, serial: u32) {
        if let Some(attempt) = self.ceremony.as_ref().and_then(|ceremony| ceremony.doubted) {
            let retry = self.heard.get(&Topic::Retry { serial, attempt });
            let was_complete = retry.is_some_and(|it| retry_from(it).is_ok_and(|it| it.is_empty()));
            // It may have failed at either stage, and we need not have heard of the second.
            for stage in 0..2 {
                for dm in self.silent_in(serial, attempt, stage) {
                    if was_complete {
                        self.fetch(Topic::Share { serial, attempt, stage, dm });
                    }
                }
                let _ = self.combine(serial, attempt, stage);
            }
        }
        let Some(ceremony) = &mut self.ceremony else { return };
        let mut disputes = std::mem::take(&mut ceremony.disputes);
        disputes.iter_mut().for_each(|dispute| self.settle(serial, dispute));
        if let Some(ceremony) = &mut self.ceremony {
            ceremony.disputes = disputes;
        }
    }

    fn settle(&mut self, serial: u32, dispute: &mut Dispute) {
        let (attempt, stage, message) = (dispute.attempt, dispute.stage, dispute.message);
        let me = self.settings.me;
        for dm in dispute.waiting.clone() {
            let topic = Topic::Proof { serial, attempt, stage, dm };
            let (Some(proof), Ok(party)) = (self.heard.get(&topic), Party::new(dm.number())) else {
                if dm == me && !self.sent.contains(&topic) {
                    match self.share.prove(&dispute.session, message, &mut *self.rng) {
                        Ok(proof) => self.publish(topic, proof),
                        Err(error) => self.trouble = Some(format!("serial {serial}: {error}")),
                    }
                }
                self.fetch(topic);
                continue;
            };
            dispute.waiting.remove(&dm);
            if dispute.combiner.add_proof(party, message, proof).is_err()
                && let Some(offence) = dispute.combiner.culprits().get(&party)
            {
                self.culprits.insert(dm, format!("serial {serial}: {offence}"));
            }
        }
    }
}
