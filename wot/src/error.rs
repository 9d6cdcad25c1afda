//! Errors of reading certificates and keys.

use std::path::PathBuf;

use bftkv_protocol::{CertificateBytes, NodeId};

/// Bytes that are no certificate that is kept. The fault of whoever made or sent them; do not
/// retry with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not an OpenPGP certificate.
    #[error("not an OpenPGP certificate: {0}")]
    Malformed(String),
    /// More than one certificate where one was expected, or none.
    #[error("expected one certificate, found {0}")]
    Count(usize),
    /// Larger than is kept, even without what is not needed.
    #[error(
        "certificate of {length} bytes, at most {max} are kept: export it with `gpg --export-options export-minimal`, or have it certified again by fewer people"
    )]
    TooLarge {
        /// The length in bytes.
        length: usize,
        /// The greatest length.
        max: usize,
    },
    /// Too many packets of one kind.
    #[error("certificate with more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The greatest number.
        max: usize,
    },
    /// It does not belong to the certificate that was to be merged with it.
    #[error("{found} is another certificate than {expected}")]
    Other {
        /// The certificate that was expected.
        expected: NodeId,
        /// The certificate that was found.
        found: NodeId,
    },
}

impl CertificateError {
    pub(crate) fn malformed(reason: impl std::fmt::Display) -> Self {
        Self::Malformed(reason.to_string())
    }

    pub(crate) fn too_large(length: usize) -> Self {
        Self::TooLarge { length, max: CertificateBytes::MAX_BYTES }
    }
}

/// A file or a folder of certificates could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The operating system refused. The world's or the caller's fault.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than is read at once.
    #[error("{path}: larger than {max} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The greatest size in bytes.
        max: u64,
    },
    /// The file holds no certificates at all.
    #[error("{path}: {source}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CertificateError,
    },
}

/// A secret key could not be loaded, made or used. The caller's fault, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read the file.
    #[error(
        "{path}: others can read this secret key (mode {mode:o}); run `chmod 600` on it, or give it a passphrase"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// The bytes are not a secret key.
    #[error("not an OpenPGP secret key: {0}")]
    Malformed(String),
    /// The key is protected and no passphrase was given, or it is wrong.
    #[error("the passphrase for {0} is missing or wrong")]
    Passphrase(NodeId),
    /// The certificate lacks a key for what is asked, or it is expired or revoked.
    #[error("{id} has no usable {what} key with its secret part")]
    Unusable {
        /// The certificate.
        id: NodeId,
        /// "signing", "encryption", "certification".
        what: &'static str,
    },
    /// No fresh signing subkey can be made by a program alone. The operator makes one.
    #[error(
        "no fresh signing subkey can be made for {id}: {reason}; make one with `gpg --quick-add-key {id} ed25519 sign`, export the secret key over the node's key file, and start the node again"
    )]
    CannotRenew {
        /// The certificate.
        id: NodeId,
        /// What is in the way.
        reason: &'static str,
    },
    /// The user ID is no identity.
    #[error(transparent)]
    UserId(#[from] crate::UserIdError),
    /// The certificate to be certified is not fit for it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The cryptographic library failed. Ours to mend.
    #[error("OpenPGP: {0}")]
    Crypto(String),
}

impl KeyError {
    pub(crate) fn crypto(reason: impl std::fmt::Display) -> Self {
        Self::Crypto(reason.to_string())
    }
}
