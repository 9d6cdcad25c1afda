//! A desk for one write: the test answers for the nodes and reads what the writer does, as lines of
//! text: `sign 7 a1 a2 a3 a4`, `record 7`, `store 7 a1 a2 a3 a4`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{
    Action, ClientError, Fault, Hedge, Lost, Options, Problem, Reserve, Round, Write, Written,
};
use bftkv_protocol::{
    Answer, Configuration, EntryId, Evidence, NodeId, Outcome, Refusal, Request, Response,
    SignedEntry, Value,
};

use crate::fixtures::{ALICE, Keys, alone, entry, node, share, signed, signed_time, t, variable};

/// When a write or a read gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// When a round of questions ends.
pub(crate) const ROUND: Duration = Duration::from_secs(1);

/// One write by Alice, and everybody that she talks to.
pub(crate) struct Desk {
    pub(crate) write: Write,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) keys: Keys,
    pub(crate) now: Duration,
    pub(crate) round: Round,
    /// What she asked shares for last.
    pub(crate) attempt: Option<SignedEntry>,
    /// What that request showed.
    pub(crate) shown: Evidence,
}

pub(crate) fn options() -> Options {
    Options {
        me: ALICE.id(),
        owner: ALICE.owner(),
        deadline: DEADLINE,
        round_timeout: ROUND,
        backoff: Duration::from_millis(10),
        seed: 1,
        cut: BTreeSet::new(),
        hedge: Hedge::default(),
        leftovers: Vec::new(),
        last: None,
    }
}

impl Desk {
    /// Alice begins to write "v" to "x".
    pub(crate) fn new(configuration: Arc<Configuration>) -> Self {
        Self::with(configuration, false, options())
    }

    pub(crate) fn with(configuration: Arc<Configuration>, once: bool, options: Options) -> Self {
        let value = Value::new("v").unwrap();
        let now = Duration::ZERO;
        let write = Write::start(now, alone(&configuration), variable("x"), value, once, options);
        let (keys, shown) = (Keys::default(), Evidence::default());
        Self { write, configuration, keys, now, round: 0, attempt: None, shown }
    }

    /// Brings the write to the point where shares are asked for, everybody having seen `seen`.
    pub(crate) fn signing(configuration: Arc<Configuration>, seen: u64) -> Self {
        let mut desk = Self::new(configuration);
        desk.time_and_reserve(seen);
        desk
    }

    /// Answers the question for the time and lets the home reserve it.
    pub(crate) fn time_and_reserve(&mut self, seen: u64) {
        self.told();
        for member in self.configuration.authority() {
            self.time(member.as_bytes()[0], seen);
        }
        self.reserve();
    }

    /// What the writer did since the last call.
    pub(crate) fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(action) = self.write.poll() {
            if let Action::Send { round, request, .. } = &action {
                self.round = *round;
                if let Request::Sign { entry, evidence } = &**request {
                    (self.attempt, self.shown) = (Some(entry.clone()), evidence.clone());
                }
            }
            if let Action::Reserve(entry) = &action {
                self.attempt = Some(signed((**entry).clone()));
            }
            told.push(tell_action(&action));
        }
        told
    }

    pub(crate) fn response(&mut self, from: u8, response: Result<Response, Lost>) {
        self.write.handle_response(self.now, self.round, &node(from), response, &self.keys);
    }

    pub(crate) fn answer(&mut self, from: u8, outcome: Outcome) {
        let configuration = self.configuration.digest();
        self.response(from, Ok(Response { configuration, outcome }));
    }

    pub(crate) fn time(&mut self, from: u8, seen: u64) {
        let signature = Some(signed_time(from, seen, &self.configuration).signature);
        self.answer(from, Ok(Answer::Time { seen: t(seen), latest: None, signature }));
    }

    /// The home signs and remembers what it was asked to.
    pub(crate) fn reserve(&mut self) -> Vec<String> {
        let told = self.told();
        let attempt = self.attempt.clone().unwrap();
        self.write.handle_reserved(self.now, Ok(attempt));
        [told, self.told()].concat()
    }

    pub(crate) fn reserve_fails(&mut self, why: Reserve) -> Vec<String> {
        self.told();
        self.write.handle_reserved(self.now, Err(why));
        self.told()
    }

    pub(crate) fn share(&mut self, from: u8) {
        let share = share(self.attempt.as_ref().unwrap(), from, &self.configuration);
        self.answer(from, Ok(Answer::Share(share)));
    }

    pub(crate) fn refuse(&mut self, from: u8, refusal: Refusal) {
        self.answer(from, Err(refusal));
    }

    pub(crate) fn silence(&mut self, from: u8) {
        self.response(from, Err(Lost::Silent));
    }

    pub(crate) fn recorded(&mut self) -> Vec<String> {
        self.told();
        self.write.handle_recorded(self.now, Ok(()));
        self.told()
    }

    pub(crate) fn done(&mut self, from: u8) {
        self.answer(from, Ok(Answer::Done));
    }

    /// Lets time pass until the writer wants to wake.
    pub(crate) fn wake(&mut self) -> Vec<String> {
        self.now = self.write.wake_at().unwrap();
        self.write.handle_timeout(self.now);
        self.told()
    }

    /// Lets the deadline pass.
    pub(crate) fn expire(&mut self) -> Vec<String> {
        self.now = DEADLINE;
        self.write.handle_timeout(self.now);
        self.told()
    }

    pub(crate) fn result(&self) -> String {
        match self.write.result() {
            None => "going on".into(),
            Some(Ok(written)) => tell_written(written),
            Some(Err(error)) => tell_error(error),
        }
    }

    pub(crate) fn problem(&self) -> Problem {
        self.write.result().unwrap().clone().unwrap_err().problem
    }
}

