//! Step 2 of a write: "echo request". Paper: §4.1 write.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Signing, Step, Write};
use crate::client::ask::{Ask, check_proofs, convict, shortfall};
use crate::client::refused::{Obstacle, Verdict, outstanding, too_many};
use crate::client::timestamp_choice::choose;
use crate::client::{Action, Fault, Phase, Problem, newer};
use crate::planted::{self, Bug};
use crate::{
    Abandon, Answer, CertifiedEntry, CollectiveSignature, Entry, EntryId, NodeId, Outcome,
    Progress, Purpose, Refusal, Request, ShareStatement, SignedEntry, Tally, Timestamp, Verify,
    VerifyError, verify_certified,
};

impl Write {
    pub(super) fn reserve(&mut self) {
        let known = self.known.as_ref().map_or(Timestamp::ZERO, CertifiedEntry::timestamp);
        let entry = Entry {
            realm: self.configuration.realm().clone(),
            variable: self.variable.clone(),
            timestamp: choose(self.base, self.hint, known, self.mark),
            value: self.value.clone(),
            is_final: self.is_final,
            writer: self.options.me.clone(),
            owner: self.options.owner.clone(),
        };
        self.step = Step::Reserving;
        self.actions.push_back(Action::Reserve(Box::new(entry)));
    }

    /// Paper: §4.1 write, "echo request".
    pub(super) fn ask_shares(&mut self, now: Duration, entry: SignedEntry) {
        self.next_round(now);
        let attempt = entry.id();
        let statement =
            ShareStatement::about(&entry.entry, attempt.hash, self.configuration.digest());
        let request = self.sign_request(&entry);
        self.step = Step::Signing(Box::new(Signing {
            entry,
            attempt,
            statement: statement.signed_bytes(),
            shares: Ask::new(self.round),
            refusals: Tally::default(),
        }));
        self.ask_signers(now, request);
    }

    pub(super) fn sign_request(&self, entry: &SignedEntry) -> Request {
        Request::Sign { entry: entry.clone(), evidence: self.evidence.clone() }
    }

    /// Each share is verified when it arrives, so that a bad one names its sender.
    pub(super) fn take_share(
        &mut self,
        now: Duration,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let Step::Signing(signing) = &mut self.step else { return };
        match outcome {
            Some(Ok(Answer::Share(share))) => {
                let is_own = share.signer == *from;
                let valid = keys.verify(from, Purpose::Share, &signing.statement, &share.signature);
                match valid {
                    _ if planted::is(Bug::SharesUnchecked) => {
                        signing.shares.answers.note(from.clone(), share);
                    }
                    Ok(()) if is_own => signing.shares.answers.note(from.clone(), share),
                    // Our certificates are at fault, not the member.
                    Err(VerifyError::UnknownCertificate(_)) if is_own => signing.shares.lose(from),
                    _ => {
                        signing.shares.lose(from);
                        self.blame(from, Fault::BadShare);
                    }
                }
            }
            Some(Ok(_)) => {
                signing.shares.lose(from);
                self.blame(from, Fault::BadAnswer);
            }
            Some(Err(refusal)) => {
                signing.shares.lose(from);
                signing.refusals.note(from.clone(), refusal.clone());
                self.heed(from, refusal, keys);
            }
            None => signing.shares.lose(from),
        }
        let Step::Signing(signing) = &self.step else { return };
        let cliques = self.configuration.cliques();
        let cliques = if planted::is(Bug::AnyClique) { cliques.get(..1) } else { Some(cliques) };
        match signing.shares.progress(cliques.unwrap_or_default()) {
            Progress::Reached => self.assemble(),
            Progress::Unreachable => self.give_up_attempt(now),
            Progress::Pending => self.ask_spare_if_needed(),
        }
    }

    /// Learns what a refusal tells, once its proof is checked.
    pub(super) fn heed(&mut self, from: &NodeId, refusal: Refusal, keys: &dyn Verify) {
        match refusal {
            Refusal::OldTimestamp { seen } => self.hint = self.hint.max(seen),
            Refusal::NotOwner(entry) | Refusal::Sealed(entry) => self.learn(from, *entry, keys),
            Refusal::Equivocation(proofs) => {
                let culprits = &mut self.culprits;
                let proofs = check_proofs(from, proofs, &self.configurations, keys, culprits);
                convict(proofs, culprits, &mut self.actions);
            }
            _ => {}
        }
    }

    /// Takes a certified entry from a member: evidence if it is valid, a lie if it is not.
    pub(super) fn learn(&mut self, from: &NodeId, entry: CertifiedEntry, keys: &dyn Verify) {
        if *entry.variable() != self.variable {
            self.blame(from, Fault::BadEntry);
            return;
        }
        match verify_certified(&entry, &self.configurations, keys) {
            Ok(()) => self.known = Some(newer(self.known.take(), entry)),
            Err(invalid) => match invalid.missing_certificate() {
                Some(_) if planted::is(Bug::UnknownIsLie) => self.blame(from, Fault::BadEntry),
                Some(id) => {
                    self.actions.push_back(Action::Fetch(BTreeSet::from([id.clone()])));
                    self.unchecked.push((from.clone(), entry));
                }
                None => self.blame(from, Fault::BadEntry),
            },
        }
    }

