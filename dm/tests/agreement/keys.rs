//! Changes of keys, as far as the DMs agree on them: which DNSKEY set follows on which.

use std::sync::LazyLock;

use bftkv_dm::agree::{Refusal, Work as _};
use bftkv_dm::keys::{KskRoll, Schedule, Signers, ZskRoll};
use bftkv_dm::node::{Signed, ZoneWork};
use bftkv_dm::sign::{BatchSigner as _, Denial, Dnskey, KeySet, Recipe, Role, ShareSigner, Terms};
use bftkv_dm::zone::{Limits, Name, Zone};
use bftkv_threshold::{KeyShare as _, Roster, ed25519};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

const HOUR: u32 = 3_600;
const DAY: u32 = 24 * HOUR;
const TTL: u32 = 2 * DAY;
const START: u32 = 1_801_094_400;
/// The day from which the second ZSK signs.
const SWITCH: u32 = 24;

fn signer(seed: u64) -> ShareSigner<ChaCha20Rng> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let shares = ed25519::deal(&Roster::first(4, 2).unwrap(), &mut rng).unwrap();
    let shares: Vec<_> = shares.iter().map(|share| share.to_secret_bytes()).collect();
    ShareSigner::new(&shares, rng).unwrap()
}

fn zsk(seed: u64) -> Dnskey {
    Dnskey::of(signer(seed).key(), Role::Zsk).unwrap()
}

/// 140 days in which the ZSK of seed 3 gives way to that of 4, and the KSK of 1 to that of 2.
static SETS: LazyLock<Vec<KeySet>> = LazyLock::new(|| {
    let mut schedule = Schedule::usual(START);
    schedule.days = 140;
    let roll = KskRoll::new(START + 10 * DAY, &[40, 20, 40], TTL).unwrap();
    let (mut old, mut new) = (signer(1), signer(2));
    let new_zsk = ZskRoll { new: zsk(4), switch: START + SWITCH * DAY, zone_ttl: TTL };
    let mut signers = Signers {
        ksk: &mut old,
        new_ksk: Some((roll, &mut new)),
        zsks: vec![zsk(3)],
        new_zsk: Some(new_zsk),
    };
    schedule.sign_changing(&Name::root(), TTL, &mut signers).unwrap()
});

fn work(seed: u64, sets: &[KeySet]) -> ZoneWork {
    ZoneWork::new(Name::root(), sets.to_vec(), zsk(seed), 20)
}

/// The zone of a day, signed with that ZSK under the set with that number.
fn zone(seed: u64, set: usize, day: u32) -> Signed {
    let text = ". 86400 SOA a.root. b.root. 1 1800 900 604800 86400\n. 86400 NS a.root.\n";
    let zone = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
    let from = at(day);
    let terms = Terms::new(from, from + 13 * DAY, from + 9 * DAY).unwrap();
    let keys = SETS[set].clone();
    let recipe = Recipe::new(keys, zsk(seed), Denial::Nsec, true, terms).unwrap();
    Signed::of(recipe.sign(&zone, None, &mut signer(seed)).unwrap())
}

/// A zone's inception in the middle of a day.
fn at(day: u32) -> u32 {
    START + day * DAY + DAY / 2
}

/// What the DMs take on that day after that zone: the number of the set.
fn taken(work: &ZoneWork, base: Option<&Signed>, day: u32) -> Result<usize, String> {
    let bytes = work.keys(base, at(day), at(day + 13))?;
    assert_eq!(work.check_keys(&bytes, base, at(day), at(day + 13)), Ok(()));
    let same = |set: &KeySet| work_bytes(set) == bytes;
    Ok(SETS.iter().position(same).unwrap())
}

/// A set as it stands in a manifest: what a DM takes that has no other.
fn work_bytes(set: &KeySet) -> Vec<u8> {
    let day = (set.times().unwrap().0 + HOUR - START) / DAY;
    let seed = if set.has(&zsk(3)) { 3 } else { 4 };
    work(seed, std::slice::from_ref(set)).keys(None, at(day), at(day + 13)).unwrap()
}

fn verdict(work: &ZoneWork, set: usize, base: &Signed, day: u32) -> Result<(), Refusal> {
    work.check_keys(&work_bytes(&SETS[set]), Some(base), at(day), at(day + 13))
}

fn is_lie(verdict: &Result<(), Refusal>, what: &str) -> bool {
    matches!(verdict, Err(Refusal::Lie(why)) if why.contains(what))
}

#[test]
fn a_change_of_ksk_and_zsk_goes_on_from_zone_to_zone() {
    let mut base = None;
    for day in (0..140).step_by(5) {
        let seed = if day < SWITCH { 3 } else { 4 };
        let slot = usize::try_from(day / 10).unwrap();
        assert_eq!(taken(&work(seed, &SETS), base.as_ref(), day), Ok(slot), "day {day}");
        base = Some(zone(seed, slot, day));
    }
    // Before, while and after both are to be seen.
    let has = |set: usize| (SETS[set].has(&zsk(3)), SETS[set].has(&zsk(4)));
    assert_eq!([1, 2, 3].map(has), [(true, false), (true, true), (false, true)]);
}

#[test]
fn whoever_goes_back_ahead_or_leaves_out_a_key_is_a_liar() {
    let work_3 = work(3, &SETS);
    let base = zone(3, 1, 15);
    assert_eq!(verdict(&work_3, 1, &base, 18), Ok(()));
    assert!(is_lie(&verdict(&work_3, 0, &base, 18), "an older DNSKEY set"));
    assert!(is_lie(&verdict(&work_3, 2, &base, 18), "do not hold now"));
    assert!(is_lie(&verdict(&work_3, 0, &zone(3, 0, 5), 25), "do not hold now"), "expired");
    // The first ZSK has signed what caches have, so it cannot go.
    let work_4 = work(4, &SETS);
    let base = zone(3, 2, 23);
    assert!(is_lie(&verdict(&work_4, 3, &base, 32), "the key that signed the last zone"));
    assert_eq!(taken(&work_4, Some(&base), 32), Ok(2), "a set that has both still holds");
    assert_eq!(taken(&work_4, Some(&zone(4, 2, 32)), 33), Ok(3));
}

/// What depends on a DM's own files makes nobody a liar.
#[test]
fn a_set_or_key_that_is_not_in_our_files_is_refused_and_nobody_is_named() {
    let never = |verdict: &Result<(), Refusal>, what: &str| matches!(verdict, Err(Refusal::Never(why)) if why.contains(what));
    let (base, ours) = (zone(3, 0, 5), &SETS[..1]);
    assert!(never(&verdict(&work(3, ours), 1, &base, 15), "than those that were signed ahead"));
    assert!(never(&verdict(&work(4, &SETS), 1, &base, 15), "the key of our share"));
    // The new ZSK is in the set, and caches do not know that yet.
    let base = zone(3, 1, 15);
    assert!(never(&verdict(&work(4, &SETS), 2, &base, 20), "too new"));
    assert_eq!(verdict(&work(4, &SETS), 2, &base, 23), Ok(()));
    // Nobody proposes what the others would refuse.
    assert!(taken(&work(4, &SETS), Some(&base), 20).unwrap_err().contains("too new"));
}
