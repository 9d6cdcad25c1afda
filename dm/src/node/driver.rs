//! The agreement on the store.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bftkv::protocol::Entry;
use bftkv::{CertifiedEntry, NodeId, Policy, Value, Variable};
use tokio::sync::{Notify, mpsc};
use tokio::time::interval;

use crate::agree::{Action, Council, Dm, Hash, Link, Mark, Member, Memory, Refusal, Status, Topic};
use crate::files::{self, keep};

use super::board::{Board, Waits, persist};
use super::kept::Committed;
use super::lock;
use super::sources::Source;
use super::work::{Signed, ZoneWork};

/// Values that other DMs have written, as they come.
type Arriving = mpsc::UnboundedReceiver<(Topic, Vec<u8>)>;

/// One DM on the store: votes as the node's policy, writes on a board.
///
/// Its variables are `dm/FINGERPRINT/ZONE/TOPIC`, where the fingerprint is the writer's.
pub struct Driver {
    member: Mutex<Member<ZoneWork>>,
    writers: BTreeMap<NodeId, Dm>,
    council: Council,
    zone: String,
    board: Arc<dyn Board>,
    memory: PathBuf,
    certified: mpsc::UnboundedSender<(Topic, Vec<u8>)>,
    arriving: Mutex<Option<Arriving>>,
    committed: mpsc::UnboundedSender<Committed>,
    awake: Notify,
    /// How many votes for what this DM wrote wait for what they need.
    waiting: Mutex<BTreeMap<Dm, usize>>,
    /// The member has been told something, so that it may vote for what it could not before.
    told: Condvar,
    /// The serial of the newest signed zone.
    done: AtomicU32,
    /// The highest serial that we wrote anything for.
    newest: AtomicU32,
    /// The highest batch of presignatures that we wrote anything for.
    batch: AtomicU32,
    /// Why the source could not be read when it was last tried.
    blind: Mutex<Option<String>>,
    /// What the source says beside, for an operator.
    notes: Mutex<Vec<String>>,
    /// Why the last value that we wrote was not certified.
    unwritten: Mutex<Option<String>>,
    /// The source is being read.
    reading: AtomicBool,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("zone", &self.zone).finish_non_exhaustive()
    }
}

/// Why an entry has no place here; and which DM wrote it where, if no honest one would have.
struct Misplaced {
    why: String,
    of: Option<(Dm, Topic)>,
}

/// How often the member is told the time.
const TICK: Duration = Duration::from_millis(50);
/// How often the source is read, whether or not anything is under way.
const POLL: Duration = Duration::from_secs(1);
/// How long a vote waits for what it needs. A refusal would count for that whole try.
const NOT_YET: Duration = Duration::from_secs(6);
/// How many votes for one DM wait at once. Each has a thread, and with many thousands nobody would get one.
const WAITING: usize = 16;
/// How long one try to write may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for what everybody votes for at once, at the first try.
const SHORT: Duration = Duration::from_secs(5);
/// What is so many serials below the newest that we write for is not tried again.
const LEFT_BEHIND: u32 = 64;
/// The same of batches of presignatures: so far below, nobody votes for anything.
const BATCHES_LEFT_BEHIND: u32 = 8;

impl Driver {
    /// Puts it together. `writers` are the certificates with which the DMs write, `memory` is the
    /// file in which votes are remembered; zones that are agreed on go to `committed`.
    #[must_use]
    pub fn new(
        member: Member<ZoneWork>,
        writers: BTreeMap<NodeId, Dm>,
        council: Council,
        zone: String,
        board: Arc<dyn Board>,
        memory: PathBuf,
        committed: mpsc::UnboundedSender<Committed>,
    ) -> Arc<Self> {
        let (certified, arriving) = mpsc::unbounded_channel();
        Arc::new(Self {
            member: Mutex::new(member),
            writers,
            council,
            zone,
            board,
            memory,
            certified,
            arriving: Mutex::new(Some(arriving)),
            committed,
            awake: Notify::new(),
            waiting: Mutex::default(),
            told: Condvar::new(),
            done: AtomicU32::new(0),
            newest: AtomicU32::new(0),
            batch: AtomicU32::new(0),
            blind: Mutex::new(None),
            notes: Mutex::default(),
            unwritten: Mutex::new(None),
            reading: AtomicBool::new(false),
        })
    }

