//! Requests of independent operations that go to one node together (docs/adr/0016).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Lost;
use crate::{
    Answer, MAX_PARTS, MAX_PARTS_BYTES, NodeId, Part, Refusal, Request, Response, encoded_len,
};

/// A request of at least so many bytes shares no message: there is nothing to save, and it would
/// hold up the others.
const MAX_SHARED_BYTES: usize = 64 * 1024;

/// What waits for a free lane: questions wait for questions, changes for changes, so that nobody
/// who only reads waits for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Question,
    Change,
}

impl Kind {
    fn of(part: &Part) -> Self {
        match part {
            Part::Sign { .. } | Part::Store { .. } => Self::Change,
            _ => Self::Question,
        }
    }

    /// How long the others wait for one that is under way.
    fn patience(self) -> Duration {
        match self {
            Self::Question => Duration::from_millis(2),
            Self::Change => Duration::from_millis(10),
        }
    }
}

type Place = (NodeId, Kind);

/// Puts together what operations ask of one node that know nothing of each other. What comes while
/// nothing is under way goes at once; what comes while something is waits until that is answered, but
/// not longer than a few milliseconds, and goes together. So an operation that is alone is not
/// delayed, and under load a message carries as many requests as came during the one before.
///
/// John Nagle, RFC 896 (1984), for the bytes of a connection.
///
/// Each request stays what it is alone: the node answers each, and each answer goes to whom it
/// belongs. `K` says whose a request is.
#[derive(Debug)]
pub struct Lanes<K> {
    lanes: BTreeMap<Place, Lane<K>>,
    messages: BTreeMap<u64, Message<K>>,
    last: u64,
    begun: VecDeque<u64>,
}

#[derive(Debug)]
struct Lane<K> {
    /// The message that the others wait for.
    under_way: Option<u64>,
    waiting: VecDeque<Item<K>>,
}

#[derive(Debug)]
struct Message<K> {
    place: Place,
    /// Empty until it departs.
    items: Vec<Item<K>>,
    has_departed: bool,
}

#[derive(Debug)]
struct Item<K> {
    whose: K,
    part: Part,
    bytes: usize,
}

/// A message that leaves now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "the driver reads all of it")]
pub struct Departure {
    /// To whom.
    pub to: NodeId,
    /// What.
    pub request: Request,
    /// After so long [`Lanes::handle_late`] is to be called, unless there is an answer.
    pub patience: Duration,
}

impl<K> Default for Lanes<K> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), messages: BTreeMap::new(), last: 0, begun: VecDeque::new() }
    }
}

impl<K> Lanes<K> {
    /// Takes a request that is to go to a node.
    pub fn add(&mut self, whose: K, to: &NodeId, part: Part) {
        let place = (to.clone(), Kind::of(&part));
        let item = Item { whose, bytes: encoded_len(&part), part };
        if item.bytes >= MAX_SHARED_BYTES {
            return self.begin(place, vec![item]);
        }
        let lane = self.lanes.entry(place.clone()).or_default();
        lane.waiting.push_back(item);
        if lane.under_way.is_none() {
            self.begin_shared(place);
        }
    }

    /// The next message that is to leave: call [`Lanes::depart`] when all that is known by now has been
    /// added. Drain it after every call.
    pub fn poll(&mut self) -> Option<u64> {
        self.begun.pop_front()
    }

    /// What the message carries: all that waits by now, as far as there is room. `None` if it has
    /// left before.
    pub fn depart(&mut self, message: u64) -> Option<Departure> {
        let sent = self.messages.get_mut(&message).filter(|sent| !sent.has_departed)?;
        sent.has_departed = true;
        let place = sent.place.clone();
        if sent.items.is_empty() {
            let lane = self.lanes.get_mut(&place)?;
            sent.items = lane.take();
            // What has no room in it need not wait for it.
            if !lane.waiting.is_empty() {
                self.begin_shared(place.clone());
            }
        }
        let items = &self.messages.get(&message)?.items;
        let mut parts: Vec<Part> = items.iter().map(|item| item.part.clone()).collect();
        let request = match parts.len() {
            1 => parts.pop()?.into(),
            _ => Request::Many(parts),
        };
        Some(Departure { to: place.0, request, patience: place.1.patience() })
    }

