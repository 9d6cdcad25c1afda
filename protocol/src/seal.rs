//! What the transport needs to protect messages. Implemented by `bftkv-wot` with OpenPGP.

use crate::{CertificateBytes, NodeId};

/// A message that was opened: decrypted, and its signature checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whose signature it carries; verified.
    pub sender: NodeId,
    /// What was signed.
    pub plaintext: Vec<u8>,
    /// Whether everybody who knows the sender opens it alike: it is not encrypted, and not signed for
    /// somebody. Only such a message proves to others what its sender said.
    pub is_for_anybody: bool,
}

/// A message that was decrypted but whose signer's certificate is not known here. Nothing in it
/// may be believed until [`Seal::open_from`] accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// The fingerprint of the key that the signature names, perhaps that of a subkey; unverified.
    pub claimed_key: Option<NodeId>,
    /// What it says; unverified.
    pub plaintext: Vec<u8>,
}

/// A message that cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A recipient's certificate is not known, or has no usable encryption key.
    #[error("cannot encrypt to {recipient}: {reason}")]
    Recipient {
        /// The recipient.
        recipient: NodeId,
        /// What is missing.
        reason: String,
    },
    /// The own key could not sign or decrypt. Ours to mend.
    #[error("own key: {0}")]
    OwnKey(String),
    /// The bytes are not an OpenPGP message for us with exactly one good signature. The sender's
    /// fault.
    #[error("not a sealed message for this node: {0}")]
    Bad(String),
    /// The signer is not known here.
    #[error("sealed by a certificate that is not known here")]
    Stranger(Box<Stranger>),
    /// The signature is good, but the signer's key is expired or revoked, or may not sign. The
    /// sender's to mend; nothing in it may be acted upon.
    #[error("the key of {} is not valid now: {}", .0.sender, .0.reason)]
    NotValidNow(Box<NotValidNow>),
}

/// A message whose signature is good, made by a key that does not count at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotValidNow {
    /// Whose key it is.
    pub sender: NodeId,
    /// Why it does not count.
    pub reason: String,
    /// What was signed.
    pub plaintext: Vec<u8>,
}

/// Seals messages: signs and encrypts them. Paper: "Transport Security".
pub trait Seal: Send + Sync {
    /// The own certificate's fingerprint.
    fn id(&self) -> &NodeId;

    /// Signs `plaintext` (purpose `Message`) and encrypts it once for all `recipients`. With no
    /// recipients the message is signed only.
    ///
    /// # Errors
    /// [`SealError::Recipient`] or [`SealError::OwnKey`].
    fn seal(&self, recipients: &[NodeId], plaintext: &[u8]) -> Result<Vec<u8>, SealError>;

    /// Decrypts a message and checks its one signature. Messages that are signed only are opened
    /// as well; compressed ones are refused. The plaintext is at most `limit` bytes.
    ///
    /// # Errors
    /// [`SealError::Bad`]; [`SealError::Stranger`] if only the certificate is missing;
    /// [`SealError::NotValidNow`] if all is well but the signer's key.
    fn open(&self, sealed: &[u8], limit: usize) -> Result<Opened, SealError>;

    /// As [`Seal::open`], for a stranger who brings a certificate. The certificate is used for
    /// this message only and not kept.
    ///
    /// # Errors
    /// [`SealError::Bad`] or [`SealError::NotValidNow`].
    fn open_from(
        &self,
        sealed: &[u8],
        limit: usize,
        certificate: &CertificateBytes,
    ) -> Result<Opened, SealError>;
}
