//! Values under a password, through real nodes and real keys in one process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod in_memory;
mod registration;

use std::time::Duration;

use bftkv::roaming::client::Problem;
use bftkv::roaming::{Password, Protected, Stretching};
use bftkv::{Error, GetOptions, PasswordOptions};
use in_memory::{ALICE, Cluster, id, variable};

fn cheap() -> PasswordOptions {
    PasswordOptions { stretching: Stretching::LEAST, ..PasswordOptions::default() }
}

fn password(text: &str) -> Password {
    Password::new(text).unwrap()
}

fn problem(error: &Error) -> &Problem {
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
