//! What a member votes for.

use std::sync::Arc;

use super::content::{Content, Hash};
use super::council::Dm;
use super::decide::{Decision, decide};
use super::manifest::{Change, Manifest};
use super::member::{Member, Memory, Refusal};
use super::signing::OTHER_BYTES;
use super::topic::Topic;
use super::values::{NoncesValue, SessionValue, SignedValue, SigsValue, retry_from};
use super::view::{Link, View, changes_of};
use super::work::{SignedZone, Work};

/// More than a set of a zone has, in a piece of it.
const MAX_SET: usize = 128 * 1024;
/// More than the proof of a part has, whatever the key's size.
const MAX_PROOF: usize = 4 * 1024;

pub(super) fn not_yet<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::NotYet(what.into()))
}

pub(super) fn never<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Never(what.into()))
}

/// Only for what follows from the value and from what a quorum certified: what this DM has not
/// heard, its clock and its settings must not make a liar of anybody.
pub(super) fn lie<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Lie(what.into()))
}

impl<W: Work> Member<W> {
    /// Whether to vote for this value. The caller has checked that it comes from
    /// [`Topic::writer`], and votes for one value of a topic only, ever.
    ///
    /// If there is a memory that is not durable yet, from this vote or an earlier one, it is given:
    /// **it must be durable before the vote leaves**. Then call [`Member::handle_saved`]; if it
    /// cannot be saved, do not vote.
    ///
    /// # Errors
    /// The refusal says whether a retry helps, and whether the writer is named as a liar.
    pub fn judge(
        &mut self,
        topic: Topic,
        value: &[u8],
        now: u64,
    ) -> Result<Option<Memory>, Refusal> {
        self.now = self.now.max(now);
        let judged = self.judge_value(topic, value);
        if let Err(Refusal::Lie(what)) = &judged {
            self.accuse(topic.writer(self.settings.council), topic, what);
        }
        judged?;
        Ok((self.memory != self.saved).then_some(self.memory))
    }

    fn judge_value(&mut self, topic: Topic, value: &[u8]) -> Result<(), Refusal> {
        match topic {
            Topic::View { serial, .. } => self.judge_view(serial, value)?,
            Topic::Chunk { serial, index } => self.judge_chunk(serial, index, value)?,
            Topic::Manifest { serial } => self.judge_manifest(serial, value)?,
            Topic::Nonces { serial, attempt, dm } => {
                self.being_signed(serial, attempt)?;
                let value = NoncesValue::from_bytes(value).or_else(|e| lie(e.to_string()))?;
                self.judge_nonces(dm, &value)?;
            }
            Topic::Session { serial, attempt } => self.judge_session(serial, attempt, value)?,
            Topic::Share { serial, attempt, dm, .. } => self.judge_signer(serial, attempt, dm)?,
            Topic::Proof { serial, attempt, dm, .. } => {
                self.judge_signer(serial, attempt, dm)?;
                if value.len() > MAX_PROOF {
                    return lie("too large for a proof");
                }
            }
            Topic::Retry { serial, attempt } => {
                self.being_signed(serial, attempt)?;
                retry_from(value).or_else(|e| lie(e.to_string()))?;
            }
            Topic::Sigs { serial } => self.judge_sigs(serial, value)?,
            Topic::Signed { serial } => self.judge_signed(serial, value)?,
            Topic::First { .. }
            | Topic::Call { .. }
            | Topic::Dealt { .. }
            | Topic::Second { .. }
            | Topic::Complaint { .. }
            | Topic::Done { .. } => self.judge_presigning(topic, value)?,
        }
        Ok(())
    }

    fn in_window(&self, serial: u32) -> Result<(), Refusal> {
        let tip = self.chain.tip().link.serial;
        if serial <= tip {
            return never("its serial is over");
        }
        if serial > self.round.serial.max(tip).saturating_add(Self::WINDOW) {
            return not_yet("its serial is far ahead");
        }
        Ok(())
    }

