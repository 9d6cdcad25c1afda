//! What a server keeps of one variable's password: shares, counters, sessions.

use std::fmt;

use bftkv_protocol::{
    ElementBytes, LoginProof, LoginPurpose, NodeId, Nonce, RecordId, RoamingRefusal, SecretShare,
    Vault, decode, encode_secret,
};
use serde::{Deserialize, Serialize};

use super::{ATTEMPTS, DAY_SECONDS, MAX_PENDING, MAX_SESSIONS};

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
    pub(super) record: RecordId,
    pub(super) epoch: u64,
    pub(super) index: u16,
    pub(super) share: SecretShare,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("record", &self.record)
            .field("epoch", &self.epoch)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pending {
    dealer: NodeId,
    kept: Kept,
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
    pending: Vec<Pending>,
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

    /// Keeps a share until its record is certified. One dealer has one that waits; with `alone`,
    /// nobody else has.
    pub(super) fn keep_pending(
        &mut self,
        dealer: &NodeId,
        kept: Kept,
        alone: bool,
    ) -> Result<(), RoamingRefusal> {
        if self.active.as_ref().is_some_and(|active| active.record == kept.record) {
            return Ok(());
        }
        self.pending.retain(|one| !alone && one.dealer != *dealer);
        if self.pending.len() >= MAX_PENDING {
            return Err(RoamingRefusal::TooManyPending);
        }
        self.pending.push(Pending { dealer: dealer.clone(), kept });
        Ok(())
    }

    /// The share for the record that is certified now. What waited for it takes the place of the
    /// one before; that one is erased, and what waits for records that came before. Others wait on:
    /// somebody who dealt at the same time may have the own record certified next.
    pub(super) fn switch_to(&mut self, record: RecordId, epoch: u64) -> Option<&Kept> {
        if self.active.as_ref().is_none_or(|active| active.record != record) {
            let (this, others) = std::mem::take(&mut self.pending)
                .into_iter()
                .partition::<Vec<_>, _>(|one| one.kept.record == record);
            self.active = this.into_iter().next().map(|one| one.kept);
            self.pending = others.into_iter().filter(|one| one.kept.epoch >= epoch).collect();
            // Attempts under another record stay used: they cannot be proven any more.
            self.sessions.clear();
        }
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

    /// The record of which a share from this dealer waits to be certified, or is in use.
    pub(super) fn dealt_by(&self, dealer: &NodeId) -> Option<RecordId> {
        let waiting = self.pending.iter().find(|one| one.dealer == *dealer);
        waiting.map(|one| one.kept.record).or(self.active.as_ref().map(|kept| kept.record))
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
