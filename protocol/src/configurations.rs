//! The configurations of a realm, one after the other (rule R1).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limited;
use crate::{
    ChangeError, Configuration, ConfigurationDigest, ConfigurationError, Group, NodeId, Realm,
    SignedChange, Verify,
};

/// The configurations of a realm that somebody knows: a first one, which the web of trust gave or
/// a quorum vouched for, and every successor, each signed by q members of its predecessor.
///
/// Entries name the configuration that certified them; it is looked up here, so what was certified
/// under an old configuration stays valid under every new one (rule R4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configurations {
    first: Arc<Configuration>,
    newest: Arc<Configuration>,
    by_digest: BTreeMap<ConfigurationDigest, Arc<Configuration>>,
    /// The same, by the name under which vouches of their members certify.
    by_vouched: BTreeMap<ConfigurationDigest, Arc<Configuration>>,
    changes: Vec<SignedChange>,
}

impl Configurations {
    /// How many changes are known at most. One a day lasts eleven years.
    pub const MAX_CHANGES: usize = 4096;

    /// Only this configuration is known.
    #[must_use]
    pub fn starting_with(first: Configuration) -> Self {
        let first = Arc::new(first);
        Self {
            newest: Arc::clone(&first),
            by_digest: BTreeMap::from([(first.digest(), Arc::clone(&first))]),
            by_vouched: BTreeMap::from([(first.vouched(), Arc::clone(&first))]),
            first,
            changes: Vec::new(),
        }
    }

    /// Puts together what was read from the own disk. The votes are not checked again: they were
    /// when the changes were taken, and certificates of old members may be gone.
    ///
    /// # Errors
    /// [`ChangeError`]: the file does not hold together.
    pub fn restore(lineage: Lineage) -> Result<Self, ChangeError> {
        let mut known = Self::starting_with(lineage.first.check()?);
        for change in lineage.changes {
            let successor = change.successor(&known.newest)?;
            known.append(change, successor)?;
        }
        Ok(known)
    }

    /// Everything, to be kept on disk or handed to a peer.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        Lineage { first: Groups::of(&self.first), changes: self.changes.clone() }
    }

    /// The part of the lineage above a number, at most [`Lineage::MAX_PAGE`] changes.
    #[must_use]
    pub fn lineage_above(&self, number: u64) -> Lineage {
        let known = number.saturating_sub(self.first.number());
        let skip = usize::try_from(known).unwrap_or(usize::MAX);
        let changes = self.changes.iter().skip(skip).take(Lineage::MAX_PAGE).cloned().collect();
        Lineage { first: Groups::of(&self.first), changes }
    }

    /// Takes a successor of the newest configuration, if q members of every clique of that one
    /// have signed it. One that is known already changes nothing.
    ///
    /// # Errors
    /// [`ChangeError`]: the sender's fault, unless [`ChangeError::missing_certificate`] names one.
    pub fn extend(&mut self, change: SignedChange, keys: &dyn Verify) -> Result<(), ChangeError> {
        if self.holds(&change) {
            return Ok(());
        }
        let successor = change.verify(&self.newest, keys)?;
        self.append(change, successor)
    }

    /// Whether this very step was taken: the votes may be those of other members.
    fn holds(&self, change: &SignedChange) -> bool {
        self.changes.iter().any(|known| {
            known.votes.configuration() == change.votes.configuration()
                && known.change == change.change
        })
    }

    fn append(
        &mut self,
        change: SignedChange,
        successor: Configuration,
    ) -> Result<(), ChangeError> {
        if self.changes.len() >= Self::MAX_CHANGES {
            return Err(ChangeError::TooMany);
        }
        let successor = Arc::new(successor);
        self.by_digest.insert(successor.digest(), Arc::clone(&successor));
        self.by_vouched.insert(successor.vouched(), Arc::clone(&successor));
        self.newest = successor;
        self.changes.push(change);
        Ok(())
    }

    /// The first one known: everybody in the realm has the same.
    #[must_use]
    pub fn first(&self) -> &Arc<Configuration> {
        &self.first
    }

    /// The newest one: it is the one in force.
    #[must_use]
    pub fn newest(&self) -> &Arc<Configuration> {
        &self.newest
    }

    /// The one before the newest.
    #[must_use]
    pub fn predecessor(&self) -> Option<&Arc<Configuration>> {
        self.by_digest.get(&self.changes.last()?.votes.configuration())
    }

    /// The configuration with this digest.
    #[must_use]
    pub fn get(&self, digest: &ConfigurationDigest) -> Option<&Arc<Configuration>> {
        self.by_digest.get(digest)
    }

    /// The configuration whose members certified, given what S names, and by which kind of
    /// signature they did.
    #[must_use]
    pub fn certifier(&self, named: &ConfigurationDigest) -> Option<(Basis, &Arc<Configuration>)> {
        let shares = self.by_digest.get(named).map(|found| (Basis::Shares, found));
        shares.or_else(|| self.by_vouched.get(named).map(|found| (Basis::Vouches, found)))
    }

    /// All of them, in no particular order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Configuration>> {
        self.by_digest.values()
    }

    /// Whether the node is, or ever was, a member of an authority clique.
    #[must_use]
    pub fn has_signer(&self, node: &NodeId) -> bool {
        self.all().any(|configuration| configuration.clique_of(node).is_some())
    }

    /// The changes, in order.
    #[must_use]
    pub fn changes(&self) -> &[SignedChange] {
        &self.changes
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        self.newest.realm()
    }
}

/// What a collective signature consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "ADR 0015 says that there are two")]
pub enum Basis {
    /// Shares: the members signed the entry when it was written.
    Shares,
    /// Vouches: the members store the entry, and had seen that it was certified.
    Vouches,
}

impl From<Configuration> for Configurations {
    fn from(first: Configuration) -> Self {
        Self::starting_with(first)
    }
}

/// A first configuration and changes that follow each other. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "a message; it has a version of its own")]
pub struct Lineage {
    /// Where it begins.
    pub first: Groups,
    /// Changes, in order; in a message only those that were asked for.
    #[serde(deserialize_with = "limited::list::<_, _, {Configurations::MAX_CHANGES}>")]
    pub changes: Vec<SignedChange>,
}

impl Lineage {
    /// The most changes in one answer: each has up to 1,024 votes of 1 KiB in theory, and under
    /// 50 KiB in any clique that we have seen.
    pub const MAX_PAGE: usize = 32;
}

/// A configuration as it travels: its parts, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Groups {
    realm: Realm,
    number: u64,
    #[serde(deserialize_with = "limited::list::<_, _, {Configuration::MAX_CLIQUES}>")]
    cliques: Vec<Group>,
    store: Group,
}

impl Groups {
    /// The parts of a configuration.
    #[must_use]
    pub fn of(configuration: &Configuration) -> Self {
        Self {
            realm: configuration.realm().clone(),
            number: configuration.number(),
            cliques: configuration.cliques().to_vec(),
            store: configuration.store().clone(),
        }
    }

    /// Puts the configuration together. Small cliques are allowed: whether they are wanted is
    /// for those to say who trust it.
    ///
    /// # Errors
    /// [`ConfigurationError`]: the sender's fault.
    pub fn check(self) -> Result<Configuration, ConfigurationError> {
        Configuration::new(self.realm, self.number, self.cliques, self.store, true)
    }
}
