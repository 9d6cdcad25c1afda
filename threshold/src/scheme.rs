//! One interface for all schemes.

use std::collections::BTreeMap;
use std::fmt;

use crate::codec::Reader;
use crate::rand_core::CryptoRngCore;
use crate::{Error, KeyId, Nonces, Offence, Party, Roster, Session, ecdsa, ed25519, rsa};

/// Bytes that hold a secret: wiped when dropped. They must be sealed before they leave the
/// process's memory; this crate does no sealing.
pub type SecretBytes = zeroize::Zeroizing<Vec<u8>>;

/// Which scheme a key is of. The number stands in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum Scheme {
    /// RSA PKCS#1 v1.5 with SHA-256, after Shoup (2000).
    Rsa = 8,
    /// ECDSA P-256 with SHA-256, after Groth and Shoup (2022).
    EcdsaP256 = 13,
    /// Ed25519, by FROST (RFC 9591).
    Ed25519 = 15,
}

/// The public part of a key. Everybody has it; it verifies signatures and finds liars.
pub trait GroupKey: fmt::Debug + Send + Sync {
    /// Which scheme.
    fn scheme(&self) -> Scheme;

    /// The hash of everything in the public part.
    fn id(&self) -> KeyId;

    /// Who holds shares, and how many sign.
    fn roster(&self) -> &Roster;

    /// Whether this is a signature of the key over the message, as any ordinary verifier of the
    /// scheme would say.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool;

    /// Whether these are commitments to nonces for so many messages, before a session is made
    /// with them. Schemes with one round have none: the bytes must be empty.
    ///
    /// # Errors
    ///
    /// [`Error::Caught`] with [`Offence::Malformed`]: the party's fault.
    /// [`Error::NoSuchParty`].
    fn check_commitments(&self, party: Party, bytes: &[u8], messages: usize) -> Result<(), Error>;

    /// Begins to put partial signatures together.
    ///
    /// # Errors
    ///
    /// [`Error::OtherKey`]; for schemes with two rounds also what
    /// [`GroupKey::check_commitments`] says, and [`Error::TooFew`].
    fn combiner(&self, session: &Session) -> Result<Box<dyn Combiner>, Error>;

    /// The public part as bytes.
    fn to_bytes(&self) -> Vec<u8>;
}

/// One party's share of a key. Secret: wiped when dropped, and not shown by `Debug`.
pub trait KeyShare: fmt::Debug + Send + Sync {
    /// Whose share.
    fn party(&self) -> Party;

    /// The public part of the key, as a trait object.
    fn group(&self) -> &dyn GroupKey;

