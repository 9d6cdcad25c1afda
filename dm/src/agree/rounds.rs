//! Rounds: a serial, its views, its manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::chain::Tip;
use super::content::{Content, Delta, Hash};
use super::council::Dm;
use super::decide::{Decision, decide};
use super::manifest::{Change, Manifest};
use super::member::{Action, Member};
use super::topic::Topic;
use super::view::{Changes, View};
use super::work::{SignedZone, Work};

/// The serial that is being agreed on.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) serial: u32,
    pub(super) active: bool,
    /// Until when the source is waited for to show what others have seen, before the view is given.
    pub(super) poll_until: Option<u64>,
    /// When the quorum of views was there.
    quorum_at: Option<u64>,
    /// When to go on to the next serial.
    pub(super) deadline: Option<u64>,
    /// How many rounds failed since something changed.
    pub(super) failures: u32,
    polled: u64,
}

impl Round {
    /// Nothing to do above this serial.
    pub(super) fn idle(serial: u32) -> Self {
        Self {
            serial,
            active: false,
            poll_until: None,
            quorum_at: None,
            deadline: None,
            failures: 0,
            polled: 0,
        }
    }
}

impl<W: Work> Member<W> {
    /// Takes over certified manifests that follow from what is there, and asks for what is missing
    /// before others.
    pub(super) fn adopt_manifests(&mut self) {
        loop {
            let tip = self.chain.tip().link;
            let above = Topic::Manifest { serial: tip.serial.saturating_add(1) };
            let found = self.heard.range(above..).filter_map(|(topic, value)| {
                let manifest = Manifest::from_bytes(value).ok()?;
                let counts = *topic == Topic::Manifest { serial: manifest.serial };
                counts.then_some(manifest)
            });
            let waiting: Vec<Manifest> = found.collect();
            if !waiting.into_iter().any(|manifest| self.adopt(manifest)) {
                return;
            }
        }
    }

    fn adopt(&mut self, manifest: Manifest) -> bool {
        let Some(before) = self.chain.at(&manifest.prev).map(|tip| Arc::clone(&tip.content)) else {
            if manifest.prev.serial >= self.settings.first {
                self.fetch(Topic::Manifest { serial: manifest.prev.serial });
            }
            return false;
        };
        // A quorum had the zone that it builds on, so that can be fetched. Whoever is far behind
        // would otherwise have more manifests than it keeps before it has one zone.
        if let Some(base) = &manifest.base
            && self.chain.zone_link().is_none_or(|have| have.serial < base.serial)
        {
            let serial = base.serial;
            self.fetch(Topic::Sigs { serial });
            self.fetch(Topic::Signed { serial });
            return false;
        }
        let Some(content) = self.content_of(&manifest, &before) else { return false };
        let link = manifest.link();
        self.chain.add(Tip { link, content, manifest: Some(Arc::new(manifest)) });
        self.round.serial = self.round.serial.max(link.serial);
        self.round.active = true;
        self.round.deadline = Some(self.now + self.patience());
        true
    }

    /// The content that a manifest stands for, if all of it is there.
    pub(super) fn content_of(
        &mut self,
        manifest: &Manifest,
        before: &Arc<Content>,
    ) -> Option<Arc<Content>> {
        if let Some(seen) = self.source.as_ref().filter(|seen| seen.root == manifest.root) {
            return Some(Arc::clone(&seen.content));
        }
        let content = match &manifest.change {
            Change::Sets(delta) if delta.is_empty() => Arc::clone(before),
            Change::Sets(delta) => Arc::new(before.with(delta)),
            Change::Whole(hashes) => Arc::new(self.gather_chunks(manifest.serial, hashes)?),
        };
        (content.root() == manifest.root).then_some(content)
    }

    pub(super) fn gather_chunks(&mut self, serial: u32, hashes: &[Hash]) -> Option<Content> {
        let topics = (0u16..).take(hashes.len()).map(|index| Topic::Chunk { serial, index });
        let topics: Vec<Topic> = topics.collect();
        topics.iter().for_each(|topic| self.fetch(*topic));
        let chunks: Option<Vec<&[u8]>> =
            topics.iter().map(|topic| self.heard.get(topic).map(Vec::as_slice)).collect();
        let chunks = chunks?;
        let are_right = chunks.iter().zip(hashes).all(|(chunk, hash)| Hash::of(chunk) == *hash);
        if are_right { Content::from_chunks(chunks).ok() } else { None }
    }

    /// Joins the round in which at least one honest DM is for sure: that of the (b+1)-th of the
    /// views with the highest serials.
    pub(super) fn follow_views(&mut self) {
        let mut newest: BTreeMap<Dm, u32> = BTreeMap::new();
        for topic in self.heard.keys() {
            if let Topic::View { serial, dm } = topic {
                let known = newest.entry(*dm).or_default();
                *known = (*known).max(*serial);
            }
        }
        let mut serials: Vec<u32> = newest.into_values().collect();
        serials.sort_unstable_by(|a, b| b.cmp(a));
        let Some(target) = serials.get(self.settings.council.faults()).copied() else { return };
        let is_new = target > self.round.serial;
        if is_new && target > self.chain.tip().link.serial {
            self.enter(target);
            self.round.poll_until = Some(self.now + self.settings.grace);
            self.act(Action::Poll);
        }
    }