    fn judge_view(&self, serial: u32, value: &[u8]) -> Result<(), Refusal> {
        self.in_window(serial)?;
        match View::from_bytes(value) {
            Ok(view) if view.newest.serial >= serial => lie("it follows from what comes after it"),
            Ok(view) if view.serial == serial => Ok(()),
            _ => lie("malformed view"),
        }
    }

    /// The pieces of a content. Nobody needs them before there can be a manifest; else a liar could have us keep
    /// gigabytes of them.
    fn judge_chunk(&self, serial: u32, index: u16, value: &[u8]) -> Result<(), Refusal> {
        if usize::from(index) >= Manifest::MAX_CHUNKS {
            return lie("too many pieces");
        }
        if value.len() > Manifest::CHUNK.saturating_add(MAX_SET) {
            return lie("too large a piece");
        }
        // Whoever sees something else needs them also when the manifest is certified.
        if serial == self.chain.tip().link.serial {
            return Ok(());
        }
        self.in_window(serial)?;
        if self.views(serial).len() < self.settings.council.quorum() {
            return not_yet("the views from which they follow");
        }
        Ok(())
    }

    /// The pieces must be there: whoever sees something else, or comes later, has the content from nowhere else.
    fn check_pieces(&mut self, manifest: &Manifest) -> Result<(), Refusal> {
        let Change::Whole(hashes) = &manifest.change else { return Ok(()) };
        match self.gather_chunks(manifest.serial, hashes) {
            None => not_yet("the pieces of the content"),
            Some(content) if content.root() != manifest.root => {
                lie("its pieces are of another content")
            }
            Some(_) => Ok(()),
        }
    }

    fn judge_manifest(&mut self, serial: u32, value: &[u8]) -> Result<(), Refusal> {
        let manifest = Manifest::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        let link = manifest.link();
        if manifest.serial != serial {
            return lie("the serial of another place");
        }
        if self.memory.voted == Some(link) {
            return Ok(());
        }
        self.check_hold()?;
        if self.memory.voted.is_some_and(|voted| serial <= voted.serial) {
            return never("we voted for another serial that is not below");
        }
        let tip = self.chain.tip().clone();
        self.check_place(&manifest, tip.link)?;
        self.check_times(&manifest)?;
        let Some(content) = self.content_of(&manifest, &tip.content) else {
            return match manifest.change {
                Change::Whole(_) => not_yet("the pieces of the content"),
                _ => lie("its root is not that of its content"),
            };
        };
        self.check_support(&manifest, &tip.content, &content)?;
        self.check_pieces(&manifest)?;
        let is_same = *content == *tip.content;
        if is_same && self.settled(tip.link.serial) {
            return never("nothing changes, and no signature is due");
        }
        self.check_size(&manifest, &tip.content, &content)?;
        self.memory.voted = Some(link);
        Ok(())
    }

    fn settled(&self, tip: u32) -> bool {
        let due = self.zone().is_none_or(|zone| zone.renew_at() <= self.seconds());
        self.chain.has_zone(tip) && !due
    }

    fn check_hold(&self) -> Result<(), Refusal> {
        self.hold.as_ref().map_or(Ok(()), |reason| Err(Refusal::Held(reason.clone())))
    }

    /// It follows from the newest certified manifest, and builds on the newest signed zone.
    fn check_place(&mut self, manifest: &Manifest, tip: Link) -> Result<(), Refusal> {
        if manifest.prev.serial > tip.serial {
            self.fetch(Topic::Manifest { serial: manifest.prev.serial });
            return not_yet("the manifest before");
        }
        if manifest.prev != tip || manifest.serial <= tip.serial {
            return never("a newer manifest is certified than the one that it follows from");
        }
        if tip.serial < self.memory.locked {
            return not_yet("the manifest of a zone that we agreed to publish");
        }
        let have = self.chain.zone_link();
        let newer = manifest.base.map(|base| base.serial);
        if newer > have.map(|have| have.serial) {
            if let Some(serial) = newer {
                self.fetch(Topic::Sigs { serial });
                self.fetch(Topic::Signed { serial });
            }
            return not_yet("the signed zone that it builds on");
        }
        if manifest.base != have {
            return never("it does not build on the newest signed zone");
        }
        Ok(())
    }

