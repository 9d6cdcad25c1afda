//! Many operations side by side over real servers: each goes its own way, and messages are shared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bftkv_protocol::client::{Fault, Lost, Many, ManyAction, Options, Problem, Write};
use bftkv_protocol::server::{Context, Loaded, Reply, Server, ServerAction, admit};
use bftkv_protocol::{
    Answer, Configurations, Entry, MAX_BATCH, NodeId, Outcome, Purpose, Refusal, Request, Response,
    SignatureShare, SignedEntry, Store, Value, WriterSignature, answer_many, sign_batch,
    verify_certified,
};

use crate::desk::options;
use crate::fixtures::{
    ALICE, BOB, CLIQUE, Keys, People, Person, alone, certified, entry, node, nodes, one_group,
    sign, variable,
};
use crate::shelf::Shelf;

/// What a liar makes of an answer.
type Lie = fn(Answer) -> Answer;

/// Four real servers, of which some may lie, and a count of the messages to each.
struct Town {
    known: Arc<Configurations>,
    servers: BTreeMap<NodeId, (Server, Shelf)>,
    lies: BTreeMap<NodeId, Lie>,
    asked: BTreeMap<NodeId, usize>,
    tickets: u64,
}

impl Town {
    fn new() -> Self {
        let known = alone(&one_group());
        let server = |id| (id, (Server::new(Arc::clone(&known)), Shelf::with([])));
        let servers = nodes(CLIQUE).into_iter().map(server).collect();
        let (lies, asked) = (BTreeMap::new(), BTreeMap::new());
        Self { known, servers, lies, asked, tickets: 0 }
    }

    fn answer(&mut self, to: &NodeId, sender: Person, request: Request) -> Outcome {
        *self.asked.entry(to.clone()).or_default() += 1;
        let Request::Many(parts) = request else {
            return self.outcomes(to, sender, vec![request]).remove(0);
        };
        let requests = parts.into_iter().map(Request::from).collect();
        let answer = answer_many(self.outcomes(to, sender, requests));
        Ok(self.lies.get(to).map_or(answer.clone(), |lie| lie(answer)))
    }

    /// As a node does it: all parts are begun, then all shares are signed under one root.
    fn outcomes(&mut self, me: &NodeId, sender: Person, requests: Vec<Request>) -> Vec<Outcome> {
        let (server, shelf) = self.servers.get_mut(me).unwrap();
        let nobody = BTreeSet::new();
        let keys = Keys::default();
        let context = Context {
            me,
            configurations: &self.known,
            cut: &nobody,
            keys: &keys,
            identities: &People,
        };
        let first = self.tickets;
        let mut outcomes = BTreeMap::new();
        for request in requests {
            self.tickets += 1;
            match admit(&sender.id(), request, &context) {
                Ok(admitted) => server.handle_request(self.tickets, admitted),
                Err(refusal) => drop(outcomes.insert(self.tickets, Err(refusal))),
            }
        }
        let mut shares = Vec::new();
        while let Some(action) = server.poll() {
            match action {
                ServerAction::Load { ticket, variable, version } => {
                    let version = version.and_then(|t| shelf.version(&variable, t).unwrap());
                    let loaded = Loaded { state: shelf.load(&variable).unwrap(), version };
                    server.handle_loaded(ticket, Ok(loaded), &keys);
                }
                ServerAction::Persist { ticket, batch } => {
                    server.handle_persisted(ticket, shelf.commit(batch));
                }
                ServerAction::Reply { ticket, reply: Reply::Share(statement) } => {
                    shares.push((ticket, statement.signed_bytes()));
                }
                ServerAction::Reply { ticket, reply: Reply::Plain(outcome) } => {
                    outcomes.insert(ticket, outcome);
                }
                ServerAction::Reply { ticket, reply: Reply::Time(statement, latest) } => {
                    let signature = Some(sign(me, Purpose::Time, &statement.signed_bytes()));
                    let answer = Answer::Time { seen: statement.seen, latest, signature };
                    outcomes.insert(ticket, Ok(answer));
                }
                other => panic!("{other:?}"),
            }
        }
        let (tickets, messages): (Vec<u64>, Vec<Vec<u8>>) = shares.into_iter().unzip();
        let by = |purpose: Purpose, message: &[u8]| Ok::<_, ()>(sign(me, purpose, message));
        let signatures = sign_batch(Purpose::Share, &messages, by).unwrap();
        for (ticket, signature) in tickets.into_iter().zip(signatures) {
            let share = SignatureShare { signer: me.clone(), signature };
            outcomes.insert(ticket, Ok(Answer::Share(share)));
        }
        (first + 1..=self.tickets).map(|ticket| outcomes.remove(&ticket).unwrap()).collect()
    }

