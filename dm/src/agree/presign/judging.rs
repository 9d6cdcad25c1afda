//! What a member votes for when batches are made.

use bftkv_threshold::Party;
use bftkv_threshold::ecdsa::{first_dealing_is_right, second_dealing_is_right};

use super::batch::Part;
use super::sealing::NotSigned;
use super::values::{Call, Complaint, Dealt, Done, First, Place};
use crate::agree::content::Hash;
use crate::agree::council::Dm;
use crate::agree::judge::{lie, never, not_yet};
use crate::agree::member::{Member, Refusal};
use crate::agree::topic::Topic;
use crate::agree::work::Work;

/// How many batches ahead of ours or behind it a DM may be.
const WINDOW: u32 = 64;
/// How far behind ours a batch may be for its values to be still there.
pub(in crate::agree) const KEPT: u32 = 8;
/// What OpenPGP adds to a dealing is less: two signatures, two headers, a session key.
const MAX_AROUND: usize = 16 * 1024;
/// Four numbers of 32 bytes for each presignature.
const DEALT_BYTES: usize = 128;

impl<W: Work> Member<W> {
    pub(in crate::agree) fn judge_presigning(
        &mut self,
        topic: Topic,
        value: &[u8],
    ) -> Result<(), Refusal> {
        let Some(batch) = topic.batch() else { return lie("no batch") };
        let Some(presigning) = &self.presigning else {
            return never("our key needs no presignatures");
        };
        let ours = presigning.batch.number;
        if batch.saturating_add(KEPT) < ours {
            return never("its batch is over");
        }
        if batch > ours.saturating_add(WINDOW) {
            return not_yet("its batch is far ahead");
        }
        match topic {
            Topic::First { dm, .. } => self.judge_first(batch, dm, value),
            Topic::Call { .. } => self.judge_call(batch, value),
            Topic::Dealt { dm, .. } => self.judge_dealt(batch, dm, value),
            Topic::Second { dm, .. } => self.called(batch, dm).map(|_| ()),
            Topic::Complaint { round, dm, .. } => self.judge_complaint(batch, round, dm, value),
            Topic::Done { .. } => self.judge_done(batch, value),
            _ => lie("no batch"),
        }
    }

    fn judge_first(&mut self, batch: u32, dm: Dm, value: &[u8]) -> Result<(), Refusal> {
        let first = First::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        if self.presigning.as_ref().is_none_or(|presigning| presigning.shape != first.shape) {
            return never("for another key, or another number of presignatures");
        }
        // After a restart we go on above: what we have written for it cannot be finished any more.
        if dm == self.settings.me {
            self.memory.batch = self.memory.batch.max(batch);
        }
        Ok(())
    }

    fn judge_call(&mut self, batch: u32, value: &[u8]) -> Result<(), Refusal> {
        let call = Call::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        if self.presigning.as_ref().is_none_or(|presigning| presigning.shape != call.shape) {
            return never("for another key, or another number of presignatures");
        }
        let council = self.settings.council;
        if call.parties.len() < council.size().saturating_sub(council.faults()) {
            return lie("too few presign");
        }
        for (dm, hash) in &call.parties {
            if !council.contains(*dm) {
                return lie("a DM that is not there");
            }
            let topic = Topic::First { batch, dm: *dm };
            let Some(bytes) = self.heard.get(&topic) else {
                self.fetch(topic);
                return not_yet(format!("the commitments of {dm}"));
            };
            let is_right = Hash::of(bytes) == *hash
                && First::from_bytes(bytes).is_ok_and(|first| first.shape == call.shape);
            if !is_right {
                return lie(format!("commitments that {dm} did not give"));
            }
        }
        Ok(())
    }

    /// The certified call, if that DM is in it.
    fn called(&mut self, batch: u32, dm: Dm) -> Result<Call, Refusal> {
        match self.call(batch) {
            None => {
                self.fetch(Topic::Call { batch });
                not_yet("the call")
            }
            Some(call) if !call.parties.contains_key(&dm) => {
                lie("it does not presign in this batch")
            }
            Some(call) => Ok(call),
        }
    }

