//! Proofs that somebody signed two things (rule R6).

use serde::{Deserialize, Serialize};

use crate::{
    CertifiedEntry, Configuration, Invalid, NodeId, Purpose, ShareStatement, SignatureBytes,
    Verify, VerifyError, verify_certified,
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
    /// A signature is not valid.
    #[error("a signature in the proof is not valid: {0}")]
    Signature(#[from] VerifyError),
    /// An entry is not certified.
    #[error("an entry in the proof is not certified: {0}")]
    NotCertified(#[from] Invalid),
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

    /// Everyone who is convicted by two certified entries with one (realm, x, t): the members that
    /// signed both, and the writer if it is the same. Empty if the entries do not contradict each
    /// other or are not both valid.
    ///
    /// Paper: §3.2 and §5, "revoke all signers including the issuer who have signed on both".
    #[must_use]
    pub fn of_certified(
        first: &CertifiedEntry,
        second: &CertifiedEntry,
        configuration: &Configuration,
        keys: &dyn Verify,
    ) -> Vec<Self> {
        let both_valid =
            [first, second].iter().all(|e| verify_certified(e, configuration, keys).is_ok());
        if !both_valid || !contradict(first, second) {
            return Vec::new();
        }
        let mut proofs: Vec<Self> = first
            .collective
            .shares()
            .iter()
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
            proofs.push(Self { guilty, first: count(first), second: count(second) });
        }
        proofs
    }

    /// The key that is convicted.
    #[must_use]
    pub fn guilty(&self) -> &NodeId {
        &self.guilty
    }

    /// Checks a proof that came from outside. `configuration` is needed for a writer's proof.
    ///
    /// # Errors
    /// [`ProofError`]: it proves nothing, and whoever sent it as a proof is to blame.
    pub fn verify(
        &self,
        configuration: &Configuration,
        keys: &dyn Verify,
    ) -> Result<(), ProofError> {
        match (&self.first, &self.second) {
            (Count::Share { .. }, Count::Share { .. }) => self.verify_shares(keys),
            (Count::Certified(first), Count::Certified(second)) => {
                verify_certified(first, configuration, keys)?;
                verify_certified(second, configuration, keys)?;
                let same = |e: &CertifiedEntry| e.entry().writer == self.guilty;
                if contradict(first, second) && same(first) && same(second) {
                    Ok(())
                } else {
                    Err(ProofError::NoContradiction)
                }
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
        if !same_place || a.entry == b.entry {
            return Err(ProofError::NoContradiction);
        }
        for (statement, signature) in [(a, sa), (b, sb)] {
            keys.verify(&self.guilty, Purpose::Share, &statement.signed_bytes(), signature)?;
        }
        Ok(())
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
