//! Checks of a store: after opening, and from time to time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};

use bftkv_protocol::{EquivocationProof, StoreError, Variable};

use crate::backend::{Checked, Checking, corrupt, io_error};
use crate::census::Census;
use crate::head_index::HeadIndex;
use crate::health::Health;
use crate::inner::{Inner, behind};
use crate::key::{self, Key};
use crate::ledger::{Ledger, Pass};
use crate::record;

/// How many records a check takes at once, and after how many it looks whether to give up.
const CHECK_PAGE: usize = 4096;

/// How many proofs are read at once.
const PROOF_PAGE: usize = 256;

/// A record that is not what was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damaged {
    /// Which record, in words.
    pub record: String,
    /// The variable that it belongs to, if that can be told.
    pub variable: Option<Variable>,
    /// Whether it is the signer's memory of the variable, or may be.
    pub is_memory: bool,
}

impl Damaged {
    pub(crate) fn of(key: &[u8]) -> Self {
        let known = Key::decode(key);
        Self {
            record: record::name(key),
            is_memory: !matches!(known, Some(Key::Version(..) | Key::Proof(_))),
            variable: known.and_then(Key::into_variable),
        }
    }
}

/// What one step of a scrub found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScrubStep {
    /// How many records were read.
    pub checked: u64,
    /// Those that are damaged. The store takes no more commits from the first one on.
    pub damaged: Vec<Damaged>,
    /// Whether all records were read; the next step begins anew.
    pub is_last: bool,
}

/// A check that panics has found something, and nobody waits for it for ever.
struct EndOfCheck<'a> {
    health: &'a Health,
    is_over: bool,
}

impl Drop for EndOfCheck<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.health.report(corrupt("the store", "the check of its contents panicked"));
            self.health.let_commits_in();
            self.health.end_check(Ok(()));
        }
    }
}

impl Inner {
    /// Runs the check after opening; the part of it that may run while the store serves, in the
    /// background.
    pub(crate) fn start_check(self: &Arc<Self>, anchored: u64) -> Option<JoinHandle<()>> {
        if !self.backend.serves_while_checking() {
            self.check_after_opening(anchored);
            return None;
        }
        let inner = Arc::clone(self);
        let check = move || inner.check_after_opening(anchored);
        match thread::Builder::new().name("storage-check".into()).spawn(check) {
            Ok(handle) => Some(handle),
            Err(e) => {
                self.health.report(io_error("starting the check", &e));
                self.health.let_commits_in();
                self.health.end_check(Ok(()));
                None
            }
        }
    }

    fn check_after_opening(&self, anchored: u64) {
        let mut end = EndOfCheck { health: &self.health, is_over: false };
        let begun = self.read_ledger(anchored).and_then(|()| self.prepare_to_sign());
        let rest = begun.map_err(|damage| self.health.report(damage));
        // Commits see the damage, if there is any.
        self.health.let_commits_in();
        let outcome = rest.map_or(Ok(()), |rest| rest().map(|_| ()));
        end.is_over = true;
        self.health.end_check(outcome);
    }

