//! What is true of one variable, given what members claim.

use std::collections::{BTreeMap, BTreeSet};

use super::all_groups;
use crate::client::Fault;
use crate::{
    Abandon, Address, Batch, CertifiedEntry, Configuration, Configurations, EntryHash,
    EquivocationProof, Identities, Invalid, Marks, NodeId, Purpose, Slot, Timestamp, Variable,
    VariableState, Verify, VerifyError, verify_certified,
};

/// How far a timestamp that nothing proves is believed beyond what is proven: 2^15. Honest members
/// have proofs but for what an operator cleared; a writer steps over so much in one try.
pub(super) const MAX_UNPROVEN: u64 = 1 << 15;

/// What one member claims to remember of a variable.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) from: NodeId,
    pub(super) marks: Marks,
    pub(super) latest: Option<Box<CertifiedEntry>>,
}

/// What a quorum remembers of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// x.
    pub variable: Variable,
    /// The newest certified entry.
    pub latest: Option<CertifiedEntry>,
    /// What signers must know of x.
    pub marks: Marks,
}

impl Recovered {
    /// Joins this with what the store has: of both, the stricter. Nothing that the store knows is
    /// lost, so an old copy of a store may be completed as well as an empty one.
    ///
    /// An own copy of the newest entry stays: its S may be the better one.
    ///
    /// Rule R3 repeats a slot only if t >= seen(x). So seen(x) is raised above every slot that was
    /// read back and is not this member's own: those slots block other owners until they are
    /// settled, but the server never signs them as if it only repeated itself. It must not, because
    /// two members may tell of two values at one timestamp, and of two owners, and because this
    /// member may have signed another value there before it forgot. The writer gets
    /// [`crate::Refusal::OldTimestamp`] and tries a later one.
    #[must_use]
    pub fn join(self, local: &VariableState) -> Batch {
        let newest = self.latest.iter().chain(&local.latest).map(CertifiedEntry::timestamp).max();
        let certified = newest.unwrap_or_default();
        let mut marks = unite(certified, [self.marks, local.marks.clone()]);
        let is_foreign = |slot: &&Slot| !local.marks.slots.contains(slot);
        let foreign = marks.slots.iter().filter(is_foreign).map(|slot| slot.timestamp).max();
        let above = foreign.map_or(Timestamp::ZERO, |t| t.saturating_add(1));
        marks.seen = marks.seen.max(certified).max(above).min(Timestamp::MAX);
        let own = local.latest.as_ref().map(CertifiedEntry::hash);
        Batch {
            entries: self.latest.into_iter().filter(|told| Some(told.hash()) != own).collect(),
            marks: vec![(self.variable, marks)],
            ..Batch::default()
        }
    }
}

/// What is decided of a variable.
pub(super) struct Verdict {
    pub(super) recovered: Option<Recovered>,
    pub(super) culprits: BTreeMap<NodeId, Fault>,
    pub(super) proofs: Vec<EquivocationProof>,
}

/// Decides one variable.
pub(super) struct Judge<'a> {
    pub(super) configuration: &'a Configuration,
    pub(super) known: &'a Configurations,
    pub(super) variable: &'a Variable,
    pub(super) keys: &'a dyn Verify,
    pub(super) identities: &'a dyn Identities,
    /// Whether a certificate was looked for often enough.
    pub(super) given_up: &'a dyn Fn(&NodeId) -> bool,
}

/// Certificates that are missing to decide.
type Missing = BTreeSet<NodeId>;

