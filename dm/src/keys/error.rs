//! What can be wrong with keys and their files.

use std::path::{Path, PathBuf};

use crate::{sign, zone};

/// Why a key could not be made, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The machine's fault, or a wrong name.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Others than the owner can read a share.
    #[error("{}: others can read this share; `chmod 600` it, and think about who did", .0.display())]
    Readable(PathBuf),
    /// Another process uses the share. Two of them could use one nonce twice, and that gives the
    /// share away.
    #[error("{}: another process uses this share", .0.display())]
    InUse(PathBuf),
    /// No file of this kind, or a damaged one.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The share is sealed.
    #[error("the share is sealed with a passphrase")]
    NeedsPassphrase,
    /// The share is sealed to a key that is not at hand.
    #[error("the share is sealed to the OpenPGP key {to}: {reason}")]
    NeedsKey {
        /// The fingerprint of that key.
        to: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// The share is somebody else's.
    #[error("the share is sealed to the OpenPGP key {to}, and ours is {ours}")]
    SealedToOther {
        /// The fingerprint of the key that opens it.
        to: String,
        /// That of ours.
        ours: String,
    },
    /// Another passphrase, or a damaged file: nobody can tell which.
    #[error("wrong passphrase, or the file is damaged")]
    WrongPassphrase,
    /// The file says other things of the share than the share does.
    #[error("the file's head does not belong to the share")]
    Mismatch,
    /// A key of another zone, or in another role, than what it is used for.
    #[error("the key is a {has} of {zone}, and a {wanted} is wanted")]
    OtherRole {
        /// What it is.
        has: &'static str,
        /// Of which zone.
        zone: zone::Name,
        /// What it should be.
        wanted: String,
    },
    /// Whoever signed this takes no part.
    #[error("{0} is no member")]
    NoMember(String),
    /// A member's message is not right: its fault, or of whoever carried it.
    #[error("dm-{number} {1}", number = .0.number())]
    Wrong(bftkv_threshold::Party, &'static str),
    /// A member dealt us a wrong share: its fault.
    #[error("dm-{number} {offence}", number = .party.number())]
    WrongDealing {
        /// Who.
        party: bftkv_threshold::Party,
        /// What.
        offence: bftkv_threshold::Offence,
        /// Signed by us, for all the others ([`super::Complaint::judge`]). It shows what was dealt
        /// to us: no secret of a key that is used.
        complaint: Vec<u8>,
    },
    /// A member's second message to us cannot be used. That cannot be shown to the others: for them one of
    /// the two of us lies.
    #[error("dm-{number} {why}", number = .party.number())]
    Unusable {
        /// Who.
        party: bftkv_threshold::Party,
        /// What is wrong with it.
        why: &'static str,
        /// Signed by us, for all the others ([`super::Complaint::judge`]).
        complaint: Vec<u8>,
    },
    /// A message cannot be sealed, or is not signed by whom it should be.
    #[error(transparent)]
    Seal(#[from] bftkv::protocol::SealError),
    /// The shares in the folder are not those of the transcript.
    #[error("{}: these shares are not those that the transcript names", .0.display())]
    OtherShare(PathBuf),
    /// A signature over another transcript: whoever signed got something else.
    #[error("{0} has signed another transcript")]
    OtherTranscript(String),
    /// A signature that some can open and others cannot would make some use the keys and others not.
    #[error("{0} has signed the transcript so that not everybody can open it")]
    Hidden(String),
    /// The system gives no randomness.
    #[error("no randomness from the system")]
    NoRandomness,
    /// The key itself.
    #[error(transparent)]
    Threshold(#[from] bftkv_threshold::Error),
    /// Signing with it.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// What was to be signed.
    #[error(transparent)]
    Zone(#[from] zone::Error),
}

impl Error {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |error| Self::File { path, error }
    }
}
