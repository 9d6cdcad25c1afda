//! What is decided of one request, given what is stored.

use bftkv_protocol::{
    Address, CertifiedEntry, ElementBytes, Entry, Evaluated, Identities, LoginProof, NodeId, Nonce,
    RecordBytes, Refusal, RoamingAnswer, RoamingRefusal, RoamingRequest, SecretShare, Timestamp,
    Variable, VariableState, Vault,
};
use rand_core::CryptoRngCore;

use super::ledger::{Class, Kept, Ledger, Session};
use crate::oprf::evaluate;
use crate::protected::Protected;
use crate::record::Record;
use crate::sharing::{Index, Share};
use crate::{Error, group, login};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills it in")]
pub struct Asker {
    /// The certificate, as the transport has checked it.
    pub id: NodeId,
    /// The address in its user ID.
    pub address: Option<Address>,
    /// Whether this member accepts it as an applicant for the user ID whose record the variable is
    /// ([`crate::registration::Registrar::apply`]).
    pub is_applicant: bool,
}

/// One request and its circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills it in")]
pub struct Asked {
    /// Who asks.
    pub asker: Asker,
    /// What.
    pub request: RoamingRequest,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Which of its memories the node speaks from: one more each time it lost one.
    pub memory: u64,
    /// A random number, never used before.
    pub nonce: Nonce,
}

/// An entry with a password record that is about to be signed. `memory` and `now` are as in [`Asked`].
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills it in")]
pub struct Signing {
    /// The variable of the entry.
    pub variable: Variable,
    /// Its writer, who has signed it.
    pub writer: NodeId,
    /// Its owner, which the writer's certificate is certified for.
    pub owner: Address,
    /// t of the entry.
    pub timestamp: Timestamp,
    /// The record in its value.
    pub record: Record,
    /// Which of its memories the node speaks from.
    pub memory: u64,
    /// The time, in seconds since 1970.
    pub now: u64,
}

impl Signing {
    /// What is to be asked about an entry; `None` if its value is not under a password.
    #[must_use]
    pub fn of(entry: &Entry, memory: u64, now: u64) -> Option<Self> {
        let protected = Protected::from_value(&entry.value).ok()?;
        Some(Self {
            variable: entry.variable.clone(),
            writer: entry.writer.clone(),
            owner: entry.owner.clone(),
            timestamp: entry.timestamp,
            record: protected.record().clone(),
            memory,
            now,
        })
    }
}

/// What the store has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills it in")]
pub struct Loaded {
    /// The newest certified entry of the variable, and what the node has signed of it.
    pub state: VariableState,
    /// The shares and counters.
    pub vault: Option<Vault>,
}

/// What to answer once everything is on disk.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "the driver does all of them")]
pub enum Reply {
    /// This.
    Plain(Result<RoamingAnswer, Refusal>),
    /// What [`Evaluate::run`] gives. The attempt is counted.
    Evaluate(Evaluate),
}

impl Reply {
    pub(super) fn refuse(refusal: RoamingRefusal) -> Self {
        Self::Plain(Err(Refusal::Roaming(refusal)))
    }
}

/// An evaluation that may be made now: it is counted on disk.
#[derive(Debug)]
pub struct Evaluate {
    share: Share,
    element: ElementBytes,
    nonce: Nonce,
    left: u16,
}

impl Evaluate {
    /// Computes the answer, with its proof: about 0.2 ms.
    ///
    /// # Errors
    /// [`Refusal::StorageUnavailable`]: the system gives no randomness for the proof. The attempt stays
    /// counted; the same question again is free.
    pub fn run(&self, rng: &mut dyn CryptoRngCore) -> Result<RoamingAnswer, Refusal> {
        let evaluated = evaluate(&self.share, &self.element, rng);
        let (element, proof) = evaluated.map_err(|error| match error {
            Error::Randomness => Refusal::StorageUnavailable,
            // Looked at before it was counted, so it does not come to this.
            _ => Refusal::Roaming(RoamingRefusal::BadElement),
        })?;
        let (nonce, left) = (self.nonce, self.left);
        Ok(RoamingAnswer::Evaluated(Evaluated { element, proof: proof.to_bytes(), nonce, left }))
    }
}

/// The decision: what to store first, if anything, and what to answer then.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) vault: Option<Vault>,
    pub(super) reply: Reply,
}

impl Decision {
    /// What is stored cannot be read or written: nothing is given away.
    pub(super) fn unavailable() -> Self {
        Self { vault: None, reply: Reply::Plain(Err(Refusal::StorageUnavailable)) }
    }
}

