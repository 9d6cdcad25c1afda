//! How somebody comes to a quorum certificate: by a record that is certified under the name of its
//! user ID before anybody vouches for it.
//!
//! Two certificates with one user ID must never both get a quorum certificate by different
//! members. So the user ID is claimed by an ordinary write: of two claims only one can be
//! certified, and members vouch for that one.

use serde::{Deserialize, Serialize};

use crate::{Address, Entry, NodeId, TooLong, Variable};

/// How the names of the variables begin that belong to user IDs.
const PREFIX: &str = "roaming/";

/// How the owner of a claim begins.
const APPLICANT: &str = "registering:";

/// Why a member does not register an applicant, or does not vouch for it.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error,
)]
#[non_exhaustive]
pub enum RegistrationRefusal {
    /// This member registers nobody.
    #[error("registration is closed here")]
    Closed,
    /// The operator has not approved yet; try again later.
    #[error("the operator has not approved yet")]
    Waiting,
    /// Too many wait for the operator, or register at once; try again later.
    #[error("too many register at once: try again later")]
    TooManyWaiting,
    /// Another certificate of that user ID is certified, or about to be.
    #[error("another certificate of that user ID is certified here, or about to be")]
    Taken,
    /// It has dealt no share that fits the record.
    #[error("no share that fits the record was dealt here")]
    NoShare,
    /// The identity check refuses.
    #[error("the identity check refuses: {0}")]
    Identity(#[serde(deserialize_with = "crate::limited::reason")] String),
    /// The record of the user ID is not certified here, or it is another's.
    #[error("the record of that user ID is not certified here, or is another's")]
    NoRecord,
    /// The password was not shown for this purpose, record and certificate.
    #[error("the password was not shown to this member for the recovery by this certificate")]
    NotProven,
    /// The delay of recoveries is not over.
    #[error(
        "a recovery takes effect in {seconds} s; until then whoever has the old key can stop it by \
         changing the password"
    )]
    Delayed {
        /// How long it still takes.
        seconds: u64,
    },
}

impl RegistrationRefusal {
    /// The stable number of the refusal.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Closed => 609,
            Self::Waiting => 610,
            Self::TooManyWaiting => 611,
            Self::Taken => 612,
            Self::NoShare => 613,
            Self::Identity(_) => 614,
            Self::NoRecord => 615,
            Self::NotProven => 616,
            Self::Delayed { .. } => 617,
        }
    }

    /// Whether the same may be asked again later with success.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Waiting | Self::TooManyWaiting | Self::Delayed { .. })
    }
}

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
