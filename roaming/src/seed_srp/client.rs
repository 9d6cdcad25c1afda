//! The client of the text's scheme.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crypto_bigint::U2048;
use rand_core::CryptoRngCore;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::group::{Group, Residue, bytes, encode};
use super::server::{Answer, Record, open};
use super::{ElementBytes, SrpError};
use crate::Password;

/// What comes of a set-up: the servers' records, in the order of their indices from 1 on, and the
/// key H(x) for the value.
#[allow(clippy::exhaustive_structs, reason = "it is taken apart at once")]
pub struct Dealt {
    /// One for each server.
    pub records: Vec<Record>,
    /// H(x).
    pub key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Dealt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dealt").field("records", &self.records.len()).finish_non_exhaustive()
    }
}

/// Makes the records of n servers, of which `threshold` (the text's k) give S. Paper: "Setup & Encryption".
///
/// # Errors
/// [`SrpError::Indices`] unless 1 <= threshold <= n <= 256.
pub fn setup(
    password: &Password,
    threshold: usize,
    n: u16,
    rng: &mut dyn CryptoRngCore,
) -> Result<Dealt, SrpError> {
    if threshold == 0 || threshold > usize::from(n) || usize::from(n) > crate::MAX_NODES {
        return Err(SrpError::Indices);
    }
    let group = Group::new();
    let mut salt = [0; 32];
    rng.fill_bytes(&mut salt);
    let polynomial: Result<Vec<_>, _> = (0..threshold).map(|_| group.random(rng)).collect();
    deal(&group, password, salt, &polynomial?, n)
}

/// From the coefficients, S first.
pub(super) fn deal(
    group: &Group,
    password: &Password,
    salt: [u8; 32],
    polynomial: &[Zeroizing<U2048>],
    n: u16,
) -> Result<Dealt, SrpError> {
    let secret = polynomial.first().ok_or(SrpError::Indices)?;
    let x = exponent(group, password, &salt, &group.power(secret))?;
    let v = encode(&group.power(&x));
    let mask = group.mask(password.as_bytes());
    let record = |index: u16| {
        let at = group.modulo_q(&U2048::from(index));
        let mut value = group.modulo_q(&U2048::ZERO);
        for coefficient in polynomial.iter().rev() {
            value = value.mul(&at).add(&group.modulo_q(coefficient));
        }
        Record { y: Zeroizing::new(value.add(&mask).retrieve()), v, salt }
    };
    Ok(Dealt { records: (1..=n).map(record).collect(), key: value_key(&x) })
}

/// x = pi g^S mod p, pi = h(salt, passwd).
pub(super) fn exponent(
    group: &Group,
    password: &Password,
    salt: &[u8; 32],
    g_to_s: &Residue,
) -> Result<Zeroizing<U2048>, SrpError> {
    let pi = group.hash_p(b"salted password", &[salt, password.as_bytes()]);
    let x = Zeroizing::new(pi.mul(g_to_s).retrieve());
    if bool::from(x.is_zero()) { Err(SrpError::Zero) } else { Ok(x) }
}

/// H(x), which encrypts the value.
fn value_key(x: &U2048) -> Zeroizing<[u8; 32]> {
    let hash = Sha256::new().chain_update(b"bftkv seed-srp value").chain_update(bytes(x));
    Zeroizing::new(hash.finalize().into())
}

/// A login: answers go in until it opens. No IO, no clock; randomness is handed in.
pub struct Login {
    group: Group,
    password: Password,
    /// The text's k = f+1.
    threshold: usize,
    /// The text's 2f+1.
    needed: usize,
    n: u16,
    /// a.
    secret: Zeroizing<U2048>,
    /// X.
    element: ElementBytes,
    answers: BTreeMap<u16, Answer>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("answers", &self.answers.len()).finish_non_exhaustive()
    }
}

/// What a login gives.
#[non_exhaustive]
pub struct Opened {
    /// SS: the proofs of the servers, by index.
    pub proofs: BTreeMap<u16, Vec<u8>>,
    /// H(x).
    pub key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("proofs", &self.proofs.len()).finish_non_exhaustive()
    }
}