/// An attempt that Alice's home knows from before.
pub(crate) fn earlier(t: u64) -> EntryId {
    signed(entry(ALICE, t, "earlier")).id()
}

/// The first byte of each fingerprint.
pub(crate) fn names<'a>(ids: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names = ids.into_iter().map(|id| format!(" {:02x}", id.as_bytes()[0]));
    names.collect()
}

fn tell_written(written: &Written) -> String {
    assert_eq!(written.timestamp, written.entry.timestamp());
    let signers = written.entry.collective.shares().iter().map(|share| &share.signer);
    format!("written {} by{}{}", written.timestamp, names(signers), tell_faults(&written.culprits))
}

pub(crate) fn tell_faults(culprits: &BTreeMap<NodeId, Fault>) -> String {
    let tell = |(id, fault): (&NodeId, &Fault)| format!("; {:02x} {fault:?}", id.as_bytes()[0]);
    culprits.iter().map(tell).collect()
}

pub(crate) fn tell_error(error: &ClientError) -> String {
    let problem = match &error.problem {
        Problem::NotOwner(entry) => format!("not owner {}", entry.timestamp()),
        Problem::Sealed(entry) => format!("sealed {}", entry.timestamp()),
        Problem::OutstandingFinal(slot) => format!("outstanding final {}", slot.timestamp),
        Problem::NoQuorumCertificate { by, .. } => format!("no quorum certificate{}", names(by)),
        Problem::Refused { code, .. } => format!("refused {code}"),
        Problem::Contention => "contention".into(),
        Problem::Blocked { owner } => format!("blocked by {owner}"),
        Problem::Unreachable { phase, have, need, missing } => {
            format!("cannot {phase}: {have} of {need}, without{}", names(missing))
        }
        Problem::Unknown { timestamp, have, need, missing } => {
            format!("unknown {timestamp}: {have} of {need}, without{}", names(missing))
        }
        Problem::OtherConfiguration { .. } => "other configuration".into(),
        Problem::Own(reason) => format!("own: {reason}"),
        other => panic!("{other:?}"),
    };
    problem + &tell_faults(&error.culprits)
}

/// One action as a line.
pub(crate) fn tell_action(action: &Action) -> String {
    match action {
        Action::Send { to, request, .. } => format!("{}{}", tell_request(request), names(to)),
        Action::Post { to, request } => format!("post {}{}", tell_request(request), names(to)),
        Action::Reserve(entry) => format!("reserve {}", entry.timestamp),
        Action::RecordAssembled(attempt) => format!("record {}", attempt.timestamp),
        Action::Settle(attempt) => format!("settle {}", attempt.timestamp),
        Action::Abandon { to, attempt, .. } => {
            format!("abandon {}{}", attempt.timestamp, names(to))
        }
        Action::Fetch(ids) => format!("fetch{}", names(ids)),
        Action::Refresh => "refresh".into(),
        Action::Accuse(proof) => format!("accuse{}", names([proof.guilty()])),
        other => panic!("{other:?}"),
    }
}

fn tell_request(request: &Request) -> String {
    match request {
        Request::Time { evidence: false, .. } => "time".into(),
        Request::Time { evidence: true, .. } => "time with evidence".into(),
        Request::Sign { entry, .. } => format!("sign {}", entry.entry.timestamp),
        Request::Store { entry } => format!("store {}", entry.timestamp()),
        Request::Read { at: None, .. } => "read".into(),
        Request::Read { at: Some(at), .. } => format!("read {at}"),
        Request::Digest { at: None, .. } => "digest".into(),
        Request::Digest { at: Some(at), .. } => format!("digest {at}"),
        Request::Abandon { abandon, .. } => format!("abandon {}", abandon.attempt.timestamp),
        Request::Abandoned { .. } => "abandoned".into(),
        Request::Versions { limit, .. } => format!("versions {limit}"),
        Request::Vouch { entry, vouches } => {
            format!("vouch {} with {}", entry.timestamp(), vouches.shares().len())
        }
        other => panic!("{other:?}"),
    }
}
