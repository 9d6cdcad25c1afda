//! What can be checked without looking at the store.

use std::collections::{BTreeMap, BTreeSet};

use super::recall::Recall;
use crate::limited::cut_reason;
use crate::planted::{self, Bug};
use crate::{
    Abandon, Address, Backing, CertifiedEntry, Configuration, Configurations, Entry, EntryId,
    EquivocationProof, Evidence, Group, Identities, Invalid, NodeId, Purpose, Refusal, Request,
    SignedEntry, SignedTime, TimeStatement, Timestamp, Variable, Verify, VerifyError,
    verify_certified, verify_writer,
};

/// Who judges, and by what.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it holds trait objects")]
pub struct Context<'a> {
    /// This server.
    pub me: &'a NodeId,
    /// The realm's groups, those in force and those before.
    pub configurations: &'a Configurations,
    /// Nodes that were cut out on proof. They stay in n; their signatures count for little.
    pub cut: &'a BTreeSet<NodeId>,
    /// Checks signatures.
    pub keys: &'a dyn Verify,
    /// Knows quorum certificates.
    pub identities: &'a dyn Identities,
}

impl<'a> Context<'a> {
    /// The configuration in force.
    #[must_use]
    pub fn configuration(&self) -> &'a Configuration {
        self.configurations.newest()
    }
}

/// A request that passed every check that needs no store. Only [`admit()`] makes one, so a request
/// whose signatures were not checked cannot reach the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted(pub(super) Task);

/// What is to be done with a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Time {
        variable: Variable,
        evidence: bool,
    },
    Sign {
        entry: SignedEntry,
        attempt: EntryId,
        shown: Shown,
    },
    Store {
        entry: CertifiedEntry,
        /// Who was cut out: of two copies of one entry the better backed one is kept.
        cut: BTreeSet<NodeId>,
    },
    /// A valid entry for which a vouch is wanted.
    Vouch {
        entry: CertifiedEntry,
        cut: BTreeSet<NodeId>,
        /// Whether it may be stored first if it is not here.
        storable: bool,
    },
    /// An entry that is not certified, or lapsed. It is refused unless it is stored already, and
    /// compared with what is stored: whoever has signed both is convicted.
    Suspect {
        entry: CertifiedEntry,
        refusal: Refusal,
    },
    Read {
        variable: Variable,
        at: Option<Timestamp>,
        /// Whether the value is wanted however large it is.
        whole: bool,
    },
    Versions {
        variable: Variable,
        below: Option<Timestamp>,
        limit: u16,
    },
    Abandon {
        abandon: Abandon,
        shown: Shown,
    },
    Abandoned {
        variable: Variable,
    },
    Accuse {
        proof: EquivocationProof,
    },
    Recall {
        what: Recall,
    },
}

/// Evidence that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shown {
    /// A valid certified entry of the variable.
    pub(super) latest: Option<CertifiedEntry>,
    /// The (b+1)-th largest of the valid time answers: at least one honest member has seen it.
    pub(super) attested: Timestamp,
}

/// Checks a request of `sender`, whom the transport has authenticated.
///
/// Membership requests (join, introduce, certificates, revocations) concern the keyring, and those
/// about changes of members [`super::Membership`], not a variable: the driver answers them, and here
/// they are refused as [`Refusal::Malformed`].
///
/// # Errors
/// The refusal to send back.
pub fn admit(
    sender: &NodeId,
    request: Request,
    context: &Context<'_>,
) -> Result<Admitted, Refusal> {
    let task = match request {
        Request::Time { variable, evidence } => {
            own_clique(context)?;
            Task::Time { variable, evidence }
        }
        Request::Sign { entry, evidence } => admit_sign(sender, entry, evidence, context)?,
        Request::Store { entry } => admit_store(entry, context)?,
        Request::Vouch { entry, vouches } => super::vouch_rule::admit(*entry, &vouches, context)?,
        Request::Read { variable, at } => Task::Read { variable, at, whole: true },
        Request::Digest { variable, at } => Task::Read { variable, at, whole: false },
        Request::Versions { variable, below, limit } => {
            let limit = limit.min(super::MAX_VERSIONS_LISTED);
            Task::Versions { variable, below, limit }
        }
        Request::Abandon { abandon, evidence } => admit_abandon(abandon, evidence, context)?,
        Request::Abandoned { variable } => {
            own_clique(context)?;
            Task::Abandoned { variable }
        }
        Request::Accuse(proof) => {
            let verdict = proof.verify(context.configurations, context.keys);
            verdict.map_err(|error| match error.missing_certificate() {
                Some(id) => Refusal::UnknownWriter(id.clone()),
                None => Refusal::Malformed,
            })?;
            Task::Accuse { proof: *proof }
        }
        Request::Recall { after, limit } => {
            let limit = limit.clamp(1, super::MAX_RECALLED);
            admit_recall(sender, Recall::Memory { after, limit }, context)?
        }
        Request::RecallVersions { after, limit } => {
            let limit = limit.clamp(1, super::MAX_RECALLED_VERSIONS);
            admit_recall(sender, Recall::Versions { after, limit }, context)?
        }
        Request::RecallEntries { mut versions } => {
            versions.truncate(super::MAX_RECALLED_ENTRIES);
            admit_recall(sender, Recall::Entries(versions), context)?
        }
        Request::Join { .. }
        | Request::Introduce { .. }
        | Request::Certificates { .. }
        | Request::Revocations { .. }
        | Request::Configurations { .. }
        | Request::Propose { .. }
        | Request::Change(_)
        | Request::Announce(_)
        | Request::Repair { .. }
        | Request::Roaming(_)
        // The driver has each part admitted by itself.
        | Request::Many(_) => return Err(Refusal::Malformed),
    };
    Ok(Admitted(task))
}

