//! What a server keeps of one variable's password: shares, counters, sessions.

use std::fmt;

use bftkv_protocol::{
    ElementBytes, LoginProof, LoginPurpose, NodeId, Nonce, RecordId, RoamingRefusal, SecretShare,
    Timestamp, Vault, decode, encode_secret,
};
use serde::{Deserialize, Serialize};

use super::{ATTEMPTS, DAY_SECONDS, MAX_PENDING, MAX_PENDING_PER_DEALER, MAX_SESSIONS, MAX_SIGNED};

/// Which of the two budgets an asker draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Class {
    /// Keys that are certified for the owner's user ID.
    Known,
    /// All others together.
    Stranger,
}

/// Attempts that were used. They come back one a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Budget {
    used: u16,
    /// Since when the next one is on its way back, in seconds since 1970.
    since: u64,
}

impl Budget {
    /// Gives back what time has brought. A clock that was set back brings nothing.
    fn refill(&mut self, now: u64) {
        let days = now.saturating_sub(self.since).checked_div(DAY_SECONDS).unwrap_or(0);
        self.used = self.used.saturating_sub(u16::try_from(days).unwrap_or(u16::MAX));
        self.since = self.since.saturating_add(days.saturating_mul(DAY_SECONDS));
    }

    fn left(&self) -> u16 {
        ATTEMPTS.saturating_sub(self.used)
    }

    fn take(&mut self, now: u64) -> Result<(), RoamingRefusal> {
        if self.left() == 0 {
            let back = self.since.saturating_add(DAY_SECONDS);
            return Err(RoamingRefusal::NoAttempts { seconds: back.saturating_sub(now).max(1) });
        }
        if self.used == 0 {
            self.since = now;
        }
        self.used = self.used.saturating_add(1);
        Ok(())
    }

    fn give_back(&mut self) {
        self.used = self.used.saturating_sub(1);
    }

    fn exhaust(&mut self, now: u64) {
        (self.used, self.since) = (ATTEMPTS, now);
    }
}

/// A share and the record to which it belongs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) dealer: NodeId,
    pub(super) record: RecordId,
    pub(super) epoch: u64,
    pub(super) index: u16,
    pub(super) share: SecretShare,
    /// t of entries with this record that the node may have signed, the newest last.
    pub(super) signed: Vec<Timestamp>,
}

impl Kept {
    fn is_outstanding(&self, outstanding: impl Fn(Timestamp) -> bool) -> bool {
        self.signed.iter().any(|t| outstanding(*t))
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("dealer", &self.dealer)
            .field("record", &self.record)
            .field("epoch", &self.epoch)
            .field("index", &self.index)
            .field("signed", &self.signed)
            .finish_non_exhaustive()
    }
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) requester: NodeId,
    pub(super) element: ElementBytes,
    pub(super) nonce: Nonce,
    pub(super) class: Class,
    /// When, in seconds since 1970.
    pub(super) at: u64,
    /// The purpose for which the asker has shown that he knew the password.
    pub(super) proven: Option<LoginPurpose>,
}

/// Everything of one variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Which of the node's memories wrote it. One from before the node lost its memory may be an
    /// old copy.
    memory: u64,
    active: Option<Kept>,
    /// Of records that are not certified, or not yet.
    pending: Vec<Kept>,
    known: Budget,
    strangers: Budget,
    sessions: Vec<Session>,
    /// When the owner had all attempts given back last.
    reset: u64,
}

impl Ledger {
    /// A new one.
    pub(super) fn new(memory: u64) -> Self {
        Self {
            memory,
            active: None,
            pending: Vec::new(),
            known: Budget::default(),
            strangers: Budget::default(),
            sessions: Vec::new(),
            reset: 0,
        }
    }

    /// Reads what the store has. One that another memory of the node wrote may be old: no attempts
    /// are left, and no session counts.
    pub(super) fn open(vault: Option<&Vault>, memory: u64, now: u64) -> Option<Self> {
        let Some(vault) = vault else { return Some(Self::new(memory)) };
        let mut ledger: Self = decode(vault.as_bytes()).ok()?;
        if ledger.memory != memory {
            ledger.memory = memory;
            ledger.known.exhaust(now);
            ledger.strangers.exhaust(now);
            ledger.sessions.clear();
        }
        ledger.known.refill(now);
        ledger.strangers.refill(now);
        Some(ledger)
    }

    /// As the store keeps it.
    pub(super) fn to_vault(&self) -> Option<Vault> {
        Vault::new(std::mem::take(&mut *encode_secret(self)))
    }

    fn budget(&mut self, class: Class) -> &mut Budget {
        match class {
            Class::Known => &mut self.known,
            Class::Stranger => &mut self.strangers,
        }
    }

    pub(super) fn left(&mut self, class: Class) -> u16 {
        self.budget(class).left()
    }

