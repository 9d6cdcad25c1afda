//! A disk in memory that can fail, and whose power can be cut.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};

use bftkv_storage::{Disk, DiskFile, DiskLock, OpenMode};

/// What happens at the chosen change of the disk, and at all changes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// "No space left on device": a write writes half; syncs still work.
    Full,
    /// Every change fails, syncs included.
    InputOutput,
    /// One change fails; everything works again after it.
    Once,
    /// Syncs fail; writes seem to work.
    Sync,
    /// One sync fails. What it should have made durable is still read, but never reaches the disk
    /// unless it is written again, as on Linux.
    LostSync,
    /// No file can be opened.
    TooManyFiles,
    /// No file can be read.
    Read,
    /// The power goes: what is on the disk at this moment is what is found later.
    Power,
}

/// How much of what was not synced is still there after the power was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// All of it is lost, names and contents.
    Everything,
    /// Nothing is lost: the process was killed.
    Nothing,
    /// Names are kept, contents are lost.
    Contents,
    /// Every second write and name is kept, the later ones first.
    Half,
    /// The earlier half of writes and names is lost, the later half kept.
    Earlier,
    /// All is kept but the last name, and the later half of the last write's sectors.
    Torn,
    /// Each sector of what was written, and each name, is kept or lost by chance: the seed's.
    Scattered(u64),
}

impl Lost {
    pub const ALL: [Self; 5] =
        [Self::Everything, Self::Nothing, Self::Contents, Self::Half, Self::Earlier];
}

#[derive(Debug, Default, Clone)]
struct State {
    /// Each name, and the file behind it.
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since their folder was synced, in order.
    renames: Vec<Rename>,
    folders: Vec<PathBuf>,
    files: Vec<Inode>,
    changes: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    cuts: Option<Cuts>,
    /// The disk at the moment when the power went. What the process did after that moment, it
    /// never did.
    at_power_cut: Option<Box<Self>>,
}

/// A file loses one name, gains another, or both at once.
#[derive(Debug, Clone)]
struct Rename {
    from: Option<PathBuf>,
    to: Option<(PathBuf, usize)>,
}

impl Rename {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(path) = &self.from {
            names.remove(path);
        }
        names.extend(self.to.clone());
    }

    fn is_in(&self, folder: &Path) -> bool {
        let path = self.from.as_ref().or(self.to.as_ref().map(|(path, _)| path));
        path.is_some_and(|path| path.parent() == Some(folder))
    }
}

#[derive(Debug, Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Debug, Clone)]
enum Write {
    At(u64, Vec<u8>),
    Length(u64),
}

/// What is on the disk at the moment before a change, with what was acknowledged by then.
#[derive(Debug)]
pub struct Cut {
    pub change: u64,
    pub acknowledged: Vec<u64>,
    pub disk: TestDisk,
}

/// Hands out the disk before each change, or before some of them.
#[derive(Debug, Clone)]
struct Cuts {
    every: u64,
    acknowledged: Arc<Vec<AtomicU64>>,
    to: SyncSender<Cut>,
}

/// A clone is the same disk.
#[derive(Debug, Clone, Default)]
pub struct TestDisk(Arc<Mutex<State>>);

