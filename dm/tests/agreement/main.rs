//! Whole councils of DMs from one seed: crashed, slow and lying ones among them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "a test stops at the first surprise"
)]

mod keys;
mod presigning;
mod roll;
mod sealing;
mod work;
mod world;

use std::collections::BTreeSet;

use bftkv_dm::agree::{Change, Delta, Dm, Hash, Link, Manifest, Topic};

use bftkv_threshold::Scheme;

use self::work::{key, root};
use self::world::{FIRST, Fault, World};

fn dm(number: u8) -> Dm {
    Dm::new(number).unwrap()
}

/// Seeds from here on have [`Fault::LATER`].
const LATER: u64 = 50_000;

/// A council with b faults of kinds that the seed chooses, and three updates that each DM sees at a
/// time of its own. At the end all honest DMs have the same zones, and the last one is right.
fn story(n: u8, seed: u64) {
    story_with(Scheme::Ed25519, n, seed);
}

fn story_with(scheme: Scheme, n: u8, seed: u64) {
    let b = usize::from((n - 1) / 3);
    let k = match scheme {
        // As few as can be, because 2k-1 presign.
        Scheme::EcdsaP256 => b + 1,
        _ => b + 1 + usize::try_from(seed).unwrap() % (usize::from(n) - 2 * b),
    };
    let mut world = World::with(scheme, n, k.max(2), seed);
    for _ in 0..b {
        let who = dm(1 + u8::try_from(world.below(u64::from(n))).unwrap());
        let mut faults = Fault::ALL.to_vec();
        if seed >= LATER {
            faults = [&Fault::LATER[..], &Fault::ALL[..3]].concat();
        }
        if scheme == Scheme::EcdsaP256 {
            faults.extend(Fault::PRESIGNING);
        }
        let which = usize::try_from(world.below(faults.len() as u64)).unwrap();
        let at = 200 + world.below(8_000);
        let fault = match faults[which] {
            Fault::Crash(_) => Fault::Crash(at),
            Fault::Restart(_) => Fault::Restart(at),
            Fault::BadDisk(_) => Fault::BadDisk(at),
            other => other,
        };
        world.faults.insert(who, fault);
    }
    let mut content = root();
    let mut start = 0;
    for update in 0..4u32 {
        match update {
            0 => {}
            1 => content.insert(key("org", 43), b"new ds".to_vec()),
            2 => {
                content.remove(&key("ns.net", 1));
                content.insert(key("a.net", 1), b"192.0.2.7".to_vec());
                content.insert(key("net", 2), b"a.net".to_vec());
            }
            _ => content.insert(key("xyz", 2), b"ns.com".to_vec()),
        }
        for who in world.council.everyone() {
            let at = start + world.below(2_500);
            world.show(who, at, FIRST + update, content.clone());
        }
        start += world.below(6_000);
    }
    let patience = if scheme == Scheme::EcdsaP256 { 600_000 } else { 120_000 };
    let is_right = world.run_until(&content, patience);
    world.check();
    assert!(is_right, "seed {seed}, n {n}: not right in time{}", world.explain());
    world.run(3_000);
    world.check();
    for who in world.honest() {
        for (named, what) in world.members[&who].status().culprits {
            assert!(world.faults[&named].is_lie(), "seed {seed}: {who} frames {named}: {what}");
        }
    }
}

fn stories(n: u8, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        story(n, seed);
    }
}

#[test]
fn four_dms_with_a_fault_publish_one_right_zone() {
    stories(4, 0..20);
}

#[test]
fn five_dms_with_a_fault_publish_one_right_zone() {
    stories(5, 100..110);
}

#[test]
fn seven_dms_with_two_faults_publish_one_right_zone() {
    stories(7, 200..212);
}

#[test]
fn whoever_shows_what_is_not_there_stops_nobody() {
    stories(4, LATER..LATER + 20);
    stories(7, LATER + 100..LATER + 112);
}

/// `World::votes_for` looks at the disk whenever a vote leaves.
#[test]
fn no_vote_leaves_that_the_disk_does_not_have() {
    for seed in 0..6 {
        let mut world = World::new(4, 2, seed);
        for who in world.council.everyone() {
            world.faults.insert(who, Fault::BadDisk(u64::MAX));
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 120_000), "seed {seed}{}", world.explain());
        // All forget at once what they have not written.
        let now = world.since_start();
        world.faults.values_mut().for_each(|fault| *fault = Fault::BadDisk(now));
        let mut content = root();
        content.insert(key("org", 43), b"new ds".to_vec());
        for who in world.council.everyone() {
            world.show(who, now + 100, FIRST + 1, content.clone());
        }
        assert!(world.run_until(&content, 120_000), "seed {seed}{}", world.explain());
        world.check();
    }
}

