//! The register of applicants in a node's home, which the node and its operator's commands share.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bftkv_protocol::NodeId;
use bftkv_roaming::registration::{Applicant, Mode, Registrar};

use crate::files::{lock, replace};
use crate::{Home, HomeError, NodeConfig};

/// The file in the folder.
const FILE: &str = "applicants";

/// Who waits for the operator, and who is about to be certified. Each change is on disk before it
/// is acted upon; node and commands wait for each other.
#[derive(Debug)]
pub struct Register {
    mode: Mode,
    /// For how long a recovery waits, in seconds.
    delay: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Memory(Mutex<Vec<u8>>),
}

impl Register {
    /// The register in this folder, which is made at the first change; `None`: in memory.
    #[must_use]
    pub fn new(mode: Mode, delay: u64, folder: Option<PathBuf>) -> Self {
        let place = folder.map_or_else(|| Place::Memory(Mutex::default()), Place::Folder);
        Self { mode, delay, place }
    }

    /// The register of the node with this home. The node need not be stopped.
    #[must_use]
    pub fn of_home(path: &Path, settings: &NodeConfig) -> Self {
        let folder = path.join(Home::REGISTER);
        Self::new(settings.registration, settings.recovery_delay_seconds, Some(folder))
    }

    /// Who waits for the operator, with the time since when, in seconds since 1970.
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn waiting(&self) -> Result<Vec<(Applicant, u64)>, HomeError> {
        self.change(|registrar| registrar.waiting())
    }

    /// The operator approves whoever waits with this certificate, and with it refuses its rivals.
    /// Returns for which user IDs; none if it does not wait.
    ///
    /// # Errors
    /// The disk's.
    pub fn approve(&self, certificate: &NodeId) -> Result<Vec<Applicant>, HomeError> {
        self.change(|registrar| {
            let waiting = registrar.waiting().into_iter().map(|(applicant, _)| applicant);
            let of = |applicant: &Applicant| applicant.certificate == *certificate;
            waiting.filter(of).filter(|applicant| registrar.approve(applicant)).collect()
        })
    }

    /// Decides something. What changes is on disk on return.
    pub(crate) fn change<T>(
        &self,
        decide: impl FnOnce(&mut Registrar) -> T,
    ) -> Result<T, HomeError> {
        match &self.place {
            Place::Memory(bytes) => {
                let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                let (outcome, changed) = self.decide(Path::new("memory"), &bytes, decide)?;
                changed.into_iter().for_each(|new| *bytes = new);
                Ok(outcome)
            }
            Place::Folder(folder) => {
                let failed = |error| HomeError::Io { path: folder.clone(), error };
                std::fs::create_dir_all(folder).map_err(failed)?;
                let _one_at_a_time = lock(folder)?;
                let path = folder.join(FILE);
                let bytes = match std::fs::read(&path) {
                    Ok(bytes) => bytes,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(HomeError::Io { path, error }),
                };
                let (outcome, changed) = self.decide(&path, &bytes, decide)?;
                changed.map_or(Ok(()), |new| replace(&path, &new))?;
                Ok(outcome)
            }
        }
    }

    /// The outcome, and what is to be kept if it changed.
    fn decide<T>(
        &self,
        path: &Path,
        bytes: &[u8],
        decide: impl FnOnce(&mut Registrar) -> T,
    ) -> Result<(T, Option<Vec<u8>>), HomeError> {
        let mut registrar = if bytes.is_empty() {
            Registrar::new(self.mode, self.delay)
        } else {
            // Nothing but certified records keeps user IDs unique, so the operator may remove it.
            let damaged = || std::io::Error::other("it is damaged: remove it to begin a new one");
            let read = Registrar::from_bytes(self.mode, self.delay, bytes);
            read.ok_or_else(|| HomeError::Io { path: path.to_owned(), error: damaged() })?
        };
        let before = registrar.clone();
        let outcome = decide(&mut registrar);
        let changed = (registrar != before).then(|| registrar.to_bytes());
        Ok((outcome, changed))
    }
}
