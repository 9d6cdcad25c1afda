//! Proofs that somebody signed two things (rule R6).

use serde::{Deserialize, Serialize};

use crate::planted::{self, Bug};
use crate::{
    CertifiedEntry, Configurations, Detached, EntryHash, Invalid, NodeId, Purpose, ShareStatement,
    SignatureBytes, Timestamp, Variable, Verify, VerifyError, verify_certified,
};

/// A proof that anyone can check: one key made two signatures that an honest key never makes.
///
/// It can only be made by a constructor that verifies both signatures; one that was decoded must
/// be checked with [`EquivocationProof::verify`] before it is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EquivocationProof {
    guilty: NodeId,
    first: Count,
    second: Count,
}

/// One of the two signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Count {
    /// A member's share.
    Share { statement: ShareStatement, signature: SignatureBytes },
    /// A writer's certified entry. Two writer signatures alone convict nobody: a crash between
    /// two attempts looks the same.
    Certified(Box<CertifiedEntry>),
}

/// Why an alleged proof proves nothing. Its sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The two statements do not contradict each other.
    #[error("the two statements do not contradict each other")]
    NoContradiction,
    /// Two keys of one certificate made the signatures: a member that lost its memory signs with a
    /// fresh key.
    #[error("two different keys of the certificate made the signatures")]
    TwoKeys,
    /// They are about another realm.
    #[error("the signatures are about another realm")]
    Realm,
    /// Shares of somebody who has no part in the realm harm nobody, and anybody can make any
    /// number of keys that sign everything.
    #[error("{0} is no member whose shares count")]
    NotMember(NodeId),
    /// A signature is not valid.
    #[error("a signature in the proof is not valid: {0}")]
    Signature(#[from] VerifyError),
    /// An entry is not certified.
    #[error("an entry in the proof is not certified: {0}")]
    NotCertified(#[from] Invalid),
}

impl ProofError {
    /// A certificate that is missing here; with it, the verdict may change.
    #[must_use]
    pub fn missing_certificate(&self) -> Option<&NodeId> {
        match self {
            Self::Signature(VerifyError::UnknownCertificate(id)) => Some(id),
            Self::NotCertified(invalid) => invalid.missing_certificate(),
            _ => None,
        }
    }
}

impl EquivocationProof {
    /// A member signed shares for two signed entries of one (realm, x, t).
    ///
    /// # Errors
    /// [`ProofError`], when the pair proves nothing.
    pub fn of_shares(
        signer: NodeId,
        first: (ShareStatement, SignatureBytes),
        second: (ShareStatement, SignatureBytes),
        keys: &dyn Verify,
    ) -> Result<Self, ProofError> {
        let count = |(statement, signature)| Count::Share { statement, signature };
        let proof = Self { guilty: signer, first: count(first), second: count(second) };
        proof.verify_shares(keys).map(|()| proof)
    }

    /// Everyone who is convicted by two entries with one (realm, x, t): the members that signed
    /// both, and, if both entries are certified, the writer if it is the same. Empty if the entries
    /// do not contradict each other.
    ///
    /// Paper: §3.2 and §5, "revoke all signers including the issuer who have signed on both".
    /// Differs: a member's two shares convict it also if too few others signed one of the entries
    /// for it to be valid, so that a lone traitor is caught before it does harm.
    #[must_use]
    pub fn of_certified(
        first: &CertifiedEntry,
        second: &CertifiedEntry,
        known: &Configurations,
        keys: &dyn Verify,
    ) -> Vec<Self> {
        let is_elsewhere = first.entry().realm != *known.realm();
        if is_elsewhere || !contradict(first, second) || planted::is(Bug::EquivocationIgnored) {
            return Vec::new();
        }
        let mut proofs: Vec<Self> = first
            .collective
            .shares()
            .iter()
            .filter(|share| known.has_signer(&share.signer))
            .filter_map(|share| {
                let other = second.collective.shares().iter().find(|o| o.signer == share.signer)?;
                let a = (ShareStatement::of(first), share.signature.clone());
                let b = (ShareStatement::of(second), other.signature.clone());
                Self::of_shares(share.signer.clone(), a, b, keys).ok()
            })
            .collect();
        if first.entry().writer == second.entry().writer {
            let count = |entry: &CertifiedEntry| Count::Certified(Box::new(entry.clone()));
            let guilty = first.entry().writer.clone();
            let proof = Self { guilty, first: count(first), second: count(second) };
            proofs.extend(proof.verify(known, keys).is_ok().then_some(proof));
        }
        proofs
    }

    /// The certificate whose key is convicted.
    #[must_use]
    pub fn guilty(&self) -> &NodeId {
        &self.guilty
    }

    /// What the key did.
    #[must_use]
    pub fn offence(&self) -> Offence<'_> {
        let (first, second) = (self.first.place(), self.second.place());
        Offence {
            variable: first.0,
            timestamp: first.1,
            entries: [first.2, second.2],
            as_writer: matches!(self.first, Count::Certified(_)),
        }
    }

    /// The two signatures, each with its purpose and the bytes that it signs (the root, if it was
    /// made for many), so that any OpenPGP program can judge them.
    #[must_use]
    pub fn signatures(&self) -> [Detached; 2] {
        let of = |count: &Count| {
            let (purpose, message, signature) = count.signed();
            let as_it_is =
                Detached { purpose, message: message.clone(), packet: signature.clone() };
            signature.detach(purpose, &message).unwrap_or(as_it_is)
        };
        [of(&self.first), of(&self.second)]
    }

    /// Checks a proof that came from outside. It counts only in the realm of `known`, and
    /// shares only if they are a member's.
    ///
    /// # Errors
    /// [`ProofError`]: it proves nothing, and whoever sent it as a proof is to blame.
    pub fn verify(&self, known: &Configurations, keys: &dyn Verify) -> Result<(), ProofError> {
        match (&self.first, &self.second) {
            (Count::Share { statement, .. }, Count::Share { .. }) => {
                if statement.realm != *known.realm() {
                    return Err(ProofError::Realm);
                }
                if !known.has_signer(&self.guilty) {
                    return Err(ProofError::NotMember(self.guilty.clone()));
                }
                self.verify_shares(keys)
            }
            (Count::Certified(first), Count::Certified(second)) => {
                let same = |e: &CertifiedEntry| e.entry().writer == self.guilty;
                if !contradict(first, second) || !same(first) || !same(second) {
                    return Err(ProofError::NoContradiction);
                }
                verify_certified(first, known, keys)?;
                verify_certified(second, known, keys)?;
                self.check_key(keys)
            }
            _ => Err(ProofError::NoContradiction),
        }
    }

    fn verify_shares(&self, keys: &dyn Verify) -> Result<(), ProofError> {
        let (
            Count::Share { statement: a, signature: sa },
            Count::Share { statement: b, signature: sb },
        ) = (&self.first, &self.second)
        else {
            return Err(ProofError::NoContradiction);
        };
        let same_place =
            a.realm == b.realm && a.variable == b.variable && a.timestamp == b.timestamp;
        let contradicts = same_place || planted::is(Bug::AnyTwoShares);
        if !contradicts || a.entry == b.entry {
            return Err(ProofError::NoContradiction);
        }
        if planted::is(Bug::ProofsUnchecked) {
            return Ok(());
        }
        for (statement, signature) in [(a, sa), (b, sb)] {
            keys.verify(&self.guilty, Purpose::Share, &statement.signed_bytes(), signature)?;
        }
        self.check_key(keys)
    }

    /// One key made both signatures, which are valid.
    fn check_key(&self, keys: &dyn Verify) -> Result<(), ProofError> {
        let key = |count: &Count| keys.made_by(&self.guilty, count.signed().2);
        match (key(&self.first), key(&self.second)) {
            (Some(a), Some(b)) if a == b => Ok(()),
            _ => Err(ProofError::TwoKeys),
        }
    }
}

