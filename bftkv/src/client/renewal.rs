//! Shares of passwords: dealing them, and dealing them again where a login shows that it is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::Fault;
use bftkv_protocol::client::Problem::Refused;
use bftkv_protocol::{CertifiedEntry, Group, NodeId, RoamingRefusal, Variable};
use bftkv_roaming::client::{Dealing, Dealt, Failure, LoggedIn, Problem};
use bftkv_roaming::{Enrolled, Keys, Password, Plan, Protected, Record};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::inner::Inner;
use super::{Client, PasswordOptions, PutOptions, PutProtected};
use crate::Error;
use crate::random::Random;

/// What came of dealing the shares of a password again after a login. The login succeeded in any case.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Renewal {
    /// The value was written again under a new record, with shares for the members of now.
    Dealt(PutProtected),
    /// It failed, for this reason; the next login tries again.
    Failed(String),
    /// It is due, and only the owner of the variable can do it: at the owner's next login.
    OwnerOnly,
}

/// What is to be written, and what is known of its variable.
pub(super) struct Writing<'a> {
    pub(super) variable: &'a Variable,
    pub(super) value: &'a [u8],
    pub(super) version: u64,
    pub(super) options: PasswordOptions,
    pub(super) culprits: BTreeMap<NodeId, Fault>,
}

impl Client {
    /// Deals the shares again if a login has shown that it is due.
    pub(super) async fn renew(
        &self,
        protected: &Protected,
        entry: &CertifiedEntry,
        password: &Password,
        value: &[u8],
        logged_in: &LoggedIn,
        deadline: Option<Duration>,
    ) -> Option<Renewal> {
        let record = protected.record();
        match self.is_renewal_due(record, logged_in) {
            Ok(false) => return None,
            Ok(true) => {}
            Err(error) => return Some(Renewal::Failed(error.to_string())),
        }
        let owns = self.inner.owner().is_ok_and(|own| own == entry.entry().owner);
        if !(owns && self.inner.is_certified().unwrap_or(false)) {
            return Some(Renewal::OwnerOnly);
        }
        let (rule, stretching) = (Some(record.rule()), record.stretching());
        let options = PasswordOptions { rule, stretching, deadline };
        let version = protected.version().saturating_add(1);
        let (variable, culprits) = (entry.variable(), BTreeMap::new());
        let writing = Writing { variable, value, version, options, culprits };
        let epoch = record.epoch().saturating_add(1);
        Some(match self.enrol_and_write(writing, password, epoch).await {
            Ok(dealt) => Renewal::Dealt(dealt),
            Err(error) => Renewal::Failed(error.to_string()),
        })
    }

    /// Writes after a login: under the same record, or under a new one if shares are to be dealt again
    /// or another threshold is wanted.
    pub(super) async fn write_again(
        &self,
        writing: Writing<'_>,
        record: &Record,
        password: &Password,
        logged_in: &LoggedIn,
    ) -> Result<PutProtected, Error> {
        let rule = writing.options.rule.unwrap_or(record.rule());
        if rule == record.rule() && !self.is_renewal_due(record, logged_in)? {
            return self.write(writing, record, &logged_in.keys, BTreeSet::new()).await;
        }
        let options = PasswordOptions { rule: Some(rule), ..writing.options };
        let writing = Writing { options, ..writing };
        self.enrol_and_write(writing, password, record.epoch().saturating_add(1)).await
    }

    /// Whether so many servers lack a share that b liars could do harm, or the members have changed.
    fn is_renewal_due(&self, record: &Record, logged_in: &LoggedIn) -> Result<bool, Error> {
        let now = Group::new(self.servers()?);
        let has_changed = now != Group::new(record.nodes().iter().cloned());
        Ok(has_changed || record.is_degraded(logged_in.lacking.len()))
    }

    /// A threshold that was asked for must be one of its own.
    pub(super) fn check_rule(&self, options: PasswordOptions) -> Result<(), Error> {
        let n = self.servers()?.len();
        Ok(options.rule.map_or(Ok(()), |rule| rule.check(n))?)
    }

