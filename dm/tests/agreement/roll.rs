//! A change of the key that signs: who signs follows from what was agreed on, and not from when a DM was started.

use bftkv_dm::agree::Dm;
use bftkv_threshold::Scheme;

use super::work::{key, root};
use super::world::{FIRST, Fault, World};

/// When the second key begins to sign.
const ROLL: u64 = 90_000;

/// Updates before and after the roll, from this one on.
fn publish(world: &mut World, updates: std::ops::Range<u32>) {
    let mut content = root();
    for update in updates {
        content.insert(key("org", 43), format!("ds {update}").into_bytes());
        let at = (world.since_start() + 100).max(u64::from(update) * 10_000);
        for who in world.council.everyone() {
            world.show(who, at, FIRST + update, content.clone());
        }
        assert!(world.run_until(&content, 120_000), "{update}{}", world.explain());
        world.run(2_000);
        world.check();
    }
}

/// The keys that signed the zones, in order. The same at all honest DMs, and none of them went back.
fn keys(world: &World) -> Vec<usize> {
    let of = |who: &Dm| world.zones[who].values().map(|zone| zone.key).collect::<Vec<_>>();
    let all: Vec<Vec<usize>> = world.honest().iter().map(of).collect();
    assert!(all.iter().all(|keys| keys.is_sorted()), "{all:?}");
    all.into_iter().max_by_key(Vec::len).unwrap()
}

#[test]
fn the_new_key_signs_from_its_time_with_one_dm_dead_and_one_that_is_too_early() {
    for (scheme, seed) in [(Scheme::Ed25519, 3), (Scheme::Ed25519, 4), (Scheme::Rsa, 5)] {
        let mut world = World::with(scheme, 7, 4, seed).with_roll(4, ROLL);
        publish(&mut world, 0..1);
        let newest = *world.zones.values().flat_map(|zones| zones.keys()).max().unwrap();
        let [liar, dead] = [1, 2].map(|ahead| world.council.proposer(newest + ahead));
        world.faults.insert(dead, Fault::Crash(5_000));
        world.faults.insert(liar, Fault::EarlyKey);
        publish(&mut world, 1..12);
        let keys = keys(&world);
        assert!(keys[0] == 0 && keys.last() == Some(&1), "{keys:?}");
        // Who was busy with a later serial does not look at it; more than may lie do.
        let named = world.honest().into_iter().filter(|who| {
            let named = world.members[who].status().culprits;
            assert!(named.keys().all(|named| *named == liar), "{who}: {named:?}");
            named.get(&liar).is_some_and(|what| what.contains("too new"))
        });
        assert!(named.count() > world.council.faults(), "{scheme:?} {seed}{}", world.explain());
    }
}

/// Who has no share of the new key votes all the same, and says so.
#[test]
fn a_dm_without_a_share_of_the_key_votes_and_does_not_sign() {
    let mut world = World::new(4, 2, 6);
    let poor = [1, 4].map(|number| Dm::new(number).unwrap());
    world.without_new.extend(poor);
    let mut world = world.with_roll(2, ROLL);
    publish(&mut world, 0..11);
    let keys = keys(&world);
    assert_eq!(keys.last(), Some(&1), "{keys:?}");
    for who in poor {
        let trouble = world.members[&who].status().trouble.unwrap_or_default();
        assert!(trouble.contains("no share of the key"), "{who}: {trouble}");
        assert_eq!(world.members[&who].status().culprits.len(), 0);
    }
}

/// Presignatures belong to one key: after the change they are made anew. Who has no share of the new key votes
/// for sessions of it all the same, by its mark.
#[test]
fn presignatures_are_made_anew_for_another_key() {
    let mut world = World::with(Scheme::EcdsaP256, 4, 2, 7);
    let poor = Dm::new(1).unwrap();
    world.without_new.insert(poor);
    let mut world = world.with_roll(2, ROLL);
    publish(&mut world, 0..11);
    let keys = keys(&world);
    assert!(keys[0] == 0 && keys.last() == Some(&1), "{keys:?}");
    for who in world.honest() {
        let status = world.members[&who].status();
        assert_eq!(status.culprits.len(), 0, "{who}: {:?}", status.culprits);
    }
}
