//! A key split among servers, so that t of them can use it and t-1 know nothing of it: Shamir's
//! shares with Feldman's commitments.

use std::fmt;

use bftkv_protocol::{ElementBytes, SecretShare};
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, IsIdentity};
use rand_core::CryptoRngCore;
use zeroize::Zeroizing;

use crate::group;
use crate::{Error, MAX_NODES};

/// The place of a server in a record, from 1 on: where the polynomial is evaluated for it. 0 would
/// be the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(u16);

impl Index {
    /// The place with this number.
    ///
    /// # Errors
    /// [`Error::Indices`]: 0, or above [`MAX_NODES`].
    pub fn new(number: u16) -> Result<Self, Error> {
        let good = (1..=MAX_NODES).contains(&usize::from(number));
        good.then_some(Self(number)).ok_or(Error::Indices)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    fn scalar(self) -> Scalar {
        Scalar::from(self.0)
    }
}

/// One server's share, k_i. Wiped when dropped and never shown.
#[derive(Clone)]
pub struct Share {
    index: Index,
    scalar: Zeroizing<Scalar>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Share {
    /// Takes a share that was dealt, if it fits the commitments: k_i * G = sum of i^j * C_j.
    ///
    /// # Errors
    /// [`Error::Scalar`] or [`Error::Share`]: the dealer's fault.
    pub fn new(
        index: Index,
        secret: &SecretShare,
        commitments: &Commitments,
    ) -> Result<Self, Error> {
        let share = Self::kept(index, secret)?;
        let public = RISTRETTO_BASEPOINT_TABLE * &*share.scalar;
        if public == commitments.public_share(index) { Ok(share) } else { Err(Error::Share) }
    }

    /// A share that was checked when it was dealt and has been kept since.
    pub(crate) fn kept(index: Index, secret: &SecretShare) -> Result<Self, Error> {
        Ok(Self { index, scalar: Zeroizing::new(group::scalar(secret.as_bytes())?) })
    }

    /// Whose it is.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// As it goes to its server.
    #[must_use]
    pub fn secret(&self) -> SecretShare {
        SecretShare::from_bytes(self.scalar.to_bytes())
    }

    pub(crate) fn scalar(&self) -> &Scalar {
        &self.scalar
    }
}

/// Feldman's commitments to the polynomial: C_j = a_j * G, from a_0 = k on. Public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitments(Vec<RistrettoPoint>);

impl Commitments {
    /// Reads commitments.
    ///
    /// # Errors
    /// [`Error::Element`]: one is no element or the identity; [`Error::Indices`]: there are none,
    /// or too many.
    pub fn from_bytes(bytes: &[ElementBytes]) -> Result<Self, Error> {
        if bytes.is_empty() || bytes.len() > MAX_NODES {
            return Err(Error::Indices);
        }
        bytes.iter().map(group::element).collect::<Result<_, _>>().map(Self)
    }

    /// As they are written.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<ElementBytes> {
        self.0.iter().map(group::encode).collect()
    }

    /// t: how many shares are needed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.0.len()
    }

    /// P_i = k_i * G, by Horner's rule. Small numbers, public points.
    pub(crate) fn public_share(&self, index: Index) -> RistrettoPoint {
        let x = index.scalar();
        self.0.iter().rev().fold(RistrettoPoint::identity(), |sum, one| sum * x + one)
    }
}

/// Splits a fresh random key: t of the n shares that come out can use it.
///
/// # Errors
/// [`Error::Indices`]: not 1 <= t <= n <= [`MAX_NODES`]. The caller's fault.
/// [`Error::Randomness`].
pub fn deal(
    threshold: usize,
    n: usize,
    rng: &mut dyn CryptoRngCore,
) -> Result<(Commitments, Vec<Share>), Error> {
    if threshold == 0 || threshold > n || n > MAX_NODES {
        return Err(Error::Indices);
    }
    loop {
        let polynomial =
            (0..threshold).map(|_| group::random(rng)).collect::<Result<Vec<_>, _>>()?;
        if let Some(dealt) = split(&polynomial, n)? {
            return Ok(dealt);
        }
    }
}

/// The shares of a polynomial; `None` if one of them is 0, which happens never.
pub(crate) fn split(
    polynomial: &[Zeroizing<Scalar>],
    n: usize,
) -> Result<Option<(Commitments, Vec<Share>)>, Error> {
    let points = polynomial.iter().map(|one| RISTRETTO_BASEPOINT_TABLE * &**one);
    let commitments = Commitments(points.collect());
    let mut shares = Vec::with_capacity(n);
    for number in 1..=n {
        let index = Index::new(u16::try_from(number).map_err(|_| Error::Indices)?)?;
        let mut scalar = Zeroizing::new(Scalar::ZERO);
        for one in polynomial.iter().rev() {
            *scalar = *scalar * index.scalar() + **one;
        }
        if *scalar == Scalar::ZERO {
            return Ok(None);
        }
        shares.push(Share { index, scalar });
    }
    Ok((!commitments.0.iter().any(IsIdentity::is_identity)).then_some((commitments, shares)))
}

/// The weight of one share among these, for the polynomial's value at 0.
///
/// # Errors
/// [`Error::Indices`]: an index is there twice.
pub(crate) fn lagrange(index: Index, among: &[Index]) -> Result<Scalar, Error> {
    let (mut over, mut under) = (Scalar::ONE, Scalar::ONE);
    let mut itself = 0_usize;
    for other in among {
        if *other == index {
            itself = itself.saturating_add(1);
            continue;
        }
        over *= other.scalar();
        under *= other.scalar() - index.scalar();
    }
    if itself != 1 || under == Scalar::ZERO {
        return Err(Error::Indices);
    }
    Ok(over * under.invert())
}
