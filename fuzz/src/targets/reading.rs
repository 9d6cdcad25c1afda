//! A reader: one of four nodes answers with whatever the bytes say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bftkv_protocol::client::{Action, Consistency, Hedge, Lost, Read, ReadOptions, Round};
use bftkv_protocol::{
    Answer, CertifiedEntry, NodeId, Outcome, Refusal, Request, Response, Timestamp, decode,
    verify_certified,
};

use super::input::Input;
use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, alone, certified, certified_by, entry, node, one_group, t, variable,
};

/// The one that may lie.
const LIAR: u8 = CLIQUE[3];

/// A read ends; it gives a valid entry or none, never anything older than what every honest node
/// holds; and it names nobody but the liar.
pub(super) fn read(data: &[u8]) {
    let mut input = Input::new(data);
    let (configuration, keys) = (one_group(), Keys::default());
    let options = ReadOptions {
        at: input.flag().then(|| t(u64::from(input.byte() % 4))),
        consistency: [Consistency::Linearizable, Consistency::Regular][input.below(2)],
        proof: input.flag(),
        cut: BTreeSet::new(),
        deadline: Duration::from_secs(60),
        round_timeout: Duration::from_secs(1),
        hedge: hedge(&mut input, 20),
        whole: hedge(&mut input, 50),
    };
    let (now, at, proof) = (Duration::ZERO, options.at, options.proof);
    let mut read = Read::start(now, alone(&configuration), variable("x"), options);
    let mut now = now;
    // What each was asked last.
    let mut asked: BTreeMap<NodeId, (Round, Request)> = BTreeMap::new();
    let mut told = 0;
    // What each honest node holds at least.
    let least = u64::from(input.byte() % 4);
    loop {
        while let Some(action) = read.poll() {
            told += 1;
            assert!(told < 10_000, "it does not come to an end");
            match action {
                Action::Send { round, to, request } => {
                    asked.extend(to.into_iter().map(|id| (id, (round, (*request).clone()))));
                }
                Action::Fetch(_) => read.handle_fetched(now, &BTreeSet::new(), &keys),
                Action::Accuse(proof) => {
                    proof.verify(&alone(&configuration), &keys).unwrap();
                    assert_eq!(*proof.guilty(), node(LIAR));
                }
                _ => {}
            }
        }
        if read.result().is_some() {
            break;
        }
        if input.is_empty() {
            now = Duration::from_secs(3600);
            read.handle_timeout(now, &keys);
            continue;
        }
        if input.below(8) == 7 {
            now = read.wake_at().unwrap_or(now).max(now);
            read.handle_timeout(now, &keys);
            continue;
        }
        let from = CLIQUE[input.below(4)];
        let Some((round, request)) = asked.get(&node(from)) else {
            continue;
        };
        let response = if from == LIAR {
            lie(&mut input)
        } else if input.below(8) == 7 {
            Err(Lost::Silent)
        } else {
            respond(honest(request, least, &mut input))
        };
        read.handle_response(now, *round, &node(from), response, &keys);
    }
    check(&read, (at, proof), least);
}

fn hedge(input: &mut Input<'_>, millis: u64) -> Hedge {
    Hedge { after: input.flag().then_some(Duration::from_millis(millis)), ..Hedge::default() }
}

fn respond(outcome: Outcome) -> Result<Response, Lost> {
    Ok(Response { configuration: one_group().digest(), outcome })
}

/// Version t of "x", as all honest nodes know it.
fn version(t: u64) -> CertifiedEntry {
    certified(entry(ALICE, t, &format!("value {t}")), &one_group())
}

fn honest(request: &Request, least: u64, input: &mut Input<'_>) -> Outcome {
    let (at, whole) = match request {
        Request::Read { at, .. } => (at, true),
        Request::Digest { at, .. } => (at, false),
        _ => return Ok(Answer::Done),
    };
    let newest = least.max(u64::from(input.byte() % 4));
    let held = at.map_or(newest, Timestamp::get);
    // The first version counts as small.
    match held > 0 && held <= newest {
        true if !whole && held > 1 => Ok(name(&version(held))),
        holds => Ok(Answer::Entry(holds.then(|| Box::new(version(held))))),
    }
}

fn name(entry: &CertifiedEntry) -> Answer {
    Answer::Digest { timestamp: entry.timestamp(), hash: entry.hash() }
}

fn lie(input: &mut Input<'_>) -> Result<Response, Lost> {
    match input.below(10) {
        0 => Err(Lost::Lied),
        1 => decode::<Response>(input.bytes()).map_err(|_| Lost::Lied),
        2 => respond(Ok(Answer::Entry(None))),
        3 => respond(Err(Refusal::NotMember)),
        4 => respond(Ok(Answer::Done)),
        kind => {
            let (time, writer) = (u64::from(input.byte() % 6), [ALICE, BOB][input.below(2)]);
            let value = format!("value {}", input.byte() % 6);
            // It cannot make others sign what they have not signed.
            let signers: &[u8] = if kind == 5 { &[LIAR] } else { &[LIAR, LIAR, LIAR] };
            let mut lie = certified_by(entry(writer, time, &value), signers, &one_group());
            if kind == 7 {
                lie.collective = version(time.max(1)).collective;
            }
            respond(Ok(if kind > 7 { name(&lie) } else { Answer::Entry(Some(Box::new(lie))) }))
        }
    }
}

fn check(read: &Read, (at, proof): (Option<Timestamp>, bool), least: u64) {
    let configuration = one_group();
    let culprits: Vec<&NodeId> = match read.result().unwrap() {
        Ok(found) => {
            let time = found.entry.as_ref().map_or(0, |entry| entry.timestamp().get());
            if let Some(entry) = &found.entry {
                // Where b+1 name an entry nobody looks at its S, unless it is asked for: a liar may be the only
                // one who has shown it.
                if proof {
                    verify_certified(entry, &alone(&configuration), &Keys::default()).unwrap();
                }
                assert_eq!(entry.signed, version(time).signed, "a value that nobody wrote");
            }
            match at {
                Some(at) => assert!(time == 0 || at.get() == time),
                None => assert!(time >= least, "older than what every honest node holds"),
            }
            found.culprits.keys().collect()
        }
        Err(error) => error.culprits.keys().collect(),
    };
    assert!(culprits.iter().all(|id| **id == node(LIAR)), "framed: {culprits:?}");
}
