//! Values under a password: put, get, change of password.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Fault, Lost};
use bftkv_protocol::{
    Answer, CertifiedEntry, LoginPurpose, NodeId, Request, Response, RoamingRequest, Sign,
    Timestamp, Variable,
};
use bftkv_roaming::client::{
    Failure, LoggedIn, Login, LoginAction, LoginOptions, Problem, Stretch,
};
use bftkv_roaming::{Keys, Password, Protected, Rule, Stretching};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use zeroize::Zeroizing;

use super::inner::Inner;
use super::renewal::{Renewal, Writing};
use super::{Client, GetOptions};
use crate::Error;
use crate::random::Random;

/// How to put under a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "callers fill it in with ..Default::default()")]
pub struct PasswordOptions {
    /// How many servers a login needs. `None`: as many as the record has it now, and 2b+1 for the
    /// first one.
    pub rule: Option<Rule>,
    /// How hard Argon2id works, for a new record.
    pub stretching: Stretching,
    /// When to give up, instead of the configured deadline.
    pub deadline: Option<Duration>,
}

/// What was written under a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutProtected {
    /// t of the entry.
    pub timestamp: Timestamp,
    /// Counts the password records of the variable.
    pub epoch: u64,
    /// Servers that hold no share, if so many lack one that b liars could do harm: shares are
    /// dealt again at the next login.
    pub degraded: BTreeSet<NodeId>,
    /// Who lied, and how.
    pub culprits: BTreeMap<NodeId, Fault>,
}

