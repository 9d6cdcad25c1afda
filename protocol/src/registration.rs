//! How somebody comes to a quorum certificate: by a record that is certified under the name of its
//! user ID before anybody vouches for it.
//!
//! Two certificates with one user ID must never both get a quorum certificate by different
//! members. So the user ID is claimed by an ordinary write: of two claims only one can be
//! certified, and members vouch for that one.

use crate::{Address, Entry, NodeId, TooLong, Variable};

/// How the names of the variables begin that belong to user IDs.
const PREFIX: &str = "roaming/";

/// How the owner of a claim begins.
const APPLICANT: &str = "registering:";

impl Variable {
    /// Where the record of a user ID lies: `roaming/` and the address.
    ///
    /// # Errors
    /// Never for an address, which is short enough.
    pub fn of_user(address: &Address) -> Result<Self, TooLong> {
        Self::new(format!("{PREFIX}{}", address.as_str()))
    }

    /// The user ID whose record lies here. Nobody else writes it, not even while it is empty; so no
    /// stranger can keep a user from registering.
    #[must_use]
    pub fn user(&self) -> Option<Address> {
        let name = std::str::from_utf8(self.as_bytes()).ok()?.strip_prefix(PREFIX)?;
        // Users have e-mail addresses.
        let address = name.contains('@').then(|| Address::new(name))?;
        address.ok()
    }
}

impl Address {
    /// The owner of a claim that a certificate without quorum certificate makes. Each certificate
    /// is another owner, so that two claims for one user ID are those of strangers (rule R3).
    ///
    /// # Errors
    /// Never for a fingerprint, which is short enough.
    pub fn of_applicant(certificate: &NodeId) -> Result<Self, TooLong> {
        Self::new(format!("{APPLICANT}{certificate}"))
    }
}

impl Entry {
    /// The user ID that this entry claims for its writer; `None` if it is an ordinary one. A claim
    /// is never final: it would seal the user ID for ever.
    ///
    /// Paper: §4.3 register, App. A "Setup (Enrollment)". Differs: the text has each server decide for
    /// itself whom it certifies, so that two certificates can each find enough servers.
    #[must_use]
    pub fn claims(&self) -> Option<Address> {
        let is_claim = Address::of_applicant(&self.writer).is_ok_and(|one| one == self.owner);
        if is_claim && !self.is_final { self.variable.user() } else { None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_has_one_name() {
        let alice = Address::new("alice@example.org").unwrap();
        let variable = Variable::of_user(&alice).unwrap();
        assert_eq!(variable.to_string(), "roaming/alice@example.org");
        assert_eq!(variable.user(), Some(alice));
        for free in
            ["roaming/", "roaming", "roaming/diary", "Roaming/a@b.c", "x/a@b.c", "roaming/a@b c"]
        {
            assert_eq!(Variable::new(free).unwrap().user(), None, "{free}");
        }
    }
}
