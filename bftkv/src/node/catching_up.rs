//! Drives the machine that reads a lost memory from the others, and then the one that reads old
//! versions. It decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    CatchUp, CatchUpAction, CatchUpOptions, Lost, Recovered, Round, Source,
};
use bftkv_protocol::{Batch, NodeId, Request, Response, Sign, Store, StoreError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use super::recovery::{Recovery, blocking};
use crate::peers::Patience;
use crate::{Certificates, Error};

/// How long a member may take for one page.
const PAGE: Duration = Duration::from_secs(10);

/// How long before those are asked again who did not answer.
const ROUND: Duration = Duration::from_secs(1);

/// The same while members change: nothing is served until the state is taken over.
const ROUND_OF_CHANGE: Duration = Duration::from_millis(100);

pub(super) enum Event {
    Page(Round, NodeId, Result<Response, Lost>),
    Fetched,
}

pub(super) type Events = mpsc::UnboundedSender<Event>;

/// Reads from a quorum of others what they remember, and makes it durable. Gives `false` if members
/// have changed meanwhile, so that others must be asked.
pub(super) async fn catch_up(
    recovery: &Recovery,
    core: &Arc<Core>,
    source: Source,
    counts_itself: bool,
) -> Result<bool, Error> {
    let start = Instant::now();
    let (me, known) = (recovery.key.id().clone(), recovery.members.configurations());
    let writers = core.writers();
    let round_timeout = if source == Source::Peers { ROUND } else { ROUND_OF_CHANGE };
    let options = CatchUpOptions { me: me.clone(), counts_itself, source, round_timeout };
    let mut machine = CatchUp::start(start.elapsed(), Arc::clone(&known), options.clone());
    let (sender, mut events) = mpsc::unbounded_channel();
    loop {
        while let Some(action) = machine.poll() {
            perform(action, recovery, core, &me, &sender).await?;
        }
        let Some(wake) = machine.wake_at() else { break };
        if recovery.members.configurations().newest().digest() != known.newest().digest() {
            return Ok(false);
        }
        let certificates = &recovery.certificates;
        tokio::select! {
            Some(event) = events.recv() => match event {
                Event::Page(round, from, response) => {
                    machine.handle_response(round, &from, response, certificates.keys(), &writers);
                }
                Event::Fetched => machine.handle_fetched(certificates.keys(), &writers),
            },
            () = sleep_until(start + wake) => {
                machine.handle_timeout(start.elapsed());
                tracing::info!(waits_for = ?machine.waits_for(), "still reading from the others");
            }
        }
    }
    let (variables, culprits) = (machine.variables(), machine.culprits());
    tracing::info!(variables, ?culprits, "this node has read what the others remember");
    super::old_versions::read_back(recovery, &known, options).await
}

async fn perform(
    action: CatchUpAction,
    recovery: &Recovery,
    core: &Arc<Core>,
    me: &NodeId,
    events: &Events,
) -> Result<(), Error> {
    match action {
        CatchUpAction::Ask { round, to, request } => {
            ask(recovery, round, to, *request, events.clone());
        }
        CatchUpAction::Fetch(ids) => fetch(recovery, ids, events.clone()),
        CatchUpAction::Persist(recovered) => {
            let (store, certificates) =
                (Arc::clone(&recovery.store), recovery.certificates.clone());
            blocking(move || persist(&*store, &certificates, recovered)).await??;
        }
        CatchUpAction::Accuse(proof) => {
            if let Err(refusal) = core.answer(me.clone(), Request::Accuse(proof)).await.outcome {
                tracing::warn!(%refusal, "a proof could not be kept");
            }
        }
        other => tracing::error!(?other, "an action of the protocol is not known here"),
    }
    Ok(())
}

pub(super) fn ask(recovery: &Recovery, round: Round, to: NodeId, request: Request, events: Events) {
    let peers = recovery.peers.clone();
    recovery.peers.in_background(async move {
        let mut answers = peers.ask(BTreeSet::from([to.clone()]), request, Patience::within(PAGE));
        let heard = answers.recv().await;
        let (node, response) = heard.unwrap_or((to, Err(Lost::Silent)));
        // Whoever waited may be gone.
        let _ = events.send(Event::Page(round, node, response));
    });
}

/// Asks everybody for certificates, and takes whatever comes.
pub(super) fn fetch(recovery: &Recovery, ids: BTreeSet<NodeId>, events: Events) {
    let worker = recovery.clone();
    recovery.peers.in_background(async move {
        let request = Request::Certificates { ids: ids.into_iter().collect() };
        let mut answers = worker.peers.ask(worker.others(), request, Patience::within(ROUND));
        while let Some((_, response)) = answers.recv().await {
            worker.learn(response.ok());
        }
        let _ = events.send(Event::Fetched);
    });
}

/// Joins what was read with what is here. The writers' certificates come first, so that what is
/// stored can always be checked.
fn persist(
    store: &dyn Store,
    certificates: &Certificates,
    recovered: Vec<Recovered>,
) -> Result<(), StoreError> {
    let mut all = Batch::default();
    for one in recovered {
        if let Some(latest) = &one.latest {
            let kept = certificates.keep(&latest.entry().writer);
            kept.map_err(|error| StoreError::Io(error.to_string()))?;
        }
        let local = store.load(&one.variable)?;
        let batch = one.join(&local);
        all.entries.extend(batch.entries);
        all.marks.extend(batch.marks);
    }
    store.commit(all)
}
