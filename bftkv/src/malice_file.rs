//! A proof of malice in a file, to be checked by anybody, offline.

use bftkv_protocol::{
    Configurations, DecodeError, EquivocationProof, ProofError, Verify, decode, encode,
};

/// The first bytes of a file: its kind and version.
const MAGIC: &[u8] = b"bftkv malice 1\n";

/// A proof that a key signed two different entries for one timestamp, in a canonical file: a first
/// line that names its kind, and the proof as it travels between nodes. Reading a file and writing
/// it again gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaliceFile {
    proof: EquivocationProof,
}

/// A file that proves no malice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaliceFileError {
    /// It is no such file.
    #[error("not a proof of malice (it does not begin with \"bftkv malice 1\")")]
    NotMalice,
    /// It is damaged.
    #[error("damaged proof of malice: {0}")]
    Damaged(#[from] DecodeError),
    /// It proves nothing.
    #[error("it proves nothing: {0}")]
    Invalid(#[from] ProofError),
}

impl MaliceFile {
    /// A file of this proof.
    #[must_use]
    pub fn new(proof: EquivocationProof) -> Self {
        Self { proof }
    }

    /// Whether the bytes claim to be such a file.
    #[must_use]
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [MAGIC, &encode(&self.proof)].concat()
    }

    /// Reads a file and checks it: two valid signatures of one key, about one place, over two
    /// different entries.
    ///
    /// # Errors
    /// [`MaliceFileError`]: the fault of whoever made the file, unless a certificate is missing
    /// here (the message names it).
    pub fn verify(
        bytes: &[u8],
        known: &Configurations,
        keys: &dyn Verify,
    ) -> Result<Self, MaliceFileError> {
        let file = Self::read(bytes)?;
        file.proof.verify(known, keys)?;
        Ok(file)
    }

    /// Reads a file that was checked when it was written: one of the own home.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, MaliceFileError> {
        let encoded = bytes.strip_prefix(MAGIC).ok_or(MaliceFileError::NotMalice)?;
        Ok(Self { proof: decode(encoded)? })
    }

    /// The proof.
    #[must_use]
    pub fn proof(&self) -> &EquivocationProof {
        &self.proof
    }
}