/// Takes the share for the record that is certified now into use, and erases the one before.
pub(super) fn settle(loaded: Loaded, memory: u64, now: u64) -> Decision {
    let done = Reply::Plain(Ok(RoamingAnswer::Done));
    let (Some(record), Some(before)) = (certified_in(&loaded.state), loaded.vault) else {
        return Decision { vault: None, reply: done };
    };
    let Some(mut ledger) = Ledger::open(Some(&before), memory, now) else {
        return Decision::unavailable();
    };
    ledger.switch_to(record.id(), record.epoch(), outstanding(&loaded.state));
    let Some(vault) = ledger.to_vault() else { return Decision::unavailable() };
    Decision { vault: (vault != before).then_some(vault), reply: done }
}

/// Whether an entry with this record may be signed at this time: only by who holds its share, and keeps it
/// from then on. So of what is certified, q less b honest servers hold their shares until something newer is.
pub(super) fn before_signing(me: &NodeId, loaded: Loaded, signing: &Signing) -> Decision {
    let Signing { record, timestamp, memory, now, .. } = signing;
    let done = Reply::Plain(Ok(RoamingAnswer::Done));
    let latest = loaded.state.latest.as_ref().map(CertifiedEntry::entry);
    let is_others = latest.is_some_and(|l| l.writer != signing.writer && l.owner != signing.owner);
    // What somebody else wants signed is refused by rule R3, and keeps no share from being erased.
    if is_others || record.index_of(me).is_none() {
        return Decision { vault: None, reply: done };
    }
    let dealer = if latest.is_none() { Some(&signing.writer) } else { None };
    let Some(mut ledger) = Ledger::open(loaded.vault.as_ref(), *memory, *now) else {
        return Decision::unavailable();
    };
    if !ledger.sign_at(record.id(), dealer, *timestamp, outstanding(&loaded.state)) {
        return Decision { vault: None, reply: Reply::refuse(RoamingRefusal::NoShare) };
    }
    let Some(vault) = ledger.to_vault() else { return Decision::unavailable() };
    Decision { vault: (Some(&vault) != loaded.vault.as_ref()).then_some(vault), reply: done }
}

/// Whether an entry that the node may have signed at t can still become the newest: nothing newer is
/// certified, and it was neither given up nor, if it is not signed yet, overtaken.
fn outstanding(state: &VariableState) -> impl Fn(Timestamp) -> bool {
    let certified = state.latest.as_ref().map_or(Timestamp::ZERO, CertifiedEntry::timestamp);
    let marks = &state.marks;
    move |t| t > certified && (t > marks.seen || marks.slots.iter().any(|slot| slot.timestamp == t))
}

/// The password record that is certified now.
fn certified_in(state: &VariableState) -> Option<Record> {
    record_in(state.latest.as_ref()?)
}

/// The password record in an entry, if it has one.
fn record_in(entry: &CertifiedEntry) -> Option<Record> {
    Protected::from_value(&entry.entry().value).ok().map(|protected| protected.record().clone())
}

/// Decides.
pub(super) fn decide(
    me: &NodeId,
    asked: Asked,
    loaded: Loaded,
    identities: &dyn Identities,
) -> Decision {
    let Some(ledger) = Ledger::open(loaded.vault.as_ref(), asked.memory, asked.now) else {
        return Decision::unavailable();
    };
    let Asked { asker, request, now, nonce, .. } = asked;
    let user = request.variable().user();
    let state = loaded.state;
    let mut desk = Desk { me, ledger, asker, user, state, now, nonce, identities };
    let outcome = match request {
        RoamingRequest::Deal { variable, record, share } => desk.deal(&variable, &record, &share),
        RoamingRequest::Evaluate { record, element, .. } => desk.evaluate(record, element),
        RoamingRequest::Prove { proof, .. } => desk.prove(&proof),
        RoamingRequest::Reset { .. } => desk.reset(),
        _ => Err(RoamingRefusal::BadProof),
    };
    let reply = outcome.unwrap_or_else(Reply::refuse);
    let Some(vault) = desk.ledger.to_vault() else {
        return Decision::unavailable();
    };
    // Nothing that was decided leaves before it is on disk; what did not change is there already.
    let same = loaded.vault.as_ref() == Some(&vault);
    let nothing = loaded.vault.is_none() && matches!(&reply, Reply::Plain(Err(_)));
    Decision { vault: (!same && !nothing).then_some(vault), reply }
}

struct Desk<'a> {
    me: &'a NodeId,
    ledger: Ledger,
    asker: Asker,
    /// Whose record the variable is, if it is that of a user ID.
    user: Option<Address>,
    state: VariableState,
    now: u64,
    nonce: Nonce,
    identities: &'a dyn Identities,
}

