//! From presignatures to a session.

use std::collections::{BTreeMap, BTreeSet};

use super::range::{Mark, Range};
use super::values::{Done, Holdings};
use crate::agree::content::Hash;
use crate::agree::council::Dm;
use crate::agree::judge::{lie, never, not_yet};
use crate::agree::member::{Member, Refusal};
use crate::agree::topic::Topic;
use crate::agree::values::{NoncesValue, SessionValue};
use crate::agree::work::Work;

/// What a DM says that it could sign with, in a certified value with this hash.
struct Claim {
    dm: Dm,
    hash: Hash,
    holdings: Holdings,
}

impl<W: Work> Member<W> {
    /// How many presignatures we can sign with, and how many we want. With another key: none.
    pub(in crate::agree) fn presignatures(&self) -> (usize, usize) {
        let Some(presigning) = &self.presigning else { return (0, 0) };
        let goal = self.settings.presignatures.max(self.need().unwrap_or(0));
        (presigning.pool.usable(self.usable_from()), goal.min(Self::MAX_PRESIGNATURES))
    }

    pub(in crate::agree) fn presignature_status(&self) -> Option<(usize, usize, u32)> {
        let batch = self.presigning.as_ref()?.batch.number;
        let (have, goal) = self.presignatures();
        Some((have, goal, batch))
    }

    /// Below it, presignatures are spent or may be.
    fn mark(&self) -> Mark {
        let heard = self.presigning.as_ref().map(|presigning| presigning.pool.spent);
        self.memory.spent.max(heard.unwrap_or_default())
    }

    /// Below it are those that too few hold, too.
    fn usable_from(&self) -> Mark {
        let floor = self.ceremony.as_ref().map(|ceremony| ceremony.floor);
        self.mark().max(floor.unwrap_or_default())
    }

    /// How many a session for the zone that is being signed needs: one for each message and one for
    /// the ZONEMD; only that one if the others are signed.
    fn need(&self) -> Option<usize> {
        let ceremony = self.ceremony.as_ref().filter(|_| self.has_unfinished())?;
        if self.heard.contains_key(&Topic::Sigs { serial: ceremony.serial }) {
            return Some(1);
        }
        Some(self.work.messages(&ceremony.plan).len().saturating_add(1))
    }

    pub(super) fn lacks_presignatures(&self) -> bool {
        self.need().is_some_and(|need| self.presignatures().0 < need)
    }

    /// Which presignatures were used, by the certified sessions.
    pub(super) fn learn_spent(&mut self) {
        let Some(presigning) = &mut self.presigning else { return };
        for (topic, value) in &self.heard {
            if let Topic::Session { serial, attempt } = topic
                && let Ok(session) = SessionValue::from_bytes(value)
            {
                // Ours are taken out first.
                let me = self.settings.me;
                let is_waiting = |it: &crate::agree::signing::Ceremony<W::Plan>| {
                    it.serial == *serial && it.is_to_take(*attempt)
                };
                let waits = self.ceremony.as_ref().is_some_and(is_waiting);
                if !(waits && session.signers.contains_key(&me)) {
                    presigning.pool.spend(&session.uses);
                }
            }
        }
    }

    /// Says what we could sign with, once it is enough.
    pub(in crate::agree) fn give_holdings(&mut self, topic: Topic) {
        if self.lacks_presignatures() {
            return;
        }
        let (spent, from) = (self.mark(), self.usable_from());
        let Some(presigning) = &self.presigning else { return };
        let batches = presigning.pool.batches(from).into_iter().take(Holdings::MAX).collect();
        let stages = [Holdings { spent, batches }.to_bytes(), Vec::new()];
        self.publish(topic, NoncesValue { stages }.to_bytes());
    }

    fn claims(&self, serial: u32, attempt: u8) -> Vec<Claim> {
        let claim = |dm: Dm| {
            let (value, hash) = self.nonces_of(serial, attempt, dm)?;
            let [first, _] = value.stages;
            Some(Claim { dm, hash, holdings: Holdings::from_bytes(&first).ok()? })
        };
        self.settings.council.everyone().filter_map(claim).collect()
    }

