//! Registration and recovery at a node: gathers the facts, performs what the register decides.
//!
//! There are no decisions in here; they are in `bftkv_roaming::registration`.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bftkv_protocol::{
    Address, Answer, CertifiedEntry, Entry, Identities, NodeId, Outcome, Refusal, RoamingAnswer,
    RoamingRefusal, Sign, Store, StoreError, Variable, Vault,
};
use bftkv_roaming::Protected;
use bftkv_roaming::registration::{Applicant, ByPassword, Facts, Refused};
use bftkv_roaming::server::{has_dealt, shown_by};
use bftkv_wot::{CertificateRecord, QuorumCertificates, Statement};

use super::recovery::Recovery;
use crate::register::Register;

/// Whom this member registers.
pub(super) struct Registration {
    register: Register,
    recovery: Recovery,
}

/// What the store has of a user ID, and what else is known of it.
struct Known {
    certified: BTreeSet<NodeId>,
    proofs: Vec<Vec<u8>>,
    latest: Option<CertifiedEntry>,
    vault: Option<Vault>,
    now: u64,
}

impl Known {
    fn facts(&self) -> Facts<'_> {
        let Self { certified, proofs, latest, now, .. } = self;
        Facts { certified, proofs, latest: latest.as_ref(), now: *now }
    }
}

impl Registration {
    pub(super) fn new(register: Register, recovery: Recovery) -> Self {
        Self { register, recovery }
    }

    /// Whether a share is taken from somebody without quorum certificate: true if it is an applicant
    /// for the user ID whose record the variable is.
    ///
    /// # Errors
    /// Why it is not registered.
    pub(super) fn apply(
        &self,
        writers: &QuorumCertificates,
        asker: &NodeId,
        variable: &Variable,
    ) -> Result<bool, Refusal> {
        let Some(address) = variable.user() else { return Ok(false) };
        if writers.has_quorum_certificate(asker, &address) || !self.names(asker, &address) {
            return Ok(false);
        }
        let known = self.known(writers, asker, &address, variable).map_err(unavailable)?;
        let applicant = Applicant { certificate: asker.clone(), address };
        self.decide(|registrar| registrar.apply(&applicant, &ByPassword, &known.facts()))?;
        Ok(true)
    }

    /// Vouches for the asker: certifies its user ID with the node's key, if that is what the rules
    /// say. The certification is kept here too.
    pub(super) fn certify(
        &self,
        writers: &QuorumCertificates,
        asker: &NodeId,
        variable: &Variable,
    ) -> Outcome {
        let no_record = || registration(Refused::NoRecord);
        let address = variable.user().ok_or_else(no_record)?;
        if !self.names(asker, &address) {
            return Err(registration(Refused::Identity(
                "its certificate lacks the user ID".into(),
            )));
        }
        let known = self.known(writers, asker, &address, variable).map_err(unavailable)?;
        let memory = self.memory();
        let shown = known.vault.as_ref().and_then(|v| shown_by(v, asker, memory, known.now));
        let applicant = Applicant { certificate: asker.clone(), address: address.clone() };
        let check = &ByPassword;
        self.decide(|registrar| registrar.vouch(&applicant, shown, check, &known.facts()))?;
        tracing::warn!(certificate = %asker, %address, by_password = shown.is_some(), "vouches for");
        self.vouch(asker, &address)
    }

