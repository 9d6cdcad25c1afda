//! ECDSA P-256 with SHA-256 (FIPS 186-5, RFC 6605), after J. Groth and V. Shoup, *Design and
//! Analysis of a Distributed ECDSA Signing Service* (ePrint 2022/506).
//!
//! A signature is s = (h + r·x)/κ with R = κ·G. Nobody may know κ, and shares of 1/κ are not easily
//! had; so the parties share a random λ too, and the products κλ and xλ, and sign by opening
//! ν = λ(h + r·x) and μ = κλ: s = ν/μ. That λ, κλ and xλ are shared is a *presignature*
//! ([`Presign`]), made in batches before any message is known. Signing is then one round, in which
//! each partial signature can be checked against the presignature's commitments: k right ones
//! sign, and liars are named.
//!
//! After the session is fixed, the nonce is moved: κ' = κ + δ with δ = H(session, message, R), as
//! Groth and Shoup advise, so that knowing R beforehand is of no use to an attacker.
//!
//! Presigning needs 2k-1 parties, and fails if one of them lies (which names it) or is silent; so
//! with b of n out, 2k-1 <= n-b, which with n = 3b+1 leaves k = b+1.
//!
//! Differs: Groth and Shoup reshare κ to make R public; here each party opens κ_i·G with a proof,
//! which gives the same R with fewer messages. They run on an asynchronous broadcast and go on with
//! whatever dealings are agreed on; here all parties that presign must be heard, and the caller
//! starts again without one that was not. They derive keys; we do not.

mod combine;
mod group;
mod key;
mod presign;
mod presignature;
mod proof;
mod share;

pub use key::EcdsaKey;
pub use presign::{
    Presign, PresignDealt, PresignProven, PresignShared, first_dealing_is_right,
    second_dealing_is_right,
};
pub(crate) use presignature::Presignature;
pub use presignature::Presignatures;
pub use share::{EcdsaShare, deal};
