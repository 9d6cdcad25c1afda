//! One member's register of applicants.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{
    Address, CertifiedEntry, LoginPurpose, NodeId, RecordId, Variable, decode, encode,
};
use serde::{Deserialize, Serialize};

use super::{Applicant, CLAIM_SECONDS, IdentityCheck, MAX_RIVALS, MAX_WAITING, Refused, Verdict};
use crate::Protected;

/// Who may register at this member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(clippy::exhaustive_enums, reason = "the setting has these values")]
pub enum Mode {
    /// Nobody.
    Closed,
    /// Whom the operator has approved.
    #[default]
    Approve,
    /// Whom the identity check accepts.
    Open,
}

/// What this member knows when it decides.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct Facts<'a> {
    /// The certificates that have the user ID and that this member, or a quorum, has certified.
    pub certified: &'a BTreeSet<NodeId>,
    /// The e-mail proofs in the applicant's certificate.
    pub proofs: &'a [Vec<u8>],
    /// The newest certified entry at the name of the user ID ([`Variable::of_user`]).
    pub latest: Option<&'a CertifiedEntry>,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// An applicant in the register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    certificate: NodeId,
    since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Kept {
    /// Who waits for the operator.
    waiting: BTreeMap<Address, Vec<Noted>>,
    /// Whom the operator has approved, so far without a certification.
    approved: BTreeMap<Address, NodeId>,
    /// Whose claim was accepted.
    accepted: BTreeMap<Address, Noted>,
    /// Recoveries that wait until their delay is over, and the record under which the password was
    /// shown.
    recoveries: BTreeMap<Address, (Noted, RecordId)>,
}

/// One member's register. What it accepts must be durable before the member acts on it
/// ([`Registrar::to_bytes`]); if it is lost, the certified records still keep user IDs unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrar {
    mode: Mode,
    /// For how long the old key's owner can object to a recovery, in seconds.
    delay: u64,
    kept: Kept,
}

impl Registrar {
    /// An empty register.
    #[must_use]
    pub fn new(mode: Mode, delay: u64) -> Self {
        Self { mode, delay, kept: Kept::default() }
    }

    /// The register as it was kept; `None` if the bytes are none.
    #[must_use]
    pub fn from_bytes(mode: Mode, delay: u64, bytes: &[u8]) -> Option<Self> {
        Some(Self { mode, delay, kept: decode(bytes).ok()? })
    }

