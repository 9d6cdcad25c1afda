//! The password record: what everybody may know of a password.

use std::collections::BTreeSet;

use bftkv_protocol::{
    ElementBytes, NodeId, Realm, RecordBytes, RecordId, Thresholds, Variable, decode, encode,
};
use rand_core::CryptoRngCore;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::oprf::Blinded;
use crate::sharing::{Commitments, Index, Share, deal};
use crate::stretch::{Keys, Stretching};
use crate::{Error, MAX_NODES, Password, group};

/// The only suite: ristretto255 and SHA-512, Argon2id, HKDF with SHA-512, XChaCha20-Poly1305, Ed25519.
const SUITE: u8 = 1;

/// How many servers are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Rule {
    /// t = 2b+1: fewer stolen servers tell nothing; b silent ones, or at n > 3b+1 more, do no harm.
    #[default]
    Majority,
    /// t = n-b: as many as can be had with b of them silent.
    Most,
}

impl Rule {
    /// t for n servers.
    #[must_use]
    pub fn threshold(self, n: usize) -> usize {
        let b = Thresholds::of(n).b();
        match self {
            Self::Majority => b.saturating_mul(2).saturating_add(1),
            Self::Most => n.saturating_sub(b),
        }
    }

    /// Whether n servers can follow this rule as something of its own: where n = 3b+1, n-b is 2b+1.
    ///
    /// # Errors
    /// [`Error::NoChoice`]: they cannot. The caller's fault.
    pub fn check(self, n: usize) -> Result<(), Error> {
        let is_same = self.threshold(n) == Self::Majority.threshold(n);
        if self == Self::Most && is_same { Err(Error::NoChoice { n }) } else { Ok(()) }
    }
}

/// Everything in a record but the public key, which follows from it and the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Core {
    suite: u8,
    realm: Realm,
    variable: Variable,
    epoch: u64,
    nodes: Vec<NodeId>,
    commitments: Vec<ElementBytes>,
    stretching: Stretching,
    salt: [u8; 32],
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Fields {
    core: Core,
    auth: [u8; 32],
}

/// A password record that holds together. It is certified as part of its variable's value, so
/// servers cannot lie about it; it tells nothing that a guess could be checked by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    fields: Fields,
    commitments: Commitments,
    id: RecordId,
}

/// What a new record is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers fill in every field")]
pub struct Plan {
    /// The realm.
    pub realm: Realm,
    /// The variable of which it will be a part.
    pub variable: Variable,
    /// One more than the epoch of the record that it replaces; 1 for the first.
    pub epoch: u64,
    /// The servers, in the order of their shares.
    pub nodes: Vec<NodeId>,
    /// How many of them are needed.
    pub rule: Rule,
    /// How hard Argon2id works; brought within the limits.
    pub stretching: Stretching,
}

/// A record that was just made, with everything that its maker knows.
#[derive(Debug)]
#[non_exhaustive]
pub struct Enrolled {
    /// The record.
    pub record: Record,
    /// The servers' shares, in the order of the record's nodes.
    pub shares: Vec<Share>,
    /// The keys.
    pub keys: Keys,
}

impl Record {
    /// Makes a record for a password, with a fresh key split among the servers. Runs Argon2id.
    ///
    /// # Errors
    /// [`Error::Record`] for a plan that no record can follow; [`Error::Memory`];
    /// [`Error::Randomness`].
    pub fn enrol(
        plan: Plan,
        password: &Password,
        rng: &mut dyn CryptoRngCore,
    ) -> Result<Enrolled, Error> {
        let n = plan.nodes.len();
        let threshold = plan.rule.threshold(n);
        let (commitments, shares) = deal(threshold, n, rng)?;
        let mut salt = [0; 32];
        group::fill(rng, &mut salt)?;
        let core = Core {
            suite: SUITE,
            realm: plan.realm,
            variable: plan.variable,
            epoch: plan.epoch,
            nodes: plan.nodes,
            commitments: commitments.to_bytes(),
            stretching: plan.stretching.clamped(),
            salt,
        };
        check(&core)?;
        let output = evaluate_alone(&shares, threshold, password, rng)?;
        let keys = core.keys(&output)?;
        let record = Self::of(Fields { core, auth: keys.public() })?;
        Ok(Enrolled { record, shares, keys })
    }

