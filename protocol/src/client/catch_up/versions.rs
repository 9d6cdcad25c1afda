//! Reading back old versions: every certified version that a quorum of others holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::{CatchUpOptions, Recovered, configuration_of, is_quorum, others};
use crate::client::{Fault, Lost, Round};
use crate::server::{MAX_RECALLED_ENTRIES, MAX_RECALLED_VERSIONS};
use crate::{
    Answer, Batch, CertifiedEntry, Configuration, Configurations, Marks, NodeId, Request, Response,
    Store, StoreError, Timestamp, Variable, Verify, VersionId, verify_certified,
};

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum OldVersionsAction {
    /// Ask this member; report with [`OldVersions::handle_response`].
    Ask {
        /// The answer carries it back.
        round: Round,
        /// Whom.
        to: NodeId,
        /// What.
        request: Box<Request>,
    },
    /// See which of these the store does not have ([`absent`]), then call
    /// [`OldVersions::handle_absent`]. What was to be kept before must be kept by then.
    Compare {
        /// Who named them.
        from: NodeId,
        /// What was named.
        versions: Vec<VersionId>,
    },
    /// Find these certificates, then call [`OldVersions::handle_fetched`].
    Fetch(BTreeSet<NodeId>),
    /// Keep these (see [`kept`]) and make it durable.
    Persist(Vec<CertifiedEntry>),
}

/// Where one member is.
#[derive(Debug, Default)]
struct Teller {
    /// It has named everything up to here.
    told: Option<VersionId>,
    /// It has named everything.
    last: bool,
    /// What it named is being compared with the store.
    comparing: bool,
    /// What it named and nobody has shown yet.
    open: BTreeSet<VersionId>,
    /// Everything that it named is here, or it was caught lying and counts as one that holds
    /// nothing.
    done: bool,
    /// What it has not answered yet.
    question: Option<Question>,
    /// It could not be reached, or refused, or showed what cannot be checked yet: asked again at
    /// the next timeout.
    waiting: bool,
}

/// A question that is not answered yet.
#[derive(Debug)]
struct Question {
    /// It was asked first and last in these rounds: an answer to any of them is as good, so that a
    /// slow member is not asked for ever.
    first: Round,
    last: Round,
    /// A timeout has passed since it was asked last: it no longer keeps others from being asked.
    old: bool,
    /// The versions that it asks for; none: for the next names.
    wanted: Vec<VersionId>,
}

/// Reads back every certified version that a node may have acknowledged before it lost its memory,
/// or that a member of a new configuration must hold: not the newest ones alone, of which
/// [`super::CatchUp`] takes care first. The node is silent until it is done, as a reader that finds
/// nothing at a timestamp believes a quorum.
///
/// Theorem: an acknowledged version is on the disks of a quorum, of whom q-1 are others; of those, q
/// others that are asked hold at least 2q-n >= b+1, so an honest one, which names it. So it takes
/// q others that have named everything and all of whose versions are here: the same q as for the
/// newest entry. One that names what it cannot show is convicted, and counts as one that holds
/// nothing: the worst that it could have said.
///
/// Names travel q times, entries once: of what others name, only what the store does not have is
/// asked for, of one member at a time. So an old copy is completed for little, a node that was
/// interrupted goes on where it was, and a change of members costs names only. A member must show
/// one page before the next is taken: the memory that this takes is one page of names and one of
/// entries for each member, and a liar can go on only with entries that were really certified.
#[derive(Debug)]
pub struct OldVersions {
    known: Arc<Configurations>,
    /// Whose members are asked.
    configuration: Arc<Configuration>,
    options: CatchUpOptions,
    tellers: BTreeMap<NodeId, Teller>,
    /// Certificates that were looked for since the last timeout.
    looked_for: BTreeSet<NodeId>,
    round: Round,
    step_ends: Duration,
    culprits: BTreeMap<NodeId, Fault>,
    named: u64,
    taken: u64,
    actions: VecDeque<OldVersionsAction>,
    done: bool,
}