/// Slow DMs were left out for as long as a serial lasts, until too few were left to sign; and one
/// who never gave a part was asked in every attempt in place of others who had been late once.
#[test]
fn what_the_campaign_found_stays_mended() {
    story(7, 1_109);
    story(7, 2_123);
}

/// Names all seeds that fail, each after its own message.
/// `SEEDS=10000 cargo test --release --workspace --test agreement -- --ignored campaign`
#[test]
#[ignore = "long"]
fn campaign() {
    let count = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000);
    let one = |seed: u64| {
        let n = [4, 5, 7][usize::try_from(seed).unwrap() % 3];
        story(n, if seed % 4 == 3 { LATER + seed } else { seed });
    };
    let fails = |seed: &u64| std::panic::catch_unwind(|| one(*seed)).is_err();
    let failed: Vec<u64> = (1_000..1_000 + count).filter(fails).collect();
    assert!(failed.is_empty(), "seeds that fail: {failed:?}");
}

#[test]
fn with_fewer_than_a_quorum_nothing_is_published() {
    for (n, down) in [(4, 2), (5, 2), (7, 3)] {
        let mut world = World::new(n, 2.max(usize::from((n - 1) / 3) + 1), 7);
        for who in world.council.everyone() {
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 60_000));
        for number in 1..=down {
            world.faults.insert(dm(number), Fault::Crash(0));
        }
        let mut content = root();
        content.insert(key("org", 43), b"new ds".to_vec());
        let at = world.since_start() + 100;
        for who in world.council.everyone() {
            world.show(who, at, FIRST + 1, content.clone());
        }
        assert!(!world.run_until(&content, 60_000));
        for who in world.honest() {
            assert_eq!(world.zones[&who].len(), 1, "the last good zone stays the only one");
            let status = world.members[&who].status();
            assert!(status.views.len() < status.quorum, "the status says why: {status:?}");
        }
    }
}

/// A large zone on a small machine: signing takes longer than a signer and a round are given at first. Nobody
/// is named for it.
#[test]
fn signing_may_take_longer_than_was_thought() {
    for (n, k, share_time) in [(4, 2, 2_000), (4, 3, 8_000), (7, 4, 20_000)] {
        let mut world = World::new(n, k, 3);
        world.share_time = share_time;
        for who in world.council.everyone() {
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 300_000), "{share_time} ms{}", world.explain());
        world.check();
        assert_eq!(named_in(&world), BTreeSet::new(), "{share_time} ms");
    }
}

/// Whoever writes what no honest DM writes is named by all who were asked to vote for it.
#[test]
fn whoever_lies_as_proposer_is_named() {
    for (fault, what) in [
        (Fault::ForgedManifest, "the views that it cites do not say so"),
        (Fault::WrongSigs, "a signature is wrong"),
    ] {
        let mut world = World::new(4, 2, 11);
        for who in world.council.everyone() {
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 60_000));
        let newest = world.zones.values().flat_map(|zones| zones.keys()).max().unwrap();
        let liar = world.council.proposer(newest + 1);
        world.faults.insert(liar, fault);
        let mut content = root();
        content.insert(key("org", 43), b"new ds".to_vec());
        let at = world.since_start() + 100;
        for who in world.council.everyone() {
            world.show(who, at, FIRST + 1, content.clone());
        }
        assert!(world.run_until(&content, 60_000), "{fault:?}{}", world.explain());
        world.check();
        for who in world.honest() {
            let named = world.members[&who].status().culprits;
            let only: Vec<_> = named.into_iter().collect();
            let [(named, said)] = only.as_slice() else { panic!("{fault:?}: {only:?}") };
            assert!(*named == liar && said.contains(what), "{fault:?}: {only:?}");
        }
    }
}

/// Who names whom.
fn named_in(world: &World) -> BTreeSet<(u8, u8)> {
    let of = |who: Dm| world.members[&who].status().culprits.into_keys().map(move |it| (who, it));
    let all = world.honest().into_iter().flat_map(of);
    all.map(|(by, named)| (by.number(), named.number())).collect()
}

/// Zones with these liars until it is so: who signs depends on who is there first.
fn lie_until(
    scheme: Scheme,
    (n, k): (u8, usize),
    liars: &[(u8, Fault)],
    is_so: impl Fn(&World) -> bool,
) -> World {
    let mut world = World::with(scheme, n, k, 17);
    for (number, fault) in liars {
        world.faults.insert(dm(*number), *fault);
    }
    let mut content = root();
    for update in 0..20 {
        world.show_update(update, &mut content);
        let is_right = world.run_until(&content, 60_000);
        world.run(3_000);
        world.check();
        assert!(is_right, "{scheme:?}, {liars:?}, {update}{}", world.explain());
        if is_so(&world) {
            return world;
        }
    }
    panic!("{scheme:?}, {liars:?}: it never was{}", world.explain());
}