    /// Takes the answer to a message: what it says to each of its requests. What a node does not know
    /// whose it is, is asked again by itself, so that the driver can introduce them; so is what
    /// found no room in the answer.
    pub fn handle_response(
        &mut self,
        message: u64,
        response: Result<Response, Lost>,
    ) -> Vec<(K, Result<Response, Lost>)> {
        self.free(message);
        let Some(Message { place, items, .. }) = self.messages.remove(&message) else {
            return Vec::new();
        };
        if let [_] = items.as_slice() {
            return items.into_iter().map(|item| (item.whose, response.clone())).collect();
        }
        let mut outcomes = part_responses(response, items.len()).into_iter();
        let mut answered = Vec::with_capacity(items.len());
        for item in items {
            match outcomes.next() {
                Some(outcome) if !lacks_certificate(&outcome) => {
                    answered.push((item.whose, outcome));
                }
                _ => self.begin(place.clone(), vec![item]),
            }
        }
        answered
    }

    /// The message takes long: the others no longer wait for it.
    pub fn handle_late(&mut self, message: u64) {
        self.free(message);
    }

    /// Whose requests a message carries.
    pub fn carried(&self, message: u64) -> impl Iterator<Item = &K> {
        self.messages.get(&message).into_iter().flat_map(|sent| &sent.items).map(|item| &item.whose)
    }

    // ----- helpers -----

    fn free(&mut self, message: u64) {
        let Some(sent) = self.messages.get(&message) else { return };
        let place = sent.place.clone();
        let Some(lane) = self.lanes.get_mut(&place) else { return };
        if lane.under_way != Some(message) {
            return;
        }
        if lane.waiting.is_empty() {
            self.lanes.remove(&place);
        } else {
            self.begin_shared(place);
        }
    }

    /// Begins a message for all that waits.
    fn begin_shared(&mut self, place: Place) {
        self.begin(place.clone(), Vec::new());
        if let Some(lane) = self.lanes.get_mut(&place) {
            lane.under_way = Some(self.last);
        }
    }

    fn begin(&mut self, place: Place, items: Vec<Item<K>>) {
        self.last = self.last.saturating_add(1);
        self.messages.insert(self.last, Message { place, items, has_departed: false });
        self.begun.push_back(self.last);
    }
}

impl<K> Default for Lane<K> {
    fn default() -> Self {
        Self { under_way: None, waiting: VecDeque::new() }
    }
}

impl<K> Lane<K> {
    fn take(&mut self) -> Vec<Item<K>> {
        let mut bytes = 0_usize;
        let has_room = |item: &&Item<K>| {
            bytes = bytes.saturating_add(item.bytes);
            bytes <= MAX_PARTS_BYTES
        };
        let count = self.waiting.iter().take(MAX_PARTS).take_while(has_room).count();
        self.waiting.drain(..count).collect()
    }
}

/// Whether the node could not judge for want of a certificate.
fn lacks_certificate(outcome: &Result<Response, Lost>) -> bool {
    let refusal = outcome.as_ref().ok().and_then(|response| response.outcome.as_ref().err());
    matches!(refusal, Some(Refusal::UnknownSender | Refusal::UnknownWriter(_)))
}

/// What an answer says to the first of so many requests that went together; whatever is missing
/// at the end is to be asked again. A list that is longer, or empty, is no answer.
pub(super) fn part_responses(
    response: Result<Response, Lost>,
    asked: usize,
) -> Vec<Result<Response, Lost>> {
    match response {
        Ok(Response { configuration, outcome: Ok(Answer::Many(list)) })
            if !list.is_empty() && list.len() <= asked =>
        {
            let outcomes = list.into_iter().map(|outcome| outcome.map(Answer::from));
            outcomes.map(|outcome| Ok(Response { configuration, outcome })).collect()
        }
        Ok(Response { outcome: Ok(_), .. }) => vec![Err(Lost::Lied); asked],
        other => vec![other; asked],
    }
}