impl OldVersions {
    /// Begins to ask all other members of the groups that [`super::CatchUp`] asks.
    #[must_use]
    pub fn start(now: Duration, known: Arc<Configurations>, options: CatchUpOptions) -> Self {
        let configuration = configuration_of(&known, &options);
        let others = others(&configuration, &options);
        let mut machine = Self {
            tellers: others.into_iter().map(|id| (id, Teller::default())).collect(),
            configuration,
            known,
            looked_for: BTreeSet::new(),
            round: 0,
            step_ends: now.saturating_add(options.round_timeout),
            culprits: BTreeMap::new(),
            named: 0,
            taken: 0,
            actions: VecDeque::new(),
            done: false,
            options,
        };
        machine.go_on();
        machine
    }

    /// The next thing to do. Drain it after every call.
    pub fn poll(&mut self) -> Option<OldVersionsAction> {
        self.actions.pop_front()
    }

    /// When to call [`OldVersions::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        (!self.done).then_some(self.step_ends)
    }

    /// Whether everything is here; what was handed out by then must be persisted before the node
    /// speaks again.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// How many versions the others have named so far, those of each counted.
    #[must_use]
    pub fn named(&self) -> u64 {
        self.named
    }

    /// How many versions were not here and are now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Who is still needed: members that have not named or shown everything.
    #[must_use]
    pub fn waits_for(&self) -> BTreeSet<NodeId> {
        let open = self.tellers.iter().filter(|(_, teller)| !teller.done);
        open.map(|(id, _)| id.clone()).collect()
    }

    /// Who lied on the way, and how.
    #[must_use]
    pub fn culprits(&self) -> &BTreeMap<NodeId, Fault> {
        &self.culprits
    }

    /// Takes an answer to [`OldVersionsAction::Ask`].
    pub fn handle_response(
        &mut self,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
    ) {
        // An answer under the newest configuration is by one that has stopped under older ones.
        let ours = self.known.newest().digest();
        let Some(teller) = self.tellers.get_mut(from) else { return };
        let answers = |asked: &mut Question| (asked.first..=asked.last).contains(&round);
        let Some(question) = teller.question.take_if(answers) else { return };
        match response {
            Ok(Response { configuration, outcome: Ok(answer) }) if configuration == ours => {
                match answer {
                    Answer::RecalledVersions { versions, more } if question.wanted.is_empty() => {
                        self.take_names(from, versions, more);
                    }
                    Answer::RecalledEntries(entries) if !question.wanted.is_empty() => {
                        self.take_entries(from, &question.wanted, entries, keys);
                    }
                    _ => self.convict(from, Fault::BadAnswer),
                }
            }
            Err(Lost::Lied) => self.convict(from, Fault::BadAnswer),
            _ => teller.waiting = true,
        }
        self.go_on();
    }

    /// Learns which of the versions of [`OldVersionsAction::Compare`] the store does not have.
    pub fn handle_absent(&mut self, from: &NodeId, absent: impl IntoIterator<Item = VersionId>) {
        if let Some(teller) = self.tellers.get_mut(from).filter(|teller| teller.comparing) {
            teller.comparing = false;
            teller.open = absent.into_iter().collect();
        }
        self.go_on();
    }

    /// Learns that the certificates that [`OldVersionsAction::Fetch`] named were looked for.
    pub fn handle_fetched(&mut self) {
        for teller in self.tellers.values_mut() {
            teller.waiting = false;
        }
        self.go_on();
    }

    /// To be called when the time that [`OldVersions::wake_at`] names has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.done || now < self.step_ends {
            return;
        }
        self.step_ends = now.saturating_add(self.options.round_timeout);
        self.looked_for.clear();
        let mut again = Vec::new();
        for (id, teller) in &mut self.tellers {
            teller.waiting = false;
            let Some(question) = &mut teller.question else { continue };
            // Whoever was asked a moment ago has until the next timeout.
            if std::mem::replace(&mut question.old, true) {
                self.round = self.round.wrapping_add(1);
                question.last = self.round;
                again.push(ask(self.round, id, teller.told.as_ref(), &question.wanted));
            }
        }
        self.actions.extend(again);
        self.go_on();
    }

    fn take_names(&mut self, from: &NodeId, versions: Vec<VersionId>, more: bool) {
        let Some(teller) = self.tellers.get_mut(from) else { return };
        if !is_page(&versions, teller.told.as_ref(), more) {
            self.convict(from, Fault::BadAnswer);
            return;
        }
        teller.last = !more;
        let Some(last) = versions.last() else { return };
        teller.told = Some(last.clone());
        teller.comparing = true;
        let named = u64::try_from(versions.len()).unwrap_or(u64::MAX);
        self.named = self.named.saturating_add(named);
        self.actions.push_back(OldVersionsAction::Compare { from: from.clone(), versions });
    }

    /// Takes what proves itself. An entry that cannot be checked yet is asked for once more when
    /// its certificates were looked for; nobody is blamed for them.
    fn take_entries(
        &mut self,
        from: &NodeId,
        wanted: &[VersionId],
        entries: Vec<CertifiedEntry>,
        keys: &dyn Verify,
    ) {
        if entries.is_empty() || entries.len() > wanted.len() {
            self.convict(from, Fault::BadAnswer);
            return;
        }
        let (mut good, mut missing) = (Vec::new(), BTreeSet::new());
        for (version, entry) in wanted.iter().zip(entries) {
            if version_of(&entry) != *version {
                self.convict(from, Fault::BadAnswer);
                break;
            }
            match verify_certified(&entry, &self.known, keys) {
                Ok(()) => good.push(entry),
                Err(invalid) => match invalid.missing_certificate() {
                    Some(id) => {
                        missing.insert(id.clone());
                    }
                    None => {
                        self.convict(from, Fault::BadEntry);
                        break;
                    }
                },
            }
        }
        if !missing.is_empty() {
            self.look_for(from, missing);
        }
        for entry in &good {
            let version = version_of(entry);
            // Each of them is done with it.
            let mut is_new = false;
            for teller in self.tellers.values_mut() {
                is_new |= teller.open.remove(&version);
            }
            self.taken = self.taken.saturating_add(u64::from(is_new));
        }
        if !good.is_empty() {
            self.actions.push_back(OldVersionsAction::Persist(good));
        }
    }

    fn look_for(&mut self, from: &NodeId, missing: BTreeSet<NodeId>) {
        if let Some(teller) = self.tellers.get_mut(from) {
            teller.waiting = true;
        }
        let new: BTreeSet<NodeId> = missing.difference(&self.looked_for).cloned().collect();
        if !new.is_empty() {
            self.looked_for.extend(new.iter().cloned());
            self.actions.push_back(OldVersionsAction::Fetch(new));
        }
    }

    /// A liar has said the worst that it could: nothing. What it proved before stays.
    fn convict(&mut self, from: &NodeId, fault: Fault) {
        self.culprits.entry(from.clone()).or_insert(fault);
        if let Some(teller) = self.tellers.get_mut(from) {
            *teller = Teller { done: true, ..Teller::default() };
        }
    }

    /// Asks everybody who can be asked for something, until a quorum is done.
    fn go_on(&mut self) {
        for teller in self.tellers.values_mut() {
            let idle = teller.question.is_none() && !teller.comparing && !teller.waiting;
            teller.done = teller.done || (idle && teller.last && teller.open.is_empty());
        }
        let done = self.tellers.iter().filter(|(_, teller)| teller.done).map(|(id, _)| id);
        self.done = is_quorum(&self.configuration, &self.options, &done.collect());
        if self.done {
            return;
        }
        let mut under_way: BTreeSet<VersionId> = self
            .tellers
            .values()
            .filter_map(|teller| teller.question.as_ref().filter(|question| !question.old))
            .flat_map(|question| question.wanted.iter().cloned())
            .collect();
        let mut asks = Vec::new();
        for (id, teller) in &mut self.tellers {
            let busy = teller.comparing || teller.waiting || teller.question.is_some();
            if teller.done || busy {
                continue;
            }
            let wanted: Vec<VersionId> =
                teller.open.difference(&under_way).take(MAX_RECALLED_ENTRIES).cloned().collect();
            // The rest of what it named comes from others.
            if wanted.is_empty() && !teller.open.is_empty() {
                continue;
            }
            self.round = self.round.wrapping_add(1);
            asks.push(ask(self.round, id, teller.told.as_ref(), &wanted));
            under_way.extend(wanted.iter().cloned());
            let (first, last) = (self.round, self.round);
            teller.question = Some(Question { first, last, old: false, wanted });
        }
        self.actions.extend(asks);
    }
}

