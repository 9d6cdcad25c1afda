//! A whole web of trust, made in one place: for local clusters, the demo and measurements. Real
//! clusters certify each other from machine to machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bftkv::protocol::Thresholds;
use bftkv::wot::{
    CertificateRecord, Generated, KeyError, Keyring, KeyringOptions, Origin, OwnKey, Statement,
    generate_key, generate_sealing_key,
};
use bftkv::{Home, NewHome, NodeId};

use crate::failure::Failure;
use crate::new_home::{NewSettings, save_revocation};
use crate::progress::Progress;

/// What a party does in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Signs.
    Authority,
    /// Stores.
    Store,
    /// Puts and gets.
    User,
    /// Puts and gets, but nobody certifies it.
    Stranger,
}

/// Somebody who is to get a key.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The name of its folder.
    pub(crate) name: String,
    /// What it does.
    pub(crate) role: Role,
    /// Its user ID.
    pub(crate) user_id: String,
    /// Whether its key is to offer no TLS.
    pub(crate) sealed: bool,
}

/// Somebody with a key.
#[derive(Debug)]
struct Party {
    name: String,
    role: Role,
    key: OwnKey,
    revocation: String,
}

/// Parties that have certified each other as they must.
#[derive(Debug)]
pub(crate) struct Web {
    parties: Vec<Party>,
    keyring: Keyring,
}

impl Plan {
    /// A node on this machine.
    pub(crate) fn node(name: impl Into<String>, role: Role, port: u16) -> Self {
        let name = name.into();
        let user_id = format!("{name} (http://127.0.0.1:{port})");
        Self { name, role, user_id, sealed: false }
    }

    /// Somebody with an e-mail address.
    pub(crate) fn person(name: impl Into<String>, role: Role) -> Self {
        let name = name.into();
        let user_id = format!("{name} <{name}@example.org>");
        Self { name, role, user_id, sealed: false }
    }
}

impl Plan {
    fn generate(&self) -> Result<Generated, KeyError> {
        let make = if self.sealed { generate_sealing_key } else { generate_key };
        make(&self.user_id, None)
    }
}

impl Web {
    /// Makes keys and certifications.
    ///
    /// # Errors
    /// A user ID is none, or the cryptographic library fails.
    pub(crate) fn make(plans: &[Plan]) -> Result<Self, Failure> {
        let keyring = Keyring::new(KeyringOptions::default());
        let mut parties = Vec::new();
        let mut progress = Progress::new("making keys", plans.len());
        for plan in plans {
            let generated = plan.generate().map_err(Failure::failed)?;
            let revocation = generated.revocation_file().map_err(Failure::failed)?;
            let key = generated.key;
            keyring.add(key.record().clone(), Origin::Local).map_err(Failure::failed)?;
            parties.push(Party { name: plan.name.clone(), role: plan.role, key, revocation });
            progress.step();
        }
        drop(progress);
        let web = Self { parties, keyring };
        web.certify_each_other()?;
        Ok(web)
    }

    fn certify_each_other(&self) -> Result<(), Failure> {
        let mut progress = Progress::new("certifying", self.parties.len());
        let authority = self.ids(Role::Authority);
        let vouchers = Thresholds::of(authority.len()).one_honest();
        let vouchers: BTreeSet<NodeId> = authority.into_iter().take(vouchers).collect();
        for from in &self.parties {
            for to in &self.parties {
                if from.id() != to.id() && certifies(from, to.role, &vouchers) {
                    self.certify(from, to.id())?;
                }
            }
            progress.step();
        }
        Ok(())
    }

    /// The certificates of all who have this role, in the order of the plans.
    pub(crate) fn ids(&self, role: Role) -> Vec<NodeId> {
        let same = self.parties.iter().filter(|party| party.role == role);
        same.map(|party| party.id().clone()).collect()
    }

    fn certify(&self, from: &Party, to: &NodeId) -> Result<(), Failure> {
        let Some(record) = self.keyring.record(to) else { return Ok(()) };
        for identity in self.keyring.identities(to) {
            let forever = Statement::Certify { valid_for: None };
            let certified = from.key.certify(record.bytes(), &identity.address, forever);
            let certified = CertificateRecord::new(&certified.map_err(Failure::failed)?);
            let added = certified.and_then(|record| self.keyring.add(record, Origin::Local));
            added.map_err(Failure::failed)?;
        }
        Ok(())
    }

    /// Makes a home below `folder` for everybody, named as they are; gives their paths. Everybody
    /// knows all certificates.
    ///
    /// # Errors
    /// The disk refuses, or there are homes already.
    pub(crate) fn write_homes(
        &self,
        folder: &Path,
        settings: &NewSettings,
    ) -> Result<Vec<PathBuf>, Failure> {
        let records = self.keyring.records();
        let all: Vec<Vec<u8>> =
            records.iter().map(|(record, _)| record.bytes().as_bytes().to_vec()).collect();
        let config = settings.config()?;
        let mut homes = Vec::new();
        let mut progress = Progress::new("writing homes", self.parties.len());
        for party in &self.parties {
            let path = folder.join(&party.name);
            let new = NewHome { key: &party.key, certificates: &all, config: &config };
            Home::create(&path, &new)?;
            save_revocation(&path, &party.revocation)?;
            homes.push(path);
            progress.step();
        }
        Ok(homes)
    }
}

/// Whether `from` certifies somebody of this role. The clique certifies itself and users; only
/// b+1 of its members certify the store nodes, who certify all of the clique: if all did, a store
/// node would be a member of the clique. The others certify the nodes that they rely on.
fn certifies(from: &Party, to: Role, vouchers: &BTreeSet<NodeId>) -> bool {
    match (from.role, to) {
        (Role::Authority, Role::Store) => vouchers.contains(from.id()),
        (Role::Authority, _) => to != Role::Stranger,
        (Role::Store, _) => to == Role::Authority,
        (Role::User | Role::Stranger, _) => matches!(to, Role::Authority | Role::Store),
    }
}

impl Party {
    fn id(&self) -> &NodeId {
        self.key.record().id()
    }
}
