//! P-256: councils that make presignatures, with liars among them.

use std::collections::BTreeSet;

use bftkv_dm::agree::Topic;
use bftkv_threshold::Scheme;

use super::work::{key, root};
use super::world::{FIRST, Fault, World};
use super::{are_named, dm, lie_until, named_in, story_with};

const P256: Scheme = Scheme::EcdsaP256;

#[test]
fn four_dms_with_a_p256_key_publish_one_right_zone() {
    (500..508).for_each(|seed| story_with(P256, 4, seed));
}

#[test]
fn seven_dms_with_a_p256_key_publish_one_right_zone() {
    (600..602).for_each(|seed| story_with(P256, 7, seed));
}

/// Names all seeds that fail.
/// `SEEDS=1000 cargo test --release --workspace --test agreement -- --ignored p256_campaign`
#[test]
#[ignore = "long"]
fn p256_campaign() {
    let count = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let one = |seed: u64| story_with(P256, [4, 5, 4, 7][usize::try_from(seed).unwrap() % 4], seed);
    let fails = |seed: &u64| std::panic::catch_unwind(|| one(*seed)).is_err();
    let failed: Vec<u64> = (1_000..1_000 + count).filter(fails).collect();
    assert!(failed.is_empty(), "seeds that fail: {failed:?}");
}

#[test]
fn whoever_lies_about_presignatures_is_named() {
    for fault in [
        Fault::WrongDealing(1),
        Fault::WrongDealing(2),
        Fault::WrongSecond,
        Fault::FalseComplaint,
        Fault::WrongShare,
    ] {
        let world = lie_until(P256, (4, 2), &[(2, fault)], |world| are_named(world, &[2]));
        let named: BTreeSet<u8> = named_in(&world).into_iter().map(|(_, named)| named).collect();
        assert_eq!(named, [2].into(), "{fault:?}");
    }
}

/// A session with presignatures that its signers say are spent.
#[test]
fn whoever_proposes_presignatures_twice_is_named() {
    let liars = [(3, Fault::SpentTwice)];
    let world = lie_until(P256, (4, 2), &liars, |world| are_named(world, &[3]));
    let said = |who| world.members[&who].status().culprits.get(&dm(3)).cloned();
    let said: Vec<String> = world.honest().into_iter().filter_map(said).collect();
    assert!(said.iter().all(|what| what.contains("spent")), "{said:?}");
    assert!(named_in(&world).iter().all(|(_, named)| *named == 3));
}

/// Whether its receiver or its dealer lies, nobody else can see; and who is silent may be slow.
#[test]
fn who_deals_nothing_that_can_be_used_is_left_out_and_not_named() {
    for fault in [Fault::Garbage, Fault::NoDealing] {
        let called = |world: &World| world.certified.keys().any(|topic| topic.batch() == Some(3));
        let world = lie_until(P256, (4, 2), &[(2, fault)], called);
        assert_eq!(named_in(&world), [].into(), "{fault:?}");
        let is_done = |topic: &&Topic| matches!(topic, Topic::Done { .. });
        assert!(world.certified.keys().filter(is_done).count() >= 2, "{fault:?}");
    }
}

/// It is among those who are asked first, and its mark would lie beyond all presignatures: each attempt finds some
/// all the same.
#[test]
fn a_mark_that_is_too_high_stops_nobody() {
    for seed in 0..3 {
        let mut world = World::with(P256, 4, 2, seed).with_presignatures(40);
        // Time to make them.
        world.run(30_000);
        world.faults.insert(dm(1), Fault::HighMark);
        let mut content = root();
        for update in 0..3 {
            world.show_update(update, &mut content);
            assert!(world.run_until(&content, 60_000), "{seed}: {update}{}", world.explain());
            world.run(10_000);
            world.check();
        }
        let retries = world.certified.keys().filter_map(|topic| match topic {
            Topic::Retry { serial, attempt } => Some((*serial, *attempt)),
            _ => None,
        });
        let without = retries.filter(|(serial, attempt)| {
            let session = Topic::Session { serial: *serial, attempt: *attempt };
            !world.certified.contains_key(&session)
        });
        assert_eq!(without.collect::<Vec<_>>(), [], "{seed}: attempts without a session");
    }
}

/// With one presignature under two messages, whoever has enough shares of it has the key.
#[test]
fn whoever_comes_to_other_bytes_signs_nothing() {
    for seed in 0..3 {
        let mut world = World::with(P256, 4, 2, seed);
        world.faults.insert(dm(1), Fault::OtherBytes);
        world.start(dm(1));
        for who in world.council.everyone() {
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 200_000), "{seed}{}", world.explain());
        world.check();
        let by_it = |topic: &&Topic| matches!(topic, Topic::Share { dm, .. } if dm.number() == 1);
        let shares = world.certified.keys().filter(by_it);
        assert_eq!(shares.collect::<Vec<_>>(), Vec::<&Topic>::new(), "{seed}");
    }
}

/// One is gone for good and two have forgotten theirs: the one that has enough helps to make new ones.
#[test]
fn whoever_has_enough_helps_those_who_have_none() {
    let mut world = World::with(P256, 4, 2, 11);
    for who in world.council.everyone() {
        world.show(who, 0, FIRST, root());
    }
    assert!(world.run_until(&root(), 120_000), "{}", world.explain());
    world.run(30_000);
    let at = world.since_start();
    world.faults.insert(dm(4), Fault::Crash(at));
    for number in [2, 3] {
        world.faults.insert(dm(number), Fault::Restart(at + 100));
    }
    let mut content = root();
    content.insert(key("org", 43), b"new ds".to_vec());
    for who in world.council.everyone() {
        world.show(who, at + 150, FIRST + 1, content.clone());
    }
    assert!(world.run_until(&content, 200_000), "{}", world.explain());
    world.check();
}

/// After a restart of all, nobody has presignatures: they are made anew, and none of those before is
/// used.
#[test]
fn after_a_restart_of_all_new_presignatures_are_made() {
    let mut world = World::with(P256, 4, 2, 9);
    let mut content = root();
    for update in 0..3 {
        world.show_update(update, &mut content);
        assert!(world.run_until(&content, 120_000), "{update}{}", world.explain());
        world.check();
        let at = world.since_start();
        world.faults.values_mut().for_each(|fault| *fault = Fault::Restart(at));
    }
    assert_eq!(named_in(&world), [].into());
}

/// While nothing is to be signed, presignatures are made until there are enough, and then no more.
#[test]
fn they_are_made_ahead_of_need_and_not_without_end() {
    let mut world = World::with(P256, 4, 2, 10);
    for who in world.council.everyone() {
        world.show(who, 0, FIRST, root());
    }
    assert!(world.run_until(&root(), 120_000), "{}", world.explain());
    world.run(20_000);
    let batches = |world: &World| world.certified.keys().filter_map(Topic::batch).max();
    let before = batches(&world);
    for who in world.honest() {
        let (have, goal, _) = world.members[&who].status().presignatures.unwrap();
        assert!(have >= goal, "{who}: {have} of {goal}");
    }
    world.run(120_000);
    assert_eq!(batches(&world), before);
}
