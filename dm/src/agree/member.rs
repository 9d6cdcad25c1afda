//! One DM's part in the agreement.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bftkv_threshold::KeyShare;
use bftkv_threshold::rand_core::CryptoRngCore;

use super::chain::Chain;
use super::content::{Content, Hash};
use super::council::Dm;
use super::decide::Dissent;
use super::failed::Failed;
use super::job::{Computed, Job, Outcome};
use super::manifest::Manifest;
use super::presign::{Mark, Presigning};
use super::rounds::Round;
use super::settings::Settings;
use super::signing::Ceremony;
use super::topic::Topic;
use super::view::Link;
use super::work::Work;

/// What a member asks its driver to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Action<Z> {
    /// Write this once into the store, under our name. Try again while it is refused as not yet,
    /// until it is certified or its serial is over.
    Publish {
        /// What it is.
        topic: Topic,
        /// Its value.
        value: Vec<u8>,
    },
    /// Run this beside the member, and hand in what it gives ([`Member::handle_computed`]).
    Compute(Box<Job>),
    /// Read the source again, and hand in what it says.
    Poll,
    /// Look for this in the store, and hand it in if it is there.
    Fetch(Topic),
    /// This zone is agreed on and signed: publish it.
    Commit {
        /// What it was made of.
        manifest: Arc<Manifest>,
        /// The zone.
        zone: Arc<Z>,
    },
}

/// What a member must not forget, also over a crash: a DM that does could help to certify two
/// manifests that do not follow from each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::exhaustive_structs, reason = "it is kept by others")]
pub struct Memory {
    /// The manifest with the highest serial that it voted for.
    pub voted: Option<Link>,
    /// The highest serial that it agreed to publish.
    pub locked: u32,
    /// The highest batch of presignatures that it wrote anything for. It takes part in later ones
    /// only.
    pub batch: u32,
    /// The end of the highest presignatures that a session uses for which it voted: it votes for no
    /// other session that uses one below.
    pub spent: Mark,
}

/// Why a value is not voted for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Something that it needs has not come yet. The same may be accepted later.
    #[error("not yet: {0}")]
    NotYet(String),
    /// It is late, or does not fit what we know. It never will.
    #[error("{0}")]
    Never(String),
    /// No honest DM writes this, whatever it has heard and whenever it does: its writer lies.
    #[error("{0}")]
    Lie(String),
    /// An operator must look at it first.
    #[error("held: {0}")]
    Held(String),
}

/// What a source said.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) serial: u32,
    pub(super) content: Arc<Content>,
    pub(super) root: Hash,
}

/// The state machine. Call a `handle_*` method for everything that happened and [`Member::judge`]
/// when the store asks whether to sign; then drain [`Member::poll`]. Times are milliseconds since
/// 1970, by a clock that is never set ([`Member::set_clock`]).
///
/// What is safe, and why:
/// * A value counts when q DMs have voted for it, and each honest DM votes for one value of a topic
///   only (the store sees to that). So no topic has two certified values.
/// * A manifest is voted for only above all serials that were voted for before, and a zone only
///   while no higher manifest was voted for. So once a zone can be published, every later manifest
///   follows from it: the two quorums share an honest DM that knows it.
/// * Partial signatures are given for messages that follow from a certified manifest and for a
///   certified session, with nonces that are used once.
pub struct Member<W: Work> {
    pub(super) settings: Settings,
    pub(super) work: W,
    /// Of the key that signs what is being signed, if we have one of it.
    pub(super) share: Arc<dyn KeyShare>,
    /// Of keys that sign at other times.
    pub(super) other_shares: Vec<Arc<dyn KeyShare>>,
    pub(super) rng: Box<dyn CryptoRngCore + Send>,
    pub(super) now: u64,
    /// What the clock says beyond that.
    clock: i64,
    pub(super) source: Option<Seen>,
    pub(super) chain: Chain<W::Zone>,
    pub(super) memory: Memory,
    /// What of it is durable for sure.
    pub(super) saved: Memory,
    pub(super) round: Round,
    pub(super) heard: BTreeMap<Topic, Vec<u8>>,
    pub(super) ceremony: Option<Ceremony<W::Plan>>,
    /// With a key that needs presignatures.
    pub(super) presigning: Option<Presigning>,
    /// As whoever combines: who lied or was silent.
    pub(super) failed: Failed,
    pub(super) culprits: BTreeMap<Dm, String>,
    pub(super) dissent: Vec<Dissent>,
    pub(super) hold: Option<String>,
    pub(super) released: BTreeSet<Hash>,
    pub(super) held: Option<(Hash, String)>,
    pub(super) trouble: Option<String>,
    pub(super) sent: BTreeSet<Topic>,
    pub(super) fetched: BTreeMap<Topic, u64>,
    /// What was found right, so that it is not computed again when its writer asks again.
    pub(super) passed: BTreeSet<(Topic, Hash)>,
    actions: VecDeque<Action<W::Zone>>,
}