    fn check_times(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let settings = &self.settings;
        let expected = self.seconds().saturating_sub(settings.backdate_seconds);
        if expected.abs_diff(manifest.inception) > settings.skew_seconds {
            return never("its proposer's clock or ours is wrong");
        }
        if manifest.inception.checked_add(settings.validity_seconds) != Some(manifest.expiry) {
            return never("another validity than was agreed on");
        }
        // `check_place` has seen that the newest zone is what it builds on.
        let base = self.zone().map(Arc::as_ref);
        self.work.check_keys(&manifest.keys, base, manifest.inception, manifest.expiry)
    }

    /// The views that it cites are certified, there are enough, and the change is what they have in
    /// common: nothing more and nothing less.
    fn check_support(
        &mut self,
        manifest: &Manifest,
        before: &Arc<Content>,
        after: &Content,
    ) -> Result<(), Refusal> {
        let serial = manifest.serial;
        let known = self.views(serial);
        let mut views = std::collections::BTreeMap::new();
        for (dm, hash) in &manifest.cited {
            match known.get(dm) {
                Some((view, have)) if have == hash => drop(views.insert(*dm, view.clone())),
                Some(_) => return lie(format!("it cites a view that {dm} did not give")),
                None => {
                    self.fetch(Topic::View { serial, dm: *dm });
                    return not_yet(format!("the view of {dm}"));
                }
            }
        }
        if views.len() < self.settings.council.quorum() {
            return lie("it cites too few views");
        }
        if let Some(view) = views.values().find(|view| view.newest.serial > manifest.prev.serial) {
            self.fetch(Topic::Manifest { serial: view.newest.serial });
            return not_yet("a newer manifest that is cited");
        }
        if matches!(&manifest.change, Change::Sets(told) if *told != before.delta_to(after)) {
            return lie("changes that change nothing");
        }
        let is_supported =
            match decide(self.settings.council, self.settings.apex, manifest.prev, &views) {
                Decision::Whole(root) => root == manifest.root,
                // A first zone of which a part is missing would be worse than none.
                Decision::Parts { .. } if before.sets().is_empty() => false,
                Decision::Parts { changes, .. } => changes == changes_of(&before.delta_to(after)),
            };
        if is_supported { Ok(()) } else { lie("the views that it cites do not say so") }
    }

    fn check_size(
        &mut self,
        manifest: &Manifest,
        before: &Content,
        after: &Content,
    ) -> Result<(), Refusal> {
        if before.sets().is_empty() || self.released.contains(&manifest.root) {
            return Ok(());
        }
        let Err(reason) = self.work.check_change(before, after) else { return Ok(()) };
        self.held = Some((manifest.root, reason.clone()));
        Err(Refusal::Held(reason))
    }

    /// The serial is the one that is being signed, and no later one was voted for.
    fn being_signed(&self, serial: u32, attempt: u8) -> Result<(), Refusal> {
        let tip = self.chain.tip().link.serial;
        if serial > tip {
            return not_yet("the manifest");
        }
        if serial < tip || self.memory.voted.is_some_and(|voted| serial < voted.serial) {
            return never("its serial is over");
        }
        if usize::from(attempt) >= self.settings.council.size() {
            return never("too many attempts");
        }
        if self.ceremony.as_ref().is_none_or(|ceremony| ceremony.serial != serial) {
            return not_yet("the plan of what is to be signed");
        }
        Ok(())
    }

