//! What changes from one version to the next.

use std::collections::BTreeMap;

use crate::differing::differing;

use super::codec::{Reader, Writer};
use super::{Error, Fault, Key, RrSet, Zone};

/// The most sets that a change may have. A root zone has about 14,000.
pub const MAX_CHANGES: usize = 1_000_000;

/// The difference of two versions of a zone, set by set: what is put in the place of what was
/// there, and what is taken away (`None`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delta {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) changes: BTreeMap<Key, Option<RrSet>>,
}

impl Delta {
    /// The change from one version to another of the same zone.
    #[must_use]
    pub fn between(from: &Zone, to: &Zone) -> Self {
        let differing = differing(from.sets(), to.sets());
        let changes = differing.map(|(key, _, set)| (key.clone(), set.cloned())).collect();
        Self { from: from.serial(), to: to.serial(), changes }
    }

    /// A change of these sets.
    #[must_use]
    pub fn new(from: u32, to: u32, changes: BTreeMap<Key, Option<RrSet>>) -> Self {
        Self { from, to, changes }
    }

    /// The serial that it begins at.
    #[must_use]
    pub fn from_serial(&self) -> u32 {
        self.from
    }

    /// The serial that it leads to.
    #[must_use]
    pub fn to_serial(&self) -> u32 {
        self.to
    }

    /// The sets that change, with what they become.
    #[must_use]
    pub fn changes(&self) -> &BTreeMap<Key, Option<RrSet>> {
        &self.changes
    }

    /// As bytes. There is one encoding of each change.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.u32(self.from);
        out.u32(self.to);
        out.length(self.changes.len());
        for (key, set) in &self.changes {
            out.key(key);
            match set {
                Some(set) => out.set(set),
                None => out.no_set(),
            }
        }
        out.finish()
    }

    /// Reads what [`Delta::to_bytes`] wrote. Every set is checked as [`RrSet::new`] does; whether
    /// it fits a zone is for [`Zone::with`] to say.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`] for anything but the one right encoding, and what [`RrSet::new`] says.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let (from, to, count) = (reader.u32()?, reader.u32()?, reader.length(MAX_CHANGES)?);
        let mut changes = BTreeMap::new();
        for _ in 0..count {
            let key = reader.key()?;
            let set = reader.set(&key).map_err(|fault| Error::new(fault).with(&key))?;
            let last = changes.last_key_value().map(|(key, _)| key);
            if last.is_some_and(|last| *last >= key) {
                return Err(Error::new(Fault::Malformed).with(&key));
            }
            changes.insert(key, set);
        }
        reader.end()?;
        Ok(Self { from, to, changes })
    }
}
