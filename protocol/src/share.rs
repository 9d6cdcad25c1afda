//! Signature shares and the collective signature.

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::limited::list;
use crate::planted::{self, Bug};
use crate::{
    CertifiedEntry, ConfigurationDigest, Domain, Entry, EntryHash, NodeId, Realm, SignatureBytes,
    Timestamp, Variable,
};

/// What a clique member states by its share: "in this realm and configuration, for this variable
/// at this timestamp, I signed this signed entry and will sign no other."
///
/// Two shares of one signer whose statements differ only in the entry hash (or configuration)
/// are a proof of equivocation that needs no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareStatement {
    /// The realm.
    pub realm: Realm,
    /// The configuration under which the share counts.
    pub configuration: ConfigurationDigest,
    /// x.
    pub variable: Variable,
    /// t.
    pub timestamp: Timestamp,
    /// The hash of <x,t,v,s_C>.
    pub entry: EntryHash,
}

impl ShareStatement {
    /// What the members that certified an entry stated.
    #[must_use]
    pub fn of(certified: &CertifiedEntry) -> Self {
        Self::about(&certified.signed.entry, certified.hash(), certified.collective.configuration)
    }

    /// What a member of `configuration` states when it signs `entry`, whose hash is known.
    pub(crate) fn about(
        entry: &Entry,
        hash: EntryHash,
        configuration: ConfigurationDigest,
    ) -> Self {
        Self {
            realm: entry.realm.clone(),
            configuration,
            variable: entry.variable.clone(),
            timestamp: entry.timestamp,
            entry: hash,
        }
    }

    /// The bytes that the member signs.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Canonical::new(Domain::Share, &self.realm)
            .field(self.configuration.as_bytes())
            .field(self.variable.as_bytes())
            .number(self.timestamp.get())
            .field(self.entry.as_bytes())
            .into_bytes()
    }
}

/// The paper's s_i: one member's OpenPGP detached signature over a [`ShareStatement`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureShare {
    /// The member's certificate.
    pub signer: NodeId,
    /// The signature packet.
    pub signature: SignatureBytes,
}

/// The paper's S: the shares of a quorum of every clique of one configuration.
///
/// Encoded canonically: shares in ascending order of signer, each signer once. Anything else
/// does not decode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "CollectiveParts")]
pub struct CollectiveSignature {
    configuration: ConfigurationDigest,
    shares: Vec<SignatureShare>,
}

#[derive(Deserialize)]
struct CollectiveParts {
    configuration: ConfigurationDigest,
    #[serde(deserialize_with = "list::<_, _, {CollectiveSignature::MAX_SHARES}>")]
    shares: Vec<SignatureShare>,
}

impl CollectiveSignature {
    /// The greatest number of shares: four cliques of 256.
    pub const MAX_SHARES: usize = 1024;

    /// Puts the shares in canonical order; a signer that comes twice is kept once.
    #[must_use]
    pub fn new(configuration: ConfigurationDigest, mut shares: Vec<SignatureShare>) -> Self {
        shares.sort_by(|a, b| a.signer.cmp(&b.signer));
        if !planted::is(Bug::RepeatedSignersCount) {
            shares.dedup_by(|a, b| a.signer == b.signer);
        }
        shares.truncate(Self::MAX_SHARES);
        Self { configuration, shares }
    }

    /// The configuration whose cliques signed.
    #[must_use]
    pub fn configuration(&self) -> ConfigurationDigest {
        self.configuration
    }

    /// The shares, in ascending order of signer.
    #[must_use]
    pub fn shares(&self) -> &[SignatureShare] {
        &self.shares
    }
}

impl TryFrom<CollectiveParts> for CollectiveSignature {
    type Error = &'static str;

    fn try_from(parts: CollectiveParts) -> Result<Self, &'static str> {
        let ascending = parts.shares.windows(2).all(|pair| match pair {
            [a, b] => a.signer < b.signer,
            _ => false,
        });
        if !ascending {
            return Err("signers of a collective signature must ascend, each once");
        }
        Ok(Self { configuration: parts.configuration, shares: parts.shares })
    }
}
