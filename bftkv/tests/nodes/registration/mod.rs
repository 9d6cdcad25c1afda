//! A certificate that nobody knows comes to a quorum certificate by a password, and nobody else does.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::time::Duration;

use bftkv::protocol::{
    Answer, Identities as _, RecordBytes, Refusal, RegistrationRefusal, Request, RoamingAnswer,
    RoamingRefusal, RoamingRequest, SecretShare,
};
use bftkv::roaming::client::Problem;
use bftkv::roaming::registration::Mode;
use bftkv::wot::{Keyring, KeyringOptions, OwnKey, QuorumCertificates, Statement, generate_key};
use bftkv::{
    Certificates, Client, Error, GetOptions, NodeConfig, NodeId, PutOptions, Value, Variable,
};

use crate::in_memory::{
    ALICE, Cluster, MALLORY, STRANGER, address, certificates, configuration, id, key, until,
    variable,
};
use crate::passwords::{cheap, password, problem};

fn cluster(mode: Mode) -> Cluster {
    let mut settings = NodeConfig::default();
    settings.registration = mode;
    Cluster::with_settings(settings)
}

fn record_of(who: usize) -> Variable {
    Variable::of_user(&address(who)).unwrap()
}

/// Another key with the user ID of `who`, and what its owner knows: everybody, and that the nodes
/// are the nodes.
fn another_key(who: usize) -> (OwnKey, Certificates) {
    let own = generate_key(&format!("Another <{}>", address(who)), None).unwrap().key;
    let keyring = Keyring::new(KeyringOptions::default());
    for (record, _) in certificates().keyring().records() {
        let mut bytes = record.bytes().clone();
        if let Some(url) = certificates().url(record.id()) {
            bytes = own.certify(&bytes, &url, Statement::Certify { valid_for: None }).unwrap();
        }
        keyring.import(bytes.as_bytes()).unwrap();
    }
    keyring.import(own.certificate_bytes().as_bytes()).unwrap();
    (own, Certificates::in_memory(keyring))
}

async fn client_with_another_key(cluster: &Cluster, who: usize) -> Client {
    let (own, certificates) = another_key(who);
    cluster.client_of(&own, certificates).await
}

/// Whether the nodes take the certificate for that of `who`.
fn is_certified_at(cluster: &Cluster, node: usize, certificate: &NodeId, who: usize) -> bool {
    let keyring = cluster.nodes[node].certificates().keyring().clone();
    let known = QuorumCertificates::new(keyring, &configuration(), &id(node));
    known.has_quorum_certificate(certificate, &address(who))
}

fn refusal(error: &Error) -> &RegistrationRefusal {
    match problem(error) {
        Problem::Registration { refusal, .. } => refusal,
        other => panic!("{other}"),
    }
}

