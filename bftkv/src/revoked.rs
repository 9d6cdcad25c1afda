//! Who was cut out of the graph, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bftkv_protocol::{EquivocationProof, NodeId, encoded_len};
use bftkv_wot::Keyring;

use crate::files::replace;
use crate::{HomeError, MaliceFile};

/// How the names of proofs end; before it comes the fingerprint of the guilty.
const PROOF: &str = "malice";

/// How the names of operators' commands end.
const COMMAND: &str = "cut";

/// Why a certificate was cut out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Its key signed two different entries for one timestamp: anybody can check the proof.
    Proof(Box<EquivocationProof>),
    /// The operator of this home said so. It binds nobody else.
    Operator {
        /// Why, in words.
        reason: String,
    },
}

/// The certificates that were cut out, for ever: by proof, or by the operator's command. They are
/// cut out of the keyring's graph, and kept in a folder of the home, one file each.
///
/// One proof against each is kept. So they are few: a share convicts members only, and a writer is
/// convicted by entries that more than b members helped it with.
#[derive(Debug, Clone)]
pub struct Revoked {
    keyring: Keyring,
    folder: Option<PathBuf>,
    causes: Arc<Mutex<BTreeMap<NodeId, Cause>>>,
}

impl Revoked {
    /// Kept in memory only.
    pub(crate) fn in_memory(keyring: Keyring) -> Self {
        Self { keyring, folder: None, causes: Arc::default() }
    }

    /// Those of a folder, which need not exist. A damaged file cuts nobody, and is told in the log.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn open(keyring: Keyring, folder: &Path) -> Result<Self, HomeError> {
        let revoked = Self { keyring, folder: Some(folder.to_owned()), causes: Arc::default() };
        revoked.read_folder()?;
        Ok(revoked)
    }

    /// Returns how many causes the folder has that were not known.
    pub(crate) fn read_folder(&self) -> Result<usize, HomeError> {
        let Some(folder) = &self.folder else { return Ok(0) };
        let failed = |error| HomeError::Io { path: folder.clone(), error };
        let files = match fs::read_dir(folder) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(failed(error)),
        };
        let mut new = 0_usize;
        for file in files {
            new = new.saturating_add(usize::from(self.read(&file.map_err(failed)?.path())?));
        }
        Ok(new)
    }

    /// Returns whether the file says something new.
    fn read(&self, path: &Path) -> Result<bool, HomeError> {
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(id) = name.and_then(|name| name.parse::<NodeId>().ok()) else { return Ok(false) };
        let bytes =
            fs::read(path).map_err(|error| HomeError::Io { path: path.to_owned(), error })?;
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(PROOF) => match MaliceFile::read(&bytes) {
                Ok(file) if *file.proof().guilty() == id => {
                    return Ok(self.note(id, Cause::Proof(Box::new(file.proof().clone()))));
                }
                Ok(_) => tracing::warn!(?path, "a proof against somebody else was passed over"),
                Err(error) => tracing::warn!(?path, %error, "a proof was passed over"),
            },
            Some(COMMAND) => {
                let reason = String::from_utf8_lossy(&bytes).trim().to_owned();
                return Ok(self.note(id, Cause::Operator { reason }));
            }
            _ => {}
        }
        Ok(false)
    }

    /// Cuts out whoever a proof convicts. The proof must have been checked. Returns whether it is
    /// the first against that certificate. A proof that cannot be written to disk cuts all the
    /// same, and is told in the log.
    pub(crate) fn convict(&self, proof: &EquivocationProof) -> bool {
        let guilty = proof.guilty().clone();
        if !self.note(guilty.clone(), Cause::Proof(Box::new(proof.clone()))) {
            return false;
        }
        let file = MaliceFile::new(proof.clone()).to_bytes();
        if let Err(error) = self.save(&guilty, PROOF, &file) {
            tracing::warn!(%guilty, %error, "cannot keep a proof on disk");
        }
        true
    }

    /// Cuts somebody out by the operator's command, in this home only.
    ///
    /// # Errors
    /// When it cannot be written; nothing has changed then.
    pub fn command(&self, id: &NodeId, reason: &str) -> Result<(), HomeError> {
        self.save(id, COMMAND, format!("{reason}\n").as_bytes())?;
        self.note(id.clone(), Cause::Operator { reason: reason.to_owned() });
        Ok(())
    }

    /// Everybody who was cut out, and why; a proof says more than a command.
    #[must_use]
    pub fn all(&self) -> BTreeMap<NodeId, Cause> {
        self.causes().clone()
    }

    /// Everybody who was convicted by a proof.
    #[must_use]
    pub fn convicted(&self) -> BTreeSet<NodeId> {
        let causes = self.causes();
        let by_proof = causes.iter().filter(|(_, cause)| matches!(cause, Cause::Proof(_)));
        by_proof.map(|(id, _)| id.clone()).collect()
    }

    /// The proof against a certificate.
    #[must_use]
    pub fn proof(&self, guilty: &NodeId) -> Option<EquivocationProof> {
        match self.causes().get(guilty) {
            Some(Cause::Proof(proof)) => Some((**proof).clone()),
            _ => None,
        }
    }

    /// Proofs against certificates behind `after`, ascending: as many as fit in `max_bytes`, but at
    /// least one. And whether there are more.
    pub(crate) fn page(
        &self,
        after: Option<&NodeId>,
        max_bytes: usize,
    ) -> (Vec<EquivocationProof>, bool) {
        let causes = self.causes();
        let behind = causes.iter().filter(|(id, _)| after.is_none_or(|after| *id > after));
        let mut proofs = behind.filter_map(|(_, cause)| match cause {
            Cause::Proof(proof) => Some(&**proof),
            Cause::Operator { .. } => None,
        });
        let mut left = max_bytes;
        let mut page = Vec::new();
        for proof in proofs.by_ref() {
            let length = encoded_len(proof);
            if length > left && !page.is_empty() {
                return (page, true);
            }
            left = left.saturating_sub(length);
            page.push(proof.clone());
        }
        (page, false)
    }

    /// Returns whether it is new: a first or another word, or a proof where there was none.
    fn note(&self, id: NodeId, cause: Cause) -> bool {
        self.keyring.cut_out(id.clone());
        let mut causes = self.causes();
        if matches!(causes.get(&id), Some(Cause::Proof(_))) {
            return false;
        }
        causes.insert(id, cause.clone()).as_ref() != Some(&cause)
    }

    fn save(&self, id: &NodeId, ending: &str, bytes: &[u8]) -> Result<(), HomeError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let failed = |error| HomeError::Io { path: folder.clone(), error };
        fs::create_dir_all(folder).map_err(failed)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        replace(&folder.join(format!("{id}.{ending}")), bytes)
    }

    /// Every change is a single step, so a panic elsewhere leaves the table whole.
    fn causes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Cause>> {
        self.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
