//! A desk for one read: the test answers for the nodes and reads what the reader does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Action, Consistency, Hedge, Lost, Read, ReadOptions, Round};
use bftkv_protocol::{
    Answer, CertifiedEntry, Configuration, Configurations, NodeId, Outcome, Refusal, Response,
};

use crate::desk::{DEADLINE, ROUND, tell_action, tell_error, tell_faults};
use crate::fixtures::{Keys, alone, node, nodes, variable};

/// One read of "x", and everybody that is asked.
pub(crate) struct Reader {
    pub(crate) read: Read,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) keys: Keys,
    now: Duration,
    /// In which round each was asked last.
    rounds: BTreeMap<NodeId, Round>,
    /// Its first question.
    pub(crate) asked: String,
}

pub(crate) fn read_options() -> ReadOptions {
    ReadOptions {
        at: None,
        consistency: Consistency::Linearizable,
        proof: false,
        cut: BTreeSet::new(),
        hedge: Hedge::default(),
        whole: Hedge::default(),
        deadline: DEADLINE,
        round_timeout: ROUND,
    }
}

impl Reader {
    pub(crate) fn new(configuration: Arc<Configuration>) -> Self {
        Self::with(configuration, read_options())
    }

    pub(crate) fn with(configuration: Arc<Configuration>, options: ReadOptions) -> Self {
        Self::among(alone(&configuration), options)
    }

    /// A reader that knows these configurations.
    pub(crate) fn among(known: Arc<Configurations>, options: ReadOptions) -> Self {
        let now = Duration::ZERO;
        let configuration = Arc::clone(known.newest());
        let read = Read::start(now, known, variable("x"), options);
        let (keys, asked) = (Keys::default(), String::new());
        let mut reader = Self { read, configuration, keys, now, rounds: BTreeMap::new(), asked };
        let told = reader.told();
        assert!(!told.is_empty(), "it asks at once");
        reader.asked = told.join(", ");
        reader
    }

    pub(crate) fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(action) = self.read.poll() {
            if let Action::Send { round, to, .. } = &action {
                self.rounds.extend(to.iter().map(|id| (id.clone(), *round)));
            }
            told.push(tell_action(&action));
        }
        told
    }

    pub(crate) fn response(&mut self, from: u8, response: Result<Response, Lost>) {
        let round = self.round_of(from);
        self.late(from, round, response);
    }

    /// In which round it was asked last.
    pub(crate) fn round_of(&self, who: u8) -> Round {
        self.rounds.get(&node(who)).copied().unwrap_or_default()
    }

    /// An answer to what was asked in that round.
    pub(crate) fn late(&mut self, from: u8, round: Round, response: Result<Response, Lost>) {
        self.read.handle_response(self.now, round, &node(from), response, &self.keys);
    }

    pub(crate) fn answer(&mut self, from: u8, outcome: Outcome) {
        let configuration = self.configuration.digest();
        self.response(from, Ok(Response { configuration, outcome }));
    }

    /// These nodes show this entry.
    pub(crate) fn shown(&mut self, by: &[u8], entry: &CertifiedEntry) {
        for from in by {
            self.answer(*from, Ok(Answer::Entry(Some(Box::new(entry.clone())))));
        }
    }

    /// These nodes say which entry they hold.
    pub(crate) fn named(&mut self, by: &[u8], entry: &CertifiedEntry) {
        let (timestamp, hash) = (entry.timestamp(), entry.hash());
        by.iter().for_each(|from| self.answer(*from, Ok(Answer::Digest { timestamp, hash })));
    }

    pub(crate) fn silence(&mut self, from: u8) {
        self.response(from, Err(Lost::Silent));
    }

    /// These nodes have nothing.
    pub(crate) fn absent(&mut self, by: &[u8]) {
        by.iter().for_each(|from| self.answer(*from, Ok(Answer::Entry(None))));
    }

    pub(crate) fn done(&mut self, by: &[u8]) {
        by.iter().for_each(|from| self.answer(*from, Ok(Answer::Done)));
    }

    pub(crate) fn refuse(&mut self, from: u8, refusal: Refusal) {
        self.answer(from, Err(refusal));
    }

    /// The certificates that were asked for have been looked for; these nodes answered.
    pub(crate) fn fetched(&mut self, answered: &[u8]) -> Vec<String> {
        self.read.handle_fetched(self.now, &nodes(answered.iter().copied()), &self.keys);
        self.told()
    }

    pub(crate) fn wake(&mut self) -> Vec<String> {
        self.now = self.read.wake_at().unwrap();
        self.read.handle_timeout(self.now, &self.keys);
        self.told()
    }

    pub(crate) fn expire(&mut self) -> String {
        self.now = DEADLINE;
        self.read.handle_timeout(self.now, &self.keys);
        self.result()
    }

    pub(crate) fn result(&self) -> String {
        match self.read.result() {
            None => "going on".into(),
            Some(Ok(found)) => {
                let entry = found.entry.as_ref();
                let told = entry.map_or_else(|| "absent".into(), |e| e.timestamp().to_string());
                told + &tell_faults(&found.culprits)
            }
            Some(Err(error)) => tell_error(error),
        }
    }
}
