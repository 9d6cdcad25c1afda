//! How a certificate that nobody knows comes to a quorum certificate by a password: registration of
//! a user ID, and recovery of one whose key is lost. The steps, and why they are safe:
//! `docs/roaming.md`. Each may be cut short anywhere and run again.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_protocol::{
    Address, Answer, CertificateBytes, CertifiedEntry, Group, Identities as _, LoginPurpose,
    NodeId, Refusal, RegistrationRefusal, Request, Response, RoamingAnswer, RoamingRequest,
    Timestamp, Variable,
};
use bftkv_roaming::client::{Failure, Problem};
use bftkv_roaming::{Password, Protected};
use bftkv_wot::CertificateRecord;

use super::renewal::Writing;
use super::{Client, GetOptions, PasswordOptions};
use crate::Error;

/// The most bytes by which a member may make the own certificate longer: a certification has some
/// hundred. More would let liars fill it until no others fit.
const MAX_CERTIFICATION_BYTES: usize = 4096;

/// A certificate that the nodes take for its user ID now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Registered {
    /// The user ID.
    pub address: Address,
    /// Where its password record lies.
    pub variable: Variable,
    /// The version of the record that this certificate has written: the history of the variable
    /// shows it to everybody.
    pub version: Timestamp,
    /// The members that have certified it.
    pub certified_by: BTreeSet<NodeId>,
    /// The members that have not, so far.
    pub missing: BTreeSet<NodeId>,
    /// Other certificates that are certified for the user ID, as far as they are known here: a
    /// second device, or the key that was lost. They can do whatever this one can.
    pub others: BTreeSet<NodeId>,
}

impl Client {
    /// Registers the own certificate, which nobody needs to have certified, for its user ID under a
    /// password; then the nodes certify it. For a certificate that is certified already it only
    /// writes the record, which makes a recovery possible. Paper: §4.3 register.
    ///
    /// # Errors
    /// [`Error::Password`] with [`Problem::Registration`]: why not, and whether to try again;
    /// [`Error::Operation`] as [`Client::put`].
    pub async fn register(
        &self,
        password: &Password,
        options: PasswordOptions,
    ) -> Result<Registered, Error> {
        self.join().await;
        let (address, variable) = self.own_record()?;
        if !self.inner.is_certified()? {
            let entry = self.claim(&variable, password, options).await?;
            self.have_certified(&variable, &entry).await?;
        }
        let Some((protected, entry)) = self.protected(&variable, options.deadline).await? else {
            let written = self.put_with_password(&variable, b"", password, options).await?;
            return self.registered(address, variable, written.timestamp);
        };
        let mut version = entry.timestamp();
        if entry.entry().owner != address {
            // From now on it belongs to the user ID, so that another key can follow this one.
            let purpose = LoginPurpose::Open;
            version = self.take_over(&protected, &entry, password, purpose, options).await?;
        }
        self.registered(address, variable, version)
    }

    /// Puts the own certificate in the place of one whose key is lost: whoever knows the password of
    /// the user ID is its owner. The variables of the user ID can be written then, and the record is
    /// written anew, which everybody can see in its history. Paper: App. A, "Key recovery".
    ///
    /// # Errors
    /// As [`Client::register`]; a wrong password is [`Problem::WrongPassword`].
    pub async fn recover(
        &self,
        password: &Password,
        options: PasswordOptions,
    ) -> Result<Registered, Error> {
        self.join().await;
        let (address, variable) = self.own_record()?;
        let found = self.protected(&variable, options.deadline).await?;
        let (protected, entry) = found.ok_or_else(|| refused(RegistrationRefusal::NoRecord))?;
        let is_own = entry.entry().writer == *self.id();
        let mut version = entry.timestamp();
        if !(is_own && self.inner.is_certified()?) {
            let purpose = LoginPurpose::Recover;
            version = self.take_over(&protected, &entry, password, purpose, options).await?;
        }
        self.registered(address, variable, version)
    }

    /// Shows the password, has the own certificate certified if that is what it was shown for, and
    /// writes the record and its value as one's own. Returns the version that it wrote.
    async fn take_over(
        &self,
        protected: &Protected,
        entry: &CertifiedEntry,
        password: &Password,
        purpose: LoginPurpose,
        options: PasswordOptions,
    ) -> Result<Timestamp, Error> {
        let variable = entry.variable();
        let logged_in = self.login(protected, entry, password, purpose).await?;
        let value = protected.open(&logged_in.keys)?;
        if !self.inner.is_certified()? {
            self.have_certified(variable, entry).await?;
        }
        let version = protected.version().saturating_add(1);
        let culprits = logged_in.culprits.clone();
        let writing = Writing { variable, value: &value, version, options, culprits };
        let written = self.write_again(writing, protected.record(), password, &logged_in).await?;
        Ok(written.timestamp)
    }

