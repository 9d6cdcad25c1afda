//! A writer's home: the durable slots of one key, shared by its processes under a lock.

use std::collections::BTreeMap;

use bftkv_protocol::client::Reserve;
use bftkv_protocol::{
    Entry, EntryId, Purpose, Sign, SignedEntry, Timestamp, Variable, WriterSignature,
};

use super::fake_keys::FakeSigner;
use super::ground::ProcessId;

/// Everything in it is on disk, except what was settled since.
#[derive(Debug, Clone, Default)]
pub(crate) struct Home {
    marks: BTreeMap<Variable, Timestamp>,
    attempts: BTreeMap<EntryId, Attempt>,
}

#[derive(Debug, Clone)]
struct Attempt {
    process: ProcessId,
    incarnation: u64,
    assembled: bool,
    settled: bool,
}

impl Home {
    /// Signs the entry if its timestamp is above all that this key has used.
    pub(crate) fn reserve(
        &mut self,
        entry: Entry,
        signer: &FakeSigner,
        process: ProcessId,
        incarnation: u64,
    ) -> Result<SignedEntry, Reserve> {
        let mark = self.marks.entry(entry.variable.clone()).or_default();
        if entry.timestamp <= *mark {
            return Err(Reserve::Used { mark: *mark });
        }
        *mark = entry.timestamp;
        let signature = signer
            .sign(Purpose::Entry, &entry.signed_bytes())
            .map_err(|error| Reserve::Failed(error.to_string()))?;
        let signed = SignedEntry { entry, signature: WriterSignature::new(signature) };
        let attempt = Attempt { process, incarnation, assembled: false, settled: false };
        self.attempts.insert(signed.id(), attempt);
        Ok(signed)
    }

    pub(crate) fn assembled(&mut self, id: &EntryId) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.assembled = true;
        }
    }

    pub(crate) fn is_assembled(&self, id: &EntryId) -> bool {
        self.attempts.get(id).is_some_and(|attempt| attempt.assembled)
    }

    pub(crate) fn settle(&mut self, id: &EntryId) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.settled = true;
        }
    }

    /// What earlier incarnations of this process left behind without all its shares.
    pub(crate) fn leftovers(
        &self,
        variable: &Variable,
        process: ProcessId,
        incarnation: u64,
        forgets_assembled: bool,
    ) -> Vec<EntryId> {
        let is_left = |id: &EntryId, attempt: &Attempt| {
            id.variable == *variable
                && attempt.process == process
                && attempt.incarnation < incarnation
                && !attempt.settled
                && (forgets_assembled || !attempt.assembled)
        };
        let left = self.attempts.iter().filter(|(id, attempt)| is_left(id, attempt));
        left.map(|(id, _)| id.clone()).collect()
    }

    /// A crash: notes that an attempt needs no more attention were not synced.
    pub(crate) fn lose_settled(&mut self, process: ProcessId) {
        for attempt in self.attempts.values_mut().filter(|attempt| attempt.process == process) {
            attempt.settled = false;
        }
    }

    /// A planted bug: nothing was synced.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}