    /// Round 1: nonces, to be kept, and commitments to them, to be sent. It can be done ahead of
    /// need, before the messages are known. Schemes with one round give empty commitments.
    ///
    /// # Errors
    ///
    /// [`Error::BatchSize`]; [`Error::NoSuchStep`] if nonces cannot be made by one party alone
    /// ([`crate::ecdsa`]).
    fn commit(
        &self,
        messages: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<(Nonces, Vec<u8>), Error>;

    /// Begins to make `count` presignatures with others, for schemes whose nonces cannot be made by
    /// one party alone; gives our first package for the others.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStep`] for all other schemes; [`Error::BatchSize`].
    fn presign(
        &self,
        _count: usize,
        _rng: &mut dyn CryptoRngCore,
    ) -> Result<(ecdsa::Presign, Vec<u8>), Error> {
        Err(Error::NoSuchStep)
    }

    /// The last round: one partial signature for each message, in one piece.
    ///
    /// The caller has checked that the messages are to be signed.
    ///
    /// # Errors
    ///
    /// [`Error::OtherKey`], [`Error::OtherNonces`], [`Error::BatchSize`], and what
    /// [`GroupKey::combiner`] says of the session. The nonces are gone in any case.
    fn sign(&self, nonces: Nonces, session: &Session) -> Result<Vec<u8>, Error>;

    /// A proof that our partial signature of the message with this number is right, for
    /// [`Step::Prove`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchStep`] if the scheme needs none; [`Error::OtherKey`];
    /// [`Error::BatchSize`].
    fn prove(
        &self,
        session: &Session,
        message: usize,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Vec<u8>, Error>;

    /// The share with the public part, to be sealed and kept. [`key_share_from_bytes`] reads it.
    fn to_secret_bytes(&self) -> SecretBytes;
}

/// What a [`Combiner`] needs next.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
#[non_exhaustive]
pub enum Step {
    /// Partial signatures of so many more parties. If no more can come, the session has failed.
    Wait {
        /// How many more.
        more: usize,
    },
    /// Some partial signature of this message is wrong. Ask these parties for a proof of theirs;
    /// whoever does not answer is given up by [`Combiner::give_up`].
    Prove {
        /// The number of the message.
        message: usize,
        /// Whom to ask.
        from: Vec<Party>,
    },
    /// The session's signers were fixed and one of them lied ([`Combiner::culprits`]): make
    /// another session without the liars, with fresh nonces.
    Restart,
    /// One signature for each message, all verified.
    Done(Vec<Vec<u8>>),
}

/// Puts partial signatures together. Who lies is named, and only who lies: a combiner blames a
/// party for bytes that were handed in under its name, never for silence.
pub trait Combiner: fmt::Debug + Send + Sync {
    /// Takes a party's partial signatures. They are not verified one by one: [`Combiner::step`]
    /// verifies the result and looks for the liar only if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchParty`] (also for a party that is no signer of the session): ignored.
    /// [`Error::Repeated`]: the first counts. [`Error::Caught`]: malformed; named from now on.
    fn add(&mut self, party: Party, partials: &[u8]) -> Result<(), Error>;

    /// Takes a party's proof of its partial signature of a message.
    ///
    /// # Errors
    ///
    /// [`Error::Unasked`]: ignored. [`Error::Caught`]: the proof or the partial signature is
    /// wrong; the party is named from now on.
    fn add_proof(&mut self, party: Party, message: usize, proof: &[u8]) -> Result<(), Error>;

    /// Goes on without a party that does not answer, and without blaming it.
    fn give_up(&mut self, party: Party);

    /// Does what can be done with what is there, and says what is needed next.
    ///
    /// # Errors
    ///
    /// [`Error::Inconsistent`]: every partial signature is proven and still the signature is
    /// wrong. The key was badly dealt; nobody of the session is to blame.
    fn step(&mut self) -> Result<Step, Error>;

    /// Who lied so far, and with what.
    fn culprits(&self) -> &BTreeMap<Party, Offence>;
}

/// Reads a share of any scheme, as [`KeyShare::to_secret_bytes`] wrote it, and checks it against
/// its public part.
///
/// # Errors
///
/// [`Error::Malformed`] for anything but the one right encoding; [`Error::Inconsistent`] if the
/// share is not the one that the public part says.
pub fn key_share_from_bytes(bytes: &[u8]) -> Result<Box<dyn KeyShare>, Error> {
    match Reader::new(bytes, "key share").u8()? {
        8 => Ok(Box::new(rsa::RsaShare::from_secret_bytes(bytes)?)),
        13 => Ok(Box::new(ecdsa::EcdsaShare::from_secret_bytes(bytes)?)),
        15 => Ok(Box::new(ed25519::Ed25519Share::from_secret_bytes(bytes)?)),
        _ => Err(Error::Malformed("key share")),
    }
}

/// Reads the public part of a key of any scheme, as [`GroupKey::to_bytes`] wrote it.
///
/// # Errors
///
/// [`Error::Malformed`] for anything but the one right encoding; [`Error::Threshold`],
/// [`Error::Primes`] or [`Error::Inconsistent`] if it can be no key.
pub fn group_key_from_bytes(bytes: &[u8]) -> Result<Box<dyn GroupKey>, Error> {
    match Reader::new(bytes, "key").u8()? {
        8 => Ok(Box::new(rsa::RsaKey::from_bytes(bytes)?)),
        13 => Ok(Box::new(ecdsa::EcdsaKey::from_bytes(bytes)?)),
        15 => Ok(Box::new(ed25519::Ed25519Key::from_bytes(bytes)?)),
        _ => Err(Error::Malformed("key")),
    }
}