impl<W: Work> std::fmt::Debug for Member<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("me", &self.settings.me).finish_non_exhaustive()
    }
}

impl<W: Work> Member<W> {
    /// How many serials ahead of ours a DM may be.
    pub(super) const WINDOW: u32 = 64;

    /// A member that knows nothing but its memory, which is durable.
    #[must_use]
    pub fn new(
        settings: Settings,
        work: W,
        share: Box<dyn KeyShare>,
        rng: Box<dyn CryptoRngCore + Send>,
        memory: Memory,
    ) -> Self {
        let chain = Chain::before(settings.first);
        let round = Round::idle(chain.tip().link.serial);
        Self {
            settings,
            work,
            share: share.into(),
            other_shares: Vec::new(),
            rng,
            now: 0,
            clock: 0,
            source: None,
            chain,
            memory,
            saved: memory,
            round,
            heard: BTreeMap::new(),
            ceremony: None,
            presigning: None,
            failed: Failed::default(),
            culprits: BTreeMap::new(),
            dissent: Vec::new(),
            hold: None,
            released: BTreeSet::new(),
            held: None,
            trouble: None,
            sent: BTreeSet::new(),
            fetched: BTreeMap::new(),
            passed: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    /// With a share of another key too, which signs before or after a change of keys.
    #[must_use]
    pub fn with_share(mut self, share: Box<dyn KeyShare>) -> Self {
        self.other_shares.push(share.into());
        self
    }

    /// Goes on after a restart from a zone that was agreed on before, which this DM kept. To be
    /// called before anything else. Without it, all manifests since the first are fetched.
    ///
    /// # Errors
    /// They do not belong together: what was kept is damaged.
    pub fn resume(
        &mut self,
        manifest: Arc<Manifest>,
        content: Content,
        zone: Arc<W::Zone>,
    ) -> Result<(), String> {
        if content.root() != manifest.root || manifest.serial < self.settings.first {
            return Err(format!("what was kept is not the zone of serial {}", manifest.serial));
        }
        let serial = manifest.serial;
        self.chain = Chain::after(manifest, Arc::new(content), zone);
        self.round = Round::idle(serial);
        Ok(())
    }

    /// The source says this, under that serial of its own.
    pub fn handle_source(&mut self, serial: u32, content: Arc<Content>, now: u64) {
        self.now = now;
        match &mut self.source {
            // What is the same stays in the same place, where it is quickly compared.
            Some(seen) if Arc::ptr_eq(&seen.content, &content) || seen.content == content => {
                seen.serial = serial;
            }
            _ => {
                self.round.failures = 0;
                let root = content.root();
                self.source = Some(Seen { serial, content, root });
            }
        }
        // Whoever sees nothing new is asked for a view because others do: it will come here, too.
        if self.has_news() {
            self.round.poll_until = None;
        }
        self.advance();
    }

    /// The store has this, certified by a quorum.
    pub fn handle_certified(&mut self, topic: Topic, value: Vec<u8>, now: u64) {
        self.now = now;
        self.heard.entry(topic).or_insert(value);
        self.advance();
    }

    /// What [`Job::run`] gave.
    pub fn handle_computed(&mut self, Computed(outcome): Computed, now: u64) {
        self.now = now;
        match outcome {
            Outcome::Presigned(presigned) => self.take_presigned(*presigned),
            Outcome::Signed(topic, Ok(share)) => self.publish(topic, share),
            Outcome::Signed(topic, Err(error)) => self.trouble = Some(format!("{topic}: {error}")),
        }
        self.advance();
    }

    /// Time has passed. To be called a few times in [`Settings::again`].
    pub fn handle_tick(&mut self, now: u64) {
        self.now = now;
        self.advance();
    }

    /// What there is to do, if anything.
    pub fn poll(&mut self) -> Option<Action<W::Zone>> {
        self.actions.pop_front()
    }

    /// An operator stops all voting for manifests and zones, or (`None`) lets it go on.
    pub fn hold(&mut self, reason: Option<String>) {
        self.hold = reason;
    }

    /// An operator has looked at the change that is held, and lets it pass. Gives its root.
    pub fn release(&mut self) -> Option<Hash> {
        self.hold = None;
        let (root, _) = self.held.take()?;
        self.released.insert(root);
        Some(root)
    }

    /// This memory, which [`Member::judge`] gave, is durable. Until then every vote gives it again.
    pub fn handle_saved(&mut self, memory: Memory) {
        self.saved = memory;
    }

    /// This DM, whose signature is verified, wrote there what no honest DM writes.
    pub fn accuse(&mut self, dm: Dm, topic: Topic, what: &str) {
        let place = match (topic.serial(), topic.batch()) {
            (Some(serial), _) => format!("serial {serial}"),
            (None, batch) => format!("batch {}", batch.unwrap_or_default()),
        };
        self.culprits.insert(dm, format!("{place}: {what} ({topic})"));
    }

    /// The newest signed zone.
    #[must_use]
    pub fn zone(&self) -> Option<&Arc<W::Zone>> {
        self.chain.zone().map(|(_, zone)| zone)
    }

    pub(super) fn act(&mut self, action: Action<W::Zone>) {
        self.actions.push_back(action);
    }

    /// Writes a value, once.
    pub(super) fn publish(&mut self, topic: Topic, value: Vec<u8>) {
        if self.sent.insert(topic) {
            self.act(Action::Publish { topic, value });
        }
    }

    /// Asks for a value that may have been missed, not too often.
    pub(super) fn fetch(&mut self, topic: Topic) {
        let due = self.fetched.get(&topic).is_none_or(|at| self.now >= at + self.settings.again);
        if !self.heard.contains_key(&topic) && due {
            self.fetched.insert(topic, self.now);
            self.act(Action::Fetch(topic));
        }
    }

    /// Does all that can be done now.
    pub(super) fn advance(&mut self) {
        self.adopt_manifests();
        self.follow_views();
        self.sign_and_commit();
        self.run_round();
        self.presign();
        self.forget();
    }

    /// What is far below the newest manifest is over.
    fn forget(&mut self) {
        let floor = self.chain.tip().link.serial.saturating_sub(8);
        let (batch, spent) = self.batch_floors();
        let is_new = |topic: &Topic| match topic {
            // The public parts are needed for as long as they may be used.
            Topic::Done { batch } => *batch >= spent,
            other => {
                other.batch().is_some_and(|other| other >= batch)
                    || other.serial().is_some_and(|serial| serial >= floor)
            }
        };
        self.heard.retain(|topic, _| is_new(topic));
        self.sent.retain(is_new);
        self.fetched.retain(|topic, _| is_new(topic));
        self.passed.retain(|(topic, _)| is_new(topic));
    }

    /// The clock was set: it says so many milliseconds more (or less) than the times that are handed in, which only
    /// ever go on. What waits does so by these, what is signed holds by the clock.
    pub fn set_clock(&mut self, ahead: i64) {
        self.clock = ahead;
    }

    /// Seconds since 1970. The time of DNSSEC is 32 bits wide.
    pub(super) fn seconds(&self) -> u32 {
        u32::try_from(self.now.saturating_add_signed(self.clock) / 1000).unwrap_or(u32::MAX)
    }
}
