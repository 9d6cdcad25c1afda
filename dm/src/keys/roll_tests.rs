//! Properties of changes of keys. What unbound says of them: `dm/tests/judges`.

use bftkv_threshold::{KeyShare, Roster, ed25519, rsa};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use super::*;
use crate::sign::{
    BatchSigner as _, Dnskey, Error as SignError, KeySet, MAX_DNSKEY_ANSWER, Role, ShareSigner,
    dnskey_answer_bytes,
};
use crate::zone::Name;

const DAY: u32 = 86_400;
const TTL: u32 = 172_800;
const START: u32 = 1_801_094_400;

type Signer = ShareSigner<ChaCha20Rng>;

fn signer(seed: u64) -> Signer {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let shares = ed25519::deal(&Roster::first(4, 2).unwrap(), &mut rng).unwrap();
    of(&shares, rng)
}

fn rsa_signer(bits: usize, seed: u64) -> Signer {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let lines = include_str!("../../../threshold/tests/data/safe-primes.txt").lines();
    let bytes = |line: &str| text::from_hex(&line.to_lowercase()).unwrap().to_vec();
    let primes: Vec<_> = lines.map(bytes).filter(|prime| prime.len() * 16 == bits).collect();
    let primes = rsa::SafePrimes::from_be_bytes(&primes[0], &primes[1]).unwrap();
    of(&rsa::deal(&Roster::first(4, 2).unwrap(), &primes, &mut rng).unwrap(), rng)
}

fn of<S: KeyShare>(shares: &[S], rng: ChaCha20Rng) -> Signer {
    let shares: Vec<_> = shares.iter().map(|share| share.to_secret_bytes()).collect();
    ShareSigner::new(&shares, rng).unwrap()
}

fn ksk(signer: &Signer) -> Dnskey {
    Dnskey::of(signer.key(), Role::Ksk).unwrap()
}

fn zsk(seed: u64) -> Dnskey {
    Dnskey::of(signer(seed).key(), Role::Zsk).unwrap()
}

fn keys(set: &KeySet) -> Vec<Dnskey> {
    Dnskey::all(set.keys()).collect()
}

fn sorted(mut keys: Vec<Dnskey>) -> Vec<Dnskey> {
    keys.sort();
    keys
}

fn days(first: u32, days: u32) -> Schedule {
    Schedule { days, ..Schedule::usual(START + first * DAY) }
}

#[test]
fn a_ksk_is_published_then_signs_then_the_old_one_is_revoked_and_goes() {
    let (mut old, mut new) = (signer(1), signer(2));
    let (a, b, z) = (ksk(&old), ksk(&new), zsk(3));
    let roll = KskRoll::new(START + 10 * DAY, &[40, 20, 40], TTL).unwrap();
    // Two ceremonies: what the first one signed, the second one goes on with.
    let mut sets = Vec::new();
    for (first, length) in [(0, 60), (60, 70)] {
        let mut signers = Signers {
            ksk: &mut old,
            new_ksk: Some((roll, &mut new)),
            zsks: vec![z.clone()],
            new_zsk: None,
        };
        let made = days(first, length).sign_changing(&Name::root(), TTL, &mut signers);
        sets.extend(made.unwrap());
    }
    let wanted = [
        (1, vec![a.clone(), z.clone()], vec![&a]),
        (4, vec![a.clone(), b.clone(), z.clone()], vec![&a]),
        (2, vec![a.clone(), b.clone(), z.clone()], vec![&b]),
        (4, vec![a.clone().revoked(), b.clone(), z.clone()], vec![&b]),
        (2, vec![b.clone(), z.clone()], vec![&b]),
    ];
    let mut slot = sets.iter();
    for (count, wanted, by) in wanted {
        for set in slot.by_ref().take(count) {
            assert_eq!(keys(set), sorted(wanted.clone()));
            let is_revoked = wanted.contains(&a.clone().revoked());
            assert_eq!(set.signatures().len(), by.len() + usize::from(is_revoked));
            let text = set.to_text();
            by.iter().for_each(|by| assert!(text.contains(&format!(" {} . ", by.tag())), "{text}"));
            assert_eq!(KeySet::from_text(&text, &Name::root()).unwrap(), *set);
        }
    }
    assert!(slot.next().is_none());
}

