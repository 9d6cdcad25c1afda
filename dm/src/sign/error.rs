//! Why a zone was not signed.

use domain::base::iana::Rtype;

use crate::zone;

/// Why a zone was not signed. Nothing half-signed comes out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The zone itself, or what became of it.
    #[error(transparent)]
    Zone(#[from] zone::Error),
    /// The key shares: too few of them, not of one key, or a liar among them.
    #[error("signing: {0}")]
    Threshold(#[from] bftkv_threshold::Error),
    /// The caller's fault: keys, times or options that cannot be.
    #[error("{0}")]
    Terms(&'static str),
    /// An answer to DNSKEY would be larger than goes through everywhere.
    #[error("the answer for DNSKEY would have {bytes} bytes, above {limit}: fewer or shorter keys")]
    LargeAnswer {
        /// With EDNS and signatures.
        bytes: usize,
        /// [`super::MAX_DNSKEY_ANSWER`].
        limit: usize,
    },
    /// The zone has a set that is the signer's to make, or that it cannot sign.
    #[error("the zone has {0} at the apex; take it out first")]
    Unwanted(Rtype),
    /// Another number of signatures than of messages, or one that does not verify. The signer's
    /// fault.
    #[error("signature {0} is missing or wrong")]
    WrongSignature(usize),
    /// Two names with the same NSEC3 hash. Another salt helps.
    #[error("two names have the same NSEC3 hash; choose another salt")]
    HashCollision,
}

impl From<zone::Fault> for Error {
    fn from(fault: zone::Fault) -> Self {
        Self::Zone(fault.into())
    }
}