    /// The proposer's step: k who hold enough presignatures in common, and which of them are used.
    ///
    /// They begin at a mark at which a quorum can vote for it. Whoever voted for a session that was
    /// never certified has a higher one, so each attempt tries one more of them first; where there are too few
    /// presignatures above it, because a liar claims a high mark, lower ones.
    pub(in crate::agree) fn choose_spenders(
        &mut self,
        serial: u32,
        attempt: u8,
    ) -> Option<(BTreeMap<Dm, Hash>, Vec<Range>)> {
        let (council, k) = (self.settings.council, self.share.group().roster().threshold());
        for dm in council.everyone() {
            self.fetch(Topic::Nonces { serial, attempt, dm });
        }
        let (mut claims, need) = (self.claims(serial, attempt), self.need()?);
        let until = self.now.saturating_add(self.share_patience());
        let ceremony = self.ceremony.as_mut()?;
        if claims.len() < k {
            ceremony.deadline = None;
            return None;
        }
        let is_late = self.now >= *ceremony.deadline.get_or_insert(until);
        if claims.len() < council.quorum() && !is_late {
            return None;
        }
        let mut marks: Vec<Mark> = claims.iter().map(|claim| claim.holdings.spent).collect();
        marks.sort_unstable();
        let willing = council.quorum().saturating_add(usize::from(attempt));
        let last = marks.len().saturating_sub(1);
        let (fewest, most) = (council.quorum().saturating_sub(1), willing.saturating_sub(1));
        let starts = marks.get(fewest.min(last)..=most.min(last))?;
        let starts: BTreeSet<Mark> = starts.iter().map(|mark| self.mark().max(*mark)).collect();
        let lowest = *starts.first()?;
        let rank =
            |claim: &Claim| (self.culprits.contains_key(&claim.dm), self.failed.times(claim.dm));
        claims.sort_by_key(rank);
        let sizes = self.presigning.as_ref()?.pool.sizes();
        let among = |is_clean: bool, start: Mark| {
            let can = |claim: &&Claim| {
                claim.holdings.spent <= start && (!is_clean || rank(claim) == (false, 0))
            };
            let able: Vec<&Claim> = claims.iter().filter(can).collect();
            find(&able, k, (start, need), &sizes)
        };
        let highest_first = || starts.iter().rev().copied();
        let found = highest_first().find_map(|start| among(true, start));
        let found = match found {
            None if is_late => highest_first().find_map(|start| among(false, start)),
            other => other,
        };
        if found.is_none() {
            let claimed = claims.iter().flat_map(|claim| &claim.holdings.batches).copied();
            let claimed: BTreeSet<u32> = claimed.filter(|it| *it >= lowest.batch).collect();
            let unknown = claimed.into_iter().filter(|batch| !sizes.contains_key(batch));
            unknown.for_each(|batch| self.fetch(Topic::Done { batch }));
            if is_late {
                // All say anew what they have.
                self.retry(serial, BTreeSet::new());
            }
        }
        found
    }

    /// If those who claimed something in that attempt have too little in common, all need presignatures
    /// of newer batches, which they make together.
    pub(in crate::agree) fn raise_floor(&mut self, serial: u32, attempt: u8) {
        let (claims, need) = (self.claims(serial, attempt), self.need());
        let k = self.share.group().roster().threshold();
        let (Some(presigning), Some(need)) = (&self.presigning, need) else { return };
        let sizes = presigning.pool.sizes();
        let all: Vec<&Claim> = claims.iter().collect();
        if claims.len() < k || find(&all, k, (self.mark(), need), &sizes).is_some() {
            return;
        }
        // A liar may claim a batch that is not there.
        let claimed = claims.iter().flat_map(|claim| &claim.holdings.batches);
        let newest = claimed.filter(|batch| sizes.contains_key(batch)).max();
        if let (Some(newest), Some(ceremony)) = (newest, &mut self.ceremony) {
            ceremony.floor = Mark { batch: newest.saturating_add(1), index: 0 };
        }
    }

    pub(in crate::agree) fn judge_holdings(&self, value: &NoncesValue) -> Result<(), Refusal> {
        let [first, last] = &value.stages;
        Holdings::from_bytes(first).or_else(|e| lie(e.to_string()))?;
        if last.is_empty() { Ok(()) } else { lie("something behind what it holds") }
    }

