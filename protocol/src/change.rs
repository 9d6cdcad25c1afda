//! A change of members: one node more or less (rule R1).

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::{
    CollectiveSignature, Configuration, ConfigurationDigest, ConfigurationError, Domain, Group,
    NodeId, Purpose, Realm, Verify, VerifyError,
};

/// Whether a node comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "it comes or it goes")]
pub enum ChangeKind {
    /// The node becomes a member.
    Add,
    /// The node is a member no longer.
    Remove,
}

/// One step from a configuration to its successor: one node enters or leaves one clique, the
/// store group, or both. Replacing a node is two steps: add, then remove.
///
/// A step of one member keeps quorums intersecting in an honest node: a quorum of n nodes and one
/// of n+1 share at least b+1 of them. Two steps at once do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has a version of its own")]
pub struct Change {
    /// Who comes or goes.
    pub member: NodeId,
    /// Which of the two.
    pub kind: ChangeKind,
    /// In which authority clique: its place in [`Configuration::cliques`] of the predecessor.
    pub clique: Option<u8>,
    /// Whether in the store group.
    pub store: bool,
}

/// Why something is no successor of a configuration. The fault of whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The change was made for another configuration.
    #[error("it changes configuration {named}, but the newest one known is {newest}")]
    Predecessor {
        /// Which configuration it names.
        named: ConfigurationDigest,
        /// Which one is the newest here.
        newest: ConfigurationDigest,
    },
    /// There is no such clique.
    #[error("there is no authority clique with this number")]
    NoSuchClique,
    /// It concerns no group.
    #[error("it concerns neither a clique nor the store group")]
    Nothing,
    /// The node is in that group already, or is not in it.
    #[error("{0} is a member of that group already, or is not one")]
    Membership(NodeId),
    /// The successor is no configuration that should run.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A signature is not valid.
    #[error("a member's signature: {0}")]
    Signature(VerifyError),
    /// A signature is by somebody who is in no clique of the predecessor.
    #[error("{0} signed but is in no authority clique of the predecessor")]
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
    /// There are too many configurations already.
    #[error("more than {} configurations", crate::Configurations::MAX_CHANGES)]
    TooMany,
}

impl ChangeError {
    /// A certificate that is missing here; with it, the verdict may change.
    #[must_use]
    pub fn missing_certificate(&self) -> Option<&NodeId> {
        match self {
            Self::Signature(VerifyError::UnknownCertificate(id)) => Some(id),
            _ => None,
        }
    }
}

impl Change {
    /// The successor of `predecessor` by this change. `allow_small` permits cliques that tolerate
    /// no fault.
    ///
    /// # Errors
    /// [`ChangeError`]: the change does not fit the predecessor, or leads to no usable groups.
    pub fn apply(
        &self,
        predecessor: &Configuration,
        allow_small: bool,
    ) -> Result<Configuration, ChangeError> {
        if self.clique.is_none() && !self.store {
            return Err(ChangeError::Nothing);
        }
        let mut cliques = predecessor.cliques().to_vec();
        if let Some(place) = self.clique {
            let clique = cliques.get_mut(usize::from(place)).ok_or(ChangeError::NoSuchClique)?;
            *clique = self.apply_to(clique)?;
        }
        let store = predecessor.store();
        let store = if self.store { self.apply_to(store)? } else { store.clone() };
        let (realm, number) = (predecessor.realm().clone(), predecessor.number().saturating_add(1));
        Ok(Configuration::new(realm, number, cliques, store, allow_small)?)
    }

    fn apply_to(&self, group: &Group) -> Result<Group, ChangeError> {
        let adds = self.kind == ChangeKind::Add;
        if group.contains(&self.member) == adds {
            return Err(ChangeError::Membership(self.member.clone()));
        }
        let others = group.members().filter(|id| **id != self.member).cloned();
        Ok(Group::new(others.chain(adds.then(|| self.member.clone()))))
    }
}

/// What a clique member states by its vote: "this is the one successor of that configuration that
/// I sign."
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "these are the signed fields")]
pub struct ChangeStatement {
    /// The realm.
    pub realm: Realm,
    /// The configuration that is changed.
    pub predecessor: ConfigurationDigest,
    /// What it becomes.
    pub successor: ConfigurationDigest,
}

impl ChangeStatement {
    /// The statement that `successor` follows `predecessor`.
    #[must_use]
    pub fn of(predecessor: &Configuration, successor: &Configuration) -> Self {
        Self {
            realm: predecessor.realm().clone(),
            predecessor: predecessor.digest(),
            successor: successor.digest(),
        }
    }

    /// The bytes that the member signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new(Domain::Change, &self.realm)
            .field(self.predecessor.as_bytes())
            .field(self.successor.as_bytes())
            .into_bytes()
    }
}

/// A change with the votes of q members of every clique of the predecessor. Not verified by being
/// one: see [`crate::Configurations::extend`].
///
/// A member signs one successor of a configuration and no other, and two quorums of votes share an
/// honest member: so a configuration has at most one successor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has a version of its own")]
pub struct SignedChange {
    /// The change.
    pub change: Change,
    /// The predecessor's digest and the votes, in ascending order of signer, each signer once.
    pub votes: CollectiveSignature,
}

impl SignedChange {
    /// Checks the votes and gives the successor.
    pub(crate) fn verify(
        &self,
        predecessor: &Configuration,
        keys: &dyn Verify,
    ) -> Result<Configuration, ChangeError> {
        let successor = self.successor(predecessor)?;
        let statement = ChangeStatement::of(predecessor, &successor).signed_bytes();
        let mut signers = Vec::new();
        for vote in self.votes.shares() {
            if predecessor.clique_of(&vote.signer).is_none() {
                return Err(ChangeError::Foreign(vote.signer.clone()));
            }
            keys.verify(&vote.signer, Purpose::Change, &statement, &vote.signature)
                .map_err(ChangeError::Signature)?;
            signers.push(&vote.signer);
        }
        for clique in predecessor.cliques() {
            let have = clique.count(signers.iter().copied());
            let need = clique.thresholds().q();
            if have < need {
                return Err(ChangeError::TooFew { have, need, n: clique.len() });
            }
        }
        Ok(successor)
    }

    /// The successor, if this change is one of `predecessor`; the votes are not looked at. Its
    /// size is the affair of those who vote: "small" is allowed here.
    pub(crate) fn successor(
        &self,
        predecessor: &Configuration,
    ) -> Result<Configuration, ChangeError> {
        let (named, newest) = (self.votes.configuration(), predecessor.digest());
        if named != newest {
            return Err(ChangeError::Predecessor { named, newest });
        }
        self.change.apply(predecessor, true)
    }
}