    /// The servers that would share a password's key now: the largest clique.
    fn servers(&self) -> Result<Vec<NodeId>, Error> {
        let configuration = self.inner.configuration()?;
        let clique = configuration.cliques().iter().rev().max_by_key(|clique| clique.len());
        Ok(clique.map(|clique| clique.members().cloned().collect()).unwrap_or_default())
    }

    /// Makes a record, deals its shares, and writes the value with it.
    pub(super) async fn enrol_and_write(
        &self,
        writing: Writing<'_>,
        password: &Password,
        epoch: u64,
    ) -> Result<PutProtected, Error> {
        let inner = &self.inner;
        let plan = Plan {
            realm: inner.configuration()?.realm().clone(),
            variable: writing.variable.clone(),
            epoch,
            nodes: self.servers()?,
            rule: writing.options.rule.unwrap_or_default(),
            stretching: writing.options.stretching,
        };
        let password = password.clone();
        let enrolled = blocking(move || Record::enrol(plan, &password, &mut Random)).await?;
        let deadline = inner.deadline(writing.options.deadline);
        let dealt = deal(inner, &enrolled, deadline).await?;
        let mut writing = writing;
        writing.culprits.extend(dealt.culprits.clone());
        let degraded = if dealt.is_complete { BTreeSet::new() } else { dealt.missing };
        self.write(writing, &enrolled.record, &enrolled.keys, degraded).await
    }

    async fn write(
        &self,
        writing: Writing<'_>,
        record: &Record,
        keys: &Keys,
        degraded: BTreeSet<NodeId>,
    ) -> Result<PutProtected, Error> {
        let Writing { variable, value, version, options, mut culprits } = writing;
        let sealed = Protected::seal(record, keys, version, value, &mut Random)?;
        let put = PutOptions { deadline: options.deadline, ..PutOptions::default() };
        let written = self.put(variable, sealed.to_value()?, put).await.map_err(overtaken)?;
        culprits.extend(written.culprits);
        let (timestamp, epoch) = (written.timestamp, record.epoch());
        Ok(PutProtected { timestamp, epoch, degraded, culprits })
    }
}

/// Servers sign nothing of which they hold no share: somebody else's record is certified by now, and the
/// shares of this one are gone.
fn overtaken(error: Error) -> Error {
    let code = RoamingRefusal::NoShare.code();
    match error {
        Error::Operation(operation) if matches!(&operation.problem, Refused { code: said, .. } if *said == code) =>
        {
            let (problem, culprits) = (Problem::Outdated, operation.culprits);
            Failure { problem, culprits }.into()
        }
        other => other,
    }
}

/// Runs what takes a while on a thread that may work so long.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, bftkv_roaming::Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        // The program ends.
        Err(_) => Err(Failure::from(Problem::Unfinished).into()),
    }
}

/// Hands out the shares of a record.
async fn deal(
    inner: &Arc<Inner>,
    enrolled: &Enrolled,
    deadline: Duration,
) -> Result<Dealt, Failure> {
    let patience = inner.now().saturating_add(inner.settings.round()).min(deadline);
    let mut machine = Dealing::start(enrolled, patience, deadline).map_err(Failure::from)?;
    let (sender, mut events) = mpsc::unbounded_channel();
    loop {
        while let Some(action) = machine.poll() {
            let mut answers = inner.ask([action.to].into(), *action.request, true);
            let sender = sender.clone();
            // A server that is slow gets its share in the background.
            inner.peers.in_background(async move {
                while let Some(heard) = answers.recv().await {
                    let _ = sender.send(heard);
                }
            });
        }
        let Some(wake) = machine.wake_at() else { break };
        tokio::select! {
            Some((node, response)) = events.recv() => {
                machine.handle_response(inner.now(), &node, response);
            }
            () = sleep_until(Instant::from_std(inner.instant(wake))) => {
                machine.handle_timeout(inner.now());
            }
        }
    }
    machine.result().cloned().unwrap_or_else(|| Err(Problem::Unfinished.into()))
}