    fn judge_session(&mut self, serial: u32, attempt: u8, value: &[u8]) -> Result<(), Refusal> {
        self.being_signed(serial, attempt)?;
        let known = (Topic::Session { serial, attempt }, Hash::of(value));
        if self.passed.contains(&known) {
            return Ok(());
        }
        let session = SessionValue::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        if self.ceremony.as_ref().map(|ceremony| ceremony.messages) != Some(session.messages) {
            return never(OTHER_BYTES);
        }
        let has_share = self.has_share();
        if has_share && session.signers.len() != self.share.group().roster().threshold() {
            return lie("not as many signers as the key has");
        }
        for (dm, hash) in &session.signers {
            match self.nonces_of(serial, attempt, *dm) {
                None => {
                    self.fetch(Topic::Nonces { serial, attempt, dm: *dm });
                    return not_yet(format!("the commitments of {dm}"));
                }
                Some((_, have)) if have != *hash => {
                    return lie(format!("commitments that {dm} did not give"));
                }
                Some(_) => {}
            }
        }
        // Checking all points takes long. It is done here for those who sign, not for everybody
        // who could have; and what was parsed is kept for signing. Who has no share of the key cannot.
        if has_share {
            match self.presigning {
                Some(_) => self.judge_spending(serial, attempt, &session)?,
                None if !session.uses.is_empty() => return lie("the key needs no presignatures"),
                None => {}
            }
            self.open_session(serial, attempt, &session)
                .or_else(|error| never(error.to_string()))?;
        } else {
            self.judge_spent(&session.uses)?;
        }
        if let Some(last) = session.uses.last() {
            self.memory.spent = self.memory.spent.max(last.end());
        }
        self.passed.insert(known);
        Ok(())
    }

    /// It is one of those who sign in this attempt. Whether its part is right is seen when they are
    /// put together.
    fn judge_signer(&mut self, serial: u32, attempt: u8, dm: Dm) -> Result<(), Refusal> {
        self.being_signed(serial, attempt)?;
        match self.session(serial, attempt) {
            None => {
                self.fetch(Topic::Session { serial, attempt });
                not_yet("the session")
            }
            Some(session) if !session.signers.contains_key(&dm) => lie("no signer of this session"),
            Some(_) => Ok(()),
        }
    }

    fn judge_sigs(&mut self, serial: u32, value: &[u8]) -> Result<(), Refusal> {
        self.being_signed(serial, 0)?;
        let known = (Topic::Sigs { serial }, Hash::of(value));
        if self.passed.contains(&known) {
            return Ok(());
        }
        let Some(ceremony) = &self.ceremony else { return not_yet("the plan") };
        let SigsValue { last, sigs } =
            SigsValue::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        let messages = self.work.messages(&ceremony.plan);
        let is_right = |(message, sig): (&Vec<u8>, &Vec<u8>)| {
            self.work.is_signed(&ceremony.plan, message, sig)
        };
        let are_right = sigs.len() == messages.len() && messages.iter().zip(&sigs).all(is_right);
        if !are_right {
            return lie("a signature is wrong");
        }
        let message = self.work.digest_message(&ceremony.plan, &sigs);
        if message
            .or_else(|reason| never(format!("the zone's digest: {reason}")))
            .map(|it| Hash::of(&it))?
            != last
        {
            return never(OTHER_BYTES);
        }
        self.passed.insert(known);
        Ok(())
    }

    fn judge_signed(&mut self, serial: u32, value: &[u8]) -> Result<(), Refusal> {
        self.being_signed(serial, 0)?;
        self.check_hold()?;
        let known = (Topic::Signed { serial }, Hash::of(value));
        if self.passed.contains(&known) {
            return Ok(());
        }
        let told = SignedValue::from_bytes(value).or_else(|e| lie(e.to_string()))?;
        let (Some(ceremony), Some(sigs)) = (&self.ceremony, self.sigs(serial)) else {
            return not_yet("the signatures of the zone");
        };
        let message = self
            .work
            .digest_message(&ceremony.plan, &sigs)
            .or_else(|reason| never(format!("the zone's digest: {reason}")))?;
        if !self.work.is_signed(&ceremony.plan, &message, &told.signature) {
            return lie("the signature over the digest is wrong");
        }
        let zone = self
            .work
            .finish(&ceremony.plan, &sigs, &told.signature)
            .or_else(|reason| never(format!("the zone: {reason}")))?;
        if zone.digest() != told.digest {
            return lie("the zone is another one here");
        }
        self.memory.locked = self.memory.locked.max(serial);
        self.passed.insert(known);
        Ok(())
    }
}