/// Paper: §4.1 write, step 2: "check the signature with the C's certificate; verify C's
/// certificate with a quorum certificate". Trust on first use is checked in the sign rule.
fn admit_sign(
    sender: &NodeId,
    entry: SignedEntry,
    evidence: Evidence,
    context: &Context<'_>,
) -> Result<Task, Refusal> {
    own_clique(context)?;
    if *sender != entry.entry.writer && !planted::is(Bug::SenderUnchecked) {
        return Err(Refusal::SenderNotWriter);
    }
    verify_writer(&entry, context.configurations.realm(), context.keys).map_err(refuse_invalid)?;
    let Entry { writer, owner, variable, .. } = &entry.entry;
    if !is_claim(&entry.entry, context) {
        require_quorum_certificate(writer, owner, context)?;
        require_own_user(variable, owner)?;
    }
    require_free_name(variable, writer)?;
    let shown = check_evidence(evidence, variable, context)?;
    Ok(Task::Sign { attempt: entry.id(), entry, shown })
}

/// Paper: §4.1 write, step 3, and §5 "Accepting signed data on write".
fn admit_store(entry: CertifiedEntry, context: &Context<'_>) -> Result<Task, Refusal> {
    if !context.configuration().has_member(context.me) {
        return Err(Refusal::NotMember);
    }
    match check_certified(&entry, context) {
        Ok(Backing::Lapsed) if !planted::is(Bug::LapsedStored) => {
            Ok(Task::Suspect { entry, refusal: Refusal::Lapsed })
        }
        Ok(_) => Ok(Task::Store { entry, cut: context.cut.clone() }),
        Err(refusal @ Refusal::BadCollectiveSignature(_)) => Ok(Task::Suspect { entry, refusal }),
        Err(refusal) => Err(refusal),
    }
}

/// An abandon message may come from anyone: whoever was refused relays it. It must be signed by
/// the writer, who must be somebody that could have asked for a share.
fn admit_abandon(
    abandon: Abandon,
    evidence: Evidence,
    context: &Context<'_>,
) -> Result<Task, Refusal> {
    own_clique(context)?;
    if abandon.realm != *context.configuration().realm() {
        return Err(Refusal::WrongRealm);
    }
    if !abandon.attempt.timestamp.is_usable() {
        return Err(Refusal::UnusableTimestamp);
    }
    let bytes = abandon.signed_bytes();
    context
        .keys
        .verify(&abandon.writer, Purpose::Abandon, &bytes, &abandon.signature)
        .map_err(refuse_signature)?;
    if !gives_up_claim(&abandon, context) {
        require_quorum_certificate(&abandon.writer, &abandon.owner, context)?;
    }
    require_free_name(&abandon.attempt.variable, &abandon.writer)?;
    let shown = check_evidence(evidence, &abandon.attempt.variable, context)?;
    Ok(Task::Abandon { abandon, shown })
}

/// What a member remembers is for members.
fn admit_recall(sender: &NodeId, what: Recall, context: &Context<'_>) -> Result<Task, Refusal> {
    if !context.configuration().has_member(sender) {
        return Err(Refusal::NotMember);
    }
    Ok(Task::Recall { what })
}

fn own_clique<'a>(context: &Context<'a>) -> Result<&'a Group, Refusal> {
    context.configuration().clique_of(context.me).ok_or(Refusal::NotMember)
}

fn require_quorum_certificate(
    writer: &NodeId,
    owner: &Address,
    context: &Context<'_>,
) -> Result<(), Refusal> {
    if context.cut.contains(writer) || !context.identities.has_quorum_certificate(writer, owner) {
        return Err(Refusal::NoQuorumCertificate { owner: owner.clone() });
    }
    Ok(())
}

/// Whether somebody without quorum certificate claims its user ID, and may. Paper: §4.3.
fn is_claim(entry: &Entry, context: &Context<'_>) -> bool {
    let may = |address| context.identities.may_claim(&entry.writer, &address, Some(entry));
    !context.cut.contains(&entry.writer) && entry.claims().is_some_and(may)
}

/// Whether it is such a claim that its writer gives up.
fn gives_up_claim(abandon: &Abandon, context: &Context<'_>) -> bool {
    let writer = &abandon.writer;
    let is_own = Address::of_applicant(writer).is_ok_and(|one| one == abandon.owner);
    let may = |address| context.identities.may_claim(writer, &address, None);
    is_own && !context.cut.contains(writer) && abandon.attempt.variable.user().is_some_and(may)
}