    /// Whether a session uses presignatures that all its signers have, and none that was used or may
    /// have been. The caller then sets our mark.
    pub(in crate::agree) fn judge_spending(
        &mut self,
        serial: u32,
        attempt: u8,
        session: &SessionValue,
    ) -> Result<(), Refusal> {
        let Some(start) = session.uses.first().map(Range::start) else {
            return lie("it uses no presignatures");
        };
        let messages = self.ceremony.as_ref().map(|it| self.work.messages(&it.plan).len());
        let total = Range::total(&session.uses);
        if total == 1 && self.sigs(serial).is_none() {
            self.fetch(Topic::Sigs { serial });
            return not_yet("the signatures of the zone");
        }
        if total != 1 && messages.map(|messages| messages.saturating_add(1)) != Some(total) {
            return lie("as many presignatures as there are not messages");
        }
        let claims = self.claims(serial, attempt);
        for claim in claims.iter().filter(|claim| session.signers.contains_key(&claim.dm)) {
            let (dm, holdings) = (claim.dm, &claim.holdings);
            // An honest proposer has read this, because it cites it.
            if holdings.spent > start {
                return lie(format!("presignatures that are spent, as {dm} says"));
            }
            if session.uses.iter().any(|range| !holdings.batches.contains(&range.batch)) {
                return lie(format!("presignatures that {dm} does not hold"));
            }
        }
        let Some(presigning) = &self.presigning else { return never("no presignatures") };
        let sizes = presigning.pool.sizes();
        let mut unknown = None;
        for range in &session.uses {
            match sizes.get(&range.batch) {
                Some(size) if range.end().index > *size => {
                    return lie("more presignatures than the batch has");
                }
                Some(_) => {}
                None => unknown = unknown.or(Some(range.batch)),
            }
        }
        // Its proposer may not have heard of the session for which we voted.
        if start < self.mark() {
            return never("presignatures that are spent, or may be");
        }
        if let Some(batch) = unknown {
            self.fetch(Topic::Done { batch });
            return not_yet(format!("the presignatures of batch {batch}"));
        }
        Ok(())
    }

    /// What a DM without a share of the key looks at: that there are these presignatures, and that none was
    /// used or may have been. So it is as good a voter as the others.
    pub(in crate::agree) fn judge_spent(&mut self, uses: &[Range]) -> Result<(), Refusal> {
        if uses.first().is_some_and(|range| range.start() < self.memory.spent) {
            return never("presignatures that are spent, or may be");
        }
        for range in uses {
            let topic = Topic::Done { batch: range.batch };
            let done = self.heard.get(&topic).and_then(|bytes| Done::from_bytes(bytes).ok());
            let Some(done) = done else {
                self.fetch(topic);
                return not_yet(format!("the presignatures of batch {}", range.batch));
            };
            if usize::from(range.end().index) > done.public.len() {
                return lie("more presignatures than the batch has");
            }
        }
        Ok(())
    }

    /// Our presignatures for a certified session, for both stages. They are gone from then on.
    pub(in crate::agree) fn take_presignatures(&mut self, attempt: u8, session: &SessionValue) {
        let (Some(presigning), Some(ceremony)) = (&mut self.presigning, &mut self.ceremony) else {
            return;
        };
        if !ceremony.is_to_take(attempt) {
            return;
        }
        ceremony.taken = Some(attempt);
        let (zone, last) = split(&session.uses);
        let zone = (!zone.is_empty()).then(|| presigning.pool.take(&zone)).transpose();
        let last = presigning.pool.take(&last);
        match zone.and_then(|zone| Ok([zone, Some(last?)])) {
            Ok(nonces) => ceremony.nonces = nonces,
            Err(error) => self.trouble = Some(format!("our presignatures: {error}")),
        }
    }

    /// The commitments of a session's signers, the same for all of them.
    pub(in crate::agree) fn spent_commitments(
        &mut self,
        uses: &[Range],
        stage: u8,
    ) -> Option<Vec<u8>> {
        let (zone, last) = split(uses);
        let ranges = if stage == 0 { zone } else { last };
        let pool = &self.presigning.as_ref()?.pool;
        let all = pool.commitments(&ranges);
        let unknown = ranges.iter().map(|range| range.batch).filter(|it| !pool.is_certified(*it));
        for batch in unknown.collect::<Vec<u32>>() {
            self.fetch(Topic::Done { batch });
        }
        all
    }
}

/// Those for the zone's messages, and that for the ZONEMD's: the last one.
fn split(uses: &[Range]) -> (Vec<Range>, Vec<Range>) {
    let mut zone = uses.to_vec();
    let Some(range) = zone.pop() else { return (Vec::new(), Vec::new()) };
    let count = range.count.saturating_sub(1);
    if count > 0 {
        zone.push(Range { count, ..range });
    }
    (zone, vec![Range { first: range.first.saturating_add(count), count: 1, ..range }])
}