    /// Runs Alice's writes until all are over.
    fn run(&mut self, many: &mut Many<Write>) {
        let (keys, now, digest) = (Keys::default(), Duration::ZERO, one_group().digest());
        while let Some(action) = many.poll() {
            match action {
                ManyAction::Send { message, to, request } => {
                    for node in to {
                        let outcome = self.answer(&node, ALICE, (*request).clone());
                        let response = Ok(Response { configuration: digest, outcome });
                        many.handle_response(now, message, &node, response, &keys);
                    }
                }
                ManyAction::Reserve(entries) => many.handle_reserved(now, reserved(entries)),
                ManyAction::RecordAssembled(attempts) => {
                    let done = attempts.into_iter().map(|(index, _)| (index, Ok(()))).collect();
                    many.handle_recorded(now, done);
                }
                ManyAction::Settle(_) | ManyAction::One(..) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// All under one signature of Alice's.
fn reserved(
    entries: Vec<(usize, Entry)>,
) -> Vec<(usize, Result<SignedEntry, bftkv_protocol::client::Reserve>)> {
    let messages: Vec<Vec<u8>> = entries.iter().map(|(_, entry)| entry.signed_bytes()).collect();
    let by = |purpose: Purpose, m: &[u8]| Ok::<_, ()>(sign(&ALICE.id(), purpose, m));
    let signatures = sign_batch(Purpose::Entry, &messages, by).unwrap();
    let pairs = entries.into_iter().zip(signatures);
    pairs
        .map(|((index, entry), signature)| {
            (index, Ok(SignedEntry { entry, signature: WriterSignature::new(signature) }))
        })
        .collect()
}

fn writes(count: usize, bytes: usize) -> Many<Write> {
    let write = |n: usize| {
        let value = Value::new(vec![b'v'; bytes]).unwrap();
        let options = Options { deadline: Duration::from_secs(9), ..options() };
        let known = alone(&one_group());
        Write::start(Duration::ZERO, known, variable(&format!("x{n}")), value, false, options)
    };
    Many::start((0..count).map(write).collect())
}

#[test]
fn each_of_many_writes_is_certified_and_each_node_is_asked_once_for_each_step() {
    for count in [1, 2, 100, MAX_BATCH] {
        let mut town = Town::new();
        let mut many = writes(count, 10);
        town.run(&mut many);
        assert!(many.is_over());
        for write in many.into_operations() {
            let written = write.into_result().unwrap();
            assert_eq!(verify_certified(&written.entry, &town.known, &Keys::default()), Ok(()));
            assert_eq!(written.entry.signed.signature.packet().is_batched(), count > 1);
            let shares = written.entry.collective.shares();
            assert!(shares.iter().all(|share| share.signature.is_batched() == (count > 1)));
        }
        assert!(town.asked.values().all(|asked| *asked == 3), "{count}: {:?}", town.asked);
    }
}

/// Bob owns one of the variables: that write is refused, the others are done.
#[test]
fn a_write_that_is_refused_does_not_stop_the_others() {
    let mut town = Town::new();
    let his = Entry { variable: variable("x1"), ..entry(BOB, 5, "his") };
    let his = certified(his, &one_group());
    for id in nodes(CLIQUE) {
        town.answer(&id, BOB, Request::Store { entry: his.clone() }).unwrap();
    }
    let mut many = writes(3, 10);
    town.run(&mut many);
    let results: Vec<_> = many.into_operations().into_iter().map(Write::into_result).collect();
    assert!(results[0].is_ok() && results[2].is_ok());
    let problem = &results[1].as_ref().unwrap_err().problem;
    assert!(matches!(problem, Problem::NotOwner(_)), "{problem:?}");
}

#[test]
fn large_values_go_in_several_messages_that_fit() {
    let mut town = Town::new();
    let mut many = writes(5, Value::MAX_BYTES);
    let first: Vec<ManyAction> = std::iter::from_fn(|| many.poll()).collect();
    assert_eq!(first.len(), 1, "time is asked at once");
    let mut many = writes(5, Value::MAX_BYTES);
    town.run(&mut many);
    assert!(many.operations().iter().all(|write| write.result().unwrap().is_ok()));
    // Once for the time, and five times each for signing and storing.
    assert!(town.asked.values().all(|asked| *asked == 11), "{:?}", town.asked);
}

/// A list that is cut short is asked for the rest: nobody has to put more into one answer than fits.
#[test]
fn a_short_answer_is_asked_for_the_rest() {
    let mut town = Town::new();
    let short: Lie = |answer| match answer {
        Answer::Many(mut list) => {
            list.truncate(2);
            Answer::Many(list)
        }
        other => other,
    };
    town.lies = nodes(CLIQUE).into_iter().map(|id| (id, short)).collect();
    let mut many = writes(9, 10);
    town.run(&mut many);
    assert!(many.operations().iter().all(|write| write.result().unwrap().is_ok()));
}

#[test]
fn a_list_that_is_empty_or_too_long_and_another_answer_name_the_liar() {
    let empty: Lie = |_| Answer::Many(Vec::new());
    let long: Lie = |answer| match answer {
        Answer::Many(mut list) => {
            list.push(Err(Refusal::Busy));
            Answer::Many(list)
        }
        other => other,
    };
    let other: Lie = |_| Answer::Done;
    for lie in [empty, long, other] {
        let mut town = Town::new();
        let liar = node(CLIQUE[1]);
        town.lies.insert(liar.clone(), lie);
        let mut many = writes(4, 10);
        town.run(&mut many);
        for write in many.into_operations() {
            let written = write.into_result().unwrap();
            assert_eq!(written.culprits, BTreeMap::from([(liar.clone(), Fault::BadAnswer)]));
        }
    }
}

/// Silence of a node is silence to all, and a refusal of the whole message a refusal of each part.
#[test]
fn what_is_said_of_a_message_is_said_of_each_part() {
    let mut many = writes(3, 10);
    let (keys, now, digest) = (Keys::default(), Duration::ZERO, one_group().digest());
    let Some(ManyAction::Send { message, .. }) = many.poll() else { panic!("no question") };
    many.handle_response(now, message, &node(CLIQUE[0]), Err(Lost::Silent), &keys);
    let refused = Response { configuration: digest, outcome: Err(Refusal::CatchingUp) };
    many.handle_response(now, message, &node(CLIQUE[1]), Ok(refused), &keys);
    assert!(!many.is_over() && many.wake_at().is_some());
    let late = many.wake_at().unwrap() + Duration::from_secs(10);
    many.handle_timeout(late, &keys);
    assert!(many.is_over());
    assert!(many.operations().iter().all(|write| write.result().unwrap().is_err()));
}