/// A value that a password opened. Wiped when dropped; its bytes are not shown.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opened {
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
    /// t of the entry.
    pub timestamp: Timestamp,
    /// Counts the password records of the variable.
    pub epoch: u64,
    /// Counts the values of the variable under passwords.
    pub version: u64,
    /// Servers that said to hold no share of the password.
    pub lacking: BTreeSet<NodeId>,
    /// What came of dealing shares again, if that was due.
    pub renewal: Option<Renewal>,
    /// Who lied, and how.
    pub culprits: BTreeMap<NodeId, Fault>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened")
            .field("bytes", &self.value.len())
            .field("timestamp", &self.timestamp)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Writes `value` to `variable`, sealed under a key that only the password and a quorum of the
    /// members give. Where the variable holds a value under a password already, that password must be
    /// given.
    ///
    /// # Errors
    /// [`Error::Password`]: what went wrong with the password; [`Error::Operation`] as
    /// [`Client::put`].
    pub async fn put_with_password(
        &self,
        variable: &Variable,
        value: &[u8],
        password: &Password,
        options: PasswordOptions,
    ) -> Result<PutProtected, Error> {
        check_length(value)?;
        self.check_rule(options)?;
        let Some((protected, entry)) = self.protected(variable, options.deadline).await? else {
            let writing =
                Writing { variable, value, version: 1, options, culprits: BTreeMap::new() };
            return self.enrol_and_write(writing, password, 1).await;
        };
        let logged_in = self.login(&protected, &entry, password, LoginPurpose::Open).await?;
        let version = protected.version().saturating_add(1);
        let culprits = logged_in.culprits.clone();
        let writing = Writing { variable, value, version, options, culprits };
        self.write_again(writing, protected.record(), password, &logged_in).await
    }

    /// Reads `variable` and opens it with the password; `None` if it was never written. If too few
    /// servers hold shares, or the members have changed since they were dealt, they are dealt again,
    /// which is told in [`Opened::renewal`] and whose failure is none of this.
    ///
    /// # Errors
    /// [`Error::Password`]; [`Error::Operation`] as [`Client::get`].
    pub async fn get_with_password(
        &self,
        variable: &Variable,
        password: &Password,
        deadline: Option<Duration>,
    ) -> Result<Option<Opened>, Error> {
        let options = GetOptions { proof: true, deadline, ..GetOptions::default() };
        let Some(entry) = self.get(variable, options).await?.entry else { return Ok(None) };
        let protected = self.protected_of(&entry)?;
        let logged_in = self.login(&protected, &entry, password, LoginPurpose::Open).await?;
        let value = protected.open(&logged_in.keys)?;
        let (epoch, version) = (protected.record().epoch(), protected.version());
        let timestamp = entry.timestamp();
        let renewal = self.renew(&protected, &entry, password, &value, &logged_in, deadline).await;
        let LoggedIn { lacking, culprits, .. } = logged_in;
        Ok(Some(Opened { value, timestamp, epoch, version, lacking, renewal, culprits }))
    }

    /// Changes the password of `variable`: its value is sealed anew, under a key that is dealt anew.
    /// From then on the old password opens nothing, old versions included.
    ///
    /// # Errors
    /// As [`Client::put_with_password`].
    pub async fn change_password(
        &self,
        variable: &Variable,
        old: &Password,
        new: &Password,
        options: PasswordOptions,
    ) -> Result<PutProtected, Error> {
        self.check_rule(options)?;
        let found = self.protected(variable, options.deadline).await?;
        let (protected, entry) = found.ok_or(bftkv_roaming::Error::NotProtected)?;
        let logged_in = self.login(&protected, &entry, old, LoginPurpose::Open).await?;
        let value = protected.open(&logged_in.keys)?;
        let version = protected.version().saturating_add(1);
        let culprits = logged_in.culprits;
        let rule = options.rule.or(Some(protected.record().rule()));
        let options = PasswordOptions { rule, ..options };
        let writing = Writing { variable, value: &value, version, options, culprits };
        let epoch = protected.record().epoch().saturating_add(1);
        self.enrol_and_write(writing, new, epoch).await
    }

    /// Has the servers give all used attempts back. The owner only, and once a day. Tells who did.
    ///
    /// # Errors
    /// [`Error::Password`]: fewer than t did; the message has their reason.
    pub async fn reset_attempts(&self, variable: &Variable) -> Result<BTreeSet<NodeId>, Error> {
        let found = self.protected(variable, None).await?;
        let (protected, _) = found.ok_or(bftkv_roaming::Error::NotProtected)?;
        let nodes: BTreeSet<NodeId> = protected.record().nodes().iter().cloned().collect();
        let request = Request::Roaming(RoamingRequest::Reset { variable: variable.clone() });
        let mut answers = self.inner.ask(nodes.clone(), request, false);
        let (mut done, mut reason) = (BTreeSet::new(), None);
        while let Some((node, response)) = answers.recv().await {
            match response {
                Ok(Response { outcome: Ok(Answer::Roaming(_)), .. }) => {
                    done.insert(node);
                }
                Ok(Response { outcome: Err(refusal), .. }) => reason = Some(refusal.to_string()),
                _ => {}
            }
        }
        let need = protected.record().threshold();
        if done.len() >= need {
            return Ok(done);
        }
        let (have, missing) = (done.len(), nodes.difference(&done).cloned().collect());
        let problem = reason.map_or(Problem::TooFew { have, need, missing }, Problem::Refused);
        Err(Failure::from(problem).into())
    }

    /// The protected value of a variable, if it has one. A plain value is none, and is overwritten.
    pub(super) async fn protected(
        &self,
        variable: &Variable,
        deadline: Option<Duration>,
    ) -> Result<Option<(Protected, CertifiedEntry)>, Error> {
        let options = GetOptions { proof: true, deadline, ..GetOptions::default() };
        let Some(entry) = self.get(variable, options).await?.entry else { return Ok(None) };
        if !Protected::is_one(&entry.entry().value) {
            return Ok(None);
        }
        Ok(Some((self.protected_of(&entry)?, entry)))
    }

    /// The record must be of the very variable in which it stands: its writer could have copied it.
    fn protected_of(&self, entry: &CertifiedEntry) -> Result<Protected, Error> {
        let protected = Protected::from_value(&entry.entry().value)?;
        let record = protected.record();
        let (realm, variable) = (&entry.entry().realm, entry.variable());
        if record.realm() != realm || record.variable() != variable {
            return Err(bftkv_roaming::Error::Sealed.into());
        }
        Ok(protected)
    }

    /// Logs in. The attempts that it used are given back in the background: [`Client::finish`]
    /// waits for it.
    ///
    /// # Errors
    /// [`Error::Password`].
    pub(super) async fn login(
        &self,
        protected: &Protected,
        entry: &CertifiedEntry,
        password: &Password,
        purpose: LoginPurpose,
    ) -> Result<LoggedIn, Error> {
        let inner = Arc::clone(&self.inner);
        // What follows a recovery asks those who have seen the proof.
        let awaits_proofs = purpose == LoginPurpose::Recover;
        let options = LoginOptions {
            requester: inner.key.id().clone(),
            purpose,
            round: inner.settings.round(),
            deadline: inner.deadline(None),
        };
        let now = inner.now();
        let record = protected.record().clone();
        let machine = Login::start(now, record, password.clone(), options, &mut Random);
        let machine = machine.map_err(Failure::from)?;
        let (tell, told) = oneshot::channel();
        let work = drive(machine, Arc::clone(&inner), entry.clone(), tell, awaits_proofs);
        inner.peers.in_background(work);
        let result = told.await.unwrap_or_else(|_| Err(Problem::Unfinished.into()));
        Ok(result?)
    }
}

