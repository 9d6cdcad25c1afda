//! What can be saved of a damaged store.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bftkv_protocol::{Batch, Marks, Store, StoreError, Variable};

use crate::backend::{Pair, corrupt, io_error};
use crate::census::Census;
use crate::check::Damaged;
use crate::commit_log::each_change;
use crate::disk::{Disk, OpenMode, RealDisk};
use crate::head::Head;
use crate::inner::{Inner, behind};
use crate::key::{self, Key};
use crate::pending::open_entry;
use crate::redb_leaves::each_record;
use crate::source::{LOG, REDB, Source};
use crate::{OpenError, RecordStore, StorageConfig, StorageKind, open_on, record};

/// What came of a salvage.
///
/// The new store has a new identity: it may have forgotten what was signed, so the node must not
/// sign with its old key again. It makes a new one and completes the store from the other nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Salvage {
    /// How many records were copied.
    pub copied: u64,
    /// Records that were found damaged, as far as they can be named.
    pub damaged: Vec<Damaged>,
    /// Variables of which something is known to be missing: the signer's memory, or the newest
    /// entry. There may be others, unless `is_complete`.
    pub incomplete: Vec<Variable>,
    /// Whether the copy holds every record that was ever committed.
    pub is_complete: bool,
    /// Where the damaged store was put aside.
    pub set_aside: PathBuf,
}

/// How many records are copied with one sync.
const COPY_PAGE: usize = 1024;

/// How many damaged stores are kept beside each other: after that an operator must look.
const MAX_SET_ASIDE: usize = 100;

/// Opens a store and checks all of it. If it is damaged, puts it aside, makes a new one in its
/// place and copies every intact record into it.
///
/// Takes minutes for a million entries. A store that is sound opens as by [`crate::open()`], and
/// all its records are checked when this returns.
///
/// # Errors
/// [`OpenError`], as [`crate::open()`], but for damage.
pub fn open_salvaging(
    config: &StorageConfig,
) -> Result<(Arc<RecordStore>, Option<Salvage>), OpenError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    match open_on(config, Arc::clone(&disk)) {
        Ok(store) => match store.wait_checked() {
            Ok(()) => return Ok((store, None)),
            Err(StoreError::Corrupt { .. }) => {}
            Err(other) => return Err(other.into()),
        },
        Err(OpenError::Store(StoreError::Corrupt { .. })) => {}
        Err(other) => return Err(other),
    }
    let set_aside = put_aside(&*disk, &config.path)?;
    let store = open_on(config, Arc::clone(&disk))?;
    store.wait_checked()?;
    let old = StorageConfig { path: set_aside.clone(), ..config.clone() };
    let mut salvage = if config.kind == StorageKind::Redb {
        copy_leaves(&old, disk, &store)?
    } else {
        match open_on(&old, disk) {
            Ok(old) => old.salvage(&store)?,
            // Nothing can be read of it: all comes from the other nodes.
            Err(_) => Salvage::default(),
        }
    };
    salvage.set_aside = set_aside;
    Ok((store, Some(salvage)))
}

/// Copies out of a redb file; redb's own way to a record leads through pages that may be damaged.
fn copy_leaves(
    old: &StorageConfig,
    disk: Arc<dyn Disk>,
    target: &RecordStore,
) -> Result<Salvage, StoreError> {
    let path = old.path.join(REDB);
    let failed = |e| io_error(path.display(), &e);
    let mut copy = Copy::new(target, Source::new(old.clone(), Arc::clone(&disk)).anchored());
    if disk.exists(&path).map_err(failed)? {
        let file = disk.open(&path, OpenMode::Read).map_err(failed)?;
        each_record(&*file, |pair| copy.add(pair))?;
    }
    each_change(&*disk, &old.path.join(LOG), |change| match change.value {
        Some(value) => copy.add((change.key, value)),
        None => Ok(()),
    })?;
    copy.end()
}

/// Renames the store's folder, which nobody has open.
fn put_aside(disk: &dyn Disk, path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |e| io_error(path.display(), &e);
    for n in 1..=MAX_SET_ASIDE {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{n}"));
        let target = PathBuf::from(name);
        if !disk.exists(&target).map_err(failed)? {
            disk.rename(path, &target)
                .and_then(|()| disk.sync_folder(path.parent().unwrap_or(path)))
                .map_err(failed)?;
            return Ok(target);
        }
    }
    Err(StoreError::Io(format!("{}: too many damaged stores are kept beside it", path.display())))
}