    /// S is complete: from now on the attempt is finished or unknown, never failed.
    pub(super) fn assemble(&mut self) {
        let Step::Signing(signing) = &self.step else { return };
        let shares = self.configuration.cliques().iter().flat_map(|clique| {
            let of_clique = signing.shares.answers.iter().filter(|(id, _)| clique.contains(id));
            of_clique.take(clique.thresholds().q()).map(|(_, share)| share.clone())
        });
        let collective = CollectiveSignature::new(self.configuration.digest(), shares.collect());
        let certified = CertifiedEntry { signed: signing.entry.clone(), collective };
        self.actions.push_back(Action::RecordAssembled(signing.attempt.clone()));
        self.step = Step::Recording(Box::new(certified));
    }

    /// The attempt can no longer get all its shares: abandon it, and try again with a fresh t.
    pub(super) fn give_up_attempt(&mut self, now: Duration) {
        let Step::Signing(signing) = &self.step else { return };
        let meets_slots =
            !outstanding(&signing.refusals).is_empty() || !too_many(&signing.refusals).is_empty();
        if let Some(problem) = self.drop_attempt().or_else(|| self.surely_forbidden()) {
            self.fail(problem);
        } else if self.forbidden().is_some() {
            // Nobody is ahead: all that is missing is evidence.
            self.ask_time(now);
        } else {
            self.back_off(now);
            if meets_slots {
                // Whoever was refused may relay what a writer has abandoned.
                self.relayed.clear();
                let request = Request::Abandoned { variable: self.variable.clone() };
                self.send(self.authority(), request);
            }
        }
    }

    /// Abandons the attempt; tells whether so many refused it that trying again is pointless.
    pub(super) fn drop_attempt(&mut self) -> Option<Problem> {
        let Step::Signing(signing) = &self.step else { return None };
        for member in signing.shares.answers.nodes() {
            self.refused.remove(&member);
        }
        for (member, refusal) in signing.refusals.iter() {
            self.refused.remove(member);
            self.refused.note(member.clone(), refusal.clone());
        }
        let cliques = self.configuration.cliques();
        let verdict = Verdict::of(&signing.refusals, &self.refused, cliques);
        let good = signing.shares.not_lost(&self.authority());
        let attempt = signing.attempt.clone();
        let listed: BTreeSet<EntryId> = too_many(&signing.refusals)
            .into_iter()
            .map(|slot| EntryId {
                variable: self.variable.clone(),
                timestamp: slot.timestamp,
                hash: slot.hash,
            })
            .collect();
        // What was given up and still fills a member's slots: the message has not reached it.
        let again: Vec<EntryId> =
            self.given_up.iter().filter(|id| listed.contains(id)).cloned().collect();
        again.into_iter().for_each(|id| self.send_abandon(id));
        self.abandon(attempt);
        match verdict {
            Verdict::Fatal(problem) => Some(problem),
            Verdict::Retry(Obstacle::None) => {
                let (have, need, missing) = shortfall(&good, self.configuration.cliques());
                self.obstacle = Obstacle::Silence(Phase::Sign, have, need, missing);
                None
            }
            Verdict::Retry(obstacle) => {
                self.obstacle = obstacle;
                None
            }
        }
    }

    pub(super) fn abandon(&mut self, attempt: EntryId) {
        self.given_up.push(attempt.clone());
        self.send_abandon(attempt);
    }

    fn send_abandon(&mut self, attempt: EntryId) {
        let evidence = self.evidence.clone();
        self.actions.push_back(Action::Abandon { to: self.authority(), attempt, evidence });
    }

    /// Relays abandon messages to everyone, each once for each attempt: also those of this writer,
    /// which a process that is gone may have sent to few.
    pub(super) fn take_abandons(
        &mut self,
        from: &NodeId,
        outcome: Option<Outcome>,
        keys: &dyn Verify,
    ) {
        let Some(Ok(Answer::Abandons(abandons))) = outcome else { return };
        for abandon in abandons.into_iter().take(crate::Marks::MAX_ABANDONS) {
            if abandon.attempt.variable != self.variable || self.relayed.contains(&abandon) {
                continue;
            }
            let bytes = abandon.signed_bytes();
            match keys.verify(&abandon.writer, Purpose::Abandon, &bytes, &abandon.signature) {
                // The members know certificates that this client does not.
                Ok(()) | Err(VerifyError::UnknownCertificate(_)) => self.relay(abandon),
                // An honest member keeps only what it has checked.
                Err(_) => self.blame(from, Fault::BadAnswer),
            }
        }
    }

    fn relay(&mut self, abandon: Abandon) {
        self.relayed.push(abandon.clone());
        let request = Box::new(Request::Abandon { abandon, evidence: self.evidence.clone() });
        self.actions.push_back(Action::Post { to: self.authority(), request });
    }
}