/// Whether more DMs name each of these than may lie. Who was told too late what an attempt's parts
/// were, and has the zone by then, does not look back.
fn are_named(world: &World, liars: &[u8]) -> bool {
    let all = named_in(world);
    let by = |liar: u8| all.iter().filter(|(_, named)| *named == liar).count();
    liars.iter().all(|liar| by(*liar) > world.council.faults())
}

/// The parts of RSA do not show by themselves who lied: there are proofs of them.
#[test]
fn whoever_gives_wrong_shares_is_named_with_every_scheme() {
    use Fault::{WrongProof, WrongShare};
    for scheme in [Scheme::Ed25519, Scheme::Rsa] {
        for (shape, liars) in [
            ((4, 2), &[(2, WrongShare)][..]),
            ((4, 2), &[(1, WrongProof)]),
            ((7, 4), &[(1, WrongShare), (3, WrongProof)]),
        ] {
            let numbers: Vec<u8> = liars.iter().map(|(number, _)| *number).collect();
            let world = lie_until(scheme, shape, liars, |world| are_named(world, &numbers));
            let others = named_in(&world).into_iter().find(|(_, named)| !numbers.contains(named));
            assert_eq!(others, None, "{scheme:?}, {liars:?}");
        }
    }
}

/// It could as well be slow, or cut off.
#[test]
fn whoever_proves_nothing_is_left_out_and_not_named() {
    for (shape, liars) in [((4, 2), vec![1]), ((7, 4), vec![1, 2])] {
        let faults: Vec<_> = liars.iter().map(|number| (*number, Fault::NoProof)).collect();
        let gave = |world: &World, liar: u8| {
            let is_its =
                |topic: &Topic| matches!(topic, Topic::Share { dm, .. } if dm.number() == liar);
            world.certified.keys().any(is_its)
        };
        let all_gave = |world: &World| liars.iter().all(|liar| gave(world, *liar));
        let world = lie_until(Scheme::Rsa, shape, &faults, all_gave);
        assert_eq!(named_in(&world), [].into());
    }
}

/// Whoever has not seen what was agreed on has it from the pieces only, and everybody else builds on it.
#[test]
fn a_content_without_its_pieces_is_not_agreed_on() {
    let mut world = World::new(4, 2, 1);
    world.faults.insert(dm(1), Fault::NoPieces);
    let mut content = root();
    for update in 0..9 {
        content.insert(key("org", 43), format!("ds {update}").into_bytes());
        let at = world.since_start() + 100;
        // The fourth misses every second version.
        let is_missed = update % 2 == 1;
        for who in world.council.everyone().filter(|who| !is_missed || who.number() != 4) {
            world.show(who, at, FIRST + update, content.clone());
        }
        if update == 8 {
            // And is needed now.
            world.faults.insert(dm(1), Fault::Crash(at));
        }
        let is_right = world.run_until(&content, if is_missed { 8_000 } else { 60_000 });
        assert!(is_right || is_missed, "{update}{}", world.explain());
        world.check();
    }
}

/// Signatures hold by the clock; whoever waits does not wait for a day.
#[test]
fn clocks_that_are_set_back_stop_nothing() {
    const DAY: i64 = 86_400_000;
    let mut world = World::new(4, 2, 1);
    let mut content = root();
    for (update, ahead) in [(0, 0), (1, -DAY), (2, DAY)] {
        content.insert(key("org", 43), format!("ds {update}").into_bytes());
        let at = world.since_start() + 100;
        for who in world.council.everyone() {
            world.show(who, at, FIRST + update, content.clone());
            world.members.get_mut(&who).unwrap().set_clock(ahead);
        }
        assert!(world.run_until(&content, 10_000), "{update}{}", world.explain());
        world.check();
        let is_manifest = |topic: &&Topic| matches!(topic, Topic::Manifest { .. });
        let newest = world.certified.keys().filter(is_manifest).max().unwrap();
        let manifest = Manifest::from_bytes(&world.certified[newest]).unwrap();
        let expected = i64::try_from(world.now).unwrap() + ahead - 3_600_000;
        assert!((i64::from(manifest.inception) * 1_000 - expected).abs() < 60_000, "{update}");
    }
}