impl TestDisk {
    /// A disk with one folder.
    pub fn with_folder(path: &Path) -> Self {
        let disk = Self::default();
        disk.state().folders.push(path.to_owned());
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// From the `n`-th change on (counted from now), the fault happens.
    pub fn fail_after(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.changes + n, fault));
    }

    /// From now on every so many changes what a power cut would leave at that moment is handed out;
    /// the change waits until somebody takes it.
    pub fn cut_at(&self, every: u64, acknowledged: &Arc<Vec<AtomicU64>>) -> Receiver<Cut> {
        let (to, cuts) = sync_channel(0);
        self.state().cuts = Some(Cuts { every, acknowledged: Arc::clone(acknowledged), to });
        cuts
    }

    /// The end of [`TestDisk::cut_at`].
    pub fn end_cuts(&self) {
        self.state().cuts = None;
    }

    /// The fault is gone.
    pub fn heal(&self) {
        self.state().fault = None;
    }

    /// Whether the power is still on.
    pub fn has_power(&self) -> bool {
        self.state().at_power_cut.is_none()
    }

    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The disk as a machine finds it that starts again.
    pub fn after_power_cut(&self, lost: Lost) -> Self {
        let state = self.state();
        let state = state.at_power_cut.as_deref().unwrap_or(&state);
        let mut names = state.synced_names.clone();
        for (n, rename) in state.renames.iter().enumerate() {
            match lost {
                Lost::Everything => {}
                Lost::Half if (state.renames.len() - n).is_multiple_of(2) => {}
                Lost::Earlier if n < state.renames.len() / 2 => {}
                Lost::Torn if n + 1 == state.renames.len() => {}
                Lost::Scattered(seed) if is_lost(seed, n, 0) => {}
                _ => rename.apply(&mut names),
            }
        }
        let files = state.files.iter().map(|file| file.after_power_cut(lost)).collect();
        let folders = state.folders.clone();
        let synced_names = names.clone();
        Self(Arc::new(Mutex::new(State {
            names,
            synced_names,
            folders,
            files,
            ..State::default()
        })))
    }

    /// The sizes of all files.
    pub fn sizes(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state();
        state.names.iter().map(|(path, id)| (path.clone(), state.files[*id].bytes.len())).collect()
    }

    /// The bytes of a file.
    pub fn bytes(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[path]].bytes.clone()
    }

    /// The first folder.
    pub fn folder(&self) -> PathBuf {
        self.state().folders[0].clone()
    }

    /// The same disk, its folder under another name.
    #[must_use]
    pub fn moved(self, from: &Path, to: &Path) -> Self {
        let new = |path: &PathBuf| to.join(path.strip_prefix(from).unwrap());
        {
            let mut state = self.state();
            state.names = state.names.iter().map(|(path, id)| (new(path), *id)).collect();
            state.synced_names = state.names.clone();
            state.folders = state.folders.iter().map(new).collect();
        }
        self
    }

    pub fn change_byte(&self, path: &Path, place: usize, by: u8) {
        let mut state = self.state();
        let id = state.names[path];
        state.files[id].bytes[place] ^= by;
        state.files[id].synced = state.files[id].bytes.clone();
    }

    pub fn flip(&self, path: &Path, bit: usize) {
        let mut state = self.state();
        let id = state.names[path];
        state.files[id].bytes[bit / 8] ^= 1 << (bit % 8);
        state.files[id].synced = state.files[id].bytes.clone();
    }

    pub fn truncate(&self, path: &Path, length: usize) {
        let mut state = self.state();
        let id = state.names[path];
        state.files[id].bytes.truncate(length);
        state.files[id].synced = state.files[id].bytes.clone();
    }

    /// Puts other bytes at `place`, which may be the end.
    pub fn overwrite(&self, path: &Path, place: usize, bytes: &[u8]) {
        let mut state = self.state();
        let id = state.names[path];
        Write::At(place as u64, bytes.to_vec()).apply(&mut state.files[id].bytes);
        state.files[id].synced = state.files[id].bytes.clone();
    }

    pub fn delete(&self, path: &Path) {
        self.state().names.remove(path).unwrap();
    }
}

impl Inode {
    fn after_power_cut(&self, lost: Lost) -> Self {
        let mut bytes = self.synced.clone();
        if matches!(lost, Lost::Torn | Lost::Scattered(_)) {
            self.tear(lost, &mut bytes);
            return Self { synced: bytes.clone(), bytes, unsynced: vec![] };
        }
        let writes = self.unsynced.iter().enumerate();
        let kept = writes.filter(|(n, _)| match lost {
            Lost::Nothing => true,
            Lost::Half => (self.unsynced.len() - n) % 2 == 1,
            Lost::Earlier => *n >= self.unsynced.len() / 2,
            _ => false,
        });
        kept.for_each(|(_, write)| write.apply(&mut bytes));
        Self { synced: bytes.clone(), bytes, unsynced: vec![] }
    }

    /// Applies the sectors that reached the disk.
    fn tear(&self, lost: Lost, bytes: &mut Vec<u8>) {
        for (n, write) in self.unsynced.iter().enumerate() {
            let sectors = write.sectors();
            let count = sectors.len();
            for (place, sector) in sectors.into_iter().enumerate() {
                let is_kept = match lost {
                    Lost::Scattered(seed) => !is_lost(seed, n, place + 1),
                    _ => n + 1 < self.unsynced.len() || place < count / 2,
                };
                if is_kept {
                    sector.apply(bytes);
                }
            }
        }
    }

    fn sync(&mut self) {
        let Self { synced, unsynced, .. } = self;
        unsynced.drain(..).for_each(|write| write.apply(synced));
    }

    fn change(&mut self, write: Write) {
        write.apply(&mut self.bytes);
        self.unsynced.push(write);
    }
}

/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;

fn is_lost(seed: u64, n: usize, place: usize) -> bool {
    let mut z = seed ^ (n as u64) << 20 ^ (place as u64) << 40;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).is_multiple_of(2)
}