    fn enter(&mut self, serial: u32) {
        let failures = self.round.failures;
        self.round = Round { active: true, failures, polled: self.now, ..Round::idle(serial) };
    }

    /// How long a round may take.
    pub(super) fn patience(&self) -> u64 {
        self.settings.round << self.round.failures.min(6)
    }

    /// Whether there is something to agree on.
    fn wants(&self) -> bool {
        self.has_news() || self.has_unfinished() || self.must_renew()
    }

    /// Whether the source shows something else than was agreed on last.
    pub(super) fn has_news(&self) -> bool {
        let tip = self.chain.tip();
        self.source.as_ref().is_some_and(|seen| {
            !Arc::ptr_eq(&seen.content, &tip.content) && *seen.content != *tip.content
        })
    }

    pub(super) fn has_unfinished(&self) -> bool {
        let tip = self.chain.tip();
        tip.manifest.is_some() && !self.chain.has_zone(tip.link.serial)
    }

    fn must_renew(&self) -> bool {
        self.zone().is_some_and(|zone| zone.renew_at() <= self.seconds())
    }

    pub(super) fn run_round(&mut self) {
        let tip = self.chain.tip().link.serial;
        if self.round.active && self.round.serial <= tip && !self.has_unfinished() {
            self.round = Round::idle(tip);
        }
        if !self.round.active {
            self.round.serial = self.round.serial.max(tip);
            if !self.wants() {
                return self.look_ahead(self.settings.again * 16);
            }
            let Some(next) = self.round.serial.checked_add(1) else { return };
            self.enter(next);
        }
        self.give_view();
        self.count_views();
        self.propose();
        self.ask_again();
        self.end_late_round();
    }

    fn give_view(&mut self) {
        let serial = self.round.serial;
        let topic = Topic::View { serial, dm: self.settings.me };
        let waits = self.round.poll_until.is_some_and(|until| self.now < until);
        if waits || self.sent.contains(&topic) || serial <= self.chain.tip().link.serial {
            return;
        }
        let Some(seen) = &self.source else { return };
        let tip = self.chain.tip();
        let view = View::of(serial, tip.link, &tip.content, seen.serial, &seen.content);
        self.publish(topic, view.to_bytes());
    }

    /// The certified views for this serial, with the hashes of their bytes.
    pub(super) fn views(&self, serial: u32) -> BTreeMap<Dm, (View, Hash)> {
        let view_of = |dm: Dm| {
            let bytes = self.heard.get(&Topic::View { serial, dm })?;
            let view = View::from_bytes(bytes).ok().filter(|view| view.serial == serial)?;
            Some((dm, (view, Hash::of(bytes))))
        };
        self.settings.council.everyone().filter_map(view_of).collect()
    }

    fn count_views(&mut self) {
        if self.round.quorum_at.is_some() {
            return;
        }
        let everyone = self.settings.council.everyone();
        let serial = self.round.serial;
        let count = everyone.filter(|dm| self.heard.contains_key(&Topic::View { serial, dm: *dm }));
        let (count, council) = (count.count(), self.settings.council);
        let (wait, grace) = (self.patience(), self.settings.grace);
        if count >= council.quorum() {
            self.round.quorum_at = Some(self.now);
            self.round.deadline = Some(self.now.saturating_add(grace).saturating_add(wait));
        } else if count > council.faults() {
            // An honest DM is in this round, and another one may never be: one that has said half of its view,
            // was started again and sees something else now can give no view of this serial.
            let wait = wait.saturating_mul(2).saturating_add(grace);
            self.round.deadline.get_or_insert(self.now.saturating_add(wait));
        }
    }

    /// The proposer's step.
    fn propose(&mut self) {
        let serial = self.round.serial;
        let is_mine = self.settings.council.proposer(serial) == self.settings.me;
        let (Some(quorum_at), true) = (self.round.quorum_at, is_mine) else { return };
        let topic = Topic::Manifest { serial };
        if self.sent.contains(&topic)
            || serial <= self.chain.tip().link.serial
            || self.hold.is_some()
        {
            return;
        }
        let mut views = self.views(serial);
        let tip = self.chain.tip().link.serial;
        let ahead: BTreeSet<u32> = views.values().map(|(view, _)| view.newest.serial).collect();
        for serial in ahead.range(tip.saturating_add(1)..) {
            self.fetch(Topic::Manifest { serial: *serial });
        }
        // Whoever lies can name one that is not there.
        if ahead.last().is_some_and(|newest| *newest > tip) {
            if self.now < quorum_at.saturating_add(self.settings.grace) {
                return;
            }
            views.retain(|_, (view, _)| view.newest.serial <= tip);
        }
        if views.len() < self.settings.council.quorum() {
            return;
        }
        let plain = views.iter().map(|(dm, (view, _))| (*dm, view.clone())).collect();
        let council = self.settings.council;
        let decision = decide(council, self.settings.apex, self.chain.tip().link, &plain);
        let is_all = views.len() == council.size() || self.now >= quorum_at + self.settings.grace;
        let content = match decision {
            Decision::Whole(root) => self.content_with(root),
            Decision::Parts { changes, dissent } if is_all => {
                self.dissent = dissent;
                let is_first = self.chain.tip().content.sets().is_empty();
                if is_first { None } else { self.content_by(&changes) }
            }
            Decision::Parts { .. } => return,
        };
        let Some(content) = content else { return };
        let cited = views.into_iter().map(|(dm, (_, hash))| (dm, hash)).collect();
        self.write_manifest(serial, content, cited);
    }

