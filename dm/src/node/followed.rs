//! What was accepted of the keys that delegated zones show, in memory as on disk.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::agree::codec::{Malformed, Reader, Writer};
use crate::files;
use crate::zone::{Name, is_after};

use super::vouched::{DsSet, Vouched};

/// What was accepted for one zone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Followed {
    /// The DS records of the source, from which it began. When the source says something else, that
    /// counts.
    beside: DsSet,
    /// What the newest set wanted that was accepted since; `None`: none was.
    wanted: Option<DsSet>,
    /// All that was ever wanted since. A record of the source that was never wanted is of a key that is still to
    /// come, or of an algorithm that is not known here: it stays. One that was and is no more is of a key that is gone.
    seen: DsSet,
    /// When the keys were signed by whom we knew, also before the source changed. What was signed before changes
    /// nothing: a DNSKEY set of long ago may still hold, and somebody may show it again (RFC 7344, section 6.2).
    signed: Option<u32>,
}

impl From<DsSet> for Followed {
    /// Nothing was accepted yet, beside these records of the source.
    fn from(beside: DsSet) -> Self {
        Self { beside, ..Self::default() }
    }
}

impl Followed {
    /// The DS records that count now.
    pub(super) fn records(&self) -> DsSet {
        let still_to_come = self.beside.difference(&self.seen);
        still_to_come.chain(self.wanted.iter().flatten()).cloned().collect()
    }

    /// What it is when the source says this: the same, if it has said so before.
    fn beside(&self, beside: &DsSet) -> Self {
        if self.beside == *beside {
            return self.clone();
        }
        Self { beside: beside.clone(), signed: self.signed, ..Self::default() }
    }

    /// What it becomes by another set, for which a key of these records vouches.
    ///
    /// # Errors
    /// The set is older than what was accepted.
    pub(super) fn then(&self, vouched: Vouched) -> Result<Self, String> {
        let is_old = self.signed.is_some_and(|last| {
            let is_same_time = vouched.signed == last && self.wanted.is_some();
            is_same_time || is_after(last, vouched.signed)
        });
        let next = Self {
            beside: self.beside.clone(),
            seen: self.seen.union(&vouched.ds).cloned().collect(),
            wanted: Some(vouched.ds),
            signed: Some(vouched.signed),
        };
        match (is_old, next.records() == self.records()) {
            (false, _) => Ok(next),
            (true, true) => Ok(self.clone()),
            (true, false) => {
                Err("its keys were signed before those that were accepted last".to_owned())
            }
        }
    }
}

/// What was accepted for each zone. It counts when it is on disk: a DM that forgot it could be shown
/// an older set again.
#[derive(Debug)]
pub(super) struct Accepted {
    path: PathBuf,
    all: BTreeMap<Name, Followed>,
}

const TITLE: &[u8] = b"bftkv dm children 1\n";

impl Accepted {
    /// What was kept in this file; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let kept = files::kept(&path)?;
        let all = kept.map_or_else(|| Ok(BTreeMap::new()), |body| read(&body));
        Ok(Self { path, all: all.map_err(files::damaged)? })
    }

    /// What was accepted for a zone for which the source says this, if anything ever was.
    pub(super) fn get(&self, name: &Name, beside: &DsSet) -> Option<Followed> {
        self.all.get(name).map(|followed| followed.beside(beside))
    }

    /// What was accepted for another content of the source is over.
    ///
    /// # Errors
    /// The disk's. It is over all the same, and after a restart again.
    pub(super) fn follow_source(&mut self, name: &Name, beside: &DsSet) -> io::Result<()> {
        match self.all.get_mut(name) {
            Some(followed) if followed.beside != *beside => {
                *followed = followed.beside(beside);
                files::keep(&self.path, &written(&self.all))
            }
            _ => Ok(()),
        }
    }

    /// Accepts.
    ///
    /// # Errors
    /// The disk's: it is not accepted.
    pub(super) fn put(&mut self, name: &Name, followed: Followed) -> io::Result<()> {
        if self.all.get(name) == Some(&followed) {
            return Ok(());
        }
        let mut all = self.all.clone();
        all.insert(name.clone(), followed);
        files::keep(&self.path, &written(&all))?;
        self.all = all;
        Ok(())
    }
}

fn written(all: &BTreeMap<Name, Followed>) -> Vec<u8> {
    let mut out = Writer::beginning(TITLE);
    out.count(all.len());
    for (name, Followed { beside, wanted, seen, signed }) in all {
        out.bytes(name.to_string().as_bytes());
        out.u8(u8::from(signed.is_some())).u32(signed.unwrap_or_default());
        out.u8(u8::from(wanted.is_some()));
        let none = DsSet::new();
        for set in [beside, seen, wanted.as_ref().unwrap_or(&none)] {
            out.count(set.len());
            set.iter().for_each(|record| _ = out.bytes(record));
        }
    }
    out.finish()
}