    /// Keeps a share until its record is certified. With `alone`, nobody else has one that waits. Of the
    /// dealer's own, the oldest makes room, but none that was signed and is `outstanding`.
    pub(super) fn keep_pending(
        &mut self,
        kept: Kept,
        alone: bool,
        outstanding: impl Fn(Timestamp) -> bool,
    ) -> Result<(), RoamingRefusal> {
        if self.kept(kept.record).is_some() {
            return Ok(());
        }
        let is_own = |one: &Kept| one.dealer == kept.dealer;
        self.pending.retain(|one| !alone || is_own(one) || one.is_outstanding(&outstanding));
        if self.pending.iter().filter(|one| is_own(one)).count() >= MAX_PENDING_PER_DEALER {
            let may_go = |one: &Kept| is_own(one) && !one.is_outstanding(&outstanding);
            let oldest = self.pending.iter().position(may_go);
            self.pending.remove(oldest.ok_or(RoamingRefusal::TooManyPending)?);
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(RoamingRefusal::TooManyPending);
        }
        self.pending.push(kept);
        Ok(())
    }

    /// The share of this record, in use or waiting.
    fn kept(&mut self, record: RecordId) -> Option<&mut Kept> {
        self.active.iter_mut().chain(&mut self.pending).find(|kept| kept.record == record)
    }

    /// An entry with this record is about to be signed at this time: its share stays while that is
    /// `outstanding`. False if there is no share, or none from this dealer.
    pub(super) fn sign_at(
        &mut self,
        record: RecordId,
        dealer: Option<&NodeId>,
        timestamp: Timestamp,
        outstanding: impl Fn(Timestamp) -> bool,
    ) -> bool {
        let is_from = |kept: &&mut Kept| dealer.is_none_or(|dealer| kept.dealer == *dealer);
        let Some(kept) = self.kept(record).filter(is_from) else { return false };
        kept.signed.retain(|t| *t != timestamp && outstanding(*t));
        if kept.signed.len() >= MAX_SIGNED {
            kept.signed.remove(0);
        }
        kept.signed.push(timestamp);
        true
    }

    /// The share for the record that is certified now. What waited for it takes the place of the one
    /// before. What waits for records that came before is erased, unless it is `outstanding`: signed, and
    /// perhaps certified next. The others wait on: somebody may have dealt them at the same time.
    pub(super) fn switch_to(
        &mut self,
        record: RecordId,
        epoch: u64,
        outstanding: impl Fn(Timestamp) -> bool,
    ) -> Option<&Kept> {
        let is_other = |kept: &Kept| kept.record != record;
        let before = self.active.take_if(|active| is_other(active));
        if before.is_some() || self.active.is_none() {
            // Attempts under another record stay used: they cannot be proven any more.
            self.sessions.clear();
            let place = self.pending.iter().position(|kept| !is_other(kept));
            self.active = place.map(|place| self.pending.remove(place));
        }
        self.pending.extend(before.filter(|kept| kept.is_outstanding(&outstanding)));
        self.pending.retain(|kept| kept.epoch >= epoch || kept.is_outstanding(&outstanding));
        self.active.as_ref()
    }

    /// The same question of the same asker again: it is answered as before, and free.
    pub(super) fn repeated(&self, requester: &NodeId, element: &ElementBytes) -> Option<&Session> {
        let same = |one: &&Session| one.requester == *requester && one.element == *element;
        self.sessions.iter().find(same)
    }

    /// Counts an attempt.
    pub(super) fn begin(&mut self, session: Session) -> Result<(), RoamingRefusal> {
        let (class, now) = (session.class, session.at);
        self.budget(class).take(now)?;
        if self.sessions.len() >= MAX_SESSIONS {
            // The oldest stays counted and cannot be proven any more.
            self.sessions.remove(0);
        }
        self.sessions.push(session);
        Ok(())
    }

    /// Whether a share of this record from this dealer waits to be certified, or is in use.
    pub(super) fn has_dealt(&self, dealer: &NodeId, record: RecordId) -> bool {
        let mut all = self.active.iter().chain(&self.pending);
        all.any(|one| one.dealer == *dealer && one.record == record)
    }

    /// What this asker has shown the password for within the life of a proof, and under which record.
    pub(super) fn shown_by(&self, asker: &NodeId, now: u64) -> Option<(RecordId, LoginPurpose)> {
        let record = self.active.as_ref()?.record;
        let life = u64::from(LoginProof::MAX_SECONDS);
        let fresh = |one: &&Session| {
            one.requester == *asker && one.proven.is_some() && now.saturating_sub(one.at) <= life
        };
        let purpose = self.sessions.iter().rev().find(fresh)?.proven?;
        Some((record, purpose))
    }

    pub(super) fn session(&mut self, requester: &NodeId, nonce: Nonce) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|one| one.requester == *requester && one.nonce == nonce)
    }

    /// The asker knew the password: gives back the attempt of this very session.
    pub(super) fn give_back(&mut self, class: Class) {
        self.budget(class).give_back();
    }

    /// Gives all attempts back, at most once a day: so a thief of the owner's key has no endless
    /// guesses.
    pub(super) fn reset(&mut self, now: u64) -> Result<(), RoamingRefusal> {
        let next = self.reset.saturating_add(DAY_SECONDS);
        if self.reset > 0 && now < next {
            return Err(RoamingRefusal::NoAttempts { seconds: next.saturating_sub(now) });
        }
        self.reset = now;
        (self.known, self.strangers) = (Budget::default(), Budget::default());
        self.sessions.clear();
        Ok(())
    }
}