    /// What to keep.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&self.kept)
    }

    /// Who waits for the operator, with the time since when.
    #[must_use]
    pub fn waiting(&self) -> Vec<(Applicant, u64)> {
        let all = self.kept.waiting.iter().flat_map(|(address, rivals)| {
            rivals.iter().map(move |one| {
                let (certificate, address) = (one.certificate.clone(), address.clone());
                (Applicant { certificate, address }, one.since)
            })
        });
        all.collect()
    }

    /// The operator approves an applicant, and with it refuses its rivals. Returns whether it waited.
    pub fn approve(&mut self, applicant: &Applicant) -> bool {
        let rivals = self.kept.waiting.get(&applicant.address);
        let waited =
            rivals.is_some_and(|r| r.iter().any(|one| one.certificate == applicant.certificate));
        if waited {
            self.kept.waiting.remove(&applicant.address);
            let Applicant { certificate, address } = applicant.clone();
            self.kept.approved.insert(address, certificate);
        }
        waited
    }

    /// Whether to take a share from an applicant, the first step of a registration. From then on
    /// others wait for [`CLAIM_SECONDS`].
    ///
    /// # Errors
    /// [`Refused`].
    pub fn apply(
        &mut self,
        applicant: &Applicant,
        check: &dyn IdentityCheck,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        self.require_open()?;
        if facts.latest.is_some_and(|latest| !is_claim_of(latest, applicant)) {
            return Err(Refused::Taken);
        }
        self.require_free(applicant, facts)?;
        judge(applicant, check, facts)?;
        self.require_approved(applicant, facts)?;
        self.accept(applicant, facts.now)
    }

    /// Whether to sign the claim of a user ID: the record that is to be written at its name.
    /// `holds_share`: whether this member holds a share of that record from the applicant, checked with
    /// the record's commitments when it was dealt.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn claim(
        &mut self,
        applicant: &Applicant,
        holds_share: bool,
        check: &dyn IdentityCheck,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        if !holds_share {
            return Err(Refused::NoShare);
        }
        self.apply(applicant, check, facts)
    }

    /// The applicant gives its claim up: it keeps nobody out any more.
    pub fn give_up(&mut self, applicant: &Applicant) {
        let accepted = self.kept.accepted.get(&applicant.address);
        if accepted.is_some_and(|noted| noted.certificate == applicant.certificate) {
            self.kept.accepted.remove(&applicant.address);
        }
    }

    /// Whether to vouch for an applicant: only once its record is seen to be certified. Certified
    /// members of the same realm see the same record, so all vouch for the same certificate.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn certify(
        &mut self,
        applicant: &Applicant,
        check: &dyn IdentityCheck,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        self.require_open()?;
        let record = facts.latest.filter(|latest| is_claim_of(latest, applicant));
        if record.and_then(record_of).is_none() {
            return Err(Refused::NoRecord);
        }
        if facts.certified.iter().any(|one| *one != applicant.certificate) {
            return Err(Refused::Taken);
        }
        judge(applicant, check, facts)?;
        self.require_approved(applicant, facts)?;
        self.kept.accepted.remove(&applicant.address);
        Ok(())
    }

    /// Whether to vouch for who asks: for whoever has written the record as in
    /// [`Registrar::certify`], for anybody else as in [`Registrar::recover`].
    ///
    /// # Errors
    /// [`Refused`].
    pub fn vouch(
        &mut self,
        applicant: &Applicant,
        proven: Option<(RecordId, LoginPurpose)>,
        check: &dyn IdentityCheck,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        if facts.latest.is_some_and(|latest| is_claim_of(latest, applicant)) {
            return self.certify(applicant, check, facts);
        }
        self.recover(applicant, proven, facts)
    }

    /// Whether to vouch for another certificate of a user ID whose owner has shown the password.
    /// `proven` is what the applicant has shown to this member in the session that it just had: the
    /// record, and the purpose. Differs: the text lets one proof serve for ever and for everything.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn recover(
        &mut self,
        applicant: &Applicant,
        proven: Option<(RecordId, LoginPurpose)>,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        self.require_open()?;
        let latest = facts.latest.filter(|latest| is_name_of(latest, &applicant.address));
        let newest = latest.and_then(record_of).ok_or(Refused::NoRecord)?;
        if proven != Some((newest, LoginPurpose::Recover)) {
            return Err(Refused::NotProven);
        }
        let since = match self.kept.recoveries.get(&applicant.address) {
            Some((noted, record))
                if noted.certificate == applicant.certificate && *record == newest =>
            {
                noted.since
            }
            // Whoever shows the password later begins the delay anew; so does a new record, by
            // which the owner of the old key objects.
            _ => {
                let noted = Noted { certificate: applicant.certificate.clone(), since: facts.now };
                self.kept.recoveries.insert(applicant.address.clone(), (noted, newest));
                facts.now
            }
        };
        let left = since.saturating_add(self.delay).saturating_sub(facts.now);
        if left > 0 {
            return Err(Refused::Delayed { seconds: left });
        }
        self.kept.recoveries.remove(&applicant.address);
        Ok(())
    }

    fn require_open(&self) -> Result<(), Refused> {
        if self.mode == Mode::Closed { Err(Refused::Closed) } else { Ok(()) }
    }

    /// Keeps others out. What is stale makes room.
    fn accept(&mut self, applicant: &Applicant, now: u64) -> Result<(), Refused> {
        let accepted = &mut self.kept.accepted;
        accepted.retain(|_, noted| now < noted.since.saturating_add(CLAIM_SECONDS));
        if accepted.len() >= MAX_WAITING && !accepted.contains_key(&applicant.address) {
            return Err(Refused::TooManyWaiting);
        }
        let noted = Noted { certificate: applicant.certificate.clone(), since: now };
        accepted.insert(applicant.address.clone(), noted);
        Ok(())
    }

    /// No other certificate of the user ID is certified or accepted.
    fn require_free(&self, applicant: &Applicant, facts: &Facts<'_>) -> Result<(), Refused> {
        let fresh = |noted: &&Noted| facts.now < noted.since.saturating_add(CLAIM_SECONDS);
        let accepted = self.kept.accepted.get(&applicant.address).filter(fresh);
        let by_another = accepted.is_some_and(|noted| noted.certificate != applicant.certificate);
        let other = facts.certified.iter().any(|one| *one != applicant.certificate);
        if by_another || other { Err(Refused::Taken) } else { Ok(()) }
    }

    /// Those who wait keep nobody out: the operator chooses.
    fn require_approved(
        &mut self,
        applicant: &Applicant,
        facts: &Facts<'_>,
    ) -> Result<(), Refused> {
        let approved = self.kept.approved.get(&applicant.address) == Some(&applicant.certificate);
        if self.mode == Mode::Open || approved {
            return Ok(());
        }
        let count: usize = self.kept.waiting.values().map(Vec::len).sum();
        let rivals = self.kept.waiting.get(&applicant.address).map_or(&[][..], Vec::as_slice);
        if rivals.iter().any(|one| one.certificate == applicant.certificate) {
            return Err(Refused::Waiting);
        }
        if count >= MAX_WAITING || rivals.len() >= MAX_RIVALS {
            return Err(Refused::TooManyWaiting);
        }
        let noted = Noted { certificate: applicant.certificate.clone(), since: facts.now };
        self.kept.waiting.entry(applicant.address.clone()).or_default().push(noted);
        Err(Refused::Waiting)
    }
}

fn judge(
    applicant: &Applicant,
    check: &dyn IdentityCheck,
    facts: &Facts<'_>,
) -> Result<(), Refused> {
    match check.check(applicant, facts.proofs) {
        Verdict::Accept => Ok(()),
        Verdict::Refuse(reason) => Err(Refused::Identity(reason)),
    }
}

fn is_name_of(entry: &CertifiedEntry, address: &Address) -> bool {
    Variable::of_user(address).is_ok_and(|name| *entry.variable() == name)
}

fn is_claim_of(entry: &CertifiedEntry, applicant: &Applicant) -> bool {
    let certified = entry.entry();
    certified.writer == applicant.certificate
        && certified.claims().as_ref() == Some(&applicant.address)
}

/// The record in an entry, if it is one of that very variable.
fn record_of(entry: &CertifiedEntry) -> Option<RecordId> {
    let protected = Protected::from_value(&entry.entry().value).ok()?;
    let record = protected.record();
    let fits = record.variable() == entry.variable() && *record.realm() == entry.entry().realm;
    fits.then(|| record.id())
}
