//! 2HashDH: the function of a password and a key that is split among servers.
//!
//! F(k, pw) = H2(pw, H1(pw)^k). The client sends M = H1(pw)^r, which is uniformly random whatever
//! the password; each server answers M^(k_i); any t of them give M^k, and r is taken out again.
//!
//! Papers: "Highly-Efficient and Composable Password-Protected Secret Sharing" (JKKX16), "TOPPSS"
//! (JKKX17, ePrint 2017/363). The combined function is RFC 9497 OPRF(ristretto255, SHA-512), so its
//! vectors test it.

use std::collections::BTreeMap;
use std::fmt;

use bftkv_protocol::ElementBytes;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use crate::dleq::Dleq;
use crate::group::{self, Mode};
use crate::sharing::{Commitments, Index, Share, lagrange};
use crate::{Error, Password};

/// A blinded password, and what takes the blinding away again. Lives in one login.
pub struct Blinded {
    factor: Zeroizing<Scalar>,
    element: ElementBytes,
    point: RistrettoPoint,
}

impl fmt::Debug for Blinded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blinded").field("element", &self.element).finish_non_exhaustive()
    }
}

impl Blinded {
    /// Blinds a password. RFC 9497 section 3.3.1, `Blind`.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub fn new(password: &Password, rng: &mut dyn CryptoRngCore) -> Result<Self, Error> {
        Ok(Self::with_factor(password.as_bytes(), group::random(rng)?))
    }

    pub(crate) fn with_factor(password: &[u8], factor: Zeroizing<Scalar>) -> Self {
        let hashed = Zeroizing::new(group::hash_to_group(password, Mode::Oprf));
        let point = *hashed * *factor;
        Self { element: group::encode(&point), point, factor }
    }

    /// What goes to the servers. It tells nothing of the password.
    #[must_use]
    pub fn element(&self) -> ElementBytes {
        self.element
    }

    /// Checks one server's answer: that it is what the share to which the record commits gives.
    ///
    /// # Errors
    /// [`Error::Element`] or [`Error::Evaluation`]: the server lied.
    pub fn check(
        &self,
        commitments: &Commitments,
        index: Index,
        answer: &ElementBytes,
        proof: &Dleq,
    ) -> Result<Evaluation, Error> {
        let point = group::element(answer)?;
        let public = commitments.public_share(index);
        if !proof.verify(&public, &self.point, &point) {
            return Err(Error::Evaluation);
        }
        Ok(Evaluation(point))
    }

    /// What the owner of a share gets without asking.
    pub(crate) fn evaluate_alone(&self, share: &Share) -> (Index, Evaluation) {
        (share.index(), Evaluation(self.point * share.scalar()))
    }

    /// Puts t checked answers together and takes the blinding out. RFC 9497 section 3.3.1,
    /// `Finalize`.
    ///
    /// # Errors
    /// [`Error::Indices`]: fewer than t.
    pub fn finish(
        &self,
        password: &Password,
        threshold: usize,
        evaluations: &BTreeMap<Index, Evaluation>,
    ) -> Result<Zeroizing<[u8; 64]>, Error> {
        self.finish_bytes(password.as_bytes(), threshold, evaluations)
    }

    pub(crate) fn finish_bytes(
        &self,
        password: &[u8],
        threshold: usize,
        evaluations: &BTreeMap<Index, Evaluation>,
    ) -> Result<Zeroizing<[u8; 64]>, Error> {
        let chosen: Vec<(Index, &Evaluation)> =
            evaluations.iter().map(|(index, one)| (*index, one)).take(threshold).collect();
        if chosen.len() < threshold || threshold == 0 {
            return Err(Error::Indices);
        }
        let indices: Vec<Index> = chosen.iter().map(|(index, _)| *index).collect();
        let mut sum = Zeroizing::new(RistrettoPoint::identity());
        for (index, Evaluation(point)) in chosen {
            *sum += *point * lagrange(index, &indices)?;
        }
        let unblinded = Zeroizing::new(*sum * self.factor.invert());
        let element = Zeroizing::new(unblinded.compress().to_bytes());
        let mut hash = Sha512::new();
        hash.update(length(password));
        hash.update(password);
        hash.update(length(&*element));
        hash.update(*element);
        hash.update(b"Finalize");
        Ok(Zeroizing::new(hash.finalize().into()))
    }
}

/// RFC 9497: I2OSP(len(x), 2).
fn length(bytes: &[u8]) -> [u8; 2] {
    // Passwords are at most 1,024 bytes long.
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// One server's answer, checked: M^(k_i).
#[derive(Debug, Clone)]
pub struct Evaluation(RistrettoPoint);

/// What a server does for one attempt: raises the blinded password to its share and proves it.
/// About 0.2 ms.
///
/// # Errors
/// [`Error::Element`]: the client sent what is no element. Nothing was computed with the share.
/// [`Error::Randomness`]: none for the proof.
pub fn evaluate(
    share: &Share,
    element: &ElementBytes,
    rng: &mut dyn CryptoRngCore,
) -> Result<(ElementBytes, Dleq), Error> {
    let point = group::element(element)?;
    let answer = point * share.scalar();
    let proof = Dleq::prove(share.scalar(), &point, &answer, rng)?;
    Ok((group::encode(&answer), proof))
}
