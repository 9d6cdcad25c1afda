//! A change of the key that signs: who signs follows from what was agreed on, and not from when a DM was started.

use bftkv_dm::agree::Dm;
use bftkv_threshold::Scheme;

use super::work::{key, root};
use super::world::{FIRST, Fault, World};

/// When the second key begins to sign.
const ROLL: u64 = 30_000;

/// Updates before and after the roll; gives the keys that signed the zones, in order.
fn publish(world: &mut World, updates: u32) -> Vec<usize> {
    let mut content = root();
    for update in 0..updates {
        content.insert(key("org", 43), format!("ds {update}").into_bytes());
        let at = (world.since_start() + 100).max(u64::from(update) * 10_000);
        for who in world.council.everyone() {
            world.show(who, at, FIRST + update, content.clone());
        }
        assert!(world.run_until(&content, 120_000), "{update}{}", world.explain());
        world.run(2_000);
        world.check();
    }
    let honest = world.honest()[0];
    let keys = world.zones[&honest].values().map(|zone| zone.key).collect();
    let mut others = world.honest().into_iter().map(|who| &world.zones[&who]);
    assert!(others.all(|zones| zones.values().map(|zone| zone.key).is_sorted()));
    keys
}

#[test]
fn the_new_key_signs_from_its_time_with_one_dm_dead_and_one_that_is_too_early() {
    for (scheme, seed) in [(Scheme::Ed25519, 3), (Scheme::Ed25519, 4), (Scheme::Rsa, 5)] {
        let mut world = World::with(scheme, 7, 4, seed).with_roll(4, ROLL);
        let [dead, liar] = [2, 5].map(|number| Dm::new(number).unwrap());
        world.faults.insert(dead, Fault::Crash(5_000));
        world.faults.insert(liar, Fault::EarlyKey);
        let keys = publish(&mut world, 9);
        assert!(keys.contains(&0) && keys.last() == Some(&1), "{keys:?}");
        for who in world.honest().into_iter().filter(|who| *who != dead) {
            let named = world.members[&who].status().culprits;
            let all: Vec<_> = named.iter().map(|(named, what)| (*named, what.as_str())).collect();
            let [(named, what)] = all.as_slice() else { panic!("{who}: {all:?}") };
            assert!(*named == liar && what.contains("too new"), "{who}: {all:?}");
        }
    }
}

/// Who has no share of the new key votes all the same, and says so.
#[test]
fn a_dm_without_a_share_of_the_key_votes_and_does_not_sign() {
    let mut world = World::new(4, 2, 6);
    let poor = [1, 4].map(|number| Dm::new(number).unwrap());
    world.without_new.extend(poor);
    let mut world = world.with_roll(2, ROLL);
    let keys = publish(&mut world, 5);
    assert_eq!(keys.last(), Some(&1), "{keys:?}");
    for who in poor {
        let trouble = world.members[&who].status().trouble.unwrap_or_default();
        assert!(trouble.contains("no share of the key"), "{who}: {trouble}");
        assert_eq!(world.members[&who].status().culprits.len(), 0);
    }
}