impl RecordStore {
    /// Copies every intact record into `target`, which is new. For a store whose check failed;
    /// what is missing comes from the other nodes.
    ///
    /// # Errors
    /// Those of reading this store's files and of committing to `target`.
    pub fn salvage(&self, target: &Self) -> Result<Salvage, StoreError> {
        let inner = self.inner();
        // A store without files has nothing to fall behind.
        let anchored = self.source.as_ref().map_or(Some(0), Source::anchored);
        let mut copy = Copy::new(target, anchored);
        let mut from = Vec::new();
        loop {
            let page = inner.backend.scan(&from, key::END, COPY_PAGE)?;
            let Some((last, _)) = page.last() else { return copy.end() };
            from = behind(last);
            page.into_iter().try_for_each(|pair| copy.add(pair))?;
        }
    }
}

/// A copy under way.
struct Copy<'a> {
    target: &'a RecordStore,
    batch: Batch,
    salvage: Salvage,
    /// What the damaged store says that it holds.
    census: Option<Census>,
    /// How many commits there were at least, if that is known. A file that fell back to an older
    /// commit looks whole.
    anchored: Option<u64>,
}

impl<'a> Copy<'a> {
    fn new(target: &'a RecordStore, anchored: Option<u64>) -> Self {
        let (batch, salvage) = (Batch::default(), Salvage::default());
        Self { target, batch, salvage, census: None, anchored }
    }

    /// Takes one record. One that is damaged is noted.
    fn add(&mut self, pair: Pair) -> Result<(), StoreError> {
        match self.take(&pair) {
            Ok(()) => self.salvage.copied += 1,
            Err(_) => self.salvage.damaged.push(Damaged::of(&pair.0)),
        }
        if self.batch.entries.len() + self.batch.marks.len() + self.batch.vaults.len() < COPY_PAGE {
            return Ok(());
        }
        self.flush()
    }

    fn take(&mut self, pair: &Pair) -> Result<(), StoreError> {
        let (key, record) = pair;
        match Key::decode(key) {
            Some(Key::Census) => {
                let census: Census = record::open(key, record)?;
                if self.census.is_none_or(|known| known.commits < census.commits) {
                    self.census = Some(census);
                }
            }
            // A new store counts its own.
            Some(Key::Logged) => {}
            Some(Key::Head(variable)) => {
                let head: Head = record::open(key, record)?;
                self.batch.marks.push((variable, head.marks));
            }
            // It may be an older one: no matter, as a node with a salvaged store has lost its memory,
            // and no attempts are left under an earlier one.
            Some(Key::Vault(variable)) => {
                self.batch.vaults.push((variable, record::open(key, record)?));
            }
            Some(Key::Version(..)) => self.batch.entries.push(open_entry(pair)?),
            Some(Key::Proof(_)) => self.batch.proofs.push(record::open(key, record)?),
            None => return Err(corrupt(record::name(key), "it is no key of ours")),
        }
        Ok(())
    }

    /// Commits what was gathered. A file may hold older records beside newer ones: of a signer's
    /// memories the one that has seen most is kept.
    fn flush(&mut self) -> Result<(), StoreError> {
        let mut batch = std::mem::take(&mut self.batch);
        let mut newest: std::collections::BTreeMap<Variable, Marks> = Default::default();
        for (variable, marks) in batch.marks.drain(..) {
            let known = match newest.remove(&variable) {
                Some(known) => known,
                None => self.target.load(&variable)?.marks,
            };
            let kept = if known.seen > marks.seen { known } else { marks };
            newest.insert(variable, kept);
        }
        batch.marks = newest.into_iter().collect();
        self.target.commit(batch)
    }

    /// Looks what is missing.
    fn end(mut self) -> Result<Salvage, StoreError> {
        self.flush()?;
        let inner = self.target.inner();
        let found = inner.ledger().census;
        let is_newest = |census: Census| self.anchored.is_some_and(|least| census.commits >= least);
        let is_whole = |census: Census| is_newest(census) && census.check(&found).is_ok();
        self.salvage.is_complete = self.census.is_some_and(is_whole);
        if !self.salvage.is_complete {
            self.salvage.incomplete = incomplete(&inner, &self.salvage.damaged)?;
        }
        Ok(self.salvage)
    }
}

/// Variables of which the memory is behind an entry, and those of damaged records.
fn incomplete(inner: &Inner, damaged: &[Damaged]) -> Result<Vec<Variable>, StoreError> {
    let mut found: std::collections::BTreeSet<Variable> =
        damaged.iter().filter_map(|record| record.variable.clone()).collect();
    let mut after = None;
    loop {
        let page = inner.known(after.as_ref(), COPY_PAGE)?;
        let Some(last) = page.last() else { return Ok(found.into_iter().collect()) };
        after = Some(last.clone());
        for variable in page {
            let state = inner.read(&variable)?.0;
            let newest = state.latest.map(|entry| entry.timestamp()).unwrap_or_default();
            if newest != state.marks.seen {
                found.insert(variable);
            }
        }
    }
}