/// Those k who come first and have so many presignatures from `start` on in common, and which.
fn find(
    claims: &[&Claim],
    k: usize,
    (start, need): (Mark, usize),
    sizes: &BTreeMap<u32, u16>,
) -> Option<(BTreeMap<Dm, Hash>, Vec<Range>)> {
    let batches = |claim: &Claim| {
        let all = claim.holdings.batches.iter().copied();
        all.filter(|batch| *batch >= start.batch).collect::<BTreeSet<u32>>()
    };
    for (place, first) in claims.iter().enumerate() {
        let mut common = batches(first);
        let mut signers = BTreeMap::from([(first.dm, first.hash)]);
        for (other, claim) in claims.iter().enumerate() {
            let both: BTreeSet<u32> = common.intersection(&batches(claim)).copied().collect();
            let is_full = signers.len() >= k;
            if other == place || is_full || pick(&both, (start, need), sizes).is_none() {
                continue;
            }
            common = both;
            signers.insert(claim.dm, claim.hash);
        }
        if let (true, Some(uses)) = (signers.len() == k, pick(&common, (start, need), sizes)) {
            return Some((signers, uses));
        }
    }
    None
}

/// So many presignatures of these batches, the lowest first.
fn pick(
    batches: &BTreeSet<u32>,
    (start, need): (Mark, usize),
    sizes: &BTreeMap<u32, u16>,
) -> Option<Vec<Range>> {
    let (mut uses, mut left) = (Vec::new(), need);
    for batch in batches {
        let first = if *batch == start.batch { start.index } else { 0 };
        let size = sizes.get(batch).copied().unwrap_or(0).saturating_sub(first);
        let count = u16::try_from(left).unwrap_or(u16::MAX).min(size);
        if count > 0 {
            uses.push(Range { batch: *batch, first, count });
            left = left.saturating_sub(usize::from(count));
        }
        if left == 0 {
            return Some(uses);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(number: u8, batches: &[u32]) -> Claim {
        let holdings = Holdings { spent: Mark::default(), batches: batches.to_vec() };
        Claim { dm: Dm::new(number).unwrap(), hash: Hash([number; 32]), holdings }
    }

    fn range(batch: u32, first: u16, count: u16) -> Range {
        Range { batch, first, count }
    }

    #[test]
    fn what_the_signers_have_in_common_is_used_in_order() {
        let sizes = [(1, 4), (2, 4), (3, 4), (5, 4)].into();
        let claims = [claim(1, &[1, 2]), claim(2, &[2, 3, 5]), claim(3, &[1, 3, 5])];
        let start = |batch, index| Mark { batch, index };
        let found = |k, from, need| {
            let claims: Vec<&Claim> = claims.iter().collect();
            find(&claims, k, (from, need), &sizes).map(|(signers, uses)| {
                let who: Vec<u8> = signers.keys().map(|dm| dm.number()).collect();
                (who, uses)
            })
        };
        assert_eq!(found(2, start(1, 0), 4), Some((vec![1, 2], vec![range(2, 0, 4)])));
        assert_eq!(found(2, start(2, 3), 1), Some((vec![1, 2], vec![range(2, 3, 1)])));
        let both = vec![range(3, 0, 4), range(5, 0, 2)];
        assert_eq!(found(2, start(1, 0), 6), Some((vec![2, 3], both)));
        assert_eq!(
            found(2, start(3, 2), 6),
            Some((vec![2, 3], vec![range(3, 2, 2), range(5, 0, 4)]))
        );
        assert_eq!(found(2, start(3, 2), 7), None);
        assert_eq!(found(3, start(1, 0), 1), None);
    }

    #[test]
    fn the_last_one_is_for_the_digest() {
        let (zone, last) = split(&[range(1, 3, 1), range(2, 0, 4)]);
        assert_eq!((zone, last), (vec![range(1, 3, 1), range(2, 0, 3)], vec![range(2, 3, 1)]));
        let (zone, last) = split(&[range(1, 3, 1), range(2, 0, 1)]);
        assert_eq!((zone, last), (vec![range(1, 3, 1)], vec![range(2, 0, 1)]));
        assert_eq!(split(&[range(7, 0, 1)]), (vec![], vec![range(7, 0, 1)]));
    }
}
