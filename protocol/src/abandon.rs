//! Giving up an attempt.

use serde::{Deserialize, Serialize};

use crate::canonical::Canonical;
use crate::{Address, Domain, EntryId, NodeId, Realm, SignatureBytes};

/// A writer's signed word that it gave up an attempt for which it never assembled S, and threw
/// its shares away. Whoever was refused because of the attempt may relay it (rule R3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abandon {
    /// The realm.
    pub realm: Realm,
    /// The attempt.
    pub attempt: EntryId,
    /// The writer whose attempt it is.
    pub writer: NodeId,
    /// The address under which the attempt was made.
    pub owner: Address,
    /// The writer's signature over [`Abandon::signed_bytes`].
    pub signature: SignatureBytes,
}

impl Abandon {
    /// The bytes that the writer of `attempt` signs to give it up.
    #[must_use]
    pub fn statement(
        realm: &Realm,
        attempt: &EntryId,
        writer: &NodeId,
        owner: &Address,
    ) -> Vec<u8> {
        Canonical::new(Domain::Abandon, realm)
            .field(attempt.variable.as_bytes())
            .number(attempt.timestamp.get())
            .field(attempt.hash.as_bytes())
            .field(writer.as_bytes())
            .field(owner.as_str().as_bytes())
            .into_bytes()
    }

    /// The bytes that this abandon's signature covers.
    #[must_use]
    pub fn signed_bytes(&self) -> Vec<u8> {
        Self::statement(&self.realm, &self.attempt, &self.writer, &self.owner)
    }
}