    /// What was remembered in this file; nothing if there is none.
    ///
    /// # Errors
    /// It cannot be read, or is damaged: then this DM must not vote.
    pub fn recall(path: &Path) -> io::Result<Memory> {
        let Some(body) = files::kept(path)? else { return Ok(Memory::default()) };
        let damaged = || files::damaged("damaged memory of votes");
        let (serial, rest) = body.split_first_chunk().ok_or_else(damaged)?;
        let (hash, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (locked, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        // Before there were presignatures it ended here.
        let (batch, spent) = if rest.is_empty() {
            (0, Mark::default())
        } else {
            let (batch, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
            let (of, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
            let index: &[u8; 2] = rest.try_into().map_err(|_| damaged())?;
            let spent = Mark { batch: u32::from_be_bytes(*of), index: u16::from_be_bytes(*index) };
            (u32::from_be_bytes(*batch), spent)
        };
        let link = Link { serial: u32::from_be_bytes(*serial), hash: Hash(*hash) };
        let voted = (link.serial > 0).then_some(link);
        Ok(Memory { voted, locked: u32::from_be_bytes(*locked), batch, spent })
    }

    /// The zone of this serial is there already, kept from before.
    pub fn has(&self, serial: u32) {
        self.done.fetch_max(serial, Ordering::Relaxed);
    }

    /// How things stand.
    #[must_use]
    pub fn status(&self) -> Status {
        self.lock().status()
    }

    /// Why the source could not be read when it was last tried.
    #[must_use]
    pub fn blind(&self) -> Option<String> {
        lock(&self.blind).clone()
    }

    /// What could not be taken into account when the source was read ([`Source::notes`]).
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        lock(&self.notes).clone()
    }

    /// Why what was written last is not certified, if it is not: too few answer, for instance.
    #[must_use]
    pub fn unwritten(&self) -> Option<String> {
        lock(&self.unwritten).clone()
    }

    /// An operator stops voting, or (`None`) lets it go on.
    pub fn hold(&self, reason: Option<String>) {
        self.lock().hold(reason);
    }

    /// An operator lets the change pass that is held.
    pub fn release(&self) -> Option<Hash> {
        self.lock().release()
    }

    /// Takes part until it is dropped or aborted. To be called once.
    pub async fn run(self: Arc<Self>, source: Arc<dyn Source>) {
        let arriving = lock(&self.arriving).take();
        let Some(mut arriving) = arriving else { return };
        let (mut ticks, mut polls) = (interval(TICK), interval(POLL));
        loop {
            let mut certified = Vec::new();
            tokio::select! {
                _ = arriving.recv_many(&mut certified, 64) => {}
                _ = ticks.tick() => {}
                _ = polls.tick() => {
                    tracing::debug!(status = ?self.status(), "how it stands");
                    self.read(&source);
                }
                () = self.awake.notified() => {}
            }
            let this = Arc::clone(&self);
            let actions = tokio::task::spawn_blocking(move || this.step(certified)).await;
            for action in actions.unwrap_or_default() {
                self.act(action, &source);
            }
        }
    }

    fn step(&self, certified: Vec<(Topic, Vec<u8>)>) -> Vec<Action<Signed>> {
        let mut member = self.lock();
        let [clock, since_start] = [clock(), now()].map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
        member.set_clock(clock.saturating_sub(since_start));
        for (topic, value) in certified {
            member.handle_certified(topic, value, now());
        }
        member.handle_tick(now());
        self.told.notify_all();
        std::iter::from_fn(|| member.poll()).collect()
    }

    fn act(self: &Arc<Self>, action: Action<Signed>, source: &Arc<dyn Source>) {
        match action {
            Action::Publish { topic, value } => {
                tracing::debug!(%topic, "to be written");
                tokio::spawn(Arc::clone(self).write(topic, value));
            }
            Action::Compute(job) => {
                let this = Arc::clone(self);
                tokio::task::spawn_blocking(move || {
                    let computed = job.run();
                    this.lock().handle_computed(computed, now());
                    this.awake.notify_one();
                });
            }
            Action::Poll => self.read(source),
            Action::Fetch(topic) => {
                tokio::spawn(Arc::clone(self).fetch(topic));
            }
            Action::Commit { manifest, zone } => {
                self.done.fetch_max(manifest.serial, Ordering::Relaxed);
                // Without anybody who listens there is nothing to publish.
                let _ = self.committed.send((manifest, zone));
            }
        }
    }

    fn read(self: &Arc<Self>, source: &Arc<dyn Source>) {
        if self.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, source) = (Arc::clone(self), Arc::clone(source));
        tokio::task::spawn_blocking(move || {
            let read = source.read();
            *lock(&this.notes) = source.notes();
            this.reading.store(false, Ordering::Release);
            let mut blind = lock(&this.blind);
            match read {
                Ok((serial, content)) => {
                    *blind = None;
                    drop(blind);
                    this.lock().handle_source(serial, content, now());
                    this.awake.notify_one();
                }
                Err(error) => {
                    if blind.as_ref() != Some(&error) {
                        tracing::warn!(%error, "the source cannot be read");
                    }
                    *blind = Some(error);
                }
            }
        });
    }

    fn variable(&self, topic: Topic) -> Option<Variable> {
        let writer = topic.writer(self.council);
        let (id, _) = self.writers.iter().find(|(_, dm)| **dm == writer)?;
        Variable::new(format!("dm/{id}/{}/{topic}", self.zone)).ok()
    }

    async fn write(self: Arc<Self>, topic: Topic, value: Vec<u8>) {
        let Some(variable) = self.variable(topic) else { return };
        let Ok(wrapped) = Value::new(value.clone()) else {
            return tracing::error!(%topic, "too large for the store");
        };
        match (topic.serial(), topic.batch()) {
            (Some(serial), _) => _ = self.newest.fetch_max(serial, Ordering::Relaxed),
            (None, batch) => {
                self.batch.fetch_max(batch.unwrap_or_default(), Ordering::Relaxed);
            }
        }
        let is_over = || match (topic.serial(), topic.batch()) {
            (Some(serial), _) => {
                serial <= self.done.load(Ordering::Relaxed)
                    || serial.saturating_add(LEFT_BEHIND) < self.newest.load(Ordering::Relaxed)
            }
            (None, batch) => {
                let behind = batch.unwrap_or_default().saturating_add(BATCHES_LEFT_BEHIND);
                behind < self.batch.load(Ordering::Relaxed)
            }
        };
        let failed = |error: String| {
            tracing::debug!(%topic, error, "not certified yet");
            *lock(&self.unwritten) = Some(format!("{topic}: {error}"));
        };
        // A view is voted for at once. That it is not certified tells how many are there.
        let patience = if matches!(topic, Topic::View { .. }) { SHORT } else { PATIENCE };
        let waits =
            Waits { patience, longest_patience: PATIENCE, pause: TICK, longest_pause: SHORT };
        if persist(&*self.board, (&variable, &wrapped), waits, is_over, failed).await {
            *lock(&self.unwritten) = None;
            let _ = self.certified.send((topic, value));
        }
    }

    async fn fetch(self: Arc<Self>, topic: Topic) {
        let Some(variable) = self.variable(topic) else { return };
        if let Some(entry) = self.board.read(&variable).await {
            self.take(&entry);
        }
    }

    fn take(&self, entry: &CertifiedEntry) {
        if let Ok(Some(topic)) = self.place(entry.entry()) {
            let value = entry.entry().value.as_bytes().to_vec();
            let _ = self.certified.send((topic, value));
        }
    }

    /// Which topic an entry is about; `None` for one that is none of ours.
    fn place(&self, entry: &Entry) -> Result<Option<Topic>, Misplaced> {
        let no = |why: &str| Misplaced { why: why.to_owned(), of: None };
        let name = String::from_utf8_lossy(entry.variable.as_bytes()).into_owned();
        let Some(rest) = name.strip_prefix("dm/") else { return Ok(None) };
        let mut parts = rest.splitn(3, '/');
        let (writer, zone) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if entry.writer.to_string() != writer {
            return Err(no("under dm/ only the writer named there may write"));
        }
        if zone != self.zone {
            return Err(no(&format!("no zone {zone} is agreed on here")));
        }
        let topic =
            parts.next().unwrap_or_default().parse::<Topic>().map_err(|_| no("no topic"))?;
        let dm = self.writers.get(&entry.writer).copied();
        if dm != Some(topic.writer(self.council)) {
            let why = "that is for another DM to write".to_owned();
            return Err(Misplaced { why, of: dm.map(|dm| (dm, topic)) });
        }
        if !entry.is_final {
            return Err(no("under dm/ values are written once"));
        }
        Ok(Some(topic))
    }

    fn lock(&self) -> MutexGuard<'_, Member<ZoneWork>> {
        lock(&self.member)
    }
}

/// A vote that may wait.
struct Waiting<'a>(&'a Driver, Dm);

