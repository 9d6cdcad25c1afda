//! Shares of a password are dealt again by a login that finds it to be due, and old ones are gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may fail")]

use std::time::Duration;

use bftkv::protocol::client::Problem as ClientProblem;
use bftkv::protocol::{
    ChangeKind, Outcome, Refusal, Request, RoamingRefusal, RoamingRequest, SecretShare, Store,
};
use bftkv::roaming::client::Problem;
use bftkv::roaming::{Record, Rule, Share};
use bftkv::{
    Client, GetOptions, NodeId, Opened, PasswordOptions, Place, PutOptions, Renewal, Value,
    Variable,
};

use crate::in_memory::{ALICE, BOB, Cluster, id, until, variable};
use crate::passwords::{Between, cheap, guess, password, problem, record_of, stored};
use crate::support;

/// Whether the store keeps the share that the record's commitments give this node.
fn keeps_share(store: &dyn Store, record: &Record, node: &NodeId) -> bool {
    let Some(vault) = store.vault(record.variable()).unwrap() else { return false };
    let Some(index) = record.index_of(node) else { return false };
    vault.as_bytes().windows(32).any(|bytes| {
        let secret = SecretShare::from_bytes(bytes.try_into().unwrap());
        Share::new(index, &secret, record.commitments()).is_ok()
    })
}

/// Opens the value until a login has heard that a share lacks: the others suffice, so the first may
/// have been faster.
async fn until_renewed(client: &Client, x: &Variable) -> Opened {
    for _ in 0..50 {
        let opened = client.get_with_password(x, &password("right"), None).await.unwrap().unwrap();
        client.finish(Duration::from_secs(5)).await;
        if opened.renewal.is_some() {
            return opened;
        }
    }
    panic!("no login found that shares are to be dealt again")
}