/// A large zone takes all signers too long at first: nobody is asked last for that.
#[test]
fn whoever_had_too_little_time_is_asked_as_before() {
    let mut world = World::new(4, 3, 3);
    world.share_time = 2_000;
    let mut content = root();
    let mut times = Vec::new();
    for update in 0..5 {
        let at = world.show_update(update, &mut content);
        assert!(world.run_until(&content, 100_000), "{update}{}", world.explain());
        times.push(world.since_start() - at);
        world.run(1_000);
        // From now on it is quick.
        world.share_time = 0;
    }
    // Whoever leads now led the first, too.
    assert!(times[1..].iter().all(|took| *took < 2_200), "{times:?}");
    world.check();
}

/// Who gave no part is asked last also for the next zones.
#[test]
fn a_silent_signer_does_not_cost_time_in_each_publication() {
    let mut world = World::new(4, 2, 1);
    world.faults.insert(dm(1), Fault::NoShare);
    let mut content = root();
    for update in 0..12 {
        world.show_update(update, &mut content);
        assert!(world.run_until(&content, 60_000), "{update}{}", world.explain());
        world.run(1_000);
    }
    world.check();
    let retries = world.certified.keys().filter(|topic| matches!(topic, Topic::Retry { .. }));
    assert!(retries.count() <= 4, "of twelve publications");
}

/// One after the other, each in an attempt of its own: the round lasts until all of them are known.
#[test]
fn b_who_prove_nothing_cost_no_round() {
    for seed in 0..8 {
        let mut world = World::with(Scheme::Rsa, 7, 4, seed);
        for liar in [1, 2] {
            world.faults.insert(dm(liar), Fault::NoProof);
        }
        for who in world.council.everyone() {
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 20_000), "seed {seed}{}", world.explain());
        let serials: BTreeSet<u32> =
            world.zones.values().flat_map(|zones| zones.keys().copied()).collect();
        assert_eq!(serials, [FIRST].into(), "seed {seed}");
    }
}

#[test]
fn dms_with_an_rsa_key_publish_one_right_zone() {
    (300..306).for_each(|seed| story_with(Scheme::Rsa, 4, seed));
    (400..402).for_each(|seed| story_with(Scheme::Rsa, 7, seed));
}

#[test]
fn what_is_seen_differently_keeps_its_last_value_and_is_reported() {
    let mut world = World::new(7, 4, 3);
    for who in world.council.everyone() {
        world.show(who, 0, FIRST, root());
    }
    assert!(world.run_until(&root(), 60_000));
    // All see the new DS of org; three see another NS and glue of net.
    let mut content = root();
    content.insert(key("org", 43), b"new ds".to_vec());
    let mut other = content.clone();
    other.insert(key("net", 2), b"elsewhere".to_vec());
    other.insert(key("elsewhere.net", 1), b"192.0.2.66".to_vec());
    let at = world.since_start() + 100;
    for who in world.council.everyone() {
        let seen = if who.number() <= 3 { &other } else { &content };
        world.show(who, at, FIRST + 1, seen.clone());
    }
    assert!(world.run_until(&content, 60_000), "what all see is published");
    world.check();
    let reports: Vec<_> = world.members.values().flat_map(|m| m.status().dissent).collect();
    let report = reports.first().expect("it is reported");
    assert_eq!(report.delegation.to_string(), "net");
    assert_eq!(report.seen.keys().map(|dm| dm.number()).collect::<Vec<_>>(), [1, 2, 3]);
}

/// An update does not come to all sources in one moment. Whoever is asked for a view before it has come
/// waits a while: with one view too few that have it, the round would be lost.
#[test]
fn an_update_that_some_see_a_little_later_costs_no_round() {
    for seed in 0..10 {
        let mut world = World::new(4, 2, seed);
        for who in world.council.everyone() {
            world.show(who, 0, FIRST, root());
        }
        assert!(world.run_until(&root(), 60_000));
        world.run(5_000);
        let newest = *world.zones.values().flat_map(|zones| zones.keys()).max().unwrap();
        let mut content = root();
        content.insert(key("org", 43), b"new ds".to_vec());
        let at = world.since_start() + 100;
        for who in world.council.everyone() {
            let late = if who.number() <= 2 { 0 } else { 350 };
            world.show(who, at + late, FIRST + 1, content.clone());
        }
        assert!(world.run_until(&content, 60_000), "seed {seed}{}", world.explain());
        world.check();
        let now = *world.zones.values().flat_map(|zones| zones.keys()).max().unwrap();
        assert_eq!(now, newest + 1, "seed {seed}");
    }
}