impl<'a> Waiting<'a> {
    fn take(driver: &'a Driver, writer: Dm) -> Option<Self> {
        let mut waiting = lock(&driver.waiting);
        let count = waiting.entry(writer).or_default();
        if *count >= WAITING {
            return None;
        }
        *count += 1;
        Some(Self(driver, writer))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.0.waiting).get_mut(&self.1) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Policy for Driver {
    fn may_sign(&self, entry: &Entry) -> Result<(), String> {
        let topic = match self.place(entry) {
            Ok(Some(topic)) => topic,
            Ok(None) => return Ok(()),
            Err(Misplaced { why, of: None }) => return Err(why),
            Err(Misplaced { why, of: Some((dm, topic)) }) => {
                self.lock().accuse(dm, topic, &why);
                return Err(why);
            }
        };
        let place = Waiting::take(self, topic.writer(self.council));
        let mut member = self.lock();
        let until = Instant::now() + if place.is_some() { NOT_YET } else { Duration::ZERO };
        let judged = loop {
            let judged = member.judge(topic, entry.value.as_bytes(), now());
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !matches!(judged, Err(Refusal::NotYet(_))) {
                break judged;
            }
            // What the judging asked for is to be fetched meanwhile.
            self.awake.notify_one();
            let waited = self.told.wait_timeout(member, left);
            (member, _) = waited.unwrap_or_else(PoisonError::into_inner);
        };
        if let Err(refusal) = &judged {
            tracing::debug!(%topic, %refusal, "no vote");
        }
        // The vote leaves after this, so what it promises is on disk before.
        let kept = match &judged {
            Ok(Some(memory)) => match remember(&self.memory, memory) {
                Ok(()) => {
                    member.handle_saved(*memory);
                    Ok(())
                }
                Err(error) => {
                    tracing::error!(%error, file = %self.memory.display(), "cannot remember votes");
                    Err(format!("the memory of votes cannot be written: {error}"))
                }
            },
            _ => Ok(()),
        };
        drop(member);
        drop(place);
        self.awake.notify_one();
        kept?;
        judged.map(|_| ()).map_err(|refusal| refusal.to_string())
    }

    fn stored(&self, entry: &CertifiedEntry) {
        self.take(entry);
    }
}

fn remember(path: &Path, memory: &Memory) -> io::Result<()> {
    let voted = memory.voted.unwrap_or(Link { serial: 0, hash: Hash([0; 32]) });
    let Memory { locked, batch, spent, .. } = *memory;
    let [serial, locked, batch, of] =
        [voted.serial, locked, batch, spent.batch].map(u32::to_be_bytes);
    let index = spent.index.to_be_bytes();
    let body = [&serial[..], &voted.hash.0, &locked, &batch, &of, &index].concat();
    keep(path, &body)
}

/// Milliseconds since 1970, as the clock said when it was asked first, and has gone on since: whoever sets the clock back
/// does not stop what waits.
fn now() -> u64 {
    static START: OnceLock<(Instant, u64)> = OnceLock::new();
    let (start, said) = START.get_or_init(|| (Instant::now(), clock()));
    said.saturating_add(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// The same as the clock says now.
fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_memory_comes_back_as_it_was_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes");
        assert_eq!(Driver::recall(&path).unwrap(), Memory::default());
        let voted = Some(Link { serial: 7, hash: Hash([3; 32]) });
        let spent = Mark { batch: 0x0102_0304, index: 0x0506 };
        let memory = Memory { voted, locked: 6, batch: 9, spent };
        for memory in [memory, Memory { voted: None, ..memory }, Memory::default()] {
            remember(&path, &memory).unwrap();
            assert_eq!(Driver::recall(&path).unwrap(), memory);
            let bytes = fs::read(&path).unwrap();
            for length in 0..bytes.len() {
                fs::write(&path, &bytes[..length]).unwrap();
                assert!(Driver::recall(&path).is_err(), "{length}");
            }
            for at in 0..bytes.len() {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                fs::write(&path, &bytes).unwrap();
                assert!(Driver::recall(&path).is_err(), "{at}");
            }
        }
    }

    /// As it was written before there were presignatures.
    #[test]
    fn an_older_memory_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("votes");
        let body = [&7u32.to_be_bytes()[..], &[3; 32], &6u32.to_be_bytes()].concat();
        keep(&path, &body).unwrap();
        let voted = Some(Link { serial: 7, hash: Hash([3; 32]) });
        let expected = Memory { voted, locked: 6, ..Memory::default() };
        assert_eq!(Driver::recall(&path).unwrap(), expected);
    }
}
