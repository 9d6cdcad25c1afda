//! RSA PKCS#1 v1.5 with SHA-256 (RFC 8017, RFC 5702), after V. Shoup, *Practical Threshold
//! Signatures* (EUROCRYPT 2000), protocol 1.
//!
//! A dealer makes N = pq from two safe primes p = 2p'+1 and q = 2q'+1, and shares d = 1/e mod
//! m = p'q' by a polynomial f of degree k-1: s_i = f(i) mod m. With x the padded message and
//! Δ = n!, party i's partial signature is x_i = x^(2Δ s_i). k of them are combined with integer
//! Lagrange coefficients λ (times Δ) to w = x^(4Δ² d), and from w and x follows the signature
//! y = x^d, because e does not divide 4Δ². A signature is unique: any k parties give the same
//! bytes.
//!
//! The proof of a partial signature is Shoup's: a proof that x_i² to the base x^(4Δ) and
//! v_i = v^(s_i) to the base v have one discrete logarithm, made non-interactive by a hash.
//! Differs: it is made only when a combined signature is wrong, because a proof costs about two
//! further exponentiations of the same size and is needed only to name a liar.
//!
//! There is no refresh: m, which it would need, is destroyed after dealing. Make a new key.

mod combine;
mod deal;
mod key;
mod number;
mod pkcs1;
mod prime;
mod proof;
mod secret_power;
mod share;

pub use deal::deal;
pub use key::RsaKey;
pub use prime::SafePrimes;
pub use share::RsaShare;

/// The public exponent e. Above every Δ's prime factors, as the scheme needs (e > n, prime).
pub const EXPONENT: u32 = 65_537;

/// The least size of a modulus, in bits. What DNSSEC's root plans for its zone key.
pub const MIN_MODULUS_BITS: u32 = 1536;

/// The largest size of a modulus, in bits: RFC 5702's.
pub const MAX_MODULUS_BITS: u32 = 4096;
