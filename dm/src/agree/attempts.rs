//! Attempts to sign: who is called, for how long, and what follows when one fails.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_threshold::Error;

use super::content::Hash;
use super::council::Dm;
use super::member::Member;
use super::topic::Topic;
use super::values::{SessionValue, retry_from, retry_to_bytes};
use super::work::Work;

impl<W: Work> Member<W> {
    pub(super) fn attempt(&self) -> u8 {
        self.ceremony.as_ref().map_or(0, |ceremony| ceremony.attempt)
    }

    /// How long a signer may take now. A large zone may take any machine longer than was thought, so
    /// each round that failed doubles it, and each attempt in which more were silent than lie.
    pub(super) fn share_patience(&self) -> u64 {
        let hurried = self.ceremony.as_ref().map_or(0, |ceremony| ceremony.hurried);
        self.settings.share_wait << self.round.failures.saturating_add(hurried).min(6)
    }

    /// After an attempt that failed by so many. If they are no more than may lie, somebody is known now
    /// who will not be asked again, and the round lasts so much longer: b of them could otherwise use up
    /// each round, one after the other. If they are more, all were given too little time.
    fn give_time(&mut self, left_out: usize) {
        let (faults, failures) = (self.settings.council.faults(), self.round.failures);
        let Some(ceremony) = &mut self.ceremony else { return };
        if left_out > faults {
            ceremony.hurried = ceremony.hurried.saturating_add(1);
        } else if ceremony.spoiled < faults {
            ceremony.spoiled += 1;
            let more = self.settings.share_wait << failures.min(6);
            self.round.deadline = self.round.deadline.map(|until| until.saturating_add(more));
        }
    }

    pub(super) fn follow_retries(&mut self, serial: u32) {
        while let Some(bytes) = self.heard.get(&Topic::Retry { serial, attempt: self.attempt() }) {
            let left_out = retry_from(bytes).unwrap_or_default();
            self.give_time(left_out.len());
            if self.presigning.is_some() && self.session(serial, self.attempt()).is_none() {
                self.raise_floor(serial, self.attempt());
            }
            let Some(ceremony) = &mut self.ceremony else { return };
            // See for ourselves whether somebody lied.
            if !left_out.contains(&self.settings.me) {
                ceremony.doubted = Some(ceremony.attempt);
            }
            ceremony.attempt = ceremony.attempt.saturating_add(1);
            ceremony.nonces = [None, None];
            ceremony.deadline = None;
            ceremony.called = None;
        }
        self.fetch(Topic::Retry { serial, attempt: self.attempt() });
    }

    pub(super) fn call_signers(&mut self, serial: u32, attempt: u8) {
        let topic = Topic::Session { serial, attempt };
        if self.sent.contains(&topic) {
            return self.give_session_up(serial);
        }
        let chosen = if self.presigning.is_some() {
            self.choose_spenders(serial, attempt)
        } else {
            self.choose_signers(serial, attempt).map(|signers| (signers, Vec::new()))
        };
        let messages = self.ceremony.as_ref().map(|ceremony| ceremony.messages);
        let (Some((signers, uses)), Some(messages)) = (chosen, messages) else { return };
        let value = SessionValue { messages, signers, uses };
        match self.open_session(serial, attempt, &value) {
            Ok(()) => {
                self.publish(topic, value.to_bytes());
                let until = self.now.saturating_add(self.share_patience() * 2);
                if let Some(ceremony) = &mut self.ceremony {
                    ceremony.deadline = None;
                    ceremony.called = Some(until);
                }
            }
            Err(Error::Caught { party, offence }) => {
                let Some(dm) = Dm::new(party.number()) else { return };
                self.culprits.insert(dm, format!("serial {serial}: {offence}"));
                self.failed.note(dm);
            }
            Err(error) => self.trouble = Some(format!("serial {serial}: {error}")),
        }
    }

    /// A session that uses presignatures may find too few voters: some voted for another that uses
    /// them, which was not certified. With a new attempt all say anew what is spent.
    fn give_session_up(&mut self, serial: u32) {
        let until = self.ceremony.as_ref().and_then(|ceremony| ceremony.called);
        if self.presigning.is_some() && until.is_some_and(|until| self.now >= until) {
            self.retry(serial, BTreeSet::new());
        }
    }

    /// k of those whose commitments are there. Those who were caught once or silent in this serial
    /// only if for a while no others come: whoever is slow is no liar, and who was one may have been
    /// mended since. Who was silent less often comes first, so that one who never answers is not
    /// asked again and again in place of one who was late once.
    fn choose_signers(&mut self, serial: u32, attempt: u8) -> Option<BTreeMap<Dm, Hash>> {
        let k = self.share.group().roster().threshold();
        let mut able: Vec<(Dm, Hash)> = Vec::new();
        for dm in self.settings.council.everyone() {
            match self.nonces_of(serial, attempt, dm) {
                Some((_, hash)) => able.push((dm, hash)),
                None => self.fetch(Topic::Nonces { serial, attempt, dm }),
            }
        }
        let wait = self.now + self.share_patience();
        let ceremony = self.ceremony.as_mut()?;
        let until = *ceremony.deadline.get_or_insert(wait);
        if !ceremony.proofs_are_there(self.now >= until, &mut self.failed) {
            return None;
        }
        let rank = |(dm, _): &(Dm, Hash)| (self.culprits.contains_key(dm), self.failed.times(*dm));
        able.sort_by_key(rank);
        let others = able.iter().filter(|one| rank(one) == (false, 0)).count();
        let may_go = able.len() >= k && (others >= k || self.now >= until);
        may_go.then(|| able.into_iter().take(k).collect())
    }

    pub(super) fn retry(&mut self, serial: u32, who: BTreeSet<Dm>) {
        let attempt = self.attempt();
        // If more were silent than lie, they were given too little time.
        if who.len() <= self.settings.council.faults() {
            who.iter().for_each(|dm| self.failed.note(*dm));
        }
        if usize::from(attempt) + 1 < self.settings.council.size() {
            self.publish(Topic::Retry { serial, attempt }, retry_to_bytes(&who));
        }
    }

    pub(super) fn silent(&self, serial: u32, stage: u8) -> BTreeSet<Dm> {
        self.silent_in(serial, self.attempt(), stage)
    }

    /// The signers of that attempt whose parts are not there.
    pub(super) fn silent_in(&self, serial: u32, attempt: u8, stage: u8) -> BTreeSet<Dm> {
        let signers = self.session(serial, attempt).map(|session| session.signers);
        let is_silent =
            |dm: &Dm| !self.heard.contains_key(&Topic::Share { serial, attempt, stage, dm: *dm });
        signers.unwrap_or_default().into_keys().filter(is_silent).collect()
    }
}