/// The record of a user ID is that user's own, also while it is empty.
fn require_own_user(variable: &Variable, owner: &Address) -> Result<(), Refusal> {
    match variable.user() {
        Some(user) if user != *owner => Err(Refusal::NoQuorumCertificate { owner: user }),
        _ => Ok(()),
    }
}

/// A name that begins with a fingerprint is that certificate's own, also while it is empty.
fn require_free_name(variable: &Variable, writer: &NodeId) -> Result<(), Refusal> {
    match variable.reserved_for() {
        Some(id) if id != *writer && !planted::is(Bug::ReservedForNobody) => {
            Err(Refusal::Reserved(id))
        }
        _ => Ok(()),
    }
}

/// Rule R4: valid under the configuration that S names. Gives how many of its signers are left
/// that were not cut out since: a lapsed entry is valid, but not stored by who lacks it.
pub(super) fn check_certified(
    entry: &CertifiedEntry,
    context: &Context<'_>,
) -> Result<Backing, Refusal> {
    if planted::is(Bug::StoreUnverified) {
        return Ok(Backing::Full);
    }
    if context.configurations.certifier(&entry.collective.configuration()).is_none() {
        return Err(Refusal::WrongConfiguration { ours: context.configuration().digest() });
    }
    verify_certified(entry, context.configurations, context.keys).map_err(refuse_invalid)?;
    Ok(Backing::of(entry, context.configurations, context.cut))
}

fn check_evidence(
    evidence: Evidence,
    variable: &Variable,
    context: &Context<'_>,
) -> Result<Shown, Refusal> {
    let attested = attested_time(&evidence.times, variable, context);
    let Some(latest) = evidence.latest else {
        return Ok(Shown { latest: None, attested });
    };
    if latest.variable() != variable {
        return Err(Refusal::Malformed);
    }
    // A lapsed one counts as not shown: a writer may know no other, and the rules are safe for a
    // member that lags behind.
    let counts = check_certified(&latest, context)? != Backing::Lapsed;
    Ok(Shown { latest: counts.then_some(*latest), attested })
}

/// The (b+1)-th largest of the valid answers by distinct members of one clique, or 0: of the clique
/// for which it is largest. Each has b faulty members at most, so an honest member of some clique
/// has seen it. All cliques count, because an entry has one timestamp for all of them: what one
/// clique has seen must not be out of reach for another.
fn attested_time(times: &[SignedTime], variable: &Variable, context: &Context<'_>) -> Timestamp {
    let cliques = context.configuration().cliques().iter();
    cliques.map(|clique| attested_by(clique, times, variable, context)).max().unwrap_or_default()
}

/// A member that was cut out still counts as one of the b that may lie: a writer that has not heard
/// of the cut counts its answer too, and must not be told that its timestamp is out of reach.
/// But where nobody else says so, nothing is attested.
fn attested_by(
    clique: &Group,
    times: &[SignedTime],
    variable: &Variable,
    context: &Context<'_>,
) -> Timestamp {
    let valid = |time: &&SignedTime| {
        let statement = TimeStatement {
            realm: context.configuration().realm().clone(),
            configuration: context.configuration().digest(),
            variable: variable.clone(),
            seen: time.seen,
        };
        context
            .keys
            .verify(&time.signer, Purpose::Time, &statement.signed_bytes(), &time.signature)
            .is_ok()
    };
    // Each member is looked at once, so that a long list costs no more than n verifications.
    let mut firsts = BTreeMap::new();
    for time in times.iter().filter(|time| clique.contains(&time.signer)) {
        firsts.entry(&time.signer).or_insert(time);
    }
    let times: Vec<&SignedTime> = firsts.into_values().filter(valid).collect();
    let is_cut = |time: &&&SignedTime| context.cut.contains(&time.signer);
    let uncut = times.iter().filter(|time| !is_cut(time)).map(|time| time.seen).max();
    let mut seen: Vec<Timestamp> = times.iter().map(|time| time.seen).collect();
    seen.sort_unstable_by(|a, b| b.cmp(a));
    let attested = seen.get(clique.thresholds().b()).copied().unwrap_or(Timestamp::ZERO);
    attested.min(uncut.unwrap_or(Timestamp::ZERO))
}

fn refuse_invalid(invalid: Invalid) -> Refusal {
    match invalid {
        Invalid::Realm => Refusal::WrongRealm,
        Invalid::Timestamp => Refusal::UnusableTimestamp,
        Invalid::Writer(error) => refuse_signature(error),
        Invalid::Share(VerifyError::UnknownCertificate(id)) => Refusal::UnknownWriter(id),
        other => Refusal::BadCollectiveSignature(cut_reason(&other.to_string())),
    }
}

fn refuse_signature(error: VerifyError) -> Refusal {
    match error {
        VerifyError::UnknownCertificate(id) => Refusal::UnknownWriter(id),
        VerifyError::Bad { .. } => Refusal::BadWriterSignature,
    }
}
