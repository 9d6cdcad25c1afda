//! Values under a password, through real nodes and real keys in one process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::sync::Arc;
use std::time::Duration;

use crate::in_memory::{ALICE, BOB, Cluster, MALLORY, id, variable};
use bftkv::protocol::{
    Answer, Evaluated, NodeId, Outcome, Refusal, Request, Response, RoamingAnswer, RoamingRefusal,
    RoamingRequest,
};
use bftkv::roaming::client::Problem;
use bftkv::roaming::{Blinded, Password, Protected, Record, Stretching};
use bftkv::transport::{BoxFuture, Handler};
use bftkv::{Client, Error, GetOptions, PasswordOptions, PutOptions, Value, Variable};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

pub(crate) fn cheap() -> PasswordOptions {
    PasswordOptions { stretching: Stretching::LEAST, ..PasswordOptions::default() }
}

pub(crate) fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

pub(crate) fn problem(error: &Error) -> &Problem {
    match error {
        Error::Password(failure) => &failure.problem,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_changes_and_is_counted_when_wrong() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let (x, old, new) = (variable("safe"), password("old one"), password("new one"));
    let put = alice.put_with_password(&x, b"secret", &old, cheap()).await.unwrap();
    assert_eq!((put.epoch, put.degraded.len()), (1, 0));
    let stored = alice.get(&x, GetOptions::default()).await.unwrap().entry.unwrap();
    assert!(Protected::is_one(&stored.entry().value));

    let opened = alice.get_with_password(&x, &old, None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"secret");
    alice.finish(Duration::from_secs(5)).await;
    let wrong = alice.get_with_password(&x, &new, None).await.unwrap_err();
    assert_eq!(*problem(&wrong), Problem::WrongPassword { left: 9 });

    let changed = alice.change_password(&x, &old, &new, cheap()).await.unwrap();
    assert_eq!(changed.epoch, 2);
    let opened = alice.get_with_password(&x, &new, None).await.unwrap().unwrap();
    assert_eq!((opened.value.as_slice(), opened.version), (b"secret".as_slice(), 2));
    let wrong = alice.get_with_password(&x, &old, None).await.unwrap_err();
    assert!(matches!(problem(&wrong), Problem::WrongPassword { .. }), "{wrong}");

    cluster.stop(0);
    let opened = alice.get_with_password(&x, &new, None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"secret");
    assert!(!opened.culprits.contains_key(&id(0)), "silence is no crime");
}

/// Somebody between a node and the others: what the node says is true, what arrives may not be.
pub(crate) struct Between<F> {
    pub(crate) node: Arc<dyn Handler>,
    pub(crate) change: F,
}

impl<F> Handler for Between<F>
where
    F: Fn(&Request, Outcome) -> Outcome + Send + Sync,
{
    fn handle(&self, sender: NodeId, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(async move {
            let answer = self.node.handle(sender, request.clone()).await;
            Response { outcome: (self.change)(&request, answer.outcome), ..answer }
        })
    }
}

pub(crate) fn record_of(value: &Value) -> Record {
    Protected::from_value(value).unwrap().record().clone()
}

pub(crate) async fn stored(client: &Client, x: &Variable) -> Value {
    client.get(x, GetOptions::default()).await.unwrap().entry.unwrap().entry().value.clone()
}

/// One question of an attacker.
pub(crate) fn guess(record: &Record, number: u64) -> Request {
    let guess = password(&format!("guess {number}"));
    let mut rng = ChaCha20Rng::seed_from_u64(number);
    let element = Blinded::new(&guess, &mut rng).unwrap().element();
    let (variable, record) = (record.variable().clone(), record.id());
    Request::Roaming(RoamingRequest::Evaluate { variable, record, element })
}

async fn ask_all(node: &Arc<dyn Handler>, who: usize, requests: &[Request]) -> Vec<Outcome> {
    let asked = requests.iter().cloned().map(|request| {
        let node = Arc::clone(node);
        tokio::spawn(async move { node.handle(id(who), request).await.outcome })
    });
    let mut answers = Vec::new();
    for answer in asked.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    answers
}

/// One server, a thousand guesses at once, on eight threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_thousand_guesses_at_once_get_ten_answers() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let x = variable("safe");
    alice.put_with_password(&x, b"secret", &password("right"), cheap()).await.unwrap();
    let record = record_of(&stored(&alice, &x).await);
    let node = cluster.nodes[0].handler();
    let guesses: Vec<Request> = (0..1000).map(|number| guess(&record, number)).collect();
    let answers = ask_all(&node, MALLORY, &guesses).await;
    let limit = usize::from(bftkv::roaming::server::ATTEMPTS);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), limit);
    for answer in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        let no_attempts = Refusal::Roaming(RoamingRefusal::NoAttempts { seconds: 0 });
        let same = std::mem::discriminant(answer) == std::mem::discriminant(&no_attempts);
        assert!(same || *answer == Refusal::Busy, "{answer}");
    }
    // After a restart of the node the ten are answered again, and no other one is.
    let mut cluster = cluster;
    cluster.restart(0);
    let node = cluster.nodes[0].handler();
    let kinds = |answers: &[Outcome]| answers.iter().map(Result::is_ok).collect::<Vec<_>>();
    // No more at once than a queue holds.
    for (guesses, answers) in guesses.chunks(200).zip(answers.chunks(200)) {
        let again = ask_all(&node, MALLORY, guesses).await;
        assert_eq!(kinds(&again), kinds(answers));
    }
    // And Alice is not locked out.
    let opened = alice.get_with_password(&x, &password("right"), None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_node_is_named_and_stops_nobody() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let (x, right) = (variable("safe"), password("right"));
    alice.put_with_password(&x, b"secret", &right, cheap()).await.unwrap();
    // It answers with the question, as if its share were 1.
    let change = |request: &Request, truth: Outcome| match (request, truth) {
        (
            Request::Roaming(RoamingRequest::Evaluate { element, .. }),
            Ok(Answer::Roaming(RoamingAnswer::Evaluated(truth))),
        ) => {
            let lie = Evaluated { element: *element, ..truth };
            Ok(Answer::Roaming(RoamingAnswer::Evaluated(lie)))
        }
        (_, truth) => truth,
    };
    cluster.replace(0, Between { node: cluster.nodes[0].handler(), change });
    let mut is_named = false;
    // The three others suffice, so the lie may come too late to be heard.
    for _ in 0..50 {
        let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
        assert_eq!(opened.value.as_slice(), b"secret");
        alice.finish(Duration::from_secs(5)).await;
        let named: Vec<NodeId> = opened.culprits.into_keys().collect();
        assert!(named.is_empty() || named == [id(0)], "{named:?}");
        is_named |= !named.is_empty();
        if is_named {
            break;
        }
    }
    assert!(is_named, "the liar was never heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_servers_and_no_attempts_are_clear_errors() {
    let cluster = Cluster::new();
    let (alice, bob) = (cluster.client(ALICE).await, cluster.client(BOB).await);
    let (x, right, wrong) = (variable("safe"), password("right"), password("wrong"));
    alice.put_with_password(&x, b"secret", &right, cheap()).await.unwrap();

    // Bob is a stranger to the password. Ten times he is told how many attempts are left.
    for left in (0..10).rev() {
        let error = bob.get_with_password(&x, &wrong, None).await.unwrap_err();
        assert_eq!(*problem(&error), Problem::WrongPassword { left }, "{error}");
        let said = error.to_string();
        assert!(said.starts_with("wrong password; ") && said.contains("left"), "{said}");
    }
    let error = bob.get_with_password(&x, &right, None).await.unwrap_err();
    assert!(matches!(problem(&error), Problem::NoAttempts { need: 3, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("the next attempt comes back in 2"), "{said}");
    let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"secret");

    // Two of four serve reads, and evaluate nothing.
    for node in [2, 3] {
        let change = |request: &Request, truth: Outcome| match request {
            Request::Roaming(_) => Err(Refusal::Roaming(RoamingRefusal::NoShare)),
            _ => truth,
        };
        cluster.replace(node, Between { node: cluster.nodes[node].handler(), change });
    }
    let error = alice.get_with_password(&x, &right, None).await.unwrap_err();
    // It ends with the second one that cannot, whatever the others will still say.
    let Problem::TooFew { have: 0..=2, need: 3, missing } = problem(&error) else {
        panic!("{error}")
    };
    assert!(missing.contains(&id(2)) && missing.contains(&id(3)), "{error}");
    let said = error.to_string();
    assert!(said.contains("of the 3 servers needed answered (missing: "), "{said}");
}

/// The writer of a record chooses how hard Argon2id works; 2 GiB are refused before they are asked
/// for. Clamped, the right password would look wrong, and cost an attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_asks_for_too_much_of_argon2_is_refused() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let (x, right) = (variable("safe"), password("right"));
    alice.put_with_password(&x, b"secret", &right, cheap()).await.unwrap();
    let mut bytes = stored(&alice, &x).await.as_bytes().to_vec();
    // 19,456 KiB, 2 passes, 1 lane, as postcard writes numbers.
    let parameters = [0x80, 0x98, 0x01, 2, 1];
    let place = bytes.windows(5).position(|part| part == parameters).unwrap();
    bytes[place..place + 3].copy_from_slice(&[0xff, 0xff, 0x7f]);
    alice.put(&x, Value::new(bytes).unwrap(), PutOptions::default()).await.unwrap();
    let error = alice.get_with_password(&x, &right, None).await.unwrap_err();
    let expected = bftkv::roaming::Error::Stretching { memory_kib: 2_097_151, passes: 2, lanes: 1 };
    assert!(matches!(&error, Error::Roaming(found) if *found == expected), "{error}");
}