impl Write {
    /// The same as writes of single sectors.
    fn sectors(&self) -> Vec<Self> {
        let Self::At(offset, data) = self else { return vec![self.clone()] };
        let (mut sectors, mut done) = (Vec::new(), 0);
        while done < data.len() {
            let at = usize::try_from(*offset).unwrap() + done;
            let count = (SECTOR - at % SECTOR).min(data.len() - done);
            sectors.push(Self::At(at as u64, data[done..done + count].to_vec()));
            done += count;
        }
        sectors
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::At(offset, data) => {
                let offset = usize::try_from(*offset).unwrap();
                bytes.resize(bytes.len().max(offset + data.len()), 0);
                bytes[offset..offset + data.len()].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
        }
    }
}

impl State {
    fn rename(&mut self, rename: Rename) {
        rename.apply(&mut self.names);
        self.renames.push(rename);
    }

    /// Counts a change; an error if it must not happen.
    fn step(&mut self, is_sync: bool) -> io::Result<()> {
        let now = self.changes;
        if let Some(cuts) = self.cuts.clone().filter(|cuts| now.is_multiple_of(cuts.every)) {
            let state = Self { cuts: None, ..self.clone() };
            let disk = TestDisk(Arc::new(Mutex::new(state)));
            let acknowledged = cuts.acknowledged.iter().map(|n| n.load(Ordering::SeqCst)).collect();
            cuts.to.send(Cut { change: now, acknowledged, disk }).unwrap();
        }
        self.changes += 1;
        self.syncs += u64::from(is_sync);
        match self.fault {
            Some((from, fault)) if now >= from => match fault {
                Fault::Power => {
                    if self.at_power_cut.is_none() {
                        self.at_power_cut = Some(Box::new(self.clone()));
                    }
                    Ok(())
                }
                Fault::Once if now > from => Ok(()),
                Fault::Full if is_sync => Ok(()),
                Fault::Full => Err(io::ErrorKind::StorageFull.into()),
                Fault::Sync if !is_sync => Ok(()),
                Fault::TooManyFiles | Fault::Read => Ok(()),
                Fault::LostSync if !is_sync => Ok(()),
                Fault::LostSync => {
                    self.fault = None;
                    Err(io::Error::other(LOST))
                }
                Fault::InputOutput | Fault::Sync | Fault::Once => {
                    Err(io::Error::other("input/output error"))
                }
            },
            _ => Ok(()),
        }
    }
}

const LOST: &str = "input/output error: a sync lost what it should have written";

impl State {
    fn require_not(&self, fault: Fault) -> io::Result<()> {
        match self.fault {
            Some((from, active)) if active == fault && self.changes >= from => {
                Err(io::Error::other("too many open files, or a bad sector"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    id: usize,
}

impl DiskFile for TestFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        state.require_not(Fault::Read)?;
        let bytes = &state.files[self.id].bytes;
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.step(false);
        let count = if outcome.is_ok() { bytes.len() } else { bytes.len() / 2 };
        state.files[self.id].change(Write::At(offset, bytes[..count].to_vec()));
        outcome
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step(false)?;
        state.files[self.id].change(Write::Length(length));
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.id].bytes.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.step(true);
        let file = &mut state.files[self.id];
        match &outcome {
            Ok(()) => file.sync(),
            Err(error) if error.to_string() == LOST => file.unsynced.clear(),
            Err(_) => {}
        }
        outcome
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.require_not(Fault::TooManyFiles)?;
        let id = match (state.names.get(path).copied(), mode) {
            (None, OpenMode::Read) => return Err(io::ErrorKind::NotFound.into()),
            (Some(id), OpenMode::Truncate) => {
                state.step(false)?;
                state.files[id].change(Write::Length(0));
                id
            }
            (Some(id), _) => id,
            (None, _) => {
                state.step(false)?;
                let id = state.files.len();
                state.files.push(Inode::default());
                state.rename(Rename { from: None, to: Some((path.to_owned(), id)) });
                id
            }
        };
        Ok(Box::new(TestFile { disk: self.clone(), id }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(false)?;
        let id = *state.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        state.rename(Rename { from: Some(from.to_owned()), to: Some((to.to_owned(), id)) });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(false)?;
        state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.rename(Rename { from: Some(path.to_owned()), to: None });
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.map(|path| PathBuf::from(path.file_name().unwrap())).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        Ok(state.names.contains_key(path) || state.folders.iter().any(|f| f == path))
    }

    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.folders.iter().any(|folder| folder == path) {
            state.step(false)?;
            state.folders.push(path.to_owned());
        }
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step(true)?;
        let (synced, rest) = state.renames.drain(..).partition(|rename| rename.is_in(folder));
        state.renames = rest;
        let synced: Vec<Rename> = synced;
        synced.iter().for_each(|rename| rename.apply(&mut state.synced_names));
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<DiskLock>> {
        Ok(Some(DiskLock::none()))
    }
}