    /// Makes sure of what a signer depends upon; gives the rest of the check.
    fn prepare_to_sign(&self) -> Result<Checking<'_>, StoreError> {
        let rest = self.backend.begin_check()?;
        if self.backend.serves_while_checking() {
            self.count(key::start_of_heads(&[]), &key::end_of_heads(&[]), Census::check_heads)?;
            return Ok(rest);
        }
        rest()?;
        self.count(Vec::new(), key::END, Census::check)?;
        Ok(Box::new(|| Ok(Checked::Completeness)))
    }

    /// Learns where the last commit left off.
    fn read_ledger(&self, anchored: u64) -> Result<(), StoreError> {
        let mut ledger = Ledger::default();
        let key = Key::Census.encode();
        if let Some(record) = self.backend.get(&key)? {
            ledger.census = record::open(&key, &record)?;
        }
        let commits = ledger.census.commits;
        if commits < anchored {
            let reason = format!(
                "the store fell back to commit {commits} although commit {anchored} was \
                 acknowledged; this node must not sign: salvage the store or make a new one"
            );
            return Err(corrupt("census", reason));
        }
        self.read_proofs(&mut ledger)?;
        *self.ledger() = ledger;
        Ok(())
    }

    fn read_proofs(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        let mut from = key::PROOFS.0.to_vec();
        loop {
            let page = self.backend.scan(&from, key::PROOFS.1, PROOF_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = behind(last);
            for (key, record) in &page {
                let proof: EquivocationProof = record::open(key, record)?;
                ledger.is_new_proof(&proof);
                if let Some(Key::Proof(number)) = Key::decode(key) {
                    ledger.next_proof = number.saturating_add(1);
                }
            }
        }
    }

    /// Reads the records of a range, compares them with the census, and notes the heads.
    fn count(
        &self,
        from: Vec<u8>,
        end: &[u8],
        check: impl Fn(&Census, &Census) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut index = HeadIndex::default();
        let mut found = Census::default();
        self.read_range(from, end, |key, fingerprint| {
            found.add(key, fingerprint);
            if key::is_head(key) {
                index.count(key, fingerprint);
            }
        })?;
        check(&self.ledger().census, &found)?;
        index.finish();
        *self.index_mut() = Some(index);
        Ok(())
    }

    /// Reads the records of a range, the census apart.
    fn read_range(
        &self,
        mut from: Vec<u8>,
        end: &[u8],
        mut each: impl FnMut(&[u8], u64),
    ) -> Result<(), StoreError> {
        while !self.is_closing.load(Ordering::Relaxed) {
            let page = self.backend.scan(&from, end, CHECK_PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            from = behind(last);
            for (key, record) in &page {
                if let Some(fingerprint) = sound(key, record)? {
                    each(key, fingerprint);
                }
            }
        }
        Err(StoreError::Stopped)
    }

    /// Checks everything again.
    pub(crate) fn scrub(&self) -> Result<(), StoreError> {
        self.scrub_files(|| self.scrub_to_end())?;
        self.health.wait_for_commits()
    }

    /// The backend's own check of its files, past what it holds in memory; a scrub of the records
    /// begins anew behind it. `then` belongs to the check.
    ///
    /// # Errors
    /// What the check found; the store then takes no more commits.
    pub(crate) fn scrub_files(
        &self,
        then: impl FnOnce() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.health.begin_check();
        let begun = self.backend.begin_check();
        self.ledger().pass = None;
        self.health.let_commits_in();
        let outcome = begun.and_then(|rest| rest()).and_then(|_| then());
        self.health.end_check(outcome.clone());
        outcome
    }

    fn scrub_to_end(&self) -> Result<(), StoreError> {
        while !self.is_closing.load(Ordering::Relaxed) {
            if self.scrub_some(CHECK_PAGE)?.is_last {
                return Ok(());
            }
        }
        Err(StoreError::Stopped)
    }

    /// Checks the next records. Commits wait meanwhile, so that a record is either counted here or
    /// by its commit.
    pub(crate) fn scrub_some(&self, limit: usize) -> Result<ScrubStep, StoreError> {
        let mut ledger = self.ledger();
        let mut pass = ledger.pass.take().unwrap_or_default();
        let page = self.backend.scan(&pass.reached, key::END, limit);
        let page = page.inspect_err(|error| self.health.report(error.clone()))?;
        let mut step = ScrubStep { checked: page.len() as u64, ..ScrubStep::default() };
        for (key, record) in &page {
            match sound(key, record) {
                Ok(Some(fingerprint)) => pass.found.add(key, fingerprint),
                Ok(None) => {}
                Err(damage) => {
                    self.health.report(damage);
                    pass.has_damage = true;
                    step.damaged.push(Damaged::of(key));
                }
            }
        }
        match page.last() {
            Some((last, _)) => {
                pass.reached = behind(last);
                ledger.pass = Some(pass);
            }
            None => {
                step.is_last = true;
                self.end_of_pass(&ledger, &pass)?;
            }
        }
        Ok(step)
    }

    fn end_of_pass(&self, ledger: &Ledger, pass: &Pass) -> Result<(), StoreError> {
        if pass.has_damage {
            return Ok(());
        }
        ledger.census.check(&pass.found).inspect_err(|damage| self.health.report(damage.clone()))
    }
}

/// The fingerprint of a record that is as it was committed; `None` for the census.
fn sound(key: &[u8], record: &[u8]) -> Result<Option<u64>, StoreError> {
    let damaged = || corrupt(record::name(key), "the checksum does not fit");
    let fingerprint = record::fingerprint(key, record).ok_or_else(damaged)?;
    match Key::decode(key) {
        Some(Key::Census | Key::Logged) => Ok(None),
        Some(_) => Ok(Some(fingerprint)),
        None => Err(corrupt(record::name(key), "it is no key of ours")),
    }
}