/// What a convicted key did: two different entries have its signature, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offence<'a> {
    /// x.
    pub variable: &'a Variable,
    /// t.
    pub timestamp: Timestamp,
    /// The hashes of the two signed entries.
    pub entries: [EntryHash; 2],
    /// Whether it wrote both, and had both certified; otherwise it gave shares for both.
    pub as_writer: bool,
}

impl Count {
    fn place(&self) -> (&Variable, Timestamp, EntryHash) {
        match self {
            Self::Share { statement, .. } => {
                (&statement.variable, statement.timestamp, statement.entry)
            }
            Self::Certified(entry) => (entry.variable(), entry.timestamp(), entry.hash()),
        }
    }

    fn signed(&self) -> (Purpose, Vec<u8>, &SignatureBytes) {
        match self {
            Self::Share { statement, signature } => {
                (Purpose::Share, statement.signed_bytes(), signature)
            }
            Self::Certified(entry) => {
                let signature = entry.signed.signature.packet();
                (Purpose::Entry, entry.entry().signed_bytes(), signature)
            }
        }
    }
}

/// Whether two entries have one (realm, x, t) and are not the same signed entry.
fn contradict(first: &CertifiedEntry, second: &CertifiedEntry) -> bool {
    let (a, b) = (first.entry(), second.entry());
    a.realm == b.realm
        && a.variable == b.variable
        && a.timestamp == b.timestamp
        && first.hash() != second.hash()
}
