//! Requests and answers about passwords (`docs/roaming.md`): plain data with limits. What they
//! mean, and whether a group element is one, the crate `bftkv-roaming` decides.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::bytes::{Bytes32, hex, limited_bytes};
use crate::canonical::Canonical;
use crate::hash::digest;
use crate::{CertificateBytes, Domain, NodeId, Nonce, Realm, RegistrationRefusal, Variable};

digest!(
    /// Names one password record: SHA-256 over its canonical encoding.
    RecordId
);

digest!(
    /// The encoding of an element of ristretto255 (RFC 9496), not yet looked at.
    ElementBytes
);

limited_bytes!(
    /// A password record, encoded and not yet looked at. One of 256 nodes has 12,000 bytes.
    RecordBytes, "password record", 1, 16 * 1024
);

impl fmt::Debug for RecordBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordBytes({} bytes)", self.as_bytes().len())
    }
}

/// A share of a password's key on its way to the one server that keeps it. Wiped when dropped and
/// never shown. It stays where it is when what holds it is moved, so that nothing is left there.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretShare(Box<[u8; 32]>);

impl SecretShare {
    /// Takes the encoding of a scalar, not yet looked at.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Box::new(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for SecretShare {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretShare(..)")
    }
}

/// 64 bytes: a proof of equal logarithms (RFC 9497 section 2.2), or an Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProofBytes(Bytes32, Bytes32);

impl ProofBytes {
    /// From the bytes of both halves.
    #[must_use]
    pub const fn new(first: [u8; 32], second: [u8; 32]) -> Self {
        Self(Bytes32(first), Bytes32(second))
    }

    /// Both halves.
    #[must_use]
    pub const fn halves(&self) -> (&[u8; 32], &[u8; 32]) {
        (&self.0.0, &self.1.0)
    }
}

impl fmt::Debug for ProofBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.halves().0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("..")
    }
}

/// What a server keeps of a variable's password: shares and counters. Opaque to stores; they keep
/// it like a signer's memory, and never hand it to anybody. Wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Vault(Zeroizing<Vec<u8>>);

impl Vault {
    /// The greatest length in bytes.
    pub const MAX_BYTES: usize = 16 * 1024;

    /// Takes the bytes as they are; `None` if there are too many.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= Self::MAX_BYTES).then(|| Self(Zeroizing::new(bytes)))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Serialize for Vault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Vault {
    fn deserialize<D: serde::Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(decoder)?.into_vec();
        Self::new(bytes).ok_or_else(|| serde::de::Error::custom("too long a vault"))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({} bytes)", self.0.len())
    }
}

/// What a login is for. A proof for one purpose is worthless for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LoginPurpose {
    /// To open the value, and to write it again.
    Open,
    /// To have another certificate take the place of the owner's.
    Recover,
}

/// Shows to one server that its asker knows the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has these parts")]
pub struct LoginProof {
    /// Under which record.
    pub record: RecordId,
    /// The epoch of that record.
    pub epoch: u64,
    /// What the login is for.
    pub purpose: LoginPurpose,
    /// The nonce of the server's evaluation: it names the session.
    pub nonce: Nonce,
    /// For how many seconds after the evaluation the proof is good, by the server's clock; at
    /// most [`LoginProof::MAX_SECONDS`].
    pub seconds: u16,
    /// The signature of the password's key, by Ed25519, over [`LoginProof::signed_bytes`].
    pub signature: ProofBytes,
}

impl LoginProof {
    /// The longest life of a proof, in seconds.
    pub const MAX_SECONDS: u16 = 300;

    /// The bytes that the password's key signs: for one server (by its nonce and name), one
    /// asker, one purpose.
    #[must_use]
    pub fn signed_bytes(
        &self,
        realm: &Realm,
        variable: &Variable,
        requester: &NodeId,
        server: &NodeId,
    ) -> Vec<u8> {
        let purpose = match self.purpose {
            LoginPurpose::Open => "open",
            LoginPurpose::Recover => "recover",
        };
        Canonical::new(Domain::Login, realm)
            .field(variable.as_bytes())
            .field(self.record.as_bytes())
            .number(self.epoch)
            .field(purpose.as_bytes())
            .field(requester.as_bytes())
            .field(server.as_bytes())
            .field(self.nonce.as_bytes())
            .number(u64::from(self.seconds))
            .into_bytes()
    }
}

