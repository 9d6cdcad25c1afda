//! Has entries certified again, in the background, whose signers were cut out (docs/adr/0015).
//!
//! Which entries, and what certifies them again, is decided in `bftkv_protocol`: [`Backing`] and
//! [`Repair`]. What is done is on disk in the entries themselves, so a node that stops in the middle
//! goes on where it was: what is certified again is passed over.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bftkv_protocol::client::{Action, Lost, Repair, RepairOptions, Repaired, Round};
use bftkv_protocol::server::Standing;
use bftkv_protocol::{
    Backing, CertifiedEntry, ConfigurationDigest, Configurations, NodeId, RepairProgress, Request,
    Response, Sign, Store, StoreError, Timestamp, ValueDigest, Variable,
};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::core::Core;
use super::lock;
use super::recovery::{Recovery, blocking};
use crate::peers::Patience;

/// How often the node looks whether somebody was cut out or the members changed.
const LOOK: Duration = Duration::from_millis(500);

/// How long to wait before what was left over is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How long one entry may take, and one round of questions for it.
const ENTRY: Duration = Duration::from_secs(10);
const ROUND: Duration = Duration::from_secs(2);

/// The pause after each entry that was certified again, and after each page that was looked through:
/// at most 50 entries a second, so that users hardly notice.
const AFTER_ENTRY: Duration = Duration::from_millis(20);
const AFTER_PAGE: Duration = Duration::from_millis(10);

/// How many variables are looked through at a time, and how many versions.
const PAGE: usize = 64;
const VERSIONS: usize = 256;

/// After so many failures one after the other, somebody is missing who is needed: the node waits
/// longer and longer before it tries the next entry.
const FAILURES: u32 = 3;

/// What an entry's backing depends on besides the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    cut: BTreeSet<NodeId>,
    configuration: ConfigurationDigest,
}

/// Which entries a round takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Those for which this node is the first among the members: each finds its own, so that not
    /// all of them work on the same.
    Own,
    /// All that are left.
    All,
}

/// What a page of the store holds.
struct Page {
    checked: u64,
    weak: Vec<(Variable, Timestamp)>,
    last: Option<Variable>,
}

/// The task, and how far it is.
pub(super) struct Repairs {
    recovery: Recovery,
    progress: Mutex<RepairProgress>,
    /// What was in force when nothing was left to do.
    settled: Mutex<Option<View>>,
    wake: Notify,
}