fn check_length(value: &[u8]) -> Result<(), Error> {
    if value.len() > Protected::MAX_VALUE_BYTES {
        return Err(bftkv_roaming::Error::TooLong.into());
    }
    Ok(())
}

/// What happened to a login.
enum Event {
    Response(NodeId, Result<Response, Lost>),
    Shown(NodeId),
    Stretched(Result<Option<Keys>, bftkv_roaming::Error>),
}

/// Runs a login to its end, and tells its result as soon as there is one; or once the servers have
/// seen the proof, too.
async fn drive(
    mut machine: Login,
    inner: Arc<Inner>,
    entry: CertifiedEntry,
    tell: oneshot::Sender<Result<LoggedIn, Failure>>,
    awaits_proofs: bool,
) {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut tell = Some(tell);
    loop {
        while let Some(action) = machine.poll() {
            perform(action, &inner, &entry, &sender);
        }
        let is_time = !awaits_proofs || machine.wake_at().is_none();
        if let (Some(result), true) = (machine.result(), tell.is_some() && is_time)
            && let Some(tell) = tell.take()
        {
            // Whoever waited may be gone.
            let _ = tell.send(result.clone());
        }
        let Some(wake) = machine.wake_at() else { return };
        tokio::select! {
            Some(event) = events.recv() => match event {
                Event::Response(node, response) => machine.handle_response(&node, response),
                Event::Shown(node) => machine.handle_shown(&node),
                Event::Stretched(keys) => machine.handle_stretched(keys),
            },
            () = sleep_until(Instant::from_std(inner.instant(wake))) => {
                machine.handle_timeout(inner.now());
            }
        }
    }
}

fn perform(
    action: LoginAction,
    inner: &Arc<Inner>,
    entry: &CertifiedEntry,
    events: &mpsc::UnboundedSender<Event>,
) {
    let events = events.clone();
    match action {
        LoginAction::Send { to, request } => {
            let mut answers = inner.ask(to, *request, false);
            tokio::spawn(async move {
                while let Some((node, response)) = answers.recv().await {
                    let _ = events.send(Event::Response(node, response));
                }
            });
        }
        LoginAction::Show(node) => {
            let request = Request::Store { entry: entry.clone() };
            let mut answers = inner.ask([node.clone()].into(), request, false);
            tokio::spawn(async move {
                // Whether it was stored shows when it is asked again.
                while answers.recv().await.is_some() {}
                let _ = events.send(Event::Shown(node));
            });
        }
        LoginAction::Stretch(stretch) => {
            tokio::task::spawn_blocking(move || {
                let _ = events.send(Event::Stretched(Stretch::run(*stretch)));
            });
        }
    }
}
