//! A small model, searched to its end: n = 4, b = 1, two writers, one reader, one Byzantine member
//! that chooses freely.
//!
//! The honest members run the real rules of `protocol::server`. Writers and the reader are said in
//! the words of rules R2 and R5; the writers may take *any* timestamp above their own marks, so
//! nothing depends on how timestamps are chosen. Messages are delivered in any order, late or
//! never; a writer may give up at any time before it has S, and die at any time. The Byzantine
//! member gives its share, its acknowledgement and any answer to anybody, or does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

mod rules;

use std::collections::BTreeMap;

use rules::{Asked, Attempt, Attempts, MOST_T, Memory, Owners, apply};
use stateright::{Checker, Model, Property};

/// q-1: with the Byzantine member so many honest ones make a quorum.
const HONEST_OF_QUORUM: usize = 2;

/// A sentence that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Members forget the attempts of other owners.
    Slots,
    /// One honest share is enough.
    Quorums,
    /// The reader does not wait for the write-back.
    WriteBack,
    /// A member forgets seen(x) as soon as it is asked.
    Seen,
}

/// How far the search goes.
#[derive(Debug, Clone, Copy)]
struct Search {
    owners: Owners,
    attempts: [u8; 2],
    most_t: u8,
    reads: u8,
    without: Without,
}