fn read(bytes: &[u8]) -> Result<BTreeMap<Name, Followed>, Malformed> {
    let mut reader = Reader::new(bytes, TITLE, "record of accepted keys")?;
    let mut all = BTreeMap::new();
    for _ in 0..reader.count()? {
        let name = std::str::from_utf8(reader.bytes()?).ok().and_then(|name| name.parse().ok());
        let name = name.ok_or(reader.malformed())?;
        let (was_signed, signed) = (reader.u8()? == 1, reader.u32()?);
        let is_wanted = reader.u8()? == 1;
        let (beside, seen) = (read_set(&mut reader)?, read_set(&mut reader)?);
        let wanted = Some(read_set(&mut reader)?).filter(|_| is_wanted);
        let signed = Some(signed).filter(|_| was_signed);
        all.insert(name, Followed { beside, wanted, seen, signed });
    }
    reader.end()?;
    Ok(all)
}

fn read_set(reader: &mut Reader<'_>) -> Result<DsSet, Malformed> {
    (0..reader.count()?).map(|_| Ok(reader.bytes()?.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(records: &[u8]) -> DsSet {
        records.iter().map(|record| vec![*record]).collect()
    }

    fn vouched(records: &[u8], signed: u32) -> Vouched {
        Vouched { ds: set(records), signed }
    }

    fn begun(beside: &[u8]) -> Followed {
        Followed::default().beside(&set(beside))
    }

    #[test]
    fn what_was_signed_before_changes_nothing() {
        let both = begun(&[1]).then(vouched(&[1, 2], 100)).unwrap();
        let new = both.then(vouched(&[2], 200)).unwrap();
        assert_eq!(new.records(), set(&[2]));
        for signed in [100, 199, 200] {
            assert!(new.then(vouched(&[1, 2], signed)).is_err(), "signed at {signed}");
        }
        // The same again, by an older signature, changes nothing and is no error.
        assert_eq!(new.then(vouched(&[2], 100)), Ok(new.clone()));
        assert_eq!(new.then(vouched(&[2], 300)).unwrap().signed, Some(300));
        assert_eq!(new.then(vouched(&[1, 2], 201)).unwrap().records(), set(&[1, 2]));
        // Times go round.
        let old = begun(&[1]).then(vouched(&[1], u32::MAX)).unwrap();
        assert_eq!(old.then(vouched(&[2], 3)).unwrap().records(), set(&[2]));
        // Also when the source has caught up; what was accepted last may be accepted again.
        let caught_up = new.beside(&set(&[2]));
        assert_eq!(caught_up.records(), set(&[2]));
        assert!(caught_up.then(vouched(&[1, 2], 100)).is_err());
        assert_eq!(caught_up.then(vouched(&[2, 3], 200)).unwrap().records(), set(&[2, 3]));
    }

    /// The record of the new key is there before the key is (RFC 6781, section 4.1.2).
    #[test]
    fn a_record_for_a_key_that_is_still_to_come_stays() {
        let begun = begun(&[1, 2]).then(vouched(&[1], 100)).unwrap();
        assert_eq!(begun.records(), set(&[1, 2]));
        let changed = begun.then(vouched(&[2], 200)).unwrap();
        assert_eq!(changed.records(), set(&[2]), "the old one is gone");
        assert_eq!(changed.then(vouched(&[2, 3], 300)).unwrap().records(), set(&[2, 3]));
    }

    #[test]
    fn what_was_accepted_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("children");
        let name: Name = "a\\.b.c.".parse().unwrap();
        let followed = begun(&[1]).then(vouched(&[1, 2], 100)).unwrap();
        let mut accepted = Accepted::open(path.clone()).unwrap();
        accepted.put(&name, followed.clone()).unwrap();
        accepted.put(&Name::root(), Followed::default()).unwrap();
        let again = Accepted::open(path.clone()).unwrap();
        assert_eq!(again.all, accepted.all);
        assert_eq!(again.get(&name, &set(&[1])), Some(followed));
        let other = again.get(&name, &set(&[3])).unwrap();
        assert_eq!(other.records(), set(&[3]), "the source says something else");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(Accepted::open(path).is_err());
    }

    #[test]
    fn what_cannot_be_kept_is_not_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let mut accepted = Accepted::open(folder.path().join("none").join("children")).unwrap();
        let followed = begun(&[1]).then(vouched(&[2], 100)).unwrap();
        assert!(accepted.put(&Name::root(), followed).is_err());
        assert!(accepted.all.is_empty());
    }
}
