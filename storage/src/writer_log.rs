//! A writer's own memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bftkv_protocol::{EntryHash, EntryId, Timestamp, Variable};

use crate::disk::{Disk, RealDisk};
use crate::writer_file::WriterFile;
use crate::writer_record::{Attempt, Record, Stage};

/// Remembers which timestamps a user has signed, so that no two values are ever signed at one
/// timestamp: not after a crash, and not by two processes on one home (rule R2).
///
/// It is a file in the user's home, appended to under a lock that is held for the length of one
/// operation. Several processes, and several `WriterLog`s of one process, may use one home.
///
/// The life of an attempt:
///
/// ```text
///  reserve ---> assembled ---> settled        it has S: it is finished, never abandoned
///     \-------> abandon -----> settled        it never has S
/// ```
///
/// The locks are those of the operating system (`flock`): a home on a network file system without
/// them is not supported.
#[derive(Debug)]
pub struct WriterLog {
    folder: PathBuf,
    /// The lock of the home. It is never renamed or removed, unlike the log itself.
    gate: File,
    session: u64,
    /// Held, and by it locked, as long as this process works on its attempts.
    _alive: File,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: WriterFile,
    /// Attempts of this session that are being worked on.
    active: BTreeSet<EntryId>,
    is_stopped: bool,
}

/// A writer's log failed, or was asked for what would break a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriterLogError {
    /// The operating system failed. The world's fault; reopen the log when the cause is gone.
    #[error("{path}: {reason}")]
    Io {
        /// The log.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The log does not hold what was written to it. Writing on could sign a second value at a
    /// used timestamp: use a new certificate, or restore the home from where it is whole.
    #[error(
        "{path} is damaged: {reason}; do not write with this certificate from this home any more"
    )]
    Damaged {
        /// The log.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// An earlier operation failed; open the log again.
    #[error("the writer's log stopped after an earlier failure; run the command again")]
    Stopped,
    /// The attempt is settled, abandoned or was never reserved. The caller's fault.
    #[error("the attempt at t={0} is not open")]
    NotOpen(Timestamp),
    /// The attempt has S, so it must be finished and never abandoned. The caller's fault.
    #[error("the attempt at t={0} has all its signatures and cannot be abandoned")]
    Assembled(Timestamp),
    /// Another process is working on the attempt. Wait for it.
    #[error("another process is working on the attempt at t={0}")]
    InUse(Timestamp),
}

/// A timestamp was not reserved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReserveError<E: Debug> {
    /// The timestamp, or a larger one, was reserved before. Retry above `mark`.
    #[error("t={mark} was used before: a larger timestamp is needed")]
    Used {
        /// The largest timestamp that was ever reserved for the variable.
        mark: Timestamp,
    },
    /// No entry may carry this timestamp. The caller's fault.
    #[error("t={0} is no timestamp for an entry")]
    Unusable(Timestamp),
    /// The value could not be signed; nothing was reserved.
    #[error("could not sign: {0:?}")]
    Make(E),
    /// The log failed; what was signed must not leave.
    #[error(transparent)]
    Log(#[from] WriterLogError),
}

const GATE: &str = "writer.lock";

impl WriterLog {
    /// Opens the log in a home, or makes it. The folder must exist.
    ///
    /// # Errors
    /// [`WriterLogError`]: the world's or the disk's fault.
    pub fn open(folder: &Path) -> Result<Self, WriterLogError> {
        Self::open_on(folder, Arc::new(RealDisk))
    }

    /// Like [`WriterLog::open`], with the log on another file system; the locks stay in `folder`.
    /// Tests fail disks this way.
    ///
    /// # Errors
    /// As [`WriterLog::open`].
    pub fn open_on(folder: &Path, disk: Arc<dyn Disk>) -> Result<Self, WriterLogError> {
        let gate = open_lock(&folder.join(GATE))?;
        let mut file = WriterFile::new(disk, folder);
        let (session, alive) = {
            let _held = hold(&gate, folder)?;
            file.create_if_missing()?;
            file.refresh()?;
            remove_dead(folder, &file.index().open_sessions())?;
            let session = file.index().last_session.saturating_add(1);
            let alive = open_lock(&alive_path(folder, session))?;
            alive.lock().map_err(|e| failed(folder, &e))?;
            file.append(Record::Session(session))?;
            (session, alive)
        };
        let state = State { file, active: BTreeSet::new(), is_stopped: false };
        let folder = folder.to_owned();
        Ok(Self { folder, gate, session, _alive: alive, state: Mutex::new(state) })
    }

