//! Catching up: reads what a quorum of others remembers. A signer's memory
//! is part of its key (docs/reliability/recovery.md).

mod judge;
mod versions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub use judge::Recovered;
use judge::{Claim, Judge};
pub use versions::{OldVersions, OldVersionsAction, absent, kept};

use super::{Fault, Lost, Round};
use crate::server::{MAX_RECALLED, MIN_PAGE_BYTES};
use crate::{
    Answer, Configuration, Configurations, EquivocationProof, Group, Identities, NodeId, Recalled,
    Request, Response, Variable, Verify, encoded_len,
};

/// How often certificates are looked for before an entry that needs them is left out: whoever
/// showed it could not show its writer.
const MAX_FETCHES: u32 = 3;

/// How many variables one member may name that no certified entry vouches for. An honest one has
/// one for each first write that was never finished; a liar could go on for ever.
pub const MAX_UNCERTIFIED: usize = 1 << 18;

/// How to catch up.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_structs, reason = "the driver fills in every field")]
pub struct CatchUpOptions {
    /// Who catches up: it is not asked.
    pub me: NodeId,
    /// Whether the own memory is whole and counts as one of the quorum.
    pub counts_itself: bool,
    /// Who is asked.
    pub source: Source,
    /// How long to wait for a page before its member is asked again.
    pub round_timeout: Duration,
}

/// Who is asked for what they remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a memory was lost, or handed over")]
pub enum Source {
    /// The members of one's own groups: for a node that lost its memory.
    Peers,
    /// The members of every group of the predecessor, who have stopped under it: for a member of
    /// a new configuration that takes over the state. Where there is none, as [`Source::Peers`].
    Predecessor,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum CatchUpAction {
    /// Ask this member; report with [`CatchUp::handle_response`].
    Ask {
        /// The answer carries it back.
        round: Round,
        /// Whom.
        to: NodeId,
        /// What.
        request: Box<Request>,
    },
    /// Find these certificates, then call [`CatchUp::handle_fetched`].
    Fetch(BTreeSet<NodeId>),
    /// Join this with what the store has (see [`Recovered::join`]) and make it durable.
    Persist(Vec<Recovered>),
    /// Somebody is convicted.
    Accuse(Box<EquivocationProof>),
}

/// Where one member is.
#[derive(Debug)]
struct Teller {
    /// It has told everything up to here.
    told: Option<Variable>,
    /// It has told everything, or was caught lying and counts as one that knows nothing.
    done: bool,
    /// The question that it has not answered yet, and for how many timeouts.
    asked: Option<(Round, u8)>,
    /// The first question since its last page: an answer to any later one is as good, so that a
    /// slow member is not asked for ever.
    since: Option<Round>,
    /// It could not be reached, or refused: asked again at the next timeout.
    waiting: bool,
    /// Variables that it named without a certified entry.
    uncertified: usize,
}

/// Collects what q members of every group that the node belongs to remember, and decides variable
/// by variable, in ascending order, what is true.
///
/// Theorem: what could be certified with the node's forgotten share, or was acknowledged with its
/// forgotten acknowledgement, is known to q-1 other members; of those, q others that are asked hold
/// at least 2q-n >= b+1, so an honest one. One honest member's word must do: entries, abandon
/// messages and slots prove themselves by their signatures, and a bare timestamp is believed only a
/// little beyond what is proven. A liar can leave out, and can add what a writer really signed. A
/// member that is caught lying counts as one that knows nothing: that is the worst that it could
/// have said.
#[derive(Debug)]
pub struct CatchUp {
    known: Arc<Configurations>,
    /// Whose members are asked.
    configuration: Arc<Configuration>,
    options: CatchUpOptions,
    tellers: BTreeMap<NodeId, Teller>,
    /// What is told of variables that are not decided yet.
    claims: BTreeMap<Variable, Vec<Claim>>,
    /// Everything up to here is decided.
    decided: Option<Variable>,
    fetching: Option<BTreeSet<NodeId>>,
    fetched: BTreeMap<NodeId, u32>,
    round: Round,
    step_ends: Duration,
    culprits: BTreeMap<NodeId, Fault>,
    variables: u64,
    actions: VecDeque<CatchUpAction>,
    done: bool,
}

impl CatchUp {
    /// Begins to ask all other members of the groups to which `options.me` belongs.
    #[must_use]
    pub fn start(now: Duration, known: Arc<Configurations>, options: CatchUpOptions) -> Self {
        let configuration = configuration_of(&known, &options);
        let others = others(&configuration, &options);
        let mut catch_up = Self {
            tellers: others.into_iter().map(|id| (id, Teller::new())).collect(),
            configuration,
            known,
            claims: BTreeMap::new(),
            decided: None,
            fetching: None,
            fetched: BTreeMap::new(),
            round: 0,
            step_ends: now.saturating_add(options.round_timeout),
            culprits: BTreeMap::new(),
            variables: 0,
            actions: VecDeque::new(),
            done: false,
            options,
        };
        catch_up.ask_on();
        catch_up.done = catch_up.is_complete();
        catch_up
    }