async fn put(client: &Client, name: &str, value: &str) -> Result<(), Error> {
    let value = Value::new(value).unwrap();
    client.put(&variable(name), value, PutOptions::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_certified_registers_itself() {
    let cluster = cluster(Mode::Open);
    let stranger = cluster.client(STRANGER).await;
    assert!(put(&stranger, "mine", "1").await.is_err(), "she is nobody");
    let secret = password("correct horse");
    let registered = stranger.register(&secret, cheap()).await.unwrap();
    assert_eq!(registered.certified_by, (0..4).map(id).collect());
    put(&stranger, "mine", "1").await.unwrap();
    for node in 0..4 {
        assert!(is_certified_at(&cluster, node, &id(STRANGER), STRANGER), "at {node}");
    }
    // The record belongs to the user ID, no longer to the applicant, and opens by the password.
    let found = stranger.get(&record_of(STRANGER), GetOptions::default()).await.unwrap();
    assert_eq!(found.entry.unwrap().entry().owner, address(STRANGER));
    let opened = stranger.get_with_password(&record_of(STRANGER), &secret, None).await.unwrap();
    assert!(opened.unwrap().lacking.is_empty());
    let again = stranger.register(&secret, cheap()).await.unwrap();
    assert_eq!(again, registered, "and once more");
}

/// Whoever is certified by hand needs no claim, and can be followed by another key from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_id_that_is_certified_is_not_for_another_key() {
    let cluster = cluster(Mode::Open);
    let impostor = client_with_another_key(&cluster, ALICE).await;
    let secret = password("correct horse");
    let refused = impostor.register(&secret, cheap()).await.unwrap_err();
    assert_eq!(*refusal(&refused), RegistrationRefusal::Taken);
    let alice = cluster.client(ALICE).await;
    alice.register(&secret, cheap()).await.unwrap();
    let refused = impostor.register(&password("other"), cheap()).await.unwrap_err();
    assert_eq!(*refusal(&refused), RegistrationRefusal::Taken);
    for node in 0..4 {
        assert!(!is_certified_at(&cluster, node, impostor.id(), ALICE), "at {node}");
    }
}

/// Squatting: somebody who is certified, but for another user ID, can neither write the record nor
/// fill the places of shares that wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_id_cannot_be_squatted() {
    let cluster = cluster(Mode::Open);
    let name = record_of(STRANGER);
    let mallory = cluster.client(MALLORY).await;
    let value = Value::new("squatted").unwrap();
    let error = mallory.put(&name, value, PutOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Operation(_)), "{error}");
    let record = RecordBytes::new(*b"a record").unwrap();
    let share = SecretShare::from_bytes([7; 32]);
    let deal = RoamingRequest::Deal { variable: name.clone(), record, share };
    let certify = RoamingRequest::Certify { variable: name.clone() };
    for (sender, request, expected) in [
        (MALLORY, deal, RoamingRefusal::NotOwner),
        (
            MALLORY,
            certify.clone(),
            RoamingRefusal::Registration(RegistrationRefusal::Identity(
                "its certificate lacks the user ID".to_owned(),
            )),
        ),
        // Who has claimed nothing is vouched for by nobody.
        (STRANGER, certify, RoamingRefusal::Registration(RegistrationRefusal::NoRecord)),
    ] {
        let outcome = cluster.ask(0, sender, Request::Roaming(request)).await;
        assert_eq!(outcome, Err(Refusal::Roaming(expected)));
    }
    let stranger = cluster.client(STRANGER).await;
    stranger.register(&password("correct horse"), cheap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_applicants_with_one_user_id_at_most_one_is_certified() {
    let cluster = cluster(Mode::Open);
    let first = cluster.client(STRANGER).await;
    let second = client_with_another_key(&cluster, STRANGER).await;
    let (a, b) = (password("first"), password("second"));
    let (first_done, second_done) =
        tokio::join!(first.register(&a, cheap()), second.register(&b, cheap()));
    assert!(first_done.is_err() || second_done.is_err(), "both are registered");
    // Whatever they ask for themselves.
    let certify = RoamingRequest::Certify { variable: record_of(STRANGER) };
    for client in [&first, &second] {
        for node in &cluster.nodes {
            let request = Request::Roaming(certify.clone());
            let _ = node.handler().handle(client.id().clone(), request).await;
        }
    }
    let vouched = |client: &Client| {
        let at = |node: &usize| {
            let keyring = cluster.nodes[*node].certificates().keyring();
            !keyring.vouched_for(&id(*node), client.id()).is_empty()
        };
        (0..4).filter(at).count()
    };
    assert!(vouched(&first) == 0 || vouched(&second) == 0, "members vouch for both");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_registration_is_closed_it_says_so() {
    let cluster = cluster(Mode::Closed);
    let stranger = cluster.client(STRANGER).await;
    let error = stranger.register(&password("correct horse"), cheap()).await.unwrap_err();
    assert_eq!(*refusal(&error), RegistrationRefusal::Closed);
    assert_eq!(error.to_string(), "registration is closed here");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_operators_approve_it_waits_for_them() {
    let cluster = cluster(Mode::Approve);
    let stranger = cluster.client(STRANGER).await;
    let error = stranger.register(&password("correct horse"), cheap()).await.unwrap_err();
    assert_eq!(*refusal(&error), RegistrationRefusal::Waiting);
    for node in 0..4 {
        assert!(!is_certified_at(&cluster, node, &id(STRANGER), STRANGER));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_replaced_by_whoever_knows_the_password() {
    let cluster = cluster(Mode::Open);
    let (secret, wrong) = (password("correct horse"), password("wrong"));
    let old = cluster.client(STRANGER).await;
    old.register(&secret, cheap()).await.unwrap();
    put(&old, "diary", "day 1").await.unwrap();
    old.finish(Duration::from_secs(5)).await;

    let new = client_with_another_key(&cluster, STRANGER).await;
    assert!(put(&new, "diary", "day 2").await.is_err(), "nobody has certified it");
    // The password is shown for another purpose: that is not enough.
    new.get_with_password(&record_of(STRANGER), &secret, None).await.unwrap().unwrap();
    new.finish(Duration::from_secs(5)).await;
    let certify = Request::Roaming(RoamingRequest::Certify { variable: record_of(STRANGER) });
    let outcome = cluster.nodes[0].handler().handle(new.id().clone(), certify).await.outcome;
    let not_proven = RoamingRefusal::Registration(RegistrationRefusal::NotProven);
    assert_eq!(outcome, Err(Refusal::Roaming(not_proven)));
    // Wrong passwords are counted, and recover nothing.
    for left in [9, 8] {
        let error = new.recover(&wrong, cheap()).await.unwrap_err();
        assert_eq!(*problem(&error), Problem::WrongPassword { left });
    }
    assert!(!is_certified_at(&cluster, 0, new.id(), STRANGER));

    let recovered = new.recover(&secret, cheap()).await.unwrap();
    assert_eq!(recovered.certified_by.len(), 4);
    put(&new, "diary", "day 2").await.unwrap();
    // The recovery is a version of the record that everybody can read.
    let record = new.get(&record_of(STRANGER), GetOptions::default()).await.unwrap();
    assert_eq!(record.entry.unwrap().entry().writer, *new.id());
    assert!(new.history(&record_of(STRANGER), None, 10).await.unwrap().len() >= 3);
}

/// Until the delay is over the old key stops a recovery by changing the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_can_be_delayed() {
    let mut settings = NodeConfig::default();
    (settings.registration, settings.recovery_delay_seconds) = (Mode::Open, 1);
    let cluster = Cluster::with_settings(settings);
    let (secret, changed) = (password("correct horse"), password("battery staple"));
    let old = cluster.client(STRANGER).await;
    old.register(&secret, cheap()).await.unwrap();
    let new = client_with_another_key(&cluster, STRANGER).await;
    let delayed = new.recover(&secret, cheap()).await.unwrap_err();
    assert!(matches!(refusal(&delayed), RegistrationRefusal::Delayed { .. }), "{delayed}");
    let name = record_of(STRANGER);
    old.change_password(&name, &secret, &changed, cheap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let stopped = new.recover(&secret, cheap()).await.unwrap_err();
    assert!(matches!(problem(&stopped), Problem::WrongPassword { .. }), "{stopped}");
    let delayed = new.recover(&changed, cheap()).await.unwrap_err();
    assert!(matches!(refusal(&delayed), RegistrationRefusal::Delayed { .. }), "{delayed}");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    new.recover(&changed, cheap()).await.unwrap();
}

/// A member that gives something else than the certification that was asked for does no harm.
#[tokio::test(flavor = "multi_thread")]
async fn one_member_that_certifies_nothing_does_not_stop_a_registration() {
    let cluster = cluster(Mode::Open);
    let inner = cluster.nodes[0].handler();
    let liar = Liar { inner };
    cluster.replace(0, liar);
    let stranger = cluster.client(STRANGER).await;
    let registered = stranger.register(&password("correct horse"), cheap()).await.unwrap();
    assert_eq!(registered.missing, [id(0)].into());
    until(|| is_certified_at(&cluster, 1, &id(STRANGER), STRANGER)).await;
}

/// Answers a request for a certification with the certificate of somebody else.
pub(crate) struct Liar {
    inner: std::sync::Arc<dyn bftkv::transport::Handler>,
}

impl bftkv::transport::Handler for Liar {
    fn handle(
        &self,
        sender: NodeId,
        request: Request,
    ) -> bftkv::transport::BoxFuture<'_, bftkv::protocol::Response> {
        Box::pin(async move {
            let is_asked = matches!(&request, Request::Roaming(RoamingRequest::Certify { .. }));
            if !is_asked {
                return self.inner.handle(sender, request).await;
            }
            let other = key(MALLORY).certificate_bytes().clone();
            crate::in_memory::response(Ok(Answer::Roaming(RoamingAnswer::Certified(other))))
        })
    }
}