    /// Reserves a timestamp for what `make` signs: calls it only if no timestamp as large was
    /// ever reserved for the variable, and returns when the reservation is on disk. Only then may
    /// the signature leave this process. The lock is held while `make` runs.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve<E: Debug>(
        &self,
        variable: &Variable,
        wanted: Timestamp,
        make: impl FnOnce() -> Result<EntryHash, E>,
    ) -> Result<EntryId, ReserveError<E>> {
        if !wanted.is_usable() {
            return Err(ReserveError::Unusable(wanted));
        }
        self.with(|state| {
            let mark = state.file.index().mark(variable);
            if wanted <= mark {
                return Ok(Err(ReserveError::Used { mark }));
            }
            let hash = match make() {
                Ok(hash) => hash,
                Err(error) => return Ok(Err(ReserveError::Make(error))),
            };
            let attempt = EntryId { variable: variable.clone(), timestamp: wanted, hash };
            state.file.append_synced(Record::Reserved(attempt.clone(), self.session))?;
            state.active.insert(attempt.clone());
            Ok(Ok(attempt))
        })?
    }

    /// Reserves timestamps for many entries that `make` signs together: calls it with the places of
    /// those whose timestamps are free, and takes a hash for each of them. All are on disk when it
    /// returns, with one sync. The lock is held while `make` runs.
    ///
    /// # Errors
    /// For one entry: [`ReserveError::Used`] or [`ReserveError::Unusable`]. For all of them: the
    /// others.
    pub fn reserve_many<E: Debug>(
        &self,
        wanted: &[(Variable, Timestamp)],
        make: impl FnOnce(&[usize]) -> Result<Vec<EntryHash>, E>,
    ) -> Result<Vec<Result<EntryId, ReserveError<E>>>, ReserveError<E>> {
        self.with(|state| {
            let (free, mut outcomes) = free_places(state, wanted);
            let hashes = match make(&free) {
                Ok(hashes) => hashes,
                Err(error) => return Ok(Err(ReserveError::Make(error))),
            };
            let mut attempts = Vec::new();
            for (place, hash) in free.into_iter().zip(hashes) {
                let Some((variable, timestamp)) = wanted.get(place) else { continue };
                let (variable, timestamp) = (variable.clone(), *timestamp);
                attempts.push((place, EntryId { variable, timestamp, hash }));
            }
            let record = |(_, id): &(usize, EntryId)| Record::Reserved(id.clone(), self.session);
            state.file.append_all_synced(attempts.iter().map(record).collect())?;
            for (place, attempt) in attempts {
                state.active.insert(attempt.clone());
                outcomes.insert(place, Ok(attempt));
            }
            Ok(Ok(outcomes.into_values().collect()))
        })?
    }

    /// As [`WriterLog::assembled`] for many attempts, with one sync: for each whether S may be used.
    ///
    /// # Errors
    /// Those of the disk: then none may be.
    pub fn assembled_many(
        &self,
        attempts: &[EntryId],
    ) -> Result<Vec<Result<(), WriterLogError>>, WriterLogError> {
        self.with(|state| {
            let mut records = Vec::new();
            let outcomes = attempts.iter().map(|attempt| match state.stage(attempt)? {
                Stage::Assembled => Ok(()),
                Stage::Abandoned => Err(WriterLogError::NotOpen(attempt.timestamp)),
                Stage::Reserved => {
                    records.push(Record::Assembled(attempt.clone()));
                    Ok(())
                }
            });
            let outcomes = outcomes.collect();
            state.file.append_all_synced(records)?;
            Ok(outcomes)
        })
    }

    /// As [`WriterLog::settled`] for many attempts.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn settled_many(&self, attempts: &[EntryId]) -> Result<(), WriterLogError> {
        self.with(|state| {
            for attempt in attempts {
                state.active.remove(attempt);
            }
            let known = |attempt: &&EntryId| state.file.index().attempts.contains_key(*attempt);
            let settled = attempts.iter().filter(known).cloned().map(Record::Settled);
            let records: Vec<Record> = settled.collect();
            if !records.is_empty() {
                state.file.append_all(records)?;
            }
            Ok(())
        })
    }

    /// The attempt has S now. On return that is on disk, and only then may the store phase begin.
    ///
    /// # Errors
    /// [`WriterLogError::NotOpen`] if it was abandoned: then S must not be used.
    pub fn assembled(&self, attempt: &EntryId) -> Result<(), WriterLogError> {
        self.with(|state| match state.stage(attempt)? {
            Stage::Assembled => Ok(()),
            Stage::Abandoned => Err(WriterLogError::NotOpen(attempt.timestamp)),
            Stage::Reserved => state.file.append_synced(Record::Assembled(attempt.clone())),
        })
    }

    /// The attempt is given up: from now on it can never be assembled. On return that is on disk,
    /// and only then may the abandon message leave. May be called again to send it again.
    ///
    /// # Errors
    /// [`WriterLogError::Assembled`], [`WriterLogError::InUse`], [`WriterLogError::NotOpen`].
    pub fn abandon(&self, attempt: &EntryId) -> Result<(), WriterLogError> {
        self.with(|state| {
            let known = state.attempt(attempt)?;
            match known.stage {
                Stage::Abandoned => Ok(()),
                Stage::Assembled => Err(WriterLogError::Assembled(attempt.timestamp)),
                Stage::Reserved if known.session != self.session && self.is_alive(known)? => {
                    Err(WriterLogError::InUse(attempt.timestamp))
                }
                Stage::Reserved => state.file.append_synced(Record::Abandoned(attempt.clone())),
            }
        })
    }

    /// Nothing is left to do: the attempt is certified and stored, or abandoned and told. Not
    /// synced: after a crash it may be listed again, which does no harm.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn settled(&self, attempt: &EntryId) -> Result<(), WriterLogError> {
        self.with(|state| {
            state.active.remove(attempt);
            if state.file.index().attempts.contains_key(attempt) {
                state.file.append(Record::Settled(attempt.clone()))?;
            }
            Ok(())
        })
    }

    /// This process stops working on its attempt without settling it: it is listed from now on,
    /// as if the process were gone.
    pub fn release(&self, attempt: &EntryId) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).active.remove(attempt);
    }

    /// Attempts that may be abandoned: without S, and no living process works on them. Those that
    /// were abandoned but not settled are among them.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn abandonable(&self, variable: &Variable) -> Result<Vec<EntryId>, WriterLogError> {
        self.left_behind(|id, stage| id.variable == *variable && stage != Stage::Assembled)
    }

    /// As [`WriterLog::abandonable`], of many variables.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn abandonable_of(
        &self,
        variables: &BTreeSet<Variable>,
    ) -> Result<Vec<EntryId>, WriterLogError> {
        self.left_behind(|id, stage| variables.contains(&id.variable) && stage != Stage::Assembled)
    }

    /// Attempts whose outcome is unknown: they have S, are not settled, and no living process
    /// works on them. They may be certified.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn unknown(&self, variable: &Variable) -> Result<Vec<EntryId>, WriterLogError> {
        self.left_behind(|id, stage| id.variable == *variable && stage == Stage::Assembled)
    }

    /// The largest timestamp that was ever reserved for the variable, 0 if none.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn mark(&self, variable: &Variable) -> Result<Timestamp, WriterLogError> {
        self.with(|state| Ok(state.file.index().mark(variable)))
    }

    fn left_behind(
        &self,
        wanted: impl Fn(&EntryId, Stage) -> bool,
    ) -> Result<Vec<EntryId>, WriterLogError> {
        self.with(|state| {
            let mut found = Vec::new();
            for (id, attempt) in &state.file.index().attempts {
                if wanted(id, attempt.stage)
                    && !state.active.contains(id)
                    && !self.is_others(*attempt)?
                {
                    found.push(id.clone());
                }
            }
            Ok(found)
        })
    }

    /// Runs one operation under the lock of the home, on the newest state of the log.
    fn with<T>(
        &self,
        operation: impl FnOnce(&mut State) -> Result<T, WriterLogError>,
    ) -> Result<T, WriterLogError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_stopped {
            return Err(WriterLogError::Stopped);
        }
        let _held = hold(&self.gate, &self.folder)?;
        let outcome = state.file.refresh().and_then(|()| operation(&mut state));
        let is_failure = |error: &WriterLogError| {
            matches!(error, WriterLogError::Io { .. } | WriterLogError::Damaged { .. })
        };
        state.is_stopped = outcome.as_ref().is_err_and(is_failure);
        outcome
    }

    /// Whether another living process works on the attempt.
    fn is_others(&self, attempt: Attempt) -> Result<bool, WriterLogError> {
        if attempt.session == self.session { Ok(false) } else { self.is_alive(attempt) }
    }

    /// Whether the process that made the attempt lives: it holds the lock of its own file, which
    /// the operating system releases however the process ends.
    fn is_alive(&self, attempt: Attempt) -> Result<bool, WriterLogError> {
        is_locked(&alive_path(&self.folder, attempt.session)).map_err(|e| failed(&self.folder, &e))
    }
}