    /// The next thing to do. Drain it after every call.
    pub fn poll(&mut self) -> Option<CatchUpAction> {
        self.actions.pop_front()
    }

    /// When to call [`CatchUp::handle_timeout`]; `None` when it is over.
    #[must_use]
    pub fn wake_at(&self) -> Option<Duration> {
        (!self.done).then_some(self.step_ends)
    }

    /// Whether everything is decided; what was handed out by then must be persisted before the
    /// node speaks again.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// How many variables were decided so far.
    #[must_use]
    pub fn variables(&self) -> u64 {
        self.variables
    }

    /// Who is still needed: members that have not told everything.
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

    /// Takes an answer to [`CatchUpAction::Ask`].
    pub fn handle_response(
        &mut self,
        round: Round,
        from: &NodeId,
        response: Result<Response, Lost>,
        keys: &dyn Verify,
        identities: &dyn Identities,
    ) {
        // An answer under the newest configuration is by one that has stopped under older ones.
        let ours = self.known.newest().digest();
        let Some(teller) = self.tellers.get_mut(from) else { return };
        if teller.done || teller.since.is_none_or(|first| round < first) {
            return;
        }
        teller.asked = None;
        match response {
            Ok(Response { configuration, outcome: Ok(Answer::Recalled { variables, more }) })
                if configuration == ours =>
            {
                self.take_page(from, variables, more);
            }
            Ok(Response { configuration, outcome: Ok(_) }) if configuration == ours => {
                self.convict(from, Fault::BadAnswer);
            }
            Err(Lost::Lied) => self.convict(from, Fault::BadAnswer),
            _ => teller.waiting = true,
        }
        self.go_on(keys, identities);
    }

    /// Learns that the certificates that [`CatchUpAction::Fetch`] named were looked for.
    pub fn handle_fetched(&mut self, keys: &dyn Verify, identities: &dyn Identities) {
        let Some(wanted) = self.fetching.take() else { return };
        for id in wanted {
            let tries = self.fetched.entry(id).or_default();
            *tries = tries.saturating_add(1);
        }
        self.go_on(keys, identities);
    }

    /// To be called when the time that [`CatchUp::wake_at`] names has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.done || now < self.step_ends {
            return;
        }
        self.step_ends = now.saturating_add(self.options.round_timeout);
        for teller in self.tellers.values_mut() {
            // Whoever was asked a moment ago has until the next timeout.
            teller.asked = teller.asked.filter(|(_, old)| *old == 0).map(|(round, _)| (round, 1));
            teller.waiting = false;
        }
        if let Some(wanted) = &self.fetching {
            self.actions.push_back(CatchUpAction::Fetch(wanted.clone()));
        }
        self.ask_on();
    }

    fn take_page(&mut self, from: &NodeId, page: Vec<Recalled>, more: bool) {
        let Some(teller) = self.tellers.get_mut(from) else { return };
        if !is_page(&page, teller.told.as_ref(), more) {
            self.convict(from, Fault::BadAnswer);
            return;
        }
        let uncertified = page.iter().filter(|recalled| recalled.latest.is_none()).count();
        teller.uncertified = teller.uncertified.saturating_add(uncertified);
        if teller.uncertified > MAX_UNCERTIFIED {
            self.convict(from, Fault::BadAnswer);
            return;
        }
        teller.done = !more;
        teller.since = None;
        if let Some(last) = page.last() {
            teller.told = Some(last.variable.clone());
        }
        for recalled in page {
            if self.decided.as_ref().is_none_or(|decided| recalled.variable > *decided) {
                let claim =
                    Claim { from: from.clone(), marks: recalled.marks, latest: recalled.latest };
                self.claims.entry(recalled.variable).or_default().push(claim);
            }
        }
    }

    /// A liar has said the worst that it could: nothing. What it said before stays, as far as it
    /// proves itself.
    fn convict(&mut self, from: &NodeId, fault: Fault) {
        self.culprits.entry(from.clone()).or_insert(fault);
        if let Some(teller) = self.tellers.get_mut(from) {
            teller.done = true;
            teller.asked = None;
        }
    }

    /// Decides what can be decided, and asks for more.
    fn go_on(&mut self, keys: &dyn Verify, identities: &dyn Identities) {
        if self.fetching.is_some() {
            return;
        }
        let mut recovered = Vec::new();
        while let Some(next) = self.claims.keys().next().cloned() {
            if !self.is_told(&next) {
                break;
            }
            match self.decide(&next, keys, identities) {
                Ok(found) => recovered.extend(found),
                Err(missing) => {
                    self.fetching = Some(missing.clone());
                    self.actions.push_back(CatchUpAction::Fetch(missing));
                    break;
                }
            }
        }
        if !recovered.is_empty() {
            self.actions.push_back(CatchUpAction::Persist(recovered));
        }
        if self.fetching.is_none() {
            self.ask_on();
            self.done = self.is_complete();
        }
    }

    fn decide(
        &mut self,
        variable: &Variable,
        keys: &dyn Verify,
        identities: &dyn Identities,
    ) -> Result<Option<Recovered>, BTreeSet<NodeId>> {
        let Some(claims) = self.claims.get(variable) else { return Ok(None) };
        let fetched = &self.fetched;
        let given_up = |id: &NodeId| fetched.get(id).is_some_and(|tries| *tries >= MAX_FETCHES);
        let (configuration, known) = (&self.configuration, &self.known);
        let judge = Judge { configuration, known, variable, keys, identities, given_up: &given_up };
        let verdict = judge.judge(claims)?;
        self.claims.remove(variable);
        self.decided = Some(variable.clone());
        self.variables = self.variables.saturating_add(1);
        for (liar, fault) in verdict.culprits {
            self.culprits.entry(liar).or_insert(fault);
        }
        self.actions.extend(verdict.proofs.into_iter().map(Box::new).map(CatchUpAction::Accuse));
        Ok(verdict.recovered)
    }

    /// Asks everybody who has told no more than what is decided: so the memory that this takes is
    /// one page for each member.
    fn ask_on(&mut self) {
        let floor = self.claims.keys().next().cloned();
        let mut asks = Vec::new();
        for (id, teller) in &mut self.tellers {
            let is_ahead = floor.as_ref().is_some_and(|f| teller.told.as_ref() >= Some(f));
            if teller.done || teller.waiting || teller.asked.is_some() || is_ahead {
                continue;
            }
            self.round = self.round.wrapping_add(1);
            teller.asked = Some((self.round, 0));
            teller.since = teller.since.or(Some(self.round));
            let request = Request::Recall { after: teller.told.clone(), limit: MAX_RECALLED };
            asks.push(CatchUpAction::Ask {
                round: self.round,
                to: id.clone(),
                request: Box::new(request),
            });
        }
        self.actions.extend(asks);
    }

    /// Whether a quorum of each of our groups has told what it knows of this variable.
    fn is_told(&self, variable: &Variable) -> bool {
        let tells = |teller: &Teller| teller.done || teller.told.as_ref() >= Some(variable);
        self.have_quorum(tells)
    }

    fn is_complete(&self) -> bool {
        self.claims.is_empty() && self.have_quorum(|teller| teller.done)
    }

    fn have_quorum(&self, counts: impl Fn(&Teller) -> bool) -> bool {
        let good = self.tellers.iter().filter(|(_, teller)| counts(teller)).map(|(id, _)| id);
        is_quorum(&self.configuration, &self.options, &good.collect())
    }
}

