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

static ZSKS: LazyLock<[Dnskey; 2]> =
    LazyLock::new(|| [3, 4].map(|seed| Dnskey::of(signer(seed).key(), Role::Zsk).unwrap()));

/// That of seed 3 or 4.
fn zsk(seed: u64) -> Dnskey {
    ZSKS[usize::try_from(seed).unwrap() - 3].clone()
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

/// With shares of the ZSKs of these seeds.
fn work_of(seeds: &[u64], sets: &[KeySet]) -> ZoneWork {
    ZoneWork::new(Name::root(), sets.to_vec(), seeds.iter().map(|seed| zsk(*seed)).collect(), 20)
}

/// With shares of both.
fn work() -> ZoneWork {
    work_of(&[3, 4], &SETS)
}

/// A zone's inception in the middle of a day.
fn at(day: u32) -> u32 {
    START + day * DAY + DAY / 2
}

const TEXT: &str = ". 86400 SOA a.root. b.root. 1 1800 900 604800 86400\n. 86400 NS a.root.\n";

/// The zone that these keys say, signed then.
fn zone(set: usize, seed: u64, keys: &[u8], inception: u32) -> Signed {
    let zone = Zone::read(TEXT.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
    let terms = Terms::new(inception, inception + 13 * DAY, inception + 9 * DAY).unwrap();
    let recipe = Recipe::new(SETS[set].clone(), zsk(seed), Denial::Nsec, true, terms).unwrap();
    Signed::agreed(recipe.sign(&zone, None, &mut signer(seed)).unwrap(), keys)
}

/// What is proposed then after that zone: the number of the set, whose ZSK signs, and the bytes.
fn proposed(
    work: &ZoneWork,
    base: Option<&Signed>,
    time: u32,
) -> Result<(usize, u64, Vec<u8>), String> {
    let bytes = work.keys(base, time, time + 13 * DAY)?;
    assert_eq!(work.check_keys(&bytes, base, time, time + 13 * DAY), Ok(()));
    for (place, seed) in (0..SETS.len()).flat_map(|place| [(place, 3), (place, 4)]) {
        if bytes == told(base, place, seed, time).unwrap_or_default() {
            return Ok((place, seed, bytes));
        }
    }
    panic!("no set of ours with a ZSK of ours");
}

/// What stands in a manifest with that set and signer: as it is proposed by somebody who plans that.
fn told(base: Option<&Signed>, set: usize, seed: u64, time: u32) -> Option<Vec<u8>> {
    bftkv_dm::node::keys_in_manifest(base, SETS[set].clone(), &zsk(seed), time)
}

fn next(base: Option<&Signed>, set: usize, seed: u64, time: u32) -> Signed {
    zone(set, seed, &told(base, set, seed, time).unwrap(), time)
}

fn verdict(base: &Signed, set: usize, seed: u64, time: u32) -> Result<(), Refusal> {
    verdict_of(&work(), base, set, seed, time)
}

fn verdict_of(
    work: &ZoneWork,
    base: &Signed,
    set: usize,
    seed: u64,
    time: u32,
) -> Result<(), Refusal> {
    let bytes = told(Some(base), set, seed, time).unwrap();
    work.check_keys(&bytes, Some(base), time, time + 13 * DAY)
}

fn is_lie(verdict: &Result<(), Refusal>, what: &str) -> bool {
    matches!(verdict, Err(Refusal::Lie(why)) if why.contains(what))
}

fn is_never(verdict: &Result<(), Refusal>, what: &str) -> bool {
    matches!(verdict, Err(Refusal::Never(why)) if why.contains(what))
}

#[test]
fn a_change_of_ksk_and_zsk_goes_on_from_zone_to_zone() {
    let (mut base, mut signed) = (None, Vec::new());
    for day in 0..140 {
        let time = at(day);
        let (set, seed, bytes) = proposed(&work(), base.as_ref(), time).unwrap();
        assert_eq!(set, usize::try_from(day / 10).unwrap(), "day {day}");
        signed.push(seed);
        base = Some(zone(set, seed, &bytes, time));
    }
    // Before, while and after both are to be seen.
    let has = |set: usize| (SETS[set].has(&zsk(3)), SETS[set].has(&zsk(4)));
    assert_eq!([1, 2, 3].map(has), [(true, false), (true, true), (false, true)]);
    // It is in the zone of day 20, and signs when caches know that, not after the planned day.
    let first = signed.iter().position(|seed| *seed == 4).unwrap();
    assert_eq!(first, 23, "two days and an hour after it was published");
    assert!(first <= usize::try_from(SWITCH).unwrap());
    assert!(signed.is_sorted(), "nobody goes back: {signed:?}");
}

#[test]
fn whoever_goes_back_ahead_or_leaves_out_a_key_is_a_liar() {
    let base = next(None, 1, 3, at(15));
    assert_eq!(verdict(&base, 1, 3, at(18)), Ok(()));
    assert!(is_lie(&verdict(&base, 0, 3, at(18)), "an older DNSKEY set"));
    assert!(is_lie(&verdict(&base, 2, 3, at(18)), "do not hold now"));
    let old = next(None, 0, 3, at(5));
    assert!(is_lie(&verdict(&old, 0, 3, at(25)), "do not hold now"), "expired");
    // The first ZSK has signed what caches have, so it cannot go.
    let both = next(Some(&base), 2, 3, at(23));
    assert!(is_lie(&verdict(&both, 3, 4, at(32)), "the key that signed the last zone"));
    let (set, seed, _) = proposed(&work(), Some(&both), at(32)).unwrap();
    assert_eq!((set, seed), (2, 4), "a set that has both still holds");
    let switched = next(Some(&both), 2, 4, at(32));
    assert_eq!(proposed(&work(), Some(&switched), at(35)).unwrap().0, 3);
}

/// How long a key has been to be seen follows from the zones that were certified, to the second.
#[test]
fn whoever_signs_with_a_key_before_caches_know_it_is_a_liar() {
    let base = next(None, 1, 3, at(15));
    assert!(is_lie(&verdict(&base, 2, 4, at(21)), "in no zone before"));
    // Published two days late: the plan's day does not count.
    let published = next(Some(&base), 2, 3, at(22));
    let known = at(22) + TTL + HOUR;
    assert!(is_lie(&verdict(&published, 2, 4, known - 1), "too new"));
    assert_eq!(verdict(&published, 2, 4, known), Ok(()));
    assert_eq!(proposed(&work(), Some(&published), known - 1).unwrap().1, 3);
    assert_eq!(proposed(&work(), Some(&published), known).unwrap().1, 4);
    // A zone between does not begin it anew.
    let later = next(Some(&published), 2, 3, at(23));
    assert_eq!(verdict(&later, 2, 4, known), Ok(()));
    // Nobody can make up another time than the certified one.
    let mut bytes = told(Some(&published), 2, 3, at(24)).unwrap();
    let place = bytes.windows(4).rposition(|part| part == at(22).to_be_bytes()).unwrap();
    bytes[place + 3] -= 1;
    let told = work().check_keys(&bytes, Some(&published), at(24), at(37));
    assert!(is_lie(&told, "what became of the ZSKs"), "{told:?}");
}

#[test]
fn whoever_goes_back_to_the_old_key_or_drops_it_too_early_is_a_liar() {
    let published = next(Some(&next(None, 1, 3, at(15))), 2, 3, at(22));
    let switch = at(27);
    let switched = next(Some(&published), 2, 4, switch);
    assert!(is_lie(&verdict(&switched, 2, 3, switch + HOUR), "back to a ZSK"));
    assert_eq!(verdict(&switched, 2, 4, switch + HOUR), Ok(()));
    // The longest TTL of the zone is that of its keys, two days.
    let late = next(Some(&published), 2, 4, at(29));
    let gone = at(29) + TTL + HOUR;
    assert!(is_lie(&verdict(&late, 3, 4, gone - 1), "caches may hold signatures"));
    assert_eq!(verdict(&late, 3, 4, gone), Ok(()));
    // A proposer takes the set before until then.
    assert_eq!(proposed(&work(), Some(&late), gone - 1).unwrap().0, 2);
    assert_eq!(proposed(&work(), Some(&late), gone).unwrap().0, 3);
}

/// What depends on a DM's own files makes nobody a liar.
#[test]
fn a_set_or_key_that_is_not_in_our_files_is_refused_and_nobody_is_named() {
    let base = next(None, 0, 3, at(5));
    let poor = work_of(&[3], &SETS[..1]);
    assert!(is_never(&verdict_of(&poor, &base, 1, 3, at(15)), "than those that were signed ahead"));
    // Whose sets end before the old key goes does not know of a change.
    let published = next(Some(&next(None, 1, 3, at(15))), 2, 3, at(20));
    let early = work_of(&[3, 4], &SETS[..3]);
    assert!(is_never(&verdict_of(&early, &published, 2, 4, at(25)), "another ZSK is to sign"));
    assert_eq!(proposed(&early, Some(&published), at(25)).unwrap().1, 3);
    // Who has a share of one of the keys only votes for the other, and proposes with its own while it may.
    let old = work_of(&[3], &SETS);
    assert_eq!(verdict_of(&old, &published, 2, 4, at(25)), Ok(()));
    assert_eq!(proposed(&old, Some(&published), at(25)).unwrap().1, 3);
    let switched = next(Some(&published), 2, 4, at(25));
    assert!(old.keys(Some(&switched), at(26), at(39)).unwrap_err().contains("no share"));
}