impl Login {
    /// Begins a login at n servers of which at most f are faulty: f+1 answers give the secret,
    /// 2f+1 proofs are enough.
    ///
    /// # Errors
    /// [`SrpError::Indices`] unless 2f+1 <= n <= 256.
    pub fn new(
        password: Password,
        faulty: usize,
        n: u16,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Self, SrpError> {
        let group = Group::new();
        let secret = group.random(rng)?;
        Self::with_secret(group, password, faulty, n, secret)
    }

    pub(super) fn with_secret(
        group: Group,
        password: Password,
        faulty: usize,
        n: u16,
        secret: Zeroizing<U2048>,
    ) -> Result<Self, SrpError> {
        let threshold = faulty.saturating_add(1);
        let needed = faulty.saturating_add(threshold);
        if needed > usize::from(n) || usize::from(n) > crate::MAX_NODES {
            return Err(SrpError::Indices);
        }
        let mut login = Self {
            element: [0; super::NUMBER_BYTES],
            answers: BTreeMap::new(),
            group,
            password,
            threshold,
            needed,
            n,
            secret,
        };
        login.element = encode(&login.group.power(&login.masked()));
        Ok(login)
    }

    /// a' = a - g^pi' mod q.
    fn masked(&self) -> Zeroizing<U2048> {
        let mask = self.group.mask(self.password.as_bytes());
        Zeroizing::new(self.group.modulo_q(&self.secret).sub(&mask).retrieve())
    }

    /// X, which goes to every server.
    #[must_use]
    pub fn element(&self) -> &ElementBytes {
        &self.element
    }

    /// Takes the answer of the server with this index, which the client knows from its own list
    /// and never from the answer.
    ///
    /// # Errors
    /// [`SrpError`]: the server's fault. The answer is dropped.
    pub fn take(&mut self, index: u16, answer: Answer) -> Result<(), SrpError> {
        if index == 0 || index > self.n || self.answers.contains_key(&index) {
            return Err(SrpError::Indices);
        }
        self.group.element(&answer.y)?;
        self.group.number(&answer.b)?;
        self.group.scrambler(&self.element, &answer.b)?;
        self.answers.insert(index, answer);
        Ok(())
    }

    /// Combines what has come: f+1 answers give x, and with it every proof opens. A single wrong
    /// answer among the first f+1 spoils everything, and the scheme cannot tell whose it was.
    ///
    /// # Errors
    /// [`SrpError::TooFew`]: wait for more. [`SrpError::WrongPassword`].
    pub fn open(&self) -> Result<Opened, SrpError> {
        let have = self.answers.len();
        if have < self.needed {
            return Err(SrpError::TooFew { have, need: self.needed });
        }
        let g_to_s = self.combine()?;
        let mut proofs = BTreeMap::new();
        let mut key = None;
        for (index, answer) in &self.answers {
            let x = exponent(&self.group, &self.password, &answer.salt, &g_to_s)?;
            let Ok(shared) = self.shared(answer, &x) else { continue };
            if let Some(proof) = open(&shared, &self.element, &answer.b, &answer.sealed) {
                proofs.insert(*index, proof);
                key = Some(value_key(&x));
            }
        }
        match key {
            Some(key) if proofs.len() >= self.needed => Ok(Opened { proofs, key }),
            _ => Err(SrpError::WrongPassword),
        }
    }

    /// g^S, from g^f(i) = Y_i / g^a of the first f+1 servers.
    pub(super) fn combine(&self) -> Result<Residue, SrpError> {
        let indices: Vec<u16> = self.answers.keys().copied().take(self.threshold).collect();
        debug_assert_eq!(indices.iter().collect::<BTreeSet<_>>().len(), indices.len());
        let inverse = self.group.power(&self.secret).invert().into_option();
        let inverse = inverse.ok_or(SrpError::Zero)?;
        let mut product = self.group.modulo_p(&U2048::ONE);
        for (index, answer) in self.answers.iter().take(self.threshold) {
            let share = self.group.element(&answer.y)?.mul(&inverse);
            product = product.mul(&share.pow(&self.group.lagrange(*index, &indices)?));
        }
        Ok(product)
    }

    /// KS_i = (B_i - k g^x)^(a' + u x).
    pub(super) fn shared(
        &self,
        answer: &Answer,
        x: &U2048,
    ) -> Result<Zeroizing<ElementBytes>, SrpError> {
        let u = self.group.scrambler(&self.element, &answer.b)?;
        let verifier = self.group.multiplier().mul(&self.group.power(x));
        let base = encode(&self.group.number(&answer.b)?.sub(&verifier));
        // With the right x this is g^b_i; anything outside of the group is a lie or a wrong guess.
        let base = self.group.element(&base)?;
        let product = self.group.modulo_q(&u).mul(&self.group.modulo_q(x));
        let power = self.group.modulo_q(&self.masked()).add(&product);
        let power = Zeroizing::new(power.retrieve());
        Ok(Zeroizing::new(encode(&base.pow(&power))))
    }
}