    fn of(fields: Fields) -> Result<Self, Error> {
        check(&fields.core)?;
        let commitments = Commitments::from_bytes(&fields.core.commitments)?;
        let bytes = encode(&fields);
        let id = digest(b"bftkv 1 password record", &bytes);
        Ok(Self { fields, commitments, id: RecordId::from_bytes(id) })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// The writer's fault: it does not hold together, or asks for too much or too little of
    /// Argon2id.
    pub fn from_bytes(bytes: &RecordBytes) -> Result<Self, Error> {
        let fields = decode(bytes.as_bytes()).map_err(|_| Error::Record("it does not decode"))?;
        Self::of(fields)
    }

    /// Its canonical bytes.
    ///
    /// # Errors
    /// [`Error::Record`]: it is too long, which no record of at most [`MAX_NODES`] servers is.
    pub fn to_bytes(&self) -> Result<RecordBytes, Error> {
        RecordBytes::new(encode(&self.fields)).map_err(|_| Error::Record("it is too long"))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &Realm {
        &self.fields.core.realm
    }

    /// The variable.
    #[must_use]
    pub fn variable(&self) -> &Variable {
        &self.fields.core.variable
    }

    /// Counts the records of the variable.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.fields.core.epoch
    }

    /// The servers, in the order of their shares.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.fields.core.nodes
    }

    /// The place of a server.
    #[must_use]
    pub fn index_of(&self, node: &NodeId) -> Option<Index> {
        let place = self.nodes().iter().position(|one| one == node)?;
        Index::new(u16::try_from(place.checked_add(1)?).ok()?).ok()
    }

    /// The commitments to the shares.
    #[must_use]
    pub fn commitments(&self) -> &Commitments {
        &self.commitments
    }

    /// t: how many servers are needed.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.commitments.threshold()
    }

    /// n, b and q of its servers.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        Thresholds::of(self.nodes().len())
    }

    /// How many servers must hold their shares for good: t+b, so that t honest ones do whatever b
    /// liars say; at n = 3b+1 these are all. With b = 0 a quorum is more, and only who holds a share signs.
    #[must_use]
    pub fn complete_at(&self) -> usize {
        let thresholds = self.thresholds();
        let enough = self.threshold().saturating_add(thresholds.b()).max(thresholds.q());
        enough.min(self.nodes().len())
    }

    /// Whether fewer servers than [`Record::complete_at`] hold their shares, if so many do not: then
    /// shares are to be dealt again at the next login. Where n > 3b+1, b liars alone do not bring
    /// that about.
    #[must_use]
    pub fn is_degraded(&self, lacking: usize) -> bool {
        self.nodes().len().saturating_sub(lacking) < self.complete_at()
    }

    /// The rule that its threshold follows. Where both are the same number, the default.
    #[must_use]
    pub fn rule(&self) -> Rule {
        let majority = Rule::Majority.threshold(self.nodes().len());
        if self.threshold() == majority { Rule::Majority } else { Rule::Most }
    }

    /// How hard Argon2id works.
    #[must_use]
    pub fn stretching(&self) -> Stretching {
        self.fields.core.stretching
    }

    /// The public key of the password: whoever can sign with it knows the password.
    #[must_use]
    pub fn auth(&self) -> &[u8; 32] {
        &self.fields.auth
    }

    /// Derives the keys from the function's output; `None` if the password was wrong. Runs
    /// Argon2id.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn keys(&self, output: &[u8; 64]) -> Result<Option<Keys>, Error> {
        let keys = self.fields.core.keys(output)?;
        // Differs: the public key stands in for a confirmation tag; it says the same.
        let right: bool = keys.public().ct_eq(&self.fields.auth).into();
        Ok(right.then_some(keys))
    }
}

impl Core {
    fn keys(&self, output: &[u8; 64]) -> Result<Keys, Error> {
        let context = digest(b"bftkv 1 password core", &encode(self));
        Keys::derive(output, &self.salt, self.stretching, &context)
    }
}

/// Whether the parts fit each other.
fn check(core: &Core) -> Result<(), Error> {
    let n = core.nodes.len();
    let t = core.commitments.len();
    if core.suite != SUITE {
        return Err(Error::Record("its suite is not known here"));
    }
    if n == 0 || n > MAX_NODES {
        return Err(Error::Record("it names no servers, or too many"));
    }
    if core.nodes.iter().collect::<BTreeSet<_>>().len() != n {
        return Err(Error::Record("it names a server twice"));
    }
    if ![Rule::Majority, Rule::Most].iter().any(|rule| rule.threshold(n) == t) {
        return Err(Error::Record("its threshold is neither 2b+1 nor n-b"));
    }
    if core.epoch == 0 {
        return Err(Error::Record("its epoch is 0"));
    }
    core.stretching.check()
}

/// The dealer has all shares: it computes the function by itself, as the servers would.
fn evaluate_alone(
    shares: &[Share],
    threshold: usize,
    password: &Password,
    rng: &mut dyn CryptoRngCore,
) -> Result<Zeroizing<[u8; 64]>, Error> {
    let blinded = Blinded::new(password, rng)?;
    let evaluations = shares.iter().take(threshold).map(|share| blinded.evaluate_alone(share));
    blinded.finish(password, threshold, &evaluations.collect())
}

fn digest(domain: &[u8], bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(domain).chain_update(bytes).finalize().into()
}