    fn content_with(&self, root: Hash) -> Option<Arc<Content>> {
        let tip = self.chain.tip();
        let seen = self.source.as_ref().filter(|seen| seen.root == root);
        seen.map(|seen| Arc::clone(&seen.content))
            .or_else(|| (tip.content.root() == root).then(|| Arc::clone(&tip.content)))
    }

    /// The last content with these changes, of which we must have seen the values ourselves.
    fn content_by(&self, changes: &Changes) -> Option<Arc<Content>> {
        let tip = &self.chain.tip().content;
        let seen = self.source.as_ref().map(|seen| seen.content.sets());
        let mut delta = Delta::new();
        for (key, hash) in changes {
            let value = match hash {
                None => None,
                Some(hash) => {
                    Some(seen?.get(key).filter(|value| Hash::of(value) == *hash)?.clone())
                }
            };
            delta.insert(key.clone(), value);
        }
        Some(Arc::new(tip.with(&delta)))
    }

    fn write_manifest(&mut self, serial: u32, content: Arc<Content>, cited: BTreeMap<Dm, Hash>) {
        let tip = self.chain.tip();
        let (prev, delta) = (tip.link, tip.content.delta_to(&content));
        if delta.is_empty() && !self.has_unfinished() && !self.must_renew() {
            return;
        }
        let inception = self.seconds().saturating_sub(self.settings.backdate_seconds);
        let expiry = inception.saturating_add(self.settings.validity_seconds);
        let keys = match self.work.keys(self.zone().map(Arc::as_ref), inception, expiry) {
            Ok(keys) => keys,
            Err(reason) => return self.trouble = Some(reason),
        };
        let value_size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let size: usize = delta.values().map(|value| value_size(value) + 64).sum();
        let change = if size <= Manifest::MAX_DELTA {
            Change::Sets(delta)
        } else {
            let chunks = content.to_chunks(Manifest::CHUNK);
            let hashes = chunks.iter().map(|chunk| Hash::of(chunk)).collect();
            for (index, chunk) in (0u16..).zip(chunks) {
                self.publish(Topic::Chunk { serial, index }, chunk);
            }
            Change::Whole(hashes)
        };
        let base = self.chain.zone_link();
        let root = content.root();
        let manifest =
            Manifest { serial, prev, base, root, change, cited, inception, expiry, keys };
        self.publish(Topic::Manifest { serial }, manifest.to_bytes());
    }

    /// What may have been missed, because the store tells a quorum at first.
    fn ask_again(&mut self) {
        if self.now < self.round.polled + self.settings.again {
            return;
        }
        let serial = self.round.serial;
        if serial > self.chain.tip().link.serial {
            self.act(Action::Poll);
            for dm in self.settings.council.everyone() {
                self.fetch(Topic::View { serial, dm });
            }
        }
        self.look_ahead(self.settings.again);
    }

    /// Looks for manifests that the others may have certified without us, whose serials may lie
    /// below that of our round or above it.
    fn look_ahead(&mut self, pause: u64) {
        if self.now < self.round.polled + pause {
            return;
        }
        self.round.polled = self.now;
        let tip = self.chain.tip().link.serial;
        let ahead = u32::try_from(self.settings.council.size()).unwrap_or(Self::WINDOW);
        let last = self.round.serial.max(tip).saturating_add(ahead);
        let first = tip.saturating_add(1).max(last.saturating_sub(Self::WINDOW));
        for serial in first..=last {
            self.fetch(Topic::Manifest { serial });
        }
        // Others may be in a round of which we have heard nothing, after some that failed.
        for ahead in [1, 2, 4, 8, 16, 32] {
            let serial = self.round.serial.saturating_add(ahead);
            for dm in self.settings.council.everyone() {
                self.fetch(Topic::View { serial, dm });
            }
        }
    }

    fn end_late_round(&mut self) {
        if self.round.deadline.is_none_or(|deadline| self.now < deadline) {
            return;
        }
        if !self.wants() {
            self.round.active = false;
            return;
        }
        let Some(next) = self.round.serial.checked_add(1) else { return };
        self.round.failures = self.round.failures.saturating_add(1);
        self.enter(next);
        self.round.poll_until = Some(self.now + self.settings.grace);
        self.act(Action::Poll);
    }
}