/// One honest member and its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Member {
    memory: Memory,
    /// What is on its way to it: attempts to be signed, stored and given up.
    inbox: [Attempts; 3],
    /// Attempts that it ever signed.
    signed: Attempts,
    /// What it answered to the read that is under way: the newest entry.
    answered: Option<Option<Attempt>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Idle,
    Signing(Attempt),
    Storing(Attempt),
    Done(Attempt),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Writer {
    step: Step,
    attempts: u8,
    /// The largest timestamp that its home has reserved.
    mark: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reader {
    /// Before a read.
    Idle,
    /// Collecting answers. What was acknowledged before it began must be seen.
    Reading { least: u8 },
    /// Waiting until a quorum holds it.
    WritingBack { least: u8, entry: Attempt },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct State {
    members: [Member; 3],
    writers: [Writer; 2],
    reader: Reader,
    /// How many reads have returned, and the largest timestamp; 0 is "absent".
    returned: u8,
    read: u8,
    /// What went wrong.
    broken: Option<&'static str>,
    /// Every attempt that ever had S.
    certified: Attempts,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Act {
    Begin(u8, u8),
    Deliver(usize, Asked),
    Assemble(u8),
    GiveUp(u8),
    Finish(u8),
    StartRead,
    Answer(usize),
    /// The Byzantine member shows this.
    Conclude(Option<Attempt>),
    Return,
}

impl State {
    fn tell_all(&mut self, asked: Asked) {
        for member in &mut self.members {
            let (kind, attempt) = place(asked);
            member.inbox[kind].insert(attempt);
        }
    }

    fn signers(&self, attempt: Attempt) -> usize {
        self.members.iter().filter(|m| m.signed.contains(attempt)).count()
    }

    fn holders(&self, attempt: Attempt) -> usize {
        self.members.iter().filter(|m| m.memory.stored.contains(attempt)).count()
    }

    /// The largest timestamp that somebody was told is stored, or has read.
    fn settled(&self) -> u8 {
        let done = self.writers.iter().filter_map(|writer| match writer.step {
            Step::Done(attempt) => Some(attempt.t),
            _ => None,
        });
        done.chain([self.read]).max().unwrap_or(0)
    }

    fn give_back(&mut self, t: u8, least: u8) {
        if t < least {
            self.broken = Some("a read went back");
        }
        self.returned += 1;
        self.read = self.read.max(t);
        self.reader = Reader::Idle;
        self.members.iter_mut().for_each(|member| member.answered = None);
    }
}

/// The kinds of messages to a member, in the order of its inbox.
const KINDS: [fn(Attempt) -> Asked; 3] = [Asked::Sign, Asked::Store, Asked::Abandon];

/// Where a message lies in an inbox.
fn place(asked: Asked) -> (usize, Attempt) {
    match asked {
        Asked::Sign(attempt) => (0, attempt),
        Asked::Store(attempt) => (1, attempt),
        Asked::Abandon(attempt) => (2, attempt),
    }
}

/// The other writer's attempt at the same timestamp.
fn other(attempt: Attempt) -> Attempt {
    Attempt { writer: 1 - attempt.writer, ..attempt }
}

impl State {
    /// The same with the writers' names exchanged.
    fn swapped(mut self) -> Self {
        for member in &mut self.members {
            let memory = &mut member.memory;
            let sets = [&mut memory.slots, &mut memory.abandons, &mut memory.stored];
            let sets = sets.into_iter().chain(&mut member.inbox).chain([&mut member.signed]);
            sets.for_each(|set| *set = set.swapped());
            member.answered = member.answered.map(|answer| answer.map(other));
        }
        self.members.sort();
        self.writers.reverse();
        for writer in &mut self.writers {
            writer.step = match writer.step {
                Step::Idle => Step::Idle,
                Step::Signing(attempt) => Step::Signing(other(attempt)),
                Step::Storing(attempt) => Step::Storing(other(attempt)),
                Step::Done(attempt) => Step::Done(other(attempt)),
            };
        }
        if let Reader::WritingBack { entry, .. } = &mut self.reader {
            *entry = other(*entry);
        }
        self.certified = self.certified.swapped();
        self
    }
}

impl Search {
    /// Whether the writers could exchange their names.
    fn is_symmetric(&self) -> bool {
        self.attempts[0] == self.attempts[1]
    }

    fn writer_acts(&self, state: &State, acts: &mut Vec<Act>) {
        for (number, writer) in (0_u8..).zip(&state.writers) {
            match writer.step {
                Step::Idle if writer.attempts < self.attempts[usize::from(number)] => {
                    acts.extend((writer.mark + 1..=self.most_t).map(|t| Act::Begin(number, t)));
                }
                Step::Signing(attempt) => {
                    let needed = HONEST_OF_QUORUM - usize::from(self.without == Without::Quorums);
                    if state.signers(attempt) >= needed {
                        acts.push(Act::Assemble(number));
                    }
                    acts.push(Act::GiveUp(number));
                }
                Step::Storing(attempt) if state.holders(attempt) >= HONEST_OF_QUORUM => {
                    acts.push(Act::Finish(number));
                }
                _ => {}
            }
        }
    }

    fn reader_acts(&self, state: &State, acts: &mut Vec<Act>) {
        match &state.reader {
            Reader::Idle if state.returned < self.reads => acts.push(Act::StartRead),
            Reader::Idle => {}
            Reader::Reading { .. } => {
                let silent = |i: &usize| state.members[*i].answered.is_none();
                acts.extend((0..3).filter(silent).map(Act::Answer));
                let heard = state.members.iter().filter(|m| m.answered.is_some()).count();
                if heard >= HONEST_OF_QUORUM {
                    acts.push(Act::Conclude(None));
                    acts.extend(state.certified.iter().map(|entry| Act::Conclude(Some(entry))));
                }
            }
            Reader::WritingBack { entry, .. } => {
                let is_hasty = self.without == Without::WriteBack;
                if is_hasty || state.holders(*entry) >= HONEST_OF_QUORUM {
                    acts.push(Act::Return);
                }
            }
        }
    }

    fn deliver(&self, state: &mut State, index: usize, asked: Asked) {
        let member = &mut state.members[index];
        let (kind, attempt) = place(asked);
        member.inbox[kind].remove(attempt);
        let mut memory = member.memory;
        match self.without {
            Without::Slots => memory.slots = Attempts::default(),
            Without::Seen => memory.seen = 0,
            _ => {}
        }
        let (is_done, memory) = apply(self.owners, memory, asked);
        member.memory = memory;
        if let (Asked::Sign(attempt), true) = (asked, is_done) {
            if member.signed.iter().any(|other| other.t == attempt.t && other != attempt) {
                state.broken = Some("an honest member signed two values at one timestamp");
            }
            member.signed.insert(attempt);
        }
    }

    fn assemble(&self, state: &mut State, attempt: Attempt) {
        let owner = |a: &Attempt| self.owners[usize::from(a.writer)];
        for other in state.certified.iter() {
            if owner(&other) != owner(&attempt) {
                state.broken = Some("two owners hold a certificate");
            }
            if other.t == attempt.t {
                state.broken = Some("two values are certified at one timestamp");
            }
        }
        state.certified.insert(attempt);
        state.tell_all(Asked::Store(attempt));
    }

    fn conclude(&self, state: &mut State, shown: Option<Attempt>, least: u8) {
        let answers = state.members.iter().filter_map(|member| member.answered).flatten();
        let newest = answers.chain(shown).max_by_key(|attempt| attempt.t);
        match newest {
            None => state.give_back(0, least),
            Some(entry) => {
                state.tell_all(Asked::Store(entry));
                state.reader = Reader::WritingBack { least, entry };
            }
        }
    }

    fn step_of_writer(&self, state: &mut State, act: &Act) {
        match *act {
            Act::Begin(number, t) => {
                let attempt = Attempt { writer: number, t };
                let writer = &mut state.writers[usize::from(number)];
                writer.step = Step::Signing(attempt);
                writer.attempts += 1;
                writer.mark = t;
                state.tell_all(Asked::Sign(attempt));
            }
            Act::Assemble(number) => {
                if let Step::Signing(attempt) = state.writers[usize::from(number)].step {
                    state.writers[usize::from(number)].step = Step::Storing(attempt);
                    self.assemble(state, attempt);
                }
            }
            Act::GiveUp(number) => {
                if let Step::Signing(attempt) = state.writers[usize::from(number)].step {
                    state.writers[usize::from(number)].step = Step::Idle;
                    state.tell_all(Asked::Abandon(attempt));
                }
            }
            Act::Finish(number) => {
                if let Step::Storing(attempt) = state.writers[usize::from(number)].step {
                    state.writers[usize::from(number)].step = Step::Done(attempt);
                }
            }
            _ => {}
        }
    }
}

impl Model for Search {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let writer = || Writer { step: Step::Idle, attempts: 0, mark: 0 };
        vec![State {
            members: Default::default(),
            writers: [writer(), writer()],
            reader: Reader::Idle,
            returned: 0,
            read: 0,
            broken: None,
            certified: Attempts::default(),
        }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        if state.broken.is_some() {
            return;
        }
        for (index, member) in state.members.iter().enumerate() {
            let twin = index.checked_sub(1).and_then(|before| state.members.get(before));
            if twin == Some(member) {
                continue; // What happens to a member that is just like another, happens to that one.
            }
            let kinds = KINDS.into_iter().zip(member.inbox);
            let all = kinds.flat_map(|(kind, set)| set.iter().map(kind));
            acts.extend(all.map(|asked| Act::Deliver(index, asked)));
        }
        self.writer_acts(state, acts);
        self.reader_acts(state, acts);
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = *before;
        match act {
            Act::Deliver(index, asked) => self.deliver(&mut state, index, asked),
            Act::StartRead => state.reader = Reader::Reading { least: state.settled() },
            Act::Answer(index) => {
                let member = &mut state.members[index];
                member.answered = Some(member.memory.stored.newest());
            }
            Act::Conclude(shown) => {
                if let Reader::Reading { least } = state.reader {
                    self.conclude(&mut state, shown, least);
                }
            }
            Act::Return => {
                if let Reader::WritingBack { least, entry } = state.reader {
                    state.give_back(entry.t, least);
                }
            }
            other => self.step_of_writer(&mut state, &other),
        }
        // The honest members are alike: their order says nothing.
        state.members.sort();
        Some(if self.is_symmetric() { state.min(state.swapped()) } else { state })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing breaks", |_, state: &State| state.broken.is_none()),
            Property::sometimes("both write", |_, state: &State| {
                let done = |writer: &Writer| matches!(writer.step, Step::Done(_));
                state.writers.iter().any(done) && state.certified.len() > 1
            }),
            Property::sometimes("a read sees a write", |_, state: &State| state.read > 0),
        ]
    }
}

/// Two devices of one owner.
const DEVICES: Owners = [0, 0];
/// Two owners.
const STRANGERS: Owners = [0, 1];

fn search(owners: Owners, without: Without) -> Search {
    Search { owners, attempts: [1, 1], most_t: 2, reads: 1, without }
}

/// Searches everything; tells what was broken, and how many states there are.
fn broken(search: Search) -> (Option<String>, usize) {
    let checker = search.checker().threads(2).spawn_bfs().join();
    let discoveries: BTreeMap<_, _> = checker.discoveries().into_iter().collect();
    let words = discoveries
        .get("nothing breaks")
        .map(|path| path.last_state().broken.unwrap_or_default().to_owned());
    println!("{search:?}: {} states, {words:?}", checker.unique_state_count());
    (words, checker.unique_state_count())
}

#[test]
fn two_devices_of_one_owner_break_nothing() {
    let (words, states) = broken(Search { reads: 0, ..search(DEVICES, Without::Nothing) });
    assert_eq!(words, None);
    assert!(states > 10_000, "{states} states");
}

#[test]
fn two_owners_break_nothing() {
    let search = Search { reads: 0, ..search(STRANGERS, Without::Nothing) };
    assert_eq!(broken(search).0, None);
}

/// One attempt is given up and another follows, against another owner.
#[test]
fn who_gives_up_and_tries_again_breaks_nothing() {
    let search = Search { attempts: [2, 1], reads: 0, ..search(STRANGERS, Without::Nothing) };
    assert_eq!(broken(search).0, None);
}

#[test]
#[ignore = "takes half a minute; run by hand"]
fn further_searches_break_nothing() {
    let again = Search { attempts: [2, 1], reads: 0, ..search(DEVICES, Without::Nothing) };
    assert_eq!(broken(again).0, None);
    let later = Search { most_t: MOST_T, reads: 0, ..search(STRANGERS, Without::Nothing) };
    assert_eq!(broken(later).0, None);
}

#[test]
fn one_writer_and_two_reads_break_nothing() {
    let search = Search { attempts: [1, 0], reads: 2, ..search(DEVICES, Without::Nothing) };
    assert_eq!(broken(search).0, None);
}

#[test]
fn each_sentence_is_needed() {
    let without = |owners, sentence| broken(search(owners, sentence)).0.unwrap_or_default();
    assert_eq!(without(STRANGERS, Without::Slots), "two owners hold a certificate");
    assert!(without(STRANGERS, Without::Quorums).starts_with("two "), "owners or values");
    let two_reads = Search { attempts: [1, 0], reads: 2, ..search(DEVICES, Without::WriteBack) };
    assert_eq!(broken(two_reads).0.unwrap_or_default(), "a read went back");
    let twice = "an honest member signed two values at one timestamp";
    assert_eq!(without(DEVICES, Without::Seen), twice);
}

/// The whole: two owners or two devices with an attempt each at timestamp 1 or 2, one read, and the
/// Byzantine member.
#[test]
fn writers_and_a_reader_break_nothing() {
    assert_eq!(broken(search(STRANGERS, Without::Nothing)).0, None);
    assert_eq!(broken(search(DEVICES, Without::Nothing)).0, None);
}