impl Repairs {
    pub(super) fn new(recovery: Recovery) -> Self {
        Self {
            recovery,
            progress: Mutex::default(),
            settled: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// How far it is. With `begin`, what is left is tried at once.
    pub(super) fn progress(&self, begin: bool) -> RepairProgress {
        let done = *lock(&self.settled) == Some(self.view());
        if begin && !done {
            self.wake.notify_one();
        }
        RepairProgress { done, ..*lock(&self.progress) }
    }

    fn view(&self) -> View {
        let configurations = self.recovery.members.configurations();
        let cut = self.recovery.certificates.keyring().cut();
        // A user who was cut out has certified nothing.
        let newest = configurations.newest();
        let counts = |id: &NodeId| configurations.has_signer(id) || newest.has_member(id);
        let cut = cut.into_iter().filter(counts).collect();
        View { cut, configuration: configurations.newest().digest() }
    }

    /// Runs until the node stops.
    pub(super) async fn run(self: Arc<Self>, core: Arc<Core>) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.recovery.gate.opened().await;
            let view = self.view();
            let serves = self.recovery.members.seen().standing() == Standing::Serving;
            if !serves || *lock(&self.settled) == Some(view.clone()) {
                pause = FIRST_PAUSE;
                sleep(LOOK).await;
                continue;
            }
            match self.attempt(&core, &view).await {
                Ok(true) => {
                    *lock(&self.settled) = Some(view);
                    continue;
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "cannot look for entries to certify again"),
            }
            self.rest(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Waits so long, or until somebody asks to begin.
    async fn rest(&self, pause: Duration) {
        sleep(LOOK).await;
        let _ = timeout(pause, self.wake.notified()).await;
    }

    /// Looks through the store: first for its own share, then for whatever is left. Tells whether
    /// nothing is left.
    async fn attempt(&self, core: &Arc<Core>, view: &View) -> Result<bool, StoreError> {
        if view.cut.is_empty() {
            // Nobody who ever signed was cut out, so nothing has lost a signer.
            return Ok(true);
        }
        for share in [Share::Own, Share::All] {
            let repaired = lock(&self.progress).repaired;
            *lock(&self.progress) = RepairProgress { repaired, ..RepairProgress::default() };
            if !self.round(core, view, share).await? {
                return Ok(false);
            }
        }
        let progress = *lock(&self.progress);
        if progress.repaired > 0 {
            let RepairProgress { checked, repaired, open, alone, .. } = progress;
            tracing::info!(checked, repaired, open, alone, "certified entries again");
        }
        Ok(progress.open == 0)
    }

    /// One walk through the store. `false`: somebody was cut out meanwhile, or the members changed.
    async fn round(&self, core: &Arc<Core>, view: &View, share: Share) -> Result<bool, StoreError> {
        let (mut after, mut failures) = (None, 0);
        loop {
            let page = self.page(after, view, share).await?;
            lock(&self.progress).checked += page.checked;
            for (variable, t) in page.weak {
                if self.view() != *view {
                    return Ok(false);
                }
                failures = self.repair(core, view, &variable, t, failures).await?;
            }
            let Some(last) = page.last else { return Ok(true) };
            after = Some(last);
            sleep(AFTER_PAGE).await;
        }
    }

    async fn page(
        &self,
        after: Option<Variable>,
        view: &View,
        share: Share,
    ) -> Result<Page, StoreError> {
        let store = Arc::clone(&self.recovery.store);
        let known = self.recovery.members.configurations();
        let (me, view) = (self.recovery.key.id().clone(), view.clone());
        blocking(move || {
            let is_wanted = |x: &Variable| share == Share::All || is_first(&me, x, &known, &view);
            look_through(&*store, after.as_ref(), &known, &view.cut, is_wanted)
        })
        .await?
    }

    /// Has one entry certified again, if that is still needed. Gives how many failures there were
    /// one after the other.
    async fn repair(
        &self,
        core: &Arc<Core>,
        view: &View,
        variable: &Variable,
        t: Timestamp,
        failures: u32,
    ) -> Result<u32, StoreError> {
        let (store, x) = (Arc::clone(&self.recovery.store), variable.clone());
        let Some(entry) = blocking(move || store.version(&x, t)).await?? else { return Ok(0) };
        let known = self.recovery.members.configurations();
        if Backing::of(&entry, &known, &view.cut) == Backing::Full {
            return Ok(0);
        }
        let failures = match self.drive(core, known, entry, view.cut.clone()).await {
            Some(Repaired::Again(_)) => {
                lock(&self.progress).repaired += 1;
                0
            }
            Some(_) => {
                lock(&self.progress).alone += 1;
                0
            }
            None => {
                lock(&self.progress).open += 1;
                tracing::debug!(
                    ?variable,
                    timestamp = t.get(),
                    "too few vouched; tried again later"
                );
                failures.saturating_add(1)
            }
        };
        sleep(AFTER_ENTRY).await;
        if failures >= FAILURES {
            let doublings = failures.saturating_sub(FAILURES).min(16);
            self.rest(FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)).await;
        }
        Ok(failures)
    }

    /// Runs the machine to its end. `None`: too few members answered.
    async fn drive(
        &self,
        core: &Arc<Core>,
        known: Arc<Configurations>,
        entry: CertifiedEntry,
        cut: BTreeSet<NodeId>,
    ) -> Option<Repaired> {
        let start = Instant::now();
        let options = RepairOptions { cut, deadline: ENTRY, round_timeout: ROUND };
        let mut machine = Repair::start(Duration::ZERO, 0, known, entry, options);
        let (sender, mut events) = mpsc::unbounded_channel();
        loop {
            while let Some(action) = machine.poll() {
                self.perform(core, action, &sender);
            }
            let Some(wake) = machine.wake_at() else { break };
            tokio::select! {
                Some((round, node, response)) = events.recv() => {
                    let keys = self.recovery.certificates.keys();
                    machine.handle_response(round, &node, response, keys);
                }
                () = sleep_until(start + wake) => machine.handle_timeout(start.elapsed()),
            }
        }
        machine.result().and_then(|result| result.clone().ok())
    }

    fn perform(&self, core: &Arc<Core>, action: Action, events: &Events) {
        let peers = &self.recovery.peers;
        match action {
            Action::Send { round, to, request } => {
                if to.contains(self.recovery.key.id()) {
                    peers.in_background(ask_own(
                        Arc::clone(core),
                        round,
                        (*request).clone(),
                        events,
                    ));
                }
                let mut answers = peers.ask(to, *request, Patience::within(ENTRY));
                let events = events.clone();
                peers.in_background(async move {
                    while let Some((node, response)) = answers.recv().await {
                        // Whoever waited may be gone.
                        let _ = events.send((round, node, response));
                    }
                });
            }
            Action::Accuse(proof) => {
                let round = Round::MAX;
                let request = Request::Accuse(Box::new(proof));
                peers.in_background(ask_own(Arc::clone(core), round, request, events));
            }
            // Members that have changed are learned of elsewhere; then this begins anew.
            Action::Refresh => {}
            other => tracing::error!(?other, "an action of the protocol is not known here"),
        }
    }
}

type Events = mpsc::UnboundedSender<(Round, NodeId, Result<Response, Lost>)>;

/// The node is one of the members: it answers itself by the same rules.
fn ask_own(
    core: Arc<Core>,
    round: Round,
    request: Request,
    events: &Events,
) -> impl Future<Output = ()> + Send + 'static {
    let events = events.clone();
    async move {
        let me = core.id().clone();
        let response = core.answer(me.clone(), request).await;
        let _ = events.send((round, me, Ok(response)));
    }
}

/// Whether this node is the one that begins with a variable.
fn is_first(me: &NodeId, variable: &Variable, known: &Configurations, view: &View) -> bool {
    let members = known.newest().everyone();
    let uncut: Vec<&NodeId> = members.difference(&view.cut).collect();
    let digest = ValueDigest::of(variable.as_bytes());
    let number =
        digest.as_bytes().iter().take(4).fold(0, |n: usize, byte| n << 8 | usize::from(*byte));
    let place = number.checked_rem(uncut.len());
    place.and_then(|place| uncut.get(place)).is_some_and(|first| *first == me)
}

/// Which entries of a page of variables are not fully backed, old versions included.
fn look_through(
    store: &dyn Store,
    after: Option<&Variable>,
    known: &Configurations,
    cut: &BTreeSet<NodeId>,
    is_wanted: impl Fn(&Variable) -> bool,
) -> Result<Page, StoreError> {
    let names = store.known(after, PAGE)?;
    let mut page = Page { checked: 0, weak: Vec::new(), last: names.last().cloned() };
    for variable in names.into_iter().filter(is_wanted) {
        let mut below = None;
        loop {
            let times = store.versions(&variable, below, VERSIONS)?;
            let Some(last) = times.last().copied() else { break };
            for t in times {
                let Some(entry) = readable(store.version(&variable, t))? else { continue };
                page.checked += 1;
                if Backing::of(&entry, known, cut) < Backing::Full {
                    page.weak.push((variable.clone(), t));
                }
            }
            below = Some(last);
        }
    }
    Ok(page)
}

/// A damaged record is passed over: it is never served, and the others have copies.
fn readable(
    found: Result<Option<CertifiedEntry>, StoreError>,
) -> Result<Option<CertifiedEntry>, StoreError> {
    match found {
        Err(StoreError::Corrupt { .. }) => Ok(None),
        other => other,
    }
}
