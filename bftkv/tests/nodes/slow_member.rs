//! A client notes by itself how soon members answer: one that is slow is seldom asked, and takes its turn
//! again when it has recovered. Whom nobody waits for stands in `bftkv/src/client/pace/simulated.rs`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bftkv::protocol::Request;
use bftkv::{GetOptions, PutOptions, Value};

use crate::in_memory::{ALICE, Cluster, variable};

/// How long the slow member takes: many times as long as a get, also on a busy machine.
const SLOW: Duration = Duration::from_secs(1);

/// Reads that came to the slow member, and that it has answered.
#[derive(Default)]
struct Reads {
    is_slow: AtomicBool,
    begun: AtomicU32,
    answered: AtomicU32,
}

fn slow_at_times(cluster: &Cluster, node: usize) -> Arc<Reads> {
    let reads = Arc::new(Reads::default());
    let (inner, counted) = (cluster.nodes[node].handler(), Arc::clone(&reads));
    cluster.replace(node, move |sender, request| {
        let (inner, reads) = (Arc::clone(&inner), Arc::clone(&counted));
        async move {
            let is_read = matches!(request, Request::Read { .. } | Request::Digest { .. });
            reads.begun.fetch_add(is_read.into(), Ordering::SeqCst);
            if is_read && reads.is_slow.load(Ordering::SeqCst) {
                tokio::time::sleep(SLOW).await;
            }
            let answer = inner.handle(sender, request).await;
            reads.answered.fetch_add(is_read.into(), Ordering::SeqCst);
            answer
        }
    });
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_member_is_seldom_asked_until_it_has_recovered() {
    let cluster = Cluster::new();
    let reads = slow_at_times(&cluster, 2);
    let alice = cluster.client(ALICE).await;
    alice.join().await;
    let value = Value::new("value").unwrap();
    alice.put(&variable("x"), value, PutOptions::default()).await.unwrap();
    let get = async || {
        let found = alice.get(&variable("x"), GetOptions::default()).await.unwrap();
        assert!(found.entry.is_some() && found.culprits.is_empty());
    };
    // On a busy machine others may be quicker for a while.
    let until = Instant::now() + Duration::from_secs(30);
    while reads.begun.load(Ordering::SeqCst) < 10 {
        assert!(Instant::now() < until, "it is asked in its turn");
        get().await;
    }

    reads.is_slow.store(true, Ordering::SeqCst);
    let (began, before) = (Instant::now(), reads.begun.load(Ordering::SeqCst));
    let mut gets = 0;
    while began.elapsed() < SLOW * 2 {
        get().await;
        gets += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let asked = reads.begun.load(Ordering::SeqCst) - before;
    assert!(asked * 4 < gets, "it was asked by {asked} of {gets} gets");

    reads.is_slow.store(false, Ordering::SeqCst);
    let before = reads.answered.load(Ordering::SeqCst);
    let until = Instant::now() + Duration::from_secs(30);
    while reads.answered.load(Ordering::SeqCst) < before + 30 {
        assert!(Instant::now() < until, "it is not asked although it has recovered");
        get().await;
    }
}