/// The store tells a quorum at first, so a signer may hear of a session and not of all commitments in
/// it. It asks for them: without its part the attempt would end when its time is over.
#[test]
fn without_faults_the_first_attempt_is_the_last() {
    for (n, k) in [(4, 2), (7, 4)] {
        for seed in 0..25 {
            let mut world = World::new(n, k, seed);
            for who in world.council.everyone() {
                world.show(who, 0, FIRST, root());
            }
            assert!(world.run_until(&root(), 60_000), "seed {seed}{}", world.explain());
            let is_retry = |topic: &&Topic| matches!(topic, Topic::Retry { .. });
            assert_eq!(world.certified.keys().find(is_retry), None, "{n}, seed {seed}");
        }
    }
}

#[test]
fn a_large_change_waits_for_an_operator() {
    let mut world = World::new(4, 2, 5);
    for who in world.council.everyone() {
        world.show(who, 0, FIRST, root());
    }
    assert!(world.run_until(&root(), 60_000));
    let mut content = root();
    for tld in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        content.insert(key(tld, 2), b"ns".to_vec());
    }
    let at = world.since_start() + 100;
    for who in world.council.everyone() {
        world.show(who, at, FIRST + 1, content.clone());
    }
    assert!(!world.run_until(&content, 20_000));
    let held = world.honest().into_iter().filter(|who| world.members[who].status().held.is_some());
    assert!(held.count() >= 2, "the status says that it is held");
    for who in world.council.everyone() {
        world.members.get_mut(&who).unwrap().release();
    }
    // Those that had not been asked before the release hold it at first.
    for _ in 0..20 {
        world.run(3_000);
        for who in world.council.everyone() {
            world.members.get_mut(&who).unwrap().release();
        }
    }
    assert!(world.run_until(&content, 60_000), "{}", world.explain());
    world.check();
}

/// Bytes that DMs of two versions must agree on: whoever changes them needs another prefix.
#[test]
fn the_bytes_of_a_manifest_stay_as_they_are() {
    let link = |serial, byte| Link { serial, hash: Hash([byte; 32]) };
    let mut delta = Delta::new();
    delta.insert(key("org", 43), Some(b"ds".to_vec()));
    delta.insert(key("a.net", 1), None);
    let manifest = Manifest {
        serial: 0x0102_0304,
        prev: link(0x0102_0303, 0x11),
        base: Some(link(0x0102_0302, 0x22)),
        root: Hash([0x33; 32]),
        change: Change::Sets(delta),
        cited: [(dm(1), Hash([0x44; 32])), (dm(7), Hash([0x55; 32]))].into(),
        inception: 0x0a0b_0c0d,
        expiry: 0x0a0b_0c0e,
        keys: b"keys".to_vec(),
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let byte = |digits: &str| digits.repeat(32);
    let sets = "000000000206036e6574016100010004036f7267002b01000000026473";
    let head = [
        hex(b"bftkv dm manifest 1"),
        format!("0102030401020303{}0101020302{}{}", byte("11"), byte("22"), byte("33")),
        "0a0b0c0d0a0b0c0e000000046b657973".to_owned(),
        format!("0000000201{}07{}", byte("44"), byte("55")),
    ];
    assert_eq!(hex(&manifest.to_bytes()), head.concat() + sets);
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()), Ok(manifest.clone()));
    let whole = Change::Whole(vec![Hash([0x66; 32])]);
    let whole = Manifest { change: whole, base: None, cited: [].into(), ..manifest };
    let expected = [
        hex(b"bftkv dm manifest 1"),
        format!("0102030401020303{}00{}", byte("11"), byte("33")),
        "0a0b0c0d0a0b0c0e000000046b657973".to_owned(),
        format!("000000000100000001{}", byte("66")),
    ];
    assert_eq!(hex(&whole.to_bytes()), expected.concat());
    assert_eq!(Manifest::from_bytes(&whole.to_bytes()), Ok(whole));
}

#[test]
fn a_manifest_has_one_form() {
    let mut world = World::new(4, 2, 1);
    for who in world.council.everyone() {
        world.show(who, 0, FIRST, root());
    }
    assert!(world.run_until(&root(), 60_000));
    let (topic, bytes) =
        world.certified.iter().find(|(t, _)| matches!(t, Topic::Manifest { .. })).unwrap();
    let manifest = Manifest::from_bytes(bytes).unwrap();
    assert_eq!(manifest.to_bytes(), *bytes);
    assert!(matches!(&manifest.change, Change::Sets(delta) if delta.len() == 10));
    assert_eq!(topic.to_string().parse(), Ok(*topic));
    for length in 0..bytes.len() {
        assert!(Manifest::from_bytes(&bytes[..length]).is_err());
    }
    assert!(Manifest::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
}