impl Judge<'_> {
    /// What the claims prove, or which certificates are missing to say so.
    pub(super) fn judge(&self, claims: &[Claim]) -> Result<Verdict, Missing> {
        let mut culprits = BTreeMap::new();
        let (latest, proofs) = self.newest(claims, &mut culprits)?;
        let mut missing = Missing::new();
        let mut proven: Vec<Marks> = Vec::new();
        for claim in claims {
            proven.push(self.proven(claim, &mut missing, &mut culprits));
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let certified = latest.as_ref().map_or(Timestamp::ZERO, CertifiedEntry::timestamp);
        let mut marks = unite(certified, proven);
        marks.seen = self.seen(claims, marks.seen.max(certified));
        let nothing = latest.is_none() && marks == Marks::default();
        let recovered =
            (!nothing).then(|| Recovered { variable: self.variable.clone(), latest, marks });
        Ok(Verdict { recovered, culprits, proofs })
    }

    /// The valid entry with the largest t. Two of them with one t are an equivocation.
    fn newest(
        &self,
        claims: &[Claim],
        culprits: &mut BTreeMap<NodeId, Fault>,
    ) -> Result<(Option<CertifiedEntry>, Vec<EquivocationProof>), Missing> {
        let mut shown: Vec<(&NodeId, &CertifiedEntry)> =
            claims.iter().filter_map(|c| Some((&c.from, c.latest.as_deref()?))).collect();
        shown.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.timestamp()));
        let mut judged: BTreeMap<EntryHash, bool> = BTreeMap::new();
        let mut newest: Option<&CertifiedEntry> = None;
        let mut proofs = Vec::new();
        for (from, entry) in shown {
            if newest.is_some_and(|newest| entry.timestamp() < newest.timestamp()) {
                break;
            }
            let hash = entry.hash();
            // Entries that differ only in S are told apart by verifying each that is not valid.
            let valid = match judged.get(&hash) {
                Some(true) => true,
                _ => self.is_valid(entry)?,
            };
            judged.insert(hash, valid);
            if !valid {
                culprits.insert(from.clone(), Fault::BadEntry);
                continue;
            }
            match newest {
                Some(first) if first.hash() != hash => proofs
                    .extend(EquivocationProof::of_certified(first, entry, self.known, self.keys)),
                Some(_) => {}
                None => newest = Some(entry),
            }
        }
        Ok((newest.cloned(), proofs))
    }

    fn is_valid(&self, entry: &CertifiedEntry) -> Result<bool, Missing> {
        if entry.variable() != self.variable {
            return Ok(false);
        }
        match verify_certified(entry, self.known, self.keys) {
            Ok(()) => Ok(true),
            Err(invalid) => match invalid.missing_certificate() {
                Some(id) if !(self.given_up)(id) => Err(Missing::from([id.clone()])),
                _ => Ok(false),
            },
        }
    }

    /// The slots and abandon messages of a claim that prove themselves.
    fn proven(
        &self,
        claim: &Claim,
        missing: &mut Missing,
        culprits: &mut BTreeMap<NodeId, Fault>,
    ) -> Marks {
        let mut keep = |outcome: Result<bool, VerifyError>| match outcome {
            Ok(counts) => counts,
            Err(VerifyError::UnknownCertificate(id)) => {
                missing.insert(id);
                false
            }
            Err(_) => {
                culprits.entry(claim.from.clone()).or_insert(Fault::BadMemory);
                false
            }
        };
        let newest = claim.marks.slots.iter().rev().take(Slot::MAX_RECALLED);
        let slots: Vec<Slot> = newest.filter(|slot| keep(self.check_slot(slot))).cloned().collect();
        let newest = claim.marks.abandons.iter().rev().take(Marks::MAX_ABANDONS);
        let abandons: Vec<Abandon> =
            newest.filter(|abandon| keep(self.check_abandon(abandon))).cloned().collect();
        let times = slots.iter().map(|s| s.timestamp);
        let seen = times.chain(abandons.iter().map(|a| a.attempt.timestamp)).max();
        Marks { seen: seen.unwrap_or_default(), slots, abandons }
    }

    fn check_slot(&self, slot: &Slot) -> Result<bool, VerifyError> {
        match slot.verify(self.configuration.realm(), self.variable, self.keys) {
            Ok(()) => self.check_writer(&slot.writer, &slot.owner),
            Err(Invalid::Writer(error)) => self.unless_given_up(error),
            Err(_) => Err(bad(&slot.writer, "a slot that does not fit its hash")),
        }
    }

    fn check_abandon(&self, abandon: &Abandon) -> Result<bool, VerifyError> {
        let attempt = &abandon.attempt;
        if abandon.realm != *self.configuration.realm()
            || attempt.variable != *self.variable
            || !attempt.timestamp.is_usable()
        {
            return Err(bad(&abandon.writer, "an abandon message of something else"));
        }
        let bytes = abandon.signed_bytes();
        match self.keys.verify(&abandon.writer, Purpose::Abandon, &bytes, &abandon.signature) {
            Ok(()) => self.check_writer(&abandon.writer, &abandon.owner),
            Err(error) => self.unless_given_up(error),
        }
    }

    /// An honest member signs and gives up attempts of such writers only. It may know
    /// certifications that are not known here: they are looked for, and nobody is blamed.
    fn check_writer(&self, writer: &NodeId, owner: &Address) -> Result<bool, VerifyError> {
        if self.variable.reserved_for().is_some_and(|id| id != *writer) {
            return Ok(false);
        }
        if self.identities.had_quorum_certificate(writer, owner) {
            return Ok(true);
        }
        // The claim of a user ID is made without one. Whether a member should have signed it cannot
        // be told from here; to remember one too many is safe.
        let is_claim = Address::of_applicant(writer).is_ok_and(|one| one == *owner);
        if is_claim && self.variable.user().is_some() {
            return Ok(true);
        }
        self.unless_given_up(VerifyError::UnknownCertificate(writer.clone()))
    }

    /// A certificate that nobody could show is worth nothing.
    fn unless_given_up(&self, error: VerifyError) -> Result<bool, VerifyError> {
        match error {
            VerifyError::UnknownCertificate(id) if (self.given_up)(&id) => Ok(false),
            other => Err(other),
        }
    }

    /// seen(x): what is proven, and of what is only said a little more. What b+1 members of one
    /// group say has an honest one among them.
    fn seen(&self, claims: &[Claim], proven: Timestamp) -> Timestamp {
        let attested = all_groups(self.configuration).map(|group| {
            let of_group = claims.iter().filter(|claim| group.contains(&claim.from));
            let mut said: Vec<Timestamp> = of_group.map(|claim| claim.marks.seen).collect();
            said.sort_unstable_by(|a, b| b.cmp(a));
            said.get(group.thresholds().b()).copied().unwrap_or_default()
        });
        let proven = attested.fold(proven, Timestamp::max).min(Timestamp::MAX);
        let said = claims.iter().map(|claim| claim.marks.seen).max().unwrap_or_default();
        proven.max(said.min(proven.saturating_add(MAX_UNPROVEN)))
    }
}