impl Drop for WriterLog {
    fn drop(&mut self) {
        // Only tidiness: a file that nobody locks counts as gone.
        let _ = fs::remove_file(alive_path(&self.folder, self.session));
    }
}

impl State {
    fn attempt(&self, id: &EntryId) -> Result<Attempt, WriterLogError> {
        let known = self.file.index().attempts.get(id).copied();
        known.ok_or(WriterLogError::NotOpen(id.timestamp))
    }

    fn stage(&self, id: &EntryId) -> Result<Stage, WriterLogError> {
        self.attempt(id).map(|attempt| attempt.stage)
    }
}

/// What came of each place that is known before anything is signed.
type Outcomes<E> = BTreeMap<usize, Result<EntryId, ReserveError<E>>>;

/// The places whose timestamps are free, and what is wrong with the others. A timestamp must also be
/// above those of the same variable before it.
fn free_places<E: Debug>(
    state: &State,
    wanted: &[(Variable, Timestamp)],
) -> (Vec<usize>, Outcomes<E>) {
    let (mut free, mut outcomes) = (Vec::new(), BTreeMap::new());
    let mut marks: BTreeMap<&Variable, Timestamp> = BTreeMap::new();
    for (place, (variable, timestamp)) in wanted.iter().enumerate() {
        let mark = marks.entry(variable).or_insert_with(|| state.file.index().mark(variable));
        if !timestamp.is_usable() {
            outcomes.insert(place, Err(ReserveError::Unusable(*timestamp)));
        } else if timestamp <= mark {
            outcomes.insert(place, Err(ReserveError::Used { mark: *mark }));
        } else {
            *mark = *timestamp;
            free.push(place);
        }
    }
    (free, outcomes)
}

