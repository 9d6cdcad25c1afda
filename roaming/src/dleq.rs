//! The proof that goes with each evaluation: the same number is the logarithm of P_i to the base G
//! and of M^(k_i) to the base M. RFC 9497 section 2.2, for one element.

use bftkv_protocol::ProofBytes;
use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::RistrettoPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::VartimeMultiscalarMul;
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha512};

use crate::Error;
use crate::group::{self, Mode};

/// A proof of equal logarithms (Chaum and Pedersen, made non-interactive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dleq {
    challenge: Scalar,
    response: Scalar,
}

impl Dleq {
    /// Reads a proof.
    ///
    /// # Errors
    /// [`Error::Evaluation`]: a half is not below the group's order.
    pub fn from_bytes(bytes: &ProofBytes) -> Result<Self, Error> {
        let (challenge, response) = bytes.halves();
        let read = |half: &[u8; 32]| Option::from(Scalar::from_canonical_bytes(*half));
        let scalars = read(challenge).zip(read(response));
        let (challenge, response) = scalars.ok_or(Error::Evaluation)?;
        Ok(Self { challenge, response })
    }

    /// The proof's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> ProofBytes {
        ProofBytes::new(self.challenge.to_bytes(), self.response.to_bytes())
    }

    /// Proves that `answer` = `point` * `secret`, for the public share `secret` * G.
    ///
    /// # Errors
    /// [`Error::Randomness`].
    pub(crate) fn prove(
        secret: &Scalar,
        point: &RistrettoPoint,
        answer: &RistrettoPoint,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, Error> {
        Ok(Self::prove_with(secret, point, answer, &*group::random(rng)?))
    }

    pub(crate) fn prove_with(
        secret: &Scalar,
        point: &RistrettoPoint,
        answer: &RistrettoPoint,
        random: &Scalar,
    ) -> Self {
        let public = RISTRETTO_BASEPOINT_TABLE * secret;
        let public_bytes = public.compress().to_bytes();
        let weight = composite_weight(&public_bytes, point, answer);
        let m = point * weight;
        let z = m * secret;
        let commitment = (RISTRETTO_BASEPOINT_TABLE * random, m * random);
        let challenge = challenge(&public_bytes, &m, &z, &commitment.0, &commitment.1);
        Self { challenge, response: random - challenge * secret }
    }

    /// Whether it holds. All inputs are public, so its time may depend on them.
    pub(crate) fn verify(
        &self,
        public: &RistrettoPoint,
        point: &RistrettoPoint,
        answer: &RistrettoPoint,
    ) -> bool {
        let public_bytes = public.compress().to_bytes();
        let weight = composite_weight(&public_bytes, point, answer);
        let (m, z) = (point * weight, answer * weight);
        let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(
            &self.challenge,
            public,
            &self.response,
        );
        let second =
            RistrettoPoint::vartime_multiscalar_mul([self.response, self.challenge], [m, z]);
        challenge(&public_bytes, &m, &z, &first, &second) == self.challenge
    }
}

/// RFC 9497 section 2.2.1, `ComputeComposites`, for one pair.
fn composite_weight(public: &[u8; 32], point: &RistrettoPoint, answer: &RistrettoPoint) -> Scalar {
    let tag = Mode::Voprf.tag("Seed-");
    let mut hash = Sha512::new();
    hash.update(LENGTH_32);
    hash.update(public);
    hash.update(u16::try_from(tag.len()).unwrap_or(u16::MAX).to_be_bytes());
    hash.update(&tag);
    let seed: [u8; 64] = hash.finalize().into();
    let (c, d) = (point.compress().to_bytes(), answer.compress().to_bytes());
    let number = [0, 0];
    let message: [&[u8]; 8] =
        [&[0, 64], &seed, &number, &LENGTH_32, &c, &LENGTH_32, &d, b"Composite"];
    group::hash_to_scalar(&message, Mode::Voprf)
}

fn challenge(
    public: &[u8; 32],
    m: &RistrettoPoint,
    z: &RistrettoPoint,
    first: &RistrettoPoint,
    second: &RistrettoPoint,
) -> Scalar {
    let [m, z, first, second] = [m, z, first, second].map(|point| point.compress().to_bytes());
    let l = &LENGTH_32;
    let message: [&[u8]; 11] = [l, public, l, &m, l, &z, l, &first, l, &second, b"Challenge"];
    group::hash_to_scalar(&message, Mode::Voprf)
}

/// RFC 9497: I2OSP(32, 2).
const LENGTH_32: [u8; 2] = [0, 32];