impl Desk<'_> {
    /// Whether the asker's certificate is one for the user ID that owns the variable.
    fn is_owner(&self) -> bool {
        let Some(latest) = &self.state.latest else { return false };
        let (id, owner) = (&self.asker.id, &latest.entry().owner);
        latest.entry().writer == *id || self.identities.has_quorum_certificate(id, owner)
    }

    /// Who may deal: the owner; where there is none yet, whoever could write. The record of a user
    /// ID is that user's own also while it is empty, so strangers cannot fill the places of those
    /// who wait.
    fn may_deal(&self) -> bool {
        match (&self.state.latest, &self.asker.address) {
            (Some(_), _) => self.is_owner(),
            (None, _) if self.asker.is_applicant => self.user.is_some(),
            (None, Some(address)) => {
                let is_own = self.user.as_ref().is_none_or(|user| user == address);
                is_own && self.identities.has_quorum_certificate(&self.asker.id, address)
            }
            (None, None) => false,
        }
    }

    fn class(&self) -> Class {
        if self.is_owner() { Class::Known } else { Class::Stranger }
    }

    fn deal(
        &mut self,
        variable: &Variable,
        record: &RecordBytes,
        secret: &SecretShare,
    ) -> Result<Reply, RoamingRefusal> {
        let bad = |error: &Error| RoamingRefusal::BadRecord(error.to_string());
        if !self.may_deal() {
            return Err(RoamingRefusal::NotOwner);
        }
        let record = Record::from_bytes(record).map_err(|error| bad(&error))?;
        if record.variable() != variable {
            return Err(bad(&Error::Record("it is of another variable")));
        }
        let index = record.index_of(self.me);
        let index = index.ok_or_else(|| bad(&Error::Record("it does not name this node")))?;
        let share = Share::new(index, secret, record.commitments());
        share.map_err(|_| RoamingRefusal::BadShare)?;
        let kept = Kept {
            dealer: self.asker.id.clone(),
            record: record.id(),
            epoch: record.epoch(),
            index: index.get(),
            share: secret.clone(),
            signed: Vec::new(),
        };
        // Of applicants one at a time is accepted: what another has left behind is worth nothing.
        self.ledger.keep_pending(kept, self.asker.is_applicant, outstanding(&self.state))?;
        Ok(Reply::Plain(Ok(RoamingAnswer::Done)))
    }

    fn evaluate(
        &mut self,
        wanted: bftkv_protocol::RecordId,
        element: ElementBytes,
    ) -> Result<Reply, RoamingRefusal> {
        group::element(&element).map_err(|_| RoamingRefusal::BadElement)?;
        let certified = certified_in(&self.state);
        let epoch = certified.as_ref().map(Record::epoch);
        let record = certified.filter(|record| record.id() == wanted);
        let record = record.ok_or(RoamingRefusal::OtherRecord { epoch })?;
        let outstanding = outstanding(&self.state);
        let kept = self.ledger.switch_to(record.id(), record.epoch(), outstanding);
        let kept = kept.ok_or(RoamingRefusal::NoShare)?;
        let index = Index::new(kept.index).map_err(|_| RoamingRefusal::NoShare)?;
        let share = Share::kept(index, &kept.share).map_err(|_| RoamingRefusal::NoShare)?;
        let class = self.class();
        let nonce = match self.ledger.repeated(&self.asker.id, &element) {
            Some(session) => session.nonce,
            None => {
                let (requester, nonce, at) = (self.asker.id.clone(), self.nonce, self.now);
                let session = Session { requester, element, nonce, class, at, proven: None };
                self.ledger.begin(session)?;
                nonce
            }
        };
        let left = self.ledger.left(class);
        Ok(Reply::Evaluate(Evaluate { share, element, nonce, left }))
    }

    fn prove(&mut self, proof: &LoginProof) -> Result<Reply, RoamingRefusal> {
        let record = certified_in(&self.state);
        let record = record.ok_or(RoamingRefusal::OtherRecord { epoch: None })?;
        if record.id() != proof.record {
            return Err(RoamingRefusal::OtherRecord { epoch: Some(record.epoch()) });
        }
        let session = self.ledger.session(&self.asker.id, proof.nonce);
        let session = session.ok_or(RoamingRefusal::BadProof)?;
        if self.now.saturating_sub(session.at) > u64::from(proof.seconds) {
            return Err(RoamingRefusal::BadProof);
        }
        login::verify(&record, proof, &self.asker.id, self.me)
            .map_err(|_| RoamingRefusal::BadProof)?;
        match session.proven {
            // The answer was lost on its way, and the proof comes again.
            Some(purpose) if purpose == proof.purpose => {}
            Some(_) => return Err(RoamingRefusal::BadProof),
            None => {
                session.proven = Some(proof.purpose);
                let class = session.class;
                self.ledger.give_back(class);
            }
        }
        Ok(Reply::Plain(Ok(RoamingAnswer::Done)))
    }

    fn reset(&mut self) -> Result<Reply, RoamingRefusal> {
        if !self.is_owner() {
            return Err(RoamingRefusal::NotOwner);
        }
        self.ledger.reset(self.now)?;
        Ok(Reply::Plain(Ok(RoamingAnswer::Done)))
    }
}