    /// Claims the user ID by an ordinary write. One's own claim from before is as good.
    async fn claim(
        &self,
        variable: &Variable,
        password: &Password,
        options: PasswordOptions,
    ) -> Result<CertifiedEntry, Error> {
        let read = GetOptions { proof: true, deadline: options.deadline, ..GetOptions::default() };
        if self.get(variable, read).await?.entry.is_none() {
            let culprits = BTreeMap::new();
            let writing = Writing { variable, value: b"", version: 1, options, culprits };
            self.enrol_and_write(writing, password, 1).await?;
        }
        let entry = self.get(variable, read).await?.entry;
        entry
            .filter(|entry| entry.entry().writer == *self.id())
            .ok_or_else(|| refused(RegistrationRefusal::Taken))
    }

    /// Asks the members of all cliques to certify the own certificate, keeps what they give, and
    /// hands it to all nodes. Every member is shown the record first.
    async fn have_certified(
        &self,
        variable: &Variable,
        entry: &CertifiedEntry,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        let configuration = inner.configuration()?;
        let members = configuration.authority();
        let mut shown = inner.ask(members.clone(), Request::Store { entry: entry.clone() }, false);
        while shown.recv().await.is_some() {}
        let certify = RoamingRequest::Certify { variable: variable.clone() };
        let mut answers = inner.ask(members.clone(), Request::Roaming(certify), false);
        let mut refusals: BTreeMap<NodeId, Refusal> = BTreeMap::new();
        while let Some((node, response)) = answers.recv().await {
            match response {
                Ok(Response {
                    outcome: Ok(Answer::Roaming(RoamingAnswer::Certified(bytes))),
                    ..
                }) => self.take_certification(&node, &bytes)?,
                Ok(Response { outcome: Err(refusal), .. }) => {
                    refusals.insert(node, refusal);
                }
                _ => {}
            }
        }
        self.join().await;
        let certifiers = self.certifiers()?;
        let enough = |clique: &Group| clique.count(&certifiers) >= clique.thresholds().q();
        let Some(lacking) = configuration.cliques().iter().find(|clique| !enough(clique)) else {
            return Ok(());
        };
        let thresholds = lacking.thresholds();
        let (have, need) = (lacking.count(&certifiers), thresholds.q());
        let missing = lacking.members().filter(|id| !certifiers.contains(*id)).cloned().collect();
        let refusals = refusals.iter().map(|(node, refusal)| (node, refusal.clone()));
        let problem = Problem::agreed(refusals, thresholds.b());
        let problem = problem.unwrap_or(Problem::TooFew { have, need, missing });
        Err(Failure::from(problem).into())
    }

    /// Keeps the own certificate as a member has certified it. What is something else is passed over.
    fn take_certification(&self, node: &NodeId, bytes: &CertificateBytes) -> Result<(), Error> {
        let certificates = &self.inner.certificates;
        let own = certificates.bytes(self.id()).map_or(0, |own| own.as_bytes().len());
        let longest = own.saturating_add(MAX_CERTIFICATION_BYTES);
        let record = CertificateRecord::new(bytes).ok();
        let record = record.filter(|r| r.id() == self.id() && bytes.as_bytes().len() <= longest);
        match record {
            Some(record) => {
                certificates.import(record)?;
            }
            None => tracing::warn!(%node, "sent something else than the certification asked for"),
        }
        Ok(())
    }

    /// The own user ID and where its record lies.
    fn own_record(&self) -> Result<(Address, Variable), Error> {
        let address = self.inner.owner()?;
        let variable = Variable::of_user(&address).ok();
        // The name of a node is no user ID that could be registered.
        let variable = variable.filter(|variable| variable.user().is_some());
        Ok((address, variable.ok_or(Error::NoUser)?))
    }

    fn certifiers(&self) -> Result<BTreeSet<NodeId>, Error> {
        Ok(self.inner.writers()?.certifiers(self.id(), &self.inner.owner()?))
    }

    fn registered(
        &self,
        address: Address,
        variable: Variable,
        version: Timestamp,
    ) -> Result<Registered, Error> {
        let certified_by = self.certifiers()?;
        let members = self.inner.configuration()?.authority();
        let missing = members.difference(&certified_by).cloned().collect();
        let writers = self.inner.writers()?;
        let records = self.inner.certificates.keyring().records();
        let ids = records.iter().map(|(record, _)| record.id()).filter(|id| *id != self.id());
        let others = ids.filter(|id| writers.has_quorum_certificate(id, &address));
        let others = others.cloned().collect();
        Ok(Registered { address, variable, version, certified_by, missing, others })
    }
}

fn refused(refusal: RegistrationRefusal) -> Error {
    let problem = Problem::Registration { refusal, by: BTreeSet::new() };
    Failure::from(problem).into()
}