    fn judge_dealt(&mut self, batch: u32, dm: Dm, value: &[u8]) -> Result<(), Refusal> {
        let call = self.called(batch, dm)?;
        let dealt = Dealt::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        if !call.others(dm).eq(dealt.sealed.keys().copied()) {
            return lie("not one dealing for each of the others");
        }
        let most = usize::from(call.shape.count).saturating_mul(DEALT_BYTES);
        let most = most.saturating_add(MAX_AROUND);
        if dealt.sealed.values().any(|sealed| sealed.len() > most) {
            return lie("too large for a dealing");
        }
        Ok(())
    }

    /// Everybody sees who lies: who dealt, or who complains. If the dealing could not be opened, it
    /// is one's word against the other's, and nobody is named.
    fn judge_complaint(
        &mut self,
        batch: u32,
        round: u8,
        by: Dm,
        value: &[u8],
    ) -> Result<(), Refusal> {
        let call = self.called(batch, by)?;
        let Complaint { about, signed } =
            Complaint::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        if about == by || !call.parties.contains_key(&about) {
            return lie("it complains about nobody who deals to it");
        }
        let dealt = Topic::Dealt { batch, round, dm: about };
        if !self.heard.contains_key(&dealt) {
            self.fetch(dealt);
            return not_yet("what it complains about");
        }
        if signed.is_empty() {
            return Ok(());
        }
        let Some(presigning) = &self.presigning else { return never("no key") };
        let (signer, text) = match presigning.sealing.check(&signed) {
            Ok(checked) => checked,
            Err(NotSigned::Forged(why)) => {
                return lie(format!("it shows what nobody signed: {why}"));
            }
            Err(unknown) => return never(unknown.to_string()),
        };
        let place = Place { shape: call.shape, batch, round, from: about, to: by };
        let Some(shares) = place.shares_in(&text).filter(|_| signer == about) else {
            return lie("it complains about something that was not dealt to it");
        };
        if self.is_right(batch, (round, about, by), usize::from(call.shape.count), &shares)? {
            return lie("it complains about a dealing that is right");
        }
        self.culprits.insert(about, format!("batch {batch}: dealt wrong shares to {by}"));
        Ok(())
    }

    fn is_right(
        &mut self,
        batch: u32,
        (round, about, by): (u8, Dm, Dm),
        count: usize,
        shares: &[u8],
    ) -> Result<bool, Refusal> {
        let topic = match round {
            1 => Topic::First { batch, dm: about },
            _ => Topic::Second { batch, dm: about },
        };
        let Some(bytes) = self.heard.get(&topic) else {
            self.fetch(topic);
            return not_yet("the commitments to what was dealt");
        };
        let to = Party::new(by.number()).or_else(|error| never(error.to_string()))?;
        let roster = self.share.group().roster();
        let is_right = if round == 1 {
            let first = First::from_bytes(bytes).or_else(|error| never(error.to_string()))?;
            first_dealing_is_right(roster, count, &first.package, to, shares)
        } else {
            second_dealing_is_right(roster, count, bytes, to, shares)
        };
        // A malformed package has no right dealings. Nobody honest deals for one, either.
        Ok(is_right.unwrap_or(false))
    }

    /// Whoever took part knows what the public parts are. The others, few, take the word of those.
    fn judge_done(&mut self, batch: u32, value: &[u8]) -> Result<(), Refusal> {
        let Some(call) = self.call(batch) else {
            self.fetch(Topic::Call { batch });
            return not_yet("the call");
        };
        let done = Done::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        if done.public.len() != usize::from(call.shape.count) {
            return lie("another number of presignatures than was called for");
        }
        let Some(presigning) = &self.presigning else { return never("no key") };
        if !call.parties.contains_key(&self.settings.me) {
            return Ok(());
        }
        match presigning.pool.held_public(batch) {
            Some(public) if public == done.public => Ok(()),
            Some(_) => lie("other public parts than follow from what was told"),
            None if presigning.batch.number > batch => never("we gave this batch up"),
            None if matches!(presigning.batch.part, Part::Out) => never("we lost our part in it"),
            None => not_yet("our own part"),
        }
    }
}