fn ask(
    round: Round,
    to: &NodeId,
    told: Option<&VersionId>,
    wanted: &[VersionId],
) -> OldVersionsAction {
    let request = if wanted.is_empty() {
        Request::RecallVersions { after: told.cloned(), limit: MAX_RECALLED_VERSIONS }
    } else {
        Request::RecallEntries { versions: wanted.to_vec() }
    };
    OldVersionsAction::Ask { round, to: to.clone(), request: Box::new(request) }
}

fn version_of(entry: &CertifiedEntry) -> VersionId {
    VersionId { variable: entry.variable().clone(), timestamp: entry.timestamp() }
}

/// Whether a page is what was asked for: behind what was told, in order, and full if there is more.
fn is_page(page: &[VersionId], told: Option<&VersionId>, more: bool) -> bool {
    let follows = |a: &VersionId, b: &VersionId| {
        a.variable < b.variable || (a.variable == b.variable && a.timestamp > b.timestamp)
    };
    let in_order = page.windows(2).all(|pair| match pair {
        [a, b] => follows(a, b),
        _ => false,
    });
    let behind = page.first().is_none_or(|first| told.is_none_or(|told| follows(told, first)));
    let limit = usize::from(MAX_RECALLED_VERSIONS);
    in_order && behind && page.len() <= limit && (!more || page.len() == limit)
}

