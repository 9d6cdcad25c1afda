//! Whether an applicant is who it says it is.

use bftkv_protocol::{Address, NodeId};
use serde::{Deserialize, Serialize};

/// A certificate that wants to be certified for a user ID.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "it has these two parts")]
pub struct Applicant {
    /// The certificate.
    pub certificate: NodeId,
    /// The address in its user ID.
    pub address: Address,
}

/// What an identity check says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is.
    Accept,
    /// It is not, for this reason.
    Refuse(String),
}

/// Decides whether an applicant is who it says it is. `proofs` are the e-mail proofs in its
/// certificate (user attribute 101). Paper: App. A, "How to prove users' credential
/// depends on applications".
pub trait IdentityCheck: Send + Sync {
    /// The verdict. It must not wait for anybody: what takes time is to be done before.
    fn check(&self, applicant: &Applicant, proofs: &[Vec<u8>]) -> Verdict;
}

/// The default: whoever comes first and sets a password. That the share fits the record is checked
/// for every applicant; from then on the password is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_structs, reason = "it has no parts")]
pub struct ByPassword;

impl IdentityCheck for ByPassword {
    fn check(&self, _: &Applicant, _: &[Vec<u8>]) -> Verdict {
        Verdict::Accept
    }
}