fn bad(signer: &NodeId, reason: &str) -> VerifyError {
    VerifyError::Bad { signer: signer.clone(), reason: reason.to_owned() }
}

/// Everything that any of several memories holds and that is not settled by an entry at
/// `certified`.
fn unite(certified: Timestamp, all: impl IntoIterator<Item = Marks>) -> Marks {
    let mut united = Marks::default();
    for marks in all {
        united.seen = united.seen.max(marks.seen);
        united.slots.extend(marks.slots);
        united.abandons.extend(marks.abandons);
    }
    united.abandons.sort_by(|a, b| key_of(a).cmp(&key_of(b)));
    united.abandons.dedup_by(|a, b| key_of(a) == key_of(b));
    let gone = |slot: &Slot| {
        let gives_up = |abandon: &Abandon| {
            abandon.attempt.timestamp == slot.timestamp
                && abandon.attempt.hash == slot.hash
                && abandon.writer == slot.writer
        };
        !slot.is_final && united.abandons.iter().any(gives_up)
    };
    united.slots.retain(|slot| slot.timestamp > certified && !gone(slot));
    united.slots.sort_by_key(|slot| (slot.timestamp, slot.hash));
    united.slots.dedup_by_key(|slot| (slot.timestamp, slot.hash));
    united.abandons.retain(|abandon| abandon.attempt.timestamp > certified);
    keep_newest(&mut united.slots, crate::limited::MAX_LIST);
    keep_newest(&mut united.abandons, Marks::MAX_ABANDONS);
    united
}

fn key_of(abandon: &Abandon) -> (Timestamp, EntryHash, &NodeId) {
    (abandon.attempt.timestamp, abandon.attempt.hash, &abandon.writer)
}

/// Older ones yield to the limit; their timestamps stay covered by seen(x).
fn keep_newest<T>(list: &mut Vec<T>, limit: usize) {
    let extra = list.len().saturating_sub(limit);
    list.drain(..extra);
}
