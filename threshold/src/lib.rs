//! Threshold signatures: keys that never exist in one place.
//!
//! A key is split among n parties so that any k of them sign and fewer cannot. Up to
//! b = (n-1)/3 of them may be dead or lying. The result is an ordinary signature: whoever verifies
//! it sees no difference.
//!
//! | scheme | signature | rounds | made by |
//! |---|---|---|---|
//! | [`rsa`] | RSA PKCS#1 v1.5 with SHA-256 (DNSSEC algorithm 8) | 1 | a dealer |
//! | [`ed25519`] | Ed25519 (DNSSEC algorithm 15) | 2, of which the first can be ahead of need | a dealer, or the parties together |
//! | [`ecdsa`] | ECDSA P-256 with SHA-256 (DNSSEC algorithm 13) | 1, after presigning | a dealer |
//!
//! All are used in the same way, by the traits [`GroupKey`], [`KeyShare`] and [`Combiner`]:
//!
//! ```text
//!  party                                         whoever combines (each party may)
//!    share.commit(count)    -- commitments -->     collects k of them, fixes the Session
//!    share.sign(session)    -- partials ---->      combiner.add(party, partials)
//!                                                  combiner.step() -> Done(signatures)
//!                          <-- "prove message j" -          or -> Prove (a partial was wrong)
//!    share.prove(session,j) -- proof -------->     combiner.add_proof(party, j, proof)
//!                                                  combiner.step() -> Done, with the liar named
//! ```
//!
//! What is here is pure: no socket, file, clock or source of randomness. Messages are bytes, and
//! who sent them is for the caller to know: **only bytes that a party has signed, or that came
//! over an authenticated channel, may be handed in under its name**, because whoever sends wrong
//! ones is named as a liar.
//!
//! ```
//! use bftkv_threshold::{ed25519, GroupKey, KeyShare, Party, Roster, Session, Step};
//! # use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! # fn main() -> Result<(), bftkv_threshold::Error> {
//! # let mut rng = ChaCha20Rng::seed_from_u64(1); // In earnest: the operating system's.
//! let shares = ed25519::deal(&Roster::first(4, 2)?, &mut rng)?;
//! let key = shares[0].public().clone();
//!
//! // Two of the four sign two messages.
//! let messages = vec![b"first".to_vec(), b"second".to_vec()];
//! let (nonces_1, commitments_1) = shares[0].commit(messages.len(), &mut rng)?;
//! let (nonces_2, commitments_2) = shares[1].commit(messages.len(), &mut rng)?;
//! let commitments = [(shares[0].party(), commitments_1), (shares[1].party(), commitments_2)];
//! let session = Session::new(key.id(), messages, commitments.into())?;
//!
//! let mut combiner = key.combiner(&session)?;
//! combiner.add(Party::new(1)?, &shares[0].sign(nonces_1, &session)?)?;
//! combiner.add(Party::new(2)?, &shares[1].sign(nonces_2, &session)?)?;
//! let Step::Done(signatures) = combiner.step()? else { unreachable!() };
//! assert!(key.verify(b"second", &signatures[1]));
//! # Ok(())
//! # }
//! ```
//!
//! Sources, limits and what falls short: `docs/threshold.md`.

mod codec;
pub mod ecdsa;
pub mod ed25519;
mod error;
mod party;
mod rounds;
pub mod rsa;
mod scheme;
mod session;

pub use error::{Error, Offence};
/// The randomness that this crate is given: `CryptoRngCore`. The caller's choice; in earnest the
/// operating system's.
pub use frost_ed25519::rand_core;
pub use party::{MAX_PARTIES, Party, Roster};
pub use scheme::{
    Combiner, GroupKey, KeyShare, Scheme, SecretBytes, Step, group_key_from_bytes,
    key_share_from_bytes,
};
pub use session::{KeyId, MAX_BATCH, Nonces, Session};
