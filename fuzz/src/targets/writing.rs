//! A writer whose nodes answer with whatever the bytes say.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Action, Hedge, Lost, Options, Reserve, Round, Write};
use bftkv_protocol::{
    Answer, Configuration, EntryId, NodeId, Outcome, Refusal, Request, Response, SignedEntry,
    Value, decode, verify_certified,
};

use super::input::Input;
use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, STORE, abandon, alone, certified_by, entry, final_entry, node,
    one_group, share, signed, signed_time, t, two_groups, variable,
};

struct Desk {
    configuration: Arc<Configuration>,
    keys: Keys,
    write: Write,
    now: Duration,
    round: Round,
    attempt: Option<SignedEntry>,
    assembled: BTreeSet<EntryId>,
    /// Who answered anything at all.
    answered: BTreeSet<NodeId>,
    actions: usize,
}

/// The writer ends; what it calls written is certified and its own; an attempt with all its shares
/// is never given up; who said nothing is not called a liar.
pub(super) fn write(data: &[u8]) {
    let mut input = Input::new(data);
    let configuration = if input.flag() { one_group() } else { two_groups() };
    let mut desk = Desk::new(configuration, input.below(4) == 3);
    desk.drain(&mut input);
    while !input.is_empty() && desk.write.result().is_none() {
        desk.step(&mut input);
        desk.drain(&mut input);
    }
    desk.now = Duration::from_secs(3600);
    desk.write.handle_timeout(desk.now);
    desk.drain(&mut input);
    let culprits = match desk.write.result().expect("it ends at its deadline") {
        Ok(written) => {
            verify_certified(&written.entry, &alone(&desk.configuration), &desk.keys).unwrap();
            assert_eq!(written.entry.entry().value, Value::new("v").unwrap());
            assert_eq!(written.entry.entry().writer, ALICE.id());
            &written.culprits
        }
        Err(error) => &error.culprits,
    };
    assert!(culprits.keys().all(|id| desk.answered.contains(id)), "framed: {culprits:?}");
}

impl Desk {
    fn new(configuration: Arc<Configuration>, once: bool) -> Self {
        let options = Options {
            me: ALICE.id(),
            owner: ALICE.owner(),
            deadline: Duration::from_secs(60),
            round_timeout: Duration::from_secs(1),
            hedge: Hedge::default(),
            backoff: Duration::from_millis(10),
            seed: 1,
            cut: BTreeSet::new(),
            leftovers: vec![signed(entry(ALICE, 3, "earlier")).id()],
            last: None,
        };
        let (now, value) = (Duration::ZERO, Value::new("v").unwrap());
        let x = variable("x");
        let write = Write::start(now, alone(&configuration), x, value, once, options);
        Self {
            configuration,
            keys: Keys::default(),
            write,
            now,
            round: 0,
            attempt: None,
            assembled: BTreeSet::new(),
            answered: BTreeSet::new(),
            actions: 0,
        }
    }

    fn drain(&mut self, input: &mut Input<'_>) {
        while let Some(action) = self.write.poll() {
            self.actions += 1;
            assert!(self.actions < 10_000, "it does not come to an end");
            match action {
                Action::Send { round, request, .. } => {
                    self.round = round;
                    if let Request::Sign { entry, .. } = *request {
                        self.attempt = Some(entry);
                    }
                }
                Action::Reserve(entry) => {
                    let reserved = match input.below(8) {
                        6 => Err(Reserve::Used { mark: t(u64::from(input.byte())) }),
                        7 => Err(Reserve::Failed("on purpose".into())),
                        _ => Ok(signed(*entry)),
                    };
                    self.attempt = reserved.clone().ok();
                    self.write.handle_reserved(self.now, reserved);
                }
                Action::RecordAssembled(attempt) => {
                    let fails = input.below(8) == 7;
                    if !fails {
                        self.assembled.insert(attempt);
                    }
                    let recorded = if fails { Err("on purpose".to_owned()) } else { Ok(()) };
                    self.write.handle_recorded(self.now, recorded);
                }
                Action::Abandon { attempt, .. } => {
                    assert!(!self.assembled.contains(&attempt), "abandoned although certified");
                }
                Action::Fetch(_) => self.write.handle_fetched(&self.keys),
                Action::Accuse(proof) => {
                    proof.verify(&alone(&self.configuration), &self.keys).unwrap()
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        if input.below(8) == 7 {
            self.now = self.write.wake_at().unwrap_or(self.now).max(self.now);
            return self.write.handle_timeout(self.now);
        }
        let from = [CLIQUE, STORE].concat()[input.below(8)];
        let response = match input.below(32) {
            30 => Err(Lost::Silent),
            31 => Err(Lost::Lied),
            29 => match decode::<Response>(input.bytes()) {
                Ok(response) => Ok(response),
                Err(_) => Err(Lost::Lied),
            },
            kind => {
                let outcome = self.outcome(kind, from, input);
                let other = input.below(32) == 31;
                let configuration =
                    if other { two_groups() } else { Arc::clone(&self.configuration) };
                Ok(Response { configuration: configuration.digest(), outcome })
            }
        };
        if !matches!(response, Err(Lost::Silent)) {
            self.answered.insert(node(from));
        }
        self.write.handle_response(self.now, self.round, &node(from), response, &self.keys);
    }

    fn outcome(&self, kind: usize, from: u8, input: &mut Input<'_>) -> Outcome {
        let attempt = self.attempt.clone().unwrap_or_else(|| signed(entry(ALICE, 1, "v")));
        let time = [0, 1, 7, 1 << 16, u64::MAX - 1, u64::MAX][input.below(6)];
        let configuration = &*self.configuration;
        let stored = |input: &mut Input<'_>| {
            let make = if input.flag() { final_entry } else { entry };
            let writer = [ALICE, BOB][input.below(2)];
            let signers = &CLIQUE[..2 + input.below(3)];
            Box::new(certified_by(make(writer, time, "w"), signers, configuration))
        };
        match kind {
            0..8 => {
                let latest = input.flag().then(|| stored(input));
                let signature = Some(signed_time(from, time, configuration).signature);
                Ok(Answer::Time { seen: t(time), latest, signature })
            }
            8..16 => Ok(Answer::Share(share(&attempt, from, configuration))),
            16 => Ok(Answer::Share(share(&attempt, CLIQUE[0], configuration))),
            17..22 => Ok(Answer::Done),
            22 => Ok(Answer::Abandons(vec![abandon(BOB, signed(entry(BOB, time, "w")).id())])),
            23 => Ok(Answer::Entry(Some(stored(input)))),
            24 => Err(Refusal::NotOwner(stored(input))),
            25 => Err(Refusal::Sealed(stored(input))),
            26 => Err(Refusal::OldTimestamp { seen: t(time) }),
            27 => Err(Refusal::TimestampTooFar { limit: t(time) }),
            _ => Err([Refusal::Busy, Refusal::UnknownSender, Refusal::FinalStays][input.below(3)]
                .clone()),
        }
    }
}