/// Holds the lock of the home until it is dropped.
#[derive(Debug)]
struct Held<'a>(&'a File);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // It cannot fail for a lock that is held; if it did, closing the file would release it.
        let _ = self.0.unlock();
    }
}

fn hold<'a>(gate: &'a File, folder: &Path) -> Result<Held<'a>, WriterLogError> {
    gate.lock().map_err(|e| failed(folder, &e))?;
    Ok(Held(gate))
}

const ALIVE: &str = ".alive";

fn alive_path(folder: &Path, session: u64) -> PathBuf {
    folder.join(format!("writer.{session}{ALIVE}"))
}

fn open_lock(path: &Path) -> Result<File, WriterLogError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|e| failed(path, &e))
}

fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

/// Removes the files of processes that are gone and left nothing open.
fn remove_dead(folder: &Path, open: &BTreeSet<u64>) -> Result<(), WriterLogError> {
    let entries = fs::read_dir(folder).map_err(|e| failed(folder, &e))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let session = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("writer.")?.strip_suffix(ALIVE))
            .and_then(|number| number.parse::<u64>().ok());
        let is_done = session.is_some_and(|session| !open.contains(&session));
        if is_done && !is_locked(&path).map_err(|e| failed(&path, &e))? {
            // Another process may have been faster.
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}

fn failed(path: &Path, error: &io::Error) -> WriterLogError {
    WriterLogError::Io { path: path.to_owned(), reason: error.to_string() }
}
