//! What was accepted of the keys that delegated zones show, in memory as on disk.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::agree::codec::{Malformed, Reader, Writer};
use crate::files;
use crate::zone::{Name, is_after};

use super::vouched::{DsSet, Vouched};

/// What was accepted for one zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Followed {
    /// The DS records of the source, from which it began. When the source says something else, that
    /// counts.
    pub(super) beside: DsSet,
    /// The DS records that count now.
    pub(super) ds: DsSet,
    /// When the keys were signed by whom we knew. What was signed before changes nothing: a DNSKEY set
    /// of long ago may still hold, and somebody may show it again (RFC 7344, section 6.2).
    pub(super) signed: u32,
}

impl Followed {
    /// The first that is accepted.
    pub(super) fn first(beside: DsSet, Vouched { ds, signed }: Vouched) -> Self {
        Self { beside, ds, signed }
    }

    /// What it becomes by another set, for which a key of these records vouches.
    ///
    /// # Errors
    /// The set is older than what was accepted.
    pub(super) fn then(&self, Vouched { ds, signed }: Vouched) -> Result<Self, String> {
        let is_newer = is_after(signed, self.signed);
        if !is_newer && ds != self.ds {
            return Err("its keys were signed before those that were accepted last".to_owned());
        }
        let signed = if is_newer { signed } else { self.signed };
        Ok(Self { beside: self.beside.clone(), ds, signed })
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

    /// What was accepted for a zone for which the source says this.
    pub(super) fn get(&self, name: &Name, beside: &DsSet) -> Option<&Followed> {
        self.all.get(name).filter(|followed| followed.beside == *beside)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, &Followed)> {
        self.all.iter()
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

    /// Forgets what is over.
    ///
    /// # Errors
    /// The disk's. It is forgotten all the same, and after a restart again.
    pub(super) fn retain(&mut self, goes_on: impl Fn(&Name, &Followed) -> bool) -> io::Result<()> {
        let before = self.all.len();
        self.all.retain(|name, followed| goes_on(name, followed));
        if self.all.len() == before {
            return Ok(());
        }
        files::keep(&self.path, &written(&self.all))
    }
}

fn written(all: &BTreeMap<Name, Followed>) -> Vec<u8> {
    let mut out = Writer::beginning(TITLE);
    out.count(all.len());
    for (name, Followed { beside, ds, signed }) in all {
        out.bytes(name.to_string().as_bytes()).u32(*signed);
        for set in [beside, ds] {
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
        let signed = reader.u32()?;
        let (beside, ds) = (read_set(&mut reader)?, read_set(&mut reader)?);
        all.insert(name, Followed { beside, ds, signed });
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

    #[test]
    fn what_was_signed_before_changes_nothing() {
        let both = Followed::first(set(&[1]), vouched(&[1, 2], 100));
        let new = both.then(vouched(&[2], 200)).unwrap();
        assert_eq!((&new.ds, &new.beside), (&set(&[2]), &set(&[1])));
        for signed in [100, 199, 200] {
            assert!(new.then(vouched(&[1, 2], signed)).is_err(), "signed at {signed}");
        }
        // The same again, by an older signature, changes nothing and is no error.
        assert_eq!(new.then(vouched(&[2], 100)), Ok(new.clone()));
        assert_eq!(new.then(vouched(&[2], 300)).unwrap().signed, 300);
        assert_eq!(new.then(vouched(&[1, 2], 201)).unwrap().ds, set(&[1, 2]));
        // Times go round.
        let old = Followed::first(set(&[1]), vouched(&[1], u32::MAX));
        assert_eq!(old.then(vouched(&[2], 3)).unwrap().ds, set(&[2]));
    }

    #[test]
    fn what_was_accepted_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("children");
        let name: Name = "a\\.b.c.".parse().unwrap();
        let followed = Followed::first(set(&[1]), vouched(&[1, 2], 100));
        let other = Followed::first(DsSet::new(), vouched(&[], 0));
        let mut accepted = Accepted::open(path.clone()).unwrap();
        accepted.put(&name, followed.clone()).unwrap();
        accepted.put(&Name::root(), other).unwrap();
        accepted.retain(|kept, _| *kept == name).unwrap();
        let again = Accepted::open(path.clone()).unwrap();
        assert_eq!(again.all, BTreeMap::from([(name.clone(), followed.clone())]));
        assert_eq!(again.get(&name, &set(&[1])), Some(&followed));
        assert_eq!(again.get(&name, &set(&[3])), None, "the source says something else");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[1..]).unwrap();
        assert!(Accepted::open(path).is_err());
    }

    #[test]
    fn what_cannot_be_kept_is_not_accepted() {
        let folder = tempfile::tempdir().unwrap();
        let mut accepted = Accepted::open(folder.path().join("none").join("children")).unwrap();
        let followed = Followed::first(set(&[1]), vouched(&[2], 100));
        assert!(accepted.put(&Name::root(), followed).is_err());
        assert_eq!(accepted.iter().count(), 0);
    }
}