impl Teller {
    fn new() -> Self {
        Self { told: None, done: false, asked: None, since: None, waiting: false, uncertified: 0 }
    }
}

/// Whose members are asked.
fn configuration_of(known: &Configurations, options: &CatchUpOptions) -> Arc<Configuration> {
    let predecessor = known.predecessor().filter(|_| options.source == Source::Predecessor);
    Arc::clone(predecessor.unwrap_or_else(|| known.newest()))
}

/// All who are asked.
fn others(configuration: &Configuration, options: &CatchUpOptions) -> BTreeSet<NodeId> {
    let groups = groups_of(configuration, options);
    groups.flat_map(Group::members).filter(|id| **id != options.me).cloned().collect()
}

/// Whether these have a quorum of each group that is asked.
fn is_quorum(
    configuration: &Configuration,
    options: &CatchUpOptions,
    good: &BTreeSet<&NodeId>,
) -> bool {
    groups_of(configuration, options).all(|group| {
        let me = usize::from(options.counts_itself && group.contains(&options.me));
        let have = group.count(good.iter().copied()).saturating_add(me);
        have >= needed(group, options)
    })
}

/// q, but no more than there are: groups below four tolerate no fault, and there b is 0.
fn needed(group: &Group, options: &CatchUpOptions) -> usize {
    let others = group.members().filter(|id| **id != options.me).count();
    let available = if options.counts_itself { group.len() } else { others };
    group.thresholds().q().min(available)
}

/// The groups that are asked: those to which a node belongs, or all that hand over.
fn groups_of<'a>(
    configuration: &'a Configuration,
    options: &CatchUpOptions,
) -> impl Iterator<Item = &'a Group> + use<'a> {
    let all = options.source == Source::Predecessor || !configuration.has_member(&options.me);
    let me = options.me.clone();
    all_groups(configuration).filter(move |group| all || group.contains(&me))
}

/// The cliques and the store group.
fn all_groups(configuration: &Configuration) -> impl Iterator<Item = &Group> {
    configuration.cliques().iter().chain([configuration.store()])
}

/// Whether a page is what was asked for: behind what was told, ascending, and not so short that
/// pages would never end.
fn is_page(page: &[Recalled], told: Option<&Variable>, more: bool) -> bool {
    let ascending = page.windows(2).all(|pair| match pair {
        [a, b] => a.variable < b.variable,
        _ => false,
    });
    let behind = page.first().is_none_or(|first| Some(&first.variable) > told);
    let limit = usize::from(MAX_RECALLED);
    let full =
        || page.len() == limit || page.iter().map(encoded_len).sum::<usize>() >= MIN_PAGE_BYTES;
    ascending && behind && page.len() <= limit && (!more || full())
}