/// What a client asks of a server about a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RoamingRequest {
    /// Hands over a share. It is of use once the record is certified as part of the variable.
    Deal {
        /// The variable.
        variable: Variable,
        /// The record that will be written.
        record: RecordBytes,
        /// The server's share.
        share: SecretShare,
    },
    /// Asks for an evaluation of a blinded password: one attempt.
    Evaluate {
        /// The variable.
        variable: Variable,
        /// Under which record.
        record: RecordId,
        /// The blinded password.
        element: ElementBytes,
    },
    /// Shows that the asker knew the password: gives back the attempt of that session.
    Prove {
        /// The variable.
        variable: Variable,
        /// The proof.
        proof: LoginProof,
    },
    /// Gives all attempts back. The owner only.
    Reset {
        /// The variable.
        variable: Variable,
    },
    /// Asks the member to vouch for the asker's certificate: that it belongs to the user ID whose
    /// record the variable is. Either the asker has written the certified record (registration), or
    /// it has shown the password for [`LoginPurpose::Recover`] (recovery). Paper: §4.3 register.
    Certify {
        /// The variable.
        variable: Variable,
    },
}

impl RoamingRequest {
    /// The command's name.
    #[must_use]
    pub fn command(&self) -> &'static str {
        match self {
            Self::Deal { .. } => "deal",
            Self::Evaluate { .. } => "evaluate",
            Self::Prove { .. } => "prove",
            Self::Reset { .. } => "reset attempts",
            Self::Certify { .. } => "certify",
        }
    }

    /// The variable that it is about.
    #[must_use]
    pub fn variable(&self) -> &Variable {
        match self {
            Self::Deal { variable, .. }
            | Self::Evaluate { variable, .. }
            | Self::Prove { variable, .. }
            | Self::Reset { variable }
            | Self::Certify { variable } => variable,
        }
    }
}

/// A server's answer to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has these parts")]
pub struct Evaluated {
    /// The blinded password to the power of the server's share.
    pub element: ElementBytes,
    /// That it is, by the commitments in the record.
    pub proof: ProofBytes,
    /// Names the session; the proof of login is bound to it.
    pub nonce: Nonce,
    /// How many attempts are left here to this asker after this one.
    pub left: u16,
}

/// What a server answers about passwords.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RoamingAnswer {
    /// To deal, prove and reset: done, and synced to disk.
    Done,
    /// To evaluate. The attempt is counted on disk.
    Evaluated(Evaluated),
    /// To certify: the asker's certificate with the member's certification.
    Certified(CertificateBytes),
}

/// Why a server did not do what was asked about a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RoamingRefusal {
    /// It has no share for the record that is certified: it was out of reach when the shares were
    /// dealt, or lost its memory. It is dealt one at the next login.
    #[error("this node holds no share of that password")]
    NoShare,
    /// Another record is certified here, or none.
    #[error("another password record is certified here{}", .epoch.map(|epoch| format!(", of epoch {epoch}")).unwrap_or_default())]
    OtherRecord {
        /// The epoch of the one that is certified here.
        epoch: Option<u64>,
    },
    /// No attempts are left to this asker.
    #[error("no attempts are left; the next one comes back in {seconds} s")]
    NoAttempts {
        /// When the next one comes back, in seconds.
        seconds: u64,
    },
    /// What should be an element of the group is none, or the identity. The sender's fault.
    #[error("not an element of the group")]
    BadElement,
    /// The record does not hold together, or is not of this variable, or does not name this node.
    #[error("the password record cannot be used here: {0}")]
    BadRecord(#[serde(deserialize_with = "crate::limited::reason")] String),
    /// The share does not fit the record's commitments. The dealer's fault.
    #[error("the share does not fit the record's commitments")]
    BadShare,
    /// The proof of login is not valid for this session, purpose, asker or time.
    #[error("the proof of login is not valid here and now")]
    BadProof,
    /// Somebody else owns the variable.
    #[error("somebody else owns the variable")]
    NotOwner,
    /// Too many records wait here to be certified.
    #[error("too many password records wait to be certified: try again later")]
    TooManyPending,
    /// The member does not register the asker, or does not vouch for it.
    #[error(transparent)]
    Registration(#[from] RegistrationRefusal),
}

impl RoamingRefusal {
    /// The stable number of the refusal.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::NoShare => 600,
            Self::OtherRecord { .. } => 601,
            Self::NoAttempts { .. } => 602,
            Self::BadElement => 603,
            Self::BadRecord(_) => 604,
            Self::BadShare => 605,
            Self::BadProof => 606,
            Self::NotOwner => 607,
            Self::TooManyPending => 608,
            Self::Registration(refusal) => refusal.code(),
        }
    }
}
