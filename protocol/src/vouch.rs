//! Vouches: what a member says of an entry that it stores (docs/adr/0015).

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::planted::{self, Bug};
use crate::{
    Configuration, ConfigurationDigest, Domain, EntryHash, Group, NodeId, Purpose, Realm,
    SignatureShare, SignedEntry, Timestamp, Variable, Verify, VerifyError,
};

/// What a member states by its vouch: "in this realm and configuration, I store this signed entry,
/// and its certificate was valid when I took it."
///
/// It promises nothing about other entries. So two vouches never contradict each other, and no proof
/// of equivocation takes one: a member may have given its share to another attempt at (x,t) before
/// it stored this entry, and then a second *share* would convict it although it is honest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VouchStatement {
    /// The realm.
    pub realm: Realm,
    /// The configuration in force for the member, of which it is one.
    pub configuration: ConfigurationDigest,
    /// x.
    pub variable: Variable,
    /// t.
    pub timestamp: Timestamp,
    /// The hash of <x,t,v,s_C>.
    pub entry: EntryHash,
}

impl VouchStatement {
    /// What members of `configuration` state of this entry.
    #[must_use]
    pub fn about(signed: &SignedEntry, configuration: &Configuration) -> Self {
        Self {
            realm: signed.entry.realm.clone(),
            configuration: configuration.digest(),
            variable: signed.entry.variable.clone(),
            timestamp: signed.entry.timestamp,
            entry: signed.hash(),
        }
    }

    /// The bytes that the member signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new(Domain::Vouch, &self.realm)
            .field(self.configuration.as_bytes())
            .field(self.variable.as_bytes())
            .number(self.timestamp.get())
            .field(self.entry.as_bytes())
            .into_bytes()
    }

    /// Checks a member's vouch.
    ///
    /// # Errors
    /// [`VerifyError`]: the signer's fault, unless its certificate is not known here.
    pub fn verify(&self, vouch: &SignatureShare, keys: &dyn Verify) -> Result<(), VerifyError> {
        keys.verify(&vouch.signer, Purpose::Vouch, &self.signed_bytes(), &vouch.signature)
    }
}

/// Whether b+1 members of one group are among `by`: then one of them is honest, and stores the entry
/// because it had seen that it is valid.
#[must_use]
pub(crate) fn is_believed(by: &BTreeSet<NodeId>, configuration: &Configuration) -> bool {
    let mut groups = configuration.cliques().iter().chain([configuration.store()]);
    let needed = |group: &Group| {
        group.thresholds().one_honest().saturating_sub(usize::from(planted::is(Bug::LoneVouch)))
    };
    groups.any(|group| group.count(by) >= needed(group))
}