/// One of four was down when shares were dealt, so a liar among the others could do harm.
async fn degraded(cluster: &mut Cluster, alice: &Client, x: &Variable) -> Record {
    cluster.stop(3);
    let put = alice.put_with_password(x, b"secret", &password("right"), cheap()).await.unwrap();
    assert_eq!(put.degraded, [id(3)].into());
    let opened = alice.get_with_password(x, &password("right"), None).await.unwrap().unwrap();
    assert_eq!(opened.renewal, None, "it would do no good while the node is down");
    cluster.restart(3);
    record_of(&stored(alice, x).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_deals_again_what_a_node_missed() {
    let mut cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let x = variable("safe");
    let old = degraded(&mut cluster, &alice, &x).await;
    assert!(keeps_share(&*cluster.stores[0], &old, &id(0)), "the search finds what is there");

    let opened = until_renewed(&alice, &x).await;
    assert_eq!(opened.value.as_slice(), b"secret");
    let Some(Renewal::Dealt(dealt)) = &opened.renewal else { panic!("{opened:?}") };
    assert_eq!((opened.epoch, dealt.epoch), (1, 2));
    let new = record_of(&stored(&alice, &x).await);
    assert_eq!((new.epoch(), new.threshold()), (2, 3));
    // All hold the new one; the old one is erased without anybody asking under the new record.
    for node in 0..4 {
        let store = &*cluster.stores[node];
        until(|| keeps_share(store, &new, &id(node)) && !keeps_share(store, &old, &id(node))).await;
        let refused = cluster.ask(node, ALICE, guess(&old, 1)).await;
        let expected = RoamingRefusal::OtherRecord { epoch: Some(2) };
        assert_eq!(refused, Err(Refusal::Roaming(expected)), "the old share is evaluated no more");
    }
    let opened = alice.get_with_password(&x, &password("right"), None).await.unwrap().unwrap();
    assert_eq!((opened.renewal, opened.version), (None, 2));
    // The one that lacked its share is as good as the others now.
    cluster.stop(0);
    let opened = alice.get_with_password(&x, &password("right"), None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_shares_from_being_dealt_again_keeps_nobody_from_reading() {
    let mut cluster = Cluster::new();
    let (alice, bob) = (cluster.client(ALICE).await, cluster.client(BOB).await);
    let x = variable("safe");
    let old = degraded(&mut cluster, &alice, &x).await;
    // Who knows the password and does not own the variable cannot write it.
    let opened = until_renewed(&bob, &x).await;
    assert_eq!(
        (opened.value.as_slice(), &opened.renewal),
        (&b"secret"[..], &Some(Renewal::OwnerOnly))
    );
    assert_eq!(record_of(&stored(&bob, &x).await), old);
    // Two refuse new shares: too few for anything.
    for node in [1, 2] {
        let change = |request: &Request, truth: Outcome| match request {
            Request::Roaming(RoamingRequest::Deal { .. }) => {
                Err(Refusal::Roaming(RoamingRefusal::TooManyPending))
            }
            _ => truth,
        };
        cluster.replace(node, Between { node: cluster.nodes[node].handler(), change });
    }
    let opened = until_renewed(&alice, &x).await;
    assert_eq!(opened.value.as_slice(), b"secret");
    assert!(matches!(&opened.renewal, Some(Renewal::Failed(_))), "{opened:?}");
    assert_eq!(record_of(&stored(&alice, &x).await), old, "nothing was written");
}

/// Two devices deal at the same time. Whichever record is certified last, its shares are there.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_deal_at_once_none_loses_the_value() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let second = cluster.client_with(ALICE, crate::in_memory::certificates());
    let second = second.await;
    let (x, right) = (variable("safe"), password("right"));
    alice.put_with_password(&x, b"0", &right, cheap()).await.unwrap();
    for round in 0..5 {
        // A change deals anew, each time under the same epoch at both.
        let (a, b) = tokio::join!(
            alice.change_password(&x, &right, &right, cheap()),
            second.change_password(&x, &right, &right, cheap()),
        );
        assert!(a.is_ok() || b.is_ok(), "round {round}: {a:?} {b:?}");
        let opened = alice.get_with_password(&x, &right, None).await;
        assert_eq!(opened.unwrap().unwrap().value.as_slice(), b"0", "round {round}");
    }
}

/// The shares of its record are erased: certified, the value could never be opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_under_a_record_of_before_is_not_signed() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let (x, right) = (variable("safe"), password("right"));
    alice.put_with_password(&x, b"0", &right, cheap()).await.unwrap();
    let before = stored(&alice, &x).await;
    alice.change_password(&x, &right, &right, cheap()).await.unwrap();
    let error = alice.put(&x, before, PutOptions::default()).await.unwrap_err();
    let bftkv::Error::Operation(operation) = &error else { panic!("{error}") };
    let code = RoamingRefusal::NoShare.code();
    assert!(
        matches!(operation.problem, ClientProblem::Refused { code: said, .. } if said == code),
        "{error}"
    );
    let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
    assert_eq!(opened.value.as_slice(), b"0");
}

async fn change(client: &Client, kind: ChangeKind, member: &NodeId) {
    let patience = Duration::from_secs(60);
    client.change_members(kind, member, Place::Clique, patience, |_| {}).await.unwrap();
}

fn members(cluster: &support::Cluster, who: &[usize]) -> std::collections::BTreeSet<NodeId> {
    use bftkv::protocol::Sign as _;
    who.iter().map(|i| cluster.keys[*i].id().clone()).collect()
}

async fn record_now(client: &Client, x: &Variable) -> Record {
    record_of(&stored(client, x).await)
}

/// A member joins and another leaves: each time the next login hands shares to the members of now.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_members_the_next_login_deals_to_those_of_now() {
    use bftkv::protocol::Sign as _;
    let mut cluster = support::Cluster::new(4, &["Alice <alice@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..4 {
        nodes.push(Some(cluster.serve(i).await));
    }
    let alice = cluster.client(4).await;
    let (x, right) = (variable("safe"), password("right"));
    alice.put_with_password(&x, b"secret", &right, cheap()).await.unwrap();
    let guest = cluster.add_guest(&[0, 1, 2, 3]);
    let node = bftkv::Node::open(&cluster.home(guest)).unwrap();
    let running = node.serve().await.unwrap();
    cluster.import(0, guest);
    change(&cluster.client(0).await, ChangeKind::Add, cluster.keys[guest].id()).await;
    until(|| node.standing() == bftkv::protocol::server::Standing::Serving).await;

    // Until then the record is what it was.
    assert_eq!(record_now(&alice, &x).await.nodes().len(), 4);
    let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
    let Some(Renewal::Dealt(dealt)) = &opened.renewal else { panic!("{opened:?}") };
    assert_eq!(dealt.epoch, 2);
    let record = record_now(&alice, &x).await;
    assert_eq!(
        record.nodes().iter().cloned().collect::<std::collections::BTreeSet<_>>(),
        members(&cluster, &[0, 1, 2, 3, guest])
    );
    assert_eq!(record.threshold(), 3);

    change(&cluster.client(3).await, ChangeKind::Remove, cluster.keys[3].id()).await;
    nodes[3].take().unwrap().shutdown().await.unwrap();
    let opened = until_renewed(&alice, &x).await;
    assert!(
        matches!(&opened.renewal, Some(Renewal::Dealt(dealt)) if dealt.epoch == 3),
        "{opened:?}"
    );
    let record = record_now(&alice, &x).await;
    assert_eq!(
        record.nodes().iter().cloned().collect::<std::collections::BTreeSet<_>>(),
        members(&cluster, &[0, 1, 2, guest])
    );

    // Of the first four two are left: without the newcomer's share nothing would open.
    nodes[2].take().unwrap().shutdown().await.unwrap();
    let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
    assert_eq!((opened.value.as_slice(), &opened.renewal), (&b"secret"[..], &None));
    running.shutdown().await.unwrap();
    for node in nodes.into_iter().flatten() {
        node.shutdown().await.unwrap();
    }
}

/// The node keeps another share than it was dealt from now on: what it evaluates is a lie.
fn spoil_share(cluster: &support::Cluster, node: usize, record: &Record) {
    use bftkv::protocol::{Batch, Sign as _, Vault};
    let store = cluster.home(node).store().unwrap();
    let vault = store.vault(record.variable()).unwrap().unwrap();
    let index = record.index_of(cluster.keys[node].id()).unwrap();
    let mut bytes = vault.as_bytes().to_vec();
    let is_share = |bytes: &[u8]| {
        let secret = SecretShare::from_bytes(bytes.try_into().unwrap());
        Share::new(index, &secret, record.commitments()).is_ok()
    };
    let place = bytes.windows(32).position(is_share).unwrap();
    bytes[place] ^= 1;
    let vaults = vec![(record.variable().clone(), Vault::new(bytes).unwrap())];
    store.commit(Batch { vaults, ..Batch::default() }).unwrap();
}

/// t = n-b, with b down, with b lying, and with both. (With t = 2b+1 the last one would open.)
#[tokio::test(flavor = "multi_thread")]
async fn with_n_less_b_servers_needed_b_may_be_down_or_lie_and_no_more() {
    use bftkv::protocol::Sign as _;
    let cluster = support::Cluster::new(5, &["Alice <alice@example.org>"]);
    let mut nodes = Vec::new();
    for i in 0..5 {
        nodes.push(cluster.serve(i).await);
    }
    let alice = cluster.client(5).await;
    let (x, right) = (variable("safe"), password("right"));
    let options = PasswordOptions { rule: Some(Rule::Most), ..cheap() };
    alice.put_with_password(&x, b"first", &right, options).await.unwrap();
    alice.put_with_password(&x, b"second", &right, cheap()).await.unwrap();
    alice.change_password(&x, &right, &right, cheap()).await.unwrap();
    let record = record_now(&alice, &x).await;
    assert_eq!((record.threshold(), record.epoch()), (4, 2), "it stays as it was chosen");

    nodes.remove(0).shutdown().await.unwrap();
    let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
    assert_eq!((opened.value.as_slice(), opened.renewal), (&b"second"[..], None));
    spoil_share(&cluster, 0, &record);
    let liar = cluster.serve(0).await;
    let mut named = Vec::new();
    for _ in 0..50 {
        let opened = alice.get_with_password(&x, &right, None).await.unwrap().unwrap();
        alice.finish(Duration::from_secs(5)).await;
        named = opened.culprits.into_keys().collect();
        if !named.is_empty() {
            break;
        }
    }
    assert_eq!(named, [cluster.keys[0].id().clone()], "the four others suffice, and it is named");
    nodes.remove(3).shutdown().await.unwrap();
    let error =
        alice.get_with_password(&x, &right, Some(Duration::from_secs(5))).await.unwrap_err();
    assert!(matches!(problem(&error), Problem::TooFew { have: 3, need: 4, .. }), "{error}");
    liar.shutdown().await.unwrap();
    for node in nodes {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_four_nodes_there_is_no_larger_threshold_to_choose() {
    let cluster = Cluster::new();
    let alice = cluster.client(ALICE).await;
    let (x, right) = (variable("safe"), password("right"));
    let options = PasswordOptions { rule: Some(Rule::Most), ..cheap() };
    let error = alice.put_with_password(&x, b"secret", &right, options).await.unwrap_err();
    let no_choice = bftkv::roaming::Error::NoChoice { n: 4 };
    assert!(matches!(&error, bftkv::Error::Roaming(found) if *found == no_choice), "{error}");
    assert!(alice.get(&x, GetOptions::default()).await.unwrap().entry.is_none());
    // A plain value there changes nothing about it.
    alice.put(&x, Value::new("plain").unwrap(), PutOptions::default()).await.unwrap();
    let error = alice.change_password(&x, &right, &right, options).await.unwrap_err();
    assert!(matches!(&error, bftkv::Error::Roaming(found) if *found == no_choice), "{error}");
}