/// Which of these versions a store does not hold.
///
/// # Errors
/// [`StoreError`]: the world's or the disk's fault.
pub fn absent(store: &dyn Store, versions: Vec<VersionId>) -> Result<Vec<VersionId>, StoreError> {
    let mut absent = Vec::new();
    for version in versions {
        let below = Timestamp::new(version.timestamp.get().saturating_add(1));
        let newest = store.versions(&version.variable, Some(below), 1)?;
        if newest.first() != Some(&version.timestamp) {
            absent.push(version);
        }
    }
    Ok(absent)
}

/// How to keep versions that were read back. An entry above the newest one of its variable settles
/// attempts and raises seen(x), as if it were stored by rule R4; older ones only fill the history.
///
/// # Errors
/// [`StoreError`]: the world's or the disk's fault.
pub fn kept(store: &dyn Store, entries: Vec<CertifiedEntry>) -> Result<Batch, StoreError> {
    let mut newest: BTreeMap<&Variable, &CertifiedEntry> = BTreeMap::new();
    for entry in &entries {
        let best = newest.entry(entry.variable()).or_insert(entry);
        if best.timestamp() < entry.timestamp() {
            *best = entry;
        }
    }
    let mut batch = Batch::default();
    for (variable, entry) in newest {
        let local = store.load(variable)?;
        if local.latest.as_ref().is_none_or(|latest| latest.timestamp() < entry.timestamp()) {
            let (latest, marks) = (Some(entry.clone()), Marks::default());
            let found = Recovered { variable: variable.clone(), latest, marks };
            batch.marks.extend(found.join(&local).marks);
        }
    }
    batch.entries = entries;
    Ok(batch)
}
