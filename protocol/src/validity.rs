//! When a signed or certified entry is valid (rule R4).

use crate::planted::{self, Bug};
use crate::{
    Basis, CertifiedEntry, Configuration, ConfigurationDigest, Configurations, Group, NodeId,
    Purpose, Realm, ShareStatement, SignedEntry, Verify, VerifyError, VouchStatement,
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
/// configuration, so that what was certified stays valid everywhere. S has the shares of the
/// signers, or, if the entry was certified again, their vouches.
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
    let any =
        || Some((Basis::Shares, known.newest())).filter(|_| planted::is(Bug::AnyConfiguration));
    let found = known.certifier(&named).or_else(any);
    let (basis, configuration) = found.ok_or(Invalid::Configuration(named))?;
    verify_writer(&certified.signed, configuration.realm(), keys)?;
    let signers = verify_signers(certified, basis, configuration, keys)?;
    let mut short = None;
    for clique in configuration.cliques() {
        let (have, need) = (count(clique, &signers), needed(clique, basis));
        if have < need {
            short = Some(Invalid::TooFew { have, need, n: clique.len() });
        } else if planted::is(Bug::AnyClique) {
            return Ok(());
        }
    }
    short.map_or(Ok(()), Err)
}

fn count(clique: &Group, signers: &[NodeId]) -> usize {
    match () {
        () if planted::is(Bug::OutsidersCount) => signers.len(),
        () if planted::is(Bug::RepeatedSignersCount) => {
            signers.iter().filter(|id| clique.contains(id)).count()
        }
        () => clique.count(signers),
    }
}

fn needed(clique: &Group, basis: Basis) -> usize {
    let thresholds = clique.thresholds();
    if basis == Basis::Vouches && planted::is(Bug::SmallVouches) {
        return thresholds.b();
    }
    let few = planted::is(Bug::SmallCertificates) || planted::is(Bug::SmallQuorums);
    if few { thresholds.one_honest() } else { thresholds.q() }
}

/// What the members that certified an entry signed: the purpose and the bytes. `None` if the
/// configuration that S names is not known here.
#[must_use]
pub fn certified_bytes(
    certified: &CertifiedEntry,
    known: &Configurations,
) -> Option<(Purpose, Vec<u8>)> {
    let (basis, configuration) = known.certifier(&certified.collective.configuration())?;
    Some(signed_by_members(certified, basis, configuration))
}

fn signed_by_members(
    certified: &CertifiedEntry,
    basis: Basis,
    configuration: &Configuration,
) -> (Purpose, Vec<u8>) {
    match basis {
        Basis::Shares => (Purpose::Share, ShareStatement::of(certified).signed_bytes()),
        Basis::Vouches => {
            let statement = VouchStatement::about(&certified.signed, configuration);
            (Purpose::Vouch, statement.signed_bytes())
        }
    }
}

/// Every signature must be valid and by a member: an entry has no room for junk.
fn verify_signers(
    certified: &CertifiedEntry,
    basis: Basis,
    configuration: &Configuration,
    keys: &dyn Verify,
) -> Result<Vec<NodeId>, Invalid> {
    let (purpose, statement) = signed_by_members(certified, basis, configuration);
    let mut signers = Vec::new();
    for share in certified.collective.shares() {
        let is_member = configuration.clique_of(&share.signer).is_some();
        if !is_member && !planted::is(Bug::OutsidersCount) {
            return Err(Invalid::Foreign(share.signer.clone()));
        }
        keys.verify(&share.signer, purpose, &statement, &share.signature)
            .map_err(Invalid::Share)?;
        signers.push(share.signer.clone());
    }
    Ok(signers)
}
