//! How a node tells the others which memory it speaks from.

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::{Domain, NodeId, Purpose, Realm, SignatureBytes, Verify, VerifyError};

/// Which store this is, and how far it has come. A signer's memory is part of its key: by this its
/// peers notice that it was lost, or that an old copy was put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreAge {
    /// The random name of the store, made with it.
    pub identity: [u8; 16],
    /// How often it was opened.
    pub generation: u64,
    /// How many commits it has taken.
    pub commits: u64,
}

/// A node's signed word on its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The realm.
    pub realm: Realm,
    /// The node.
    pub node: NodeId,
    /// Counts the memories that the node had: one more each time it lost one.
    pub epoch: u64,
    /// The store that it speaks from.
    pub age: StoreAge,
    /// A random number of this opening: two openings of copies of one store are told apart by it.
    pub session: [u8; 16],
    /// The node's signature over [`Announcement::signed_bytes`].
    pub signature: SignatureBytes,
}

impl Announcement {
    /// The bytes that a node signs.
    #[must_use]
    pub fn statement(
        realm: &Realm,
        node: &NodeId,
        epoch: u64,
        age: &StoreAge,
        session: &[u8; 16],
    ) -> Vec<u8> {
        Canonical::new(Domain::Announcement, realm)
            .field(node.as_bytes())
            .number(epoch)
            .field(&age.identity)
            .number(age.generation)
            .number(age.commits)
            .field(session)
            .into_bytes()
    }

    /// The bytes that this announcement's signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Self::statement(&self.realm, &self.node, self.epoch, &self.age, &self.session)
    }

    /// Checks the node's signature.
    ///
    /// # Errors
    /// [`VerifyError`]: the sender's fault, unless the certificate is only missing.
    pub fn verify(&self, keys: &dyn Verify) -> Result<(), VerifyError> {
        keys.verify(&self.node, Purpose::Announcement, &self.signed_bytes(), &self.signature)
    }

    /// Whether nothing is forgotten by who announces this after `earlier`: a later memory, the same
    /// opening further on, or a later opening of the same store that has not lost commits.
    #[must_use]
    pub fn follows(&self, earlier: &Self) -> bool {
        if self.epoch != earlier.epoch {
            return self.epoch > earlier.epoch;
        }
        let same_opening =
            self.age.generation == earlier.age.generation && self.session == earlier.session;
        self.age.identity == earlier.age.identity
            && (same_opening || self.age.generation > earlier.age.generation)
            && self.age.commits >= earlier.age.commits
    }
}
