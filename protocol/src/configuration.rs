//! Who signs and who stores (rule R1).

use std::collections::BTreeSet;

use crate::canonical::Canonical;
use crate::hash::{digest, sha256};
use crate::{Domain, Group, NodeId, Realm};
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::bytes::{Bytes32, hex};

digest!(
    /// Names a configuration: SHA-256 over its realm, number, cliques and store group.
    ConfigurationDigest
);

/// A configuration that no deployment should run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// There is no authority clique.
    #[error(
        "no authority clique: the nodes must certify each other (`bftkv graph` shows who is missing)"
    )]
    NoClique,
    /// A clique is too small to tolerate one fault.
    #[error(
        "an authority clique of {0} nodes tolerates no fault: at least 4 are needed, or allow small groups in the configuration"
    )]
    TooSmall(usize),
    /// A group is larger than [`Group::MAX_MEMBERS`], or there are more than four cliques.
    #[error("too many members or cliques")]
    TooLarge,
    /// Two cliques share a member.
    #[error("{0} is a member of two authority cliques")]
    Overlap(NodeId),
    /// The store group is empty.
    #[error("the store group is empty")]
    NoStore,
}

/// The groups of a realm: its authority cliques (the paper's QS_A) and its one store group (QS_B).
///
/// Everybody who agrees on the configuration has the same digest; shares and answers under
/// another digest do not count. n, b and q belong to the configuration: a member that was cut out
/// stays in n until a successor configuration.
///
/// Differs: in the text every node uses the cliques of its own view of the graph; then two clients
/// can have different values certified for one (x,t) although nobody lied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    realm: Realm,
    number: u64,
    cliques: Vec<Group>,
    store: Group,
    digest: ConfigurationDigest,
    vouched: ConfigurationDigest,
}

impl Configuration {
    /// The smallest clique that tolerates one fault.
    pub const MIN_CLIQUE: usize = 4;
    /// The greatest number of authority cliques.
    pub const MAX_CLIQUES: usize = 4;

    /// Puts a configuration together. `allow_small` permits cliques below
    /// [`Configuration::MIN_CLIQUE`], which tolerate no fault.
    ///
    /// # Errors
    /// The caller's: see [`ConfigurationError`].
    pub fn new(
        realm: Realm,
        number: u64,
        mut cliques: Vec<Group>,
        store: Group,
        allow_small: bool,
    ) -> Result<Self, ConfigurationError> {
        cliques.sort();
        Self::check(&cliques, &store, allow_small)?;
        let digest = Self::compute_digest(&realm, number, &cliques, &store);
        let vouched = Canonical::new(Domain::Vouched, &realm).field(digest.as_bytes());
        let vouched = ConfigurationDigest::from_bytes(sha256(&[&vouched.into_bytes()]));
        Ok(Self { realm, number, cliques, store, digest, vouched })
    }

    fn check(
        cliques: &[Group],
        store: &Group,
        allow_small: bool,
    ) -> Result<(), ConfigurationError> {
        let smallest = cliques.iter().map(Group::len).min().ok_or(ConfigurationError::NoClique)?;
        if smallest == 0 || (smallest < Self::MIN_CLIQUE && !allow_small) {
            return Err(ConfigurationError::TooSmall(smallest));
        }
        if store.is_empty() {
            return Err(ConfigurationError::NoStore);
        }
        let largest = cliques.iter().chain([store]).map(Group::len).max().unwrap_or(0);
        if cliques.len() > Self::MAX_CLIQUES || largest > Group::MAX_MEMBERS {
            return Err(ConfigurationError::TooLarge);
        }
        let mut seen = BTreeSet::new();
        match cliques.iter().flat_map(Group::members).find(|id| !seen.insert(*id)) {
            Some(twice) => Err(ConfigurationError::Overlap(twice.clone())),
            None => Ok(()),
        }
    }

    fn compute_digest(
        realm: &Realm,
        number: u64,
        cliques: &[Group],
        store: &Group,
    ) -> ConfigurationDigest {
        let mut bytes = Canonical::new(Domain::Configuration, realm).number(number);
        for group in cliques.iter().chain([store]) {
            bytes = bytes.number(u64::try_from(group.len()).unwrap_or(u64::MAX));
            bytes = group.members().fold(bytes, |bytes, id| bytes.field(id.as_bytes()));
        }
        ConfigurationDigest::from_bytes(sha256(&[&bytes.into_bytes()]))
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.realm
    }

    /// The number: successors count up.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The authority cliques: all of them must sign.
    #[must_use]
    pub fn cliques(&self) -> &[Group] {
        &self.cliques
    }

    /// The store group.
    #[must_use]
    pub fn store(&self) -> &Group {
        &self.store
    }

    /// The digest.
    #[must_use]
    pub fn digest(&self) -> ConfigurationDigest {
        self.digest
    }

    /// What S names instead of the digest if it has vouches of the members and not their shares. It
    /// follows from the digest.
    #[must_use]
    pub fn vouched(&self) -> ConfigurationDigest {
        self.vouched
    }

    /// All authority members.
    #[must_use]
    pub fn authority(&self) -> BTreeSet<NodeId> {
        self.cliques.iter().flat_map(Group::members).cloned().collect()
    }

    /// All nodes that a write must reach: the cliques and the store group.
    #[must_use]
    pub fn everyone(&self) -> BTreeSet<NodeId> {
        self.cliques.iter().chain([&self.store]).flat_map(Group::members).cloned().collect()
    }

    /// The clique to which a node belongs.
    #[must_use]
    pub fn clique_of(&self, node: &NodeId) -> Option<&Group> {
        self.cliques.iter().find(|clique| clique.contains(node))
    }

    /// Whether the node belongs to any group.
    #[must_use]
    pub fn has_member(&self, node: &NodeId) -> bool {
        self.store.contains(node) || self.clique_of(node).is_some()
    }

    /// Whether every member of the store group signs too, so that a quorum of the store group
    /// that holds an entry is a quorum of the authority that knows it.
    #[must_use]
    pub fn store_is_authority(&self) -> bool {
        matches!(self.cliques.as_slice(), [only] if *only == self.store)
    }
}
