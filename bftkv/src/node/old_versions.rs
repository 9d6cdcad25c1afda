//! Drives the machine that reads old versions from the others. It decides nothing.

use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{CatchUpOptions, OldVersions, OldVersionsAction, absent, kept};
use bftkv_protocol::{CertifiedEntry, Configurations, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::catching_up::{Event, Events, ask, fetch};
use super::recovery::{Recovery, blocking};
use crate::{Certificates, Error};

/// How often it is said how far this has come.
const PROGRESS: Duration = Duration::from_secs(5);

/// Reads from a quorum of others every version that is not here, and makes it durable. Gives
/// `false` if members have changed meanwhile, so that others must be asked.
pub(super) async fn read_back(
    recovery: &Recovery,
    known: &Arc<Configurations>,
    options: CatchUpOptions,
) -> Result<bool, Error> {
    let start = Instant::now();
    let mut machine = OldVersions::start(start.elapsed(), Arc::clone(known), options);
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut said = start;
    loop {
        while let Some(action) = machine.poll() {
            perform(action, &mut machine, recovery, &sender).await?;
        }
        let Some(wake) = machine.wake_at() else { break };
        if recovery.members.configurations().newest().digest() != known.newest().digest() {
            return Ok(false);
        }
        let certificates = &recovery.certificates;
        tokio::select! {
            Some(event) = events.recv() => match event {
                Event::Page(round, from, response) => {
                    machine.handle_response(round, &from, response, certificates.keys());
                }
                Event::Fetched => machine.handle_fetched(),
            },
            () = sleep_until(start + wake) => machine.handle_timeout(start.elapsed()),
        }
        if said.elapsed() >= PROGRESS {
            said = Instant::now();
            let (named, taken) = (machine.named(), machine.taken());
            let waits_for = machine.waits_for();
            tracing::info!(named, taken, ?waits_for, "still reading old versions");
        }
    }
    let (taken, culprits) = (machine.taken(), machine.culprits());
    tracing::info!(taken, ?culprits, "this node has every version that the others hold");
    Ok(true)
}

async fn perform(
    action: OldVersionsAction,
    machine: &mut OldVersions,
    recovery: &Recovery,
    events: &Events,
) -> Result<(), Error> {
    match action {
        OldVersionsAction::Ask { round, to, request } => {
            ask(recovery, round, to, *request, events.clone());
        }
        OldVersionsAction::Compare { from, versions } => {
            let store = Arc::clone(&recovery.store);
            let absent = blocking(move || absent(&*store, versions)).await??;
            machine.handle_absent(&from, absent);
        }
        OldVersionsAction::Fetch(ids) => fetch(recovery, ids, events.clone()),
        OldVersionsAction::Persist(entries) => {
            let (store, certificates) =
                (Arc::clone(&recovery.store), recovery.certificates.clone());
            blocking(move || persist(&*store, &certificates, entries)).await??;
        }
        other => tracing::error!(?other, "an action of the protocol is not known here"),
    }
    Ok(())
}

/// The writers' certificates come first, so that what is stored can always be checked.
fn persist(
    store: &dyn Store,
    certificates: &Certificates,
    entries: Vec<CertifiedEntry>,
) -> Result<(), StoreError> {
    for entry in &entries {
        let kept = certificates.keep(&entry.entry().writer);
        kept.map_err(|error| StoreError::Io(error.to_string()))?;
    }
    store.commit(kept(store, entries)?)
}