    /// Certifies the user ID of a certificate.
    fn vouch(&self, id: &NodeId, address: &Address) -> Outcome {
        let Recovery { certificates, key, .. } = &self.recovery;
        let bytes = certificates.bytes(id).ok_or(Refusal::UnknownSender)?;
        let done = |bytes| Ok(Answer::Roaming(RoamingAnswer::Certified(bytes)));
        if certificates.keyring().vouched_for(key.id(), id).contains(address) {
            return done(bytes);
        }
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, certificate = %id, "cannot vouch for an applicant");
            Refusal::StorageUnavailable
        };
        let certified = key.certify(&bytes, address, Statement::Certify { valid_for: None });
        let certified = certified.map_err(|error| failed(&error))?;
        let record = CertificateRecord::new(&certified).map_err(|error| failed(&error))?;
        certificates.import(record).map_err(|error| failed(&error))?;
        done(certified)
    }

    /// Whether the claim of an applicant may be signed; with no entry, whether it is the
    /// applicant's to give up.
    fn may_claim(
        &self,
        writers: &QuorumCertificates,
        writer: &NodeId,
        address: &Address,
        entry: Option<&Entry>,
    ) -> bool {
        let Ok(variable) = Variable::of_user(address) else { return false };
        if !self.names(writer, address) {
            return false;
        }
        let applicant = Applicant { certificate: writer.clone(), address: address.clone() };
        let Some(entry) = entry else { return self.gives_up(&applicant, &variable) };
        let Ok(protected) = Protected::from_value(&entry.value) else { return false };
        let known = match self.known(writers, writer, address, &variable) {
            Ok(known) => known,
            Err(error) => {
                let _ = unavailable(error);
                return false;
            }
        };
        let (record, memory) = (protected.record().id(), self.memory());
        let holds = |vault: &Vault| has_dealt(vault, writer, record, memory, known.now);
        let holds_share = known.vault.as_ref().is_some_and(holds);
        let (check, facts) = (&ByPassword, known.facts());
        let claimed = self.decide(|r| r.claim(&applicant, holds_share, check, &facts));
        claimed.inspect_err(|refusal| tracing::info!(%writer, %refusal, "no claim")).is_ok()
    }

    /// Only who has a share of a signature here has something to give up.
    fn gives_up(&self, applicant: &Applicant, variable: &Variable) -> bool {
        let Ok(state) = self.recovery.store.load(variable) else { return false };
        let has_slot = state.marks.slots.iter().any(|slot| slot.writer == applicant.certificate);
        has_slot
            && self
                .decide(|registrar| {
                    registrar.give_up(applicant);
                    Ok(())
                })
                .is_ok()
    }

    fn decide(
        &self,
        decide: impl FnOnce(&mut bftkv_roaming::registration::Registrar) -> Result<(), Refused>,
    ) -> Result<(), Refusal> {
        let decided = self.register.change(decide).map_err(|error| {
            tracing::error!(%error, "the register of applicants cannot be used");
            Refusal::StorageUnavailable
        })?;
        decided.map_err(registration)
    }

    /// Whether a user ID of the certificate, valid now, has the address.
    fn names(&self, id: &NodeId, address: &Address) -> bool {
        let keyring = self.recovery.certificates.keyring();
        !keyring.is_cut(id) && keyring.identities(id).iter().any(|one| one.address == *address)
    }

    fn memory(&self) -> u64 {
        self.recovery.announced.own().map_or(0, |own| own.epoch)
    }

    fn known(
        &self,
        writers: &QuorumCertificates,
        asker: &NodeId,
        address: &Address,
        variable: &Variable,
    ) -> Result<Known, StoreError> {
        let store: &dyn Store = &*self.recovery.store;
        let Recovery { certificates, key, .. } = &self.recovery;
        let keyring = certificates.keyring();
        let time = keyring.now();
        let certificate = keyring.certificate(asker);
        let proofs = certificate.map(|one| one.email_proofs(time)).unwrap_or_default();
        let records = keyring.records();
        let claims = |record: &CertificateRecord| {
            record.claims().iter().any(|claim| claim.address == *address)
        };
        let rivals = records.iter().filter(|(record, _)| claims(record)).map(|(r, _)| r.id());
        let is_certified = |id: &&NodeId| {
            self.names(id, address)
                && (writers.has_quorum_certificate(id, address)
                    || keyring.vouched_for(key.id(), id).contains(address))
        };
        let certified = rivals.filter(is_certified).cloned().collect();
        let (latest, vault) = (store.load(variable)?.latest, store.vault(variable)?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Known { certified, proofs, latest, vault, now })
    }
}

fn registration(refused: Refused) -> Refusal {
    Refusal::Roaming(RoamingRefusal::Registration(refused))
}

fn unavailable(error: StoreError) -> Refusal {
    tracing::error!(%error, "the store failed: this node registers nobody");
    Refusal::StorageUnavailable
}

/// What a node knows of writers: quorum certificates, and whom it registers.
pub(super) struct Writers<'a> {
    pub(super) certified: QuorumCertificates,
    pub(super) registration: &'a Registration,
}

impl Identities for Writers<'_> {
    fn has_quorum_certificate(&self, writer: &NodeId, address: &Address) -> bool {
        self.certified.has_quorum_certificate(writer, address)
    }

    fn may_claim(&self, writer: &NodeId, address: &Address, entry: Option<&Entry>) -> bool {
        self.registration.may_claim(&self.certified, writer, address, entry)
    }

    fn is_known(&self, id: &NodeId) -> bool {
        self.certified.is_known(id)
    }
}
