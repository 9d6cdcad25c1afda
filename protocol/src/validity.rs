//! When a signed or certified entry is valid (rule R4).

use std::collections::BTreeSet;

use crate::{
    CertifiedEntry, Configuration, ConfigurationDigest, Configurations, NodeId, Purpose, Realm,
    ShareStatement, SignedEntry, Verify, VerifyError,
};

/// Why an entry is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// It is of another realm.
    #[error("it is of another realm")]
    Realm,
    /// Its timestamp is 0 or 2^64-1.
    #[error("its timestamp is 0 or 2^64-1")]
    Timestamp,
    /// S names a configuration that is not known here: ask for it.
    #[error("it was certified under configuration {0}, which is not known here")]
    Configuration(ConfigurationDigest),
    /// The writer's signature is not valid.
    #[error("the writer's signature: {0}")]
    Writer(VerifyError),
    /// A share is not valid.
    #[error("a member's share: {0}")]
    Share(VerifyError),
    /// A share is by somebody who is in no clique.
    #[error("{0} signed but is in no authority clique")]
    Foreign(NodeId),
    /// Too few distinct members of a clique signed.
    #[error("{have} of the {need} signatures needed in a clique of {n}")]
    TooFew {
        /// Valid distinct signers.
        have: usize,
        /// q of the clique.
        need: usize,
        /// n of the clique.
        n: usize,
    },
}

impl Invalid {
    /// A certificate that is missing here; with it, the verdict may change.
    #[must_use]
    pub fn missing_certificate(&self) -> Option<&NodeId> {
        match self {
            Self::Writer(VerifyError::UnknownCertificate(id))
            | Self::Share(VerifyError::UnknownCertificate(id)) => Some(id),
            _ => None,
        }
    }
}

/// Checks s_C. Paper: §4.1 write, "check the signature with the C's certificate".
///
/// # Errors
/// [`Invalid`]: the sender's or the writer's fault.
pub fn verify_writer(
    signed: &SignedEntry,
    realm: &Realm,
    keys: &dyn Verify,
) -> Result<(), Invalid> {
    if signed.entry.realm != *realm {
        return Err(Invalid::Realm);
    }
    if !signed.entry.timestamp.is_usable() {
        return Err(Invalid::Timestamp);
    }
    let bytes = signed.entry.signed_bytes();
    keys.verify(&signed.entry.writer, Purpose::Entry, &bytes, signed.signature.packet())
        .map_err(Invalid::Writer)
}

/// Checks s_C and S: q distinct valid signers in *every* authority clique of the configuration
/// that S names, which may be an old one. It depends on nothing but the entry and that
/// configuration, so that what was certified stays valid everywhere.
///
/// Paper: §5, ACCEPT, "for all QC_i". Differs: q signers instead of b+1, see [`crate::Thresholds`].
///
/// # Errors
/// [`Invalid`]: the sender's fault, unless [`Invalid::missing_certificate`] names one.
pub fn verify_certified(
    certified: &CertifiedEntry,
    known: &Configurations,
    keys: &dyn Verify,
) -> Result<(), Invalid> {
    let named = certified.collective.configuration();
    let configuration = known.get(&named).ok_or(Invalid::Configuration(named))?;
    verify_writer(&certified.signed, configuration.realm(), keys)?;
    let signers = verify_shares(certified, configuration, keys)?;
    for clique in configuration.cliques() {
        let (have, need) = (clique.count(&signers), clique.thresholds().q());
        if have < need {
            return Err(Invalid::TooFew { have, need, n: clique.len() });
        }
    }
    Ok(())
}

/// Every share must be valid and by a member: an entry has no room for junk.
fn verify_shares(
    certified: &CertifiedEntry,
    configuration: &Configuration,
    keys: &dyn Verify,
) -> Result<BTreeSet<NodeId>, Invalid> {
    let statement = ShareStatement::of(certified).signed_bytes();
    let mut signers = BTreeSet::new();
    for share in certified.collective.shares() {
        if configuration.clique_of(&share.signer).is_none() {
            return Err(Invalid::Foreign(share.signer.clone()));
        }
        keys.verify(&share.signer, Purpose::Share, &statement, &share.signature)
            .map_err(Invalid::Share)?;
        signers.insert(share.signer.clone());
    }
    Ok(signers)
}