#[test]
fn a_ksk_roll_that_a_resolver_could_not_follow_is_refused() {
    let roll = |days: &[u32]| KskRoll::new(START, days, TTL);
    assert!(roll(&[32, 1, 32]).is_ok() && roll(&[32, 1]).is_ok());
    for days in [&[31, 20, 40][..], &[40, 20, 31], &[40, 0, 40], &[31, 1], &[40], &[], &[40; 4]] {
        assert!(roll(days).is_err(), "{days:?}");
    }
    // A step that falls into a slot would come early or late.
    let (mut old, mut new) = (signer(1), signer(2));
    for (begin, is_right) in [(10, true), (11, false), (200, true)] {
        let roll = KskRoll::new(START + begin * DAY, &[40, 20, 40], TTL).unwrap();
        let mut signers = Signers {
            ksk: &mut old,
            new_ksk: Some((roll, &mut new)),
            zsks: vec![zsk(3)],
            new_zsk: None,
        };
        let made = days(0, 90).sign_changing(&Name::root(), TTL, &mut signers);
        assert_eq!(made.is_ok(), is_right, "{begin}");
    }
}

#[test]
fn a_revoked_key_alone_signs_no_set() {
    let mut old = signer(1);
    let revoked = ksk(&old).revoked();
    let terms = days(0, 10).slots().unwrap()[0];
    let made = KeySet::sign_by(&Name::root(), vec![zsk(3)], TTL, &terms, vec![(revoked, &mut old)]);
    assert!(matches!(made, Err(SignError::Terms(why)) if why.contains("revoked")));
}

#[test]
fn a_zsk_is_in_the_set_before_it_signs_and_after_it_has_signed() {
    let mut signing = signer(1);
    let (old, new) = (zsk(3), zsk(4));
    let (switch, zone_ttl) = (START + 30 * DAY, 6 * DAY);
    let mut signers = Signers {
        ksk: &mut signing,
        new_ksk: None,
        zsks: vec![old.clone()],
        new_zsk: Some(ZskRoll { new: new.clone(), switch, zone_ttl }),
    };
    let sets = days(0, 90).sign_changing(&Name::root(), TTL, &mut signers).unwrap();
    let has = |key: &Dnskey| sets.iter().map(|set| set.has(key)).collect::<Vec<_>>();
    assert_eq!(has(&new), [false, false, true, true, true, true, true, true, true]);
    assert_eq!(has(&old), [true, true, true, true, false, false, false, false, false]);

    // At every hour: who signs by the plan may, and what is in caches can be verified.
    for hour in 24..88 * 24 {
        let now = START + hour * 3_600;
        let by = if now < switch { &old } else { &new };
        let ago = now.wrapping_sub(zone_ttl);
        let before = if ago < switch { &old } else { &new };
        assert!(check_change(&sets, by, Some(before), now).is_ok(), "hour {hour}");
    }
    let why = |key: &Dnskey, before: Option<&Dnskey>, day: u32| {
        check_change(&sets, key, before, START + day * DAY).unwrap_err().to_string()
    };
    assert!(why(&new, None, 20).contains("too new"));
    assert!(why(&new, None, 21).contains("too new"), "the old set is in caches for two days");
    assert!(check_change(&sets, &new, None, START + 23 * DAY).is_ok());
    assert!(why(&new, Some(&old), 41).contains("gone"));
}

/// Whatever changes with whatever algorithm, no set gets too large: where it would, it is refused.
#[test]
fn the_answer_for_dnskey_stays_small_while_keys_change() {
    let size = |set: &KeySet| dnskey_answer_bytes(&Name::root(), set.keys(), set.signatures());
    let terms = days(0, 10).slots().unwrap()[0];
    let phases =
        [KskPhase::Old, KskPhase::Published, KskPhase::Switched, KskPhase::Revoked, KskPhase::New];
    let sizes = |mut old: Signer, mut new: Signer, zsks: &[Signer]| {
        let roll = KskRoll::new(START, &[40, 20, 40], TTL).unwrap();
        let zsks: Vec<_> =
            zsks.iter().map(|zsk| Dnskey::of(zsk.key(), Role::Zsk).unwrap()).collect();
        let mut signers = Signers {
            ksk: &mut old,
            new_ksk: Some((roll, &mut new)),
            zsks: zsks.clone(),
            new_zsk: None,
        };
        phases.map(|phase| match signers.set(&Name::root(), &zsks, (phase, TTL, &terms)) {
            Ok(set) => {
                assert!(size(&set) <= MAX_DNSKEY_ANSWER);
                Some(size(&set))
            }
            Err(Error::Sign(SignError::LargeAnswer { bytes, limit })) => {
                assert!(bytes > limit && limit == MAX_DNSKEY_ANSWER);
                None
            }
            Err(error) => panic!("{error}"),
        })
    };
    let small = sizes(signer(1), signer(2), &[signer(3), signer(4)]);
    assert!(small.iter().all(|size| size.is_some_and(|size| size < 450)), "{small:?}");
    // RSA: no revocation of a key with 2,048 bits. (A ZSK with a KSK's modulus is another key.)
    let rsa = |bits| rsa_signer(bits, 5);
    let one = sizes(rsa(2_048), rsa(1_536), &[rsa(2_048)]);
    assert_eq!(one.map(|size| size.is_some()), [true, true, true, false, true], "{one:?}");
}
