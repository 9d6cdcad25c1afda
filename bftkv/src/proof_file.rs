//! A certified entry in a file, to be checked by anybody, offline.

use bftkv_protocol::{
    CertifiedEntry, Configurations, DecodeError, Detached, Domain, Invalid, NodeId, Purpose,
    ShareStatement, SignatureBytes, Verify, certified_bytes, decode, encode, verify_certified,
};

/// The first bytes of a proof file: its kind and version.
const MAGIC: &[u8] = b"bftkv proof 1\n";

/// A certified entry with its signatures, in a canonical file: a first line that names its kind, and the entry as it
/// travels between nodes. Reading a file and writing it again gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    entry: CertifiedEntry,
    /// What the members signed, if it was checked under a configuration.
    signed: Option<(Purpose, Vec<u8>)>,
}

/// A file that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFileError {
    /// It is no proof file.
    #[error("not a bftkv proof file (it does not begin with \"bftkv proof 1\")")]
    NotAProof,
    /// It is damaged.
    #[error("damaged proof file: {0}")]
    Damaged(#[from] DecodeError),
    /// Its signatures do not hold.
    #[error("the proof does not hold: {0}")]
    Invalid(#[from] Invalid),
}

/// One detached signature of a proof, with the bytes that it signs, for `gpg --verify`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachedSignature {
    /// Who signed.
    pub signer: NodeId,
    /// What was signed: an entry (by its writer), a share statement or a vouch (by a member), or the
    /// root of many entries or shares.
    pub domain: Domain,
    /// The signed bytes.
    pub message: Vec<u8>,
    /// The OpenPGP signature packet.
    pub signature: Vec<u8>,
}

impl ProofFile {
    /// A proof of this entry.
    #[must_use]
    pub fn new(entry: CertifiedEntry) -> Self {
        Self { entry, signed: None }
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [MAGIC, &encode(&self.entry)].concat()
    }

    /// Reads a file and checks it: the writer's signature, and those of a quorum of every clique of
    /// the configuration.
    ///
    /// # Errors
    /// [`ProofFileError`]: the fault of whoever made the file, unless a certificate is missing
    /// here (the message names it).
    pub fn verify(
        bytes: &[u8],
        known: &Configurations,
        keys: &dyn Verify,
    ) -> Result<Self, ProofFileError> {
        let encoded = bytes.strip_prefix(MAGIC).ok_or(ProofFileError::NotAProof)?;
        let entry: CertifiedEntry = decode(encoded)?;
        verify_certified(&entry, known, keys)?;
        let signed = certified_bytes(&entry, known);
        Ok(Self { entry, signed })
    }

    /// The entry.
    #[must_use]
    pub fn entry(&self) -> &CertifiedEntry {
        &self.entry
    }

    /// Every signature of the proof as an ordinary OpenPGP detached signature: the writer's first.
    /// Those of the members are taken for shares unless the proof was checked. One that was made for
    /// many messages at once is shown over their root.
    #[must_use]
    pub fn detached_signatures(&self) -> Vec<DetachedSignature> {
        let signed = &self.entry.signed;
        let (id, bytes) = (&signed.entry.writer, signed.entry.signed_bytes());
        let writer = detach(id, Purpose::Entry, &bytes, signed.signature.packet());
        let of_shares = || (Purpose::Share, ShareStatement::of(&self.entry).signed_bytes());
        let (purpose, statement) = self.signed.clone().unwrap_or_else(of_shares);
        let shares = self.entry.collective.shares().iter();
        let shares =
            shares.map(|share| detach(&share.signer, purpose, &statement, &share.signature));
        std::iter::once(writer).chain(shares).collect()
    }
}

/// A signature whose form is wrong is shown as it is: then it is not valid either.
fn detach(
    signer: &NodeId,
    purpose: Purpose,
    message: &[u8],
    signature: &SignatureBytes,
) -> DetachedSignature {
    let as_it_is = Detached { purpose, message: message.to_vec(), packet: signature.clone() };
    let Detached { purpose, message, packet } =
        signature.detach(purpose, message).unwrap_or(as_it_is);
    DetachedSignature {
        signer: signer.clone(),
        domain: purpose.domain(),
        message,
        signature: packet.as_bytes().to_vec(),
    }
}
