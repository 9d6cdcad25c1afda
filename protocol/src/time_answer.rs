//! Signed answers to "get time".

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::{ConfigurationDigest, Domain, NodeId, Realm, SignatureBytes, Timestamp, Variable};

/// What a clique member states: the largest timestamp that it has signed, stored or seen
/// abandoned for a variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeStatement {
    /// The realm.
    pub realm: Realm,
    /// The configuration.
    pub configuration: ConfigurationDigest,
    /// x.
    pub variable: Variable,
    /// The largest timestamp seen.
    pub seen: Timestamp,
}

impl TimeStatement {
    /// The bytes that the member signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new(Domain::Time, &self.realm)
            .field(self.configuration.as_bytes())
            .field(self.variable.as_bytes())
            .number(self.seen.get())
            .into_bytes()
    }
}

/// A time answer that can be shown to others: b+1 of them prove to a lagging member that a
/// timestamp is not invented (rule R3). Realm, configuration and variable are those of the
/// request that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTime {
    /// The member.
    pub signer: NodeId,
    /// The largest timestamp that it has seen.
    pub seen: Timestamp,
    /// Its signature over the [`TimeStatement`].
    pub signature: SignatureBytes,
}
