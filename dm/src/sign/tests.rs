//! Properties of signing and verifying. What other people's programs say: `dm/tests/judges`.

use bftkv_threshold::{KeyShare as _, Roster, ed25519};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};

use super::*;
use crate::zone::{Delta, Key, Limits, Name, RrSet, Rtype, Zone};

const NOW: u32 = 1_800_000_000;

fn signer(seed: u64) -> ShareSigner<ChaCha20Rng> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let shares = ed25519::deal(&Roster::first(4, 2).unwrap(), &mut rng).unwrap();
    let shares: Vec<_> = shares.iter().map(|share| share.to_secret_bytes()).collect();
    ShareSigner::new(&shares, rng).unwrap()
}

fn zone(text: &str) -> Zone {
    Zone::read(text.as_bytes(), Some("example.".parse().unwrap()), Limits::default()).unwrap()
}

const CONTENT: &str = "\
$TTL 3600
@ SOA ns admin 7 1800 900 604800 600
@ NS ns
ns A 192.0.2.1
sub NS ns.sub
sub DS 31852 8 2 89F7670AFC091B199B47900E4CE4135B9463B7F74D3D19A1C732E78C345D4DE6
ns.sub A 192.0.2.2
other NS ns.sub
*.wild TXT \"a\"
far.below.here AAAA 2001:db8::1
moved DNAME example.net.
";

struct Setting {
    zsk: ShareSigner<ChaCha20Rng>,
    recipe: Recipe,
}

fn setting(denial: Denial) -> Setting {
    let (mut ksk, zsk) = (signer(1), signer(2));
    let terms = Terms::usual(NOW).unwrap();
    let key = Dnskey::of(zsk.key(), Role::Zsk).unwrap();
    let apex: Name = "example.".parse().unwrap();
    let keys = KeySet::sign(&apex, vec![key.clone()], 3600, &terms, &mut ksk).unwrap();
    Setting { zsk, recipe: Recipe::new(keys, key, denial, true, terms).unwrap() }
}

fn signed(denial: Denial) -> Zone {
    let mut setting = setting(denial);
    setting.recipe.sign(&zone(CONTENT), None, &mut setting.zsk).unwrap()
}

fn opt_out() -> Denial {
    Denial::Nsec3(Nsec3 { iterations: 3, salt: vec![1, 2], opt_out: true })
}

#[test]
fn what_is_signed_verifies_and_is_read_back() {
    for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::default()), opt_out()] {
        let signed = signed(denial.clone());
        let report = verify(&signed, NOW);
        assert!(report.is_right(), "{denial:?}: {:?}\n{signed}", report.problems);
        assert_eq!(report.digest, Some(DigestCheck::Right));
        assert_eq!(report.nsec3, denial != Denial::Nsec);
        assert_eq!(zone(&signed.to_string()), signed);
        assert_eq!(strip(&signed).unwrap(), zone(CONTENT));
    }
}

#[test]
fn only_what_is_the_zones_own_is_signed() {
    let signed = signed(Denial::Nsec);
    let has = |name: &str, rtype| {
        let key = Key::new(format!("{name}example.").parse().unwrap(), rtype);
        let there = signed.set(&Key::signatures_over(&key)).is_some();
        assert!(rtype == Rtype::NSEC || signed.set(&key).is_some(), "{key}");
        there
    };
    for (name, rtype) in [
        ("", Rtype::SOA),
        ("", Rtype::NS),
        ("", Rtype::DNSKEY),
        ("", Rtype::ZONEMD),
        ("", Rtype::NSEC),
        ("ns.", Rtype::A),
        ("sub.", Rtype::DS),
        ("sub.", Rtype::NSEC),
        ("other.", Rtype::NSEC),
        ("*.wild.", Rtype::TXT),
        ("moved.", Rtype::DNAME),
    ] {
        assert!(has(name, rtype), "{name} {rtype}");
    }
    for (name, rtype) in [
        ("sub.", Rtype::NS),
        ("other.", Rtype::NS),
        ("ns.sub.", Rtype::A),
        ("ns.sub.", Rtype::NSEC),
        ("below.here.", Rtype::NSEC),
    ] {
        assert!(!has(name, rtype), "{name} {rtype}");
    }
}

/// Every single change of a signed zone is seen.
#[test]
fn nothing_can_be_changed_without_being_seen() {
    for denial in [Denial::Nsec, Denial::Nsec3(Nsec3::default())] {
        let signed = signed(denial);
        // Who remembers right signatures sees the same.
        let checked = Checked::default();
        assert!(verify_with(&checked, &signed, NOW).is_right());
        for (key, set) in signed.sets() {
            let mut changes = vec![Some(set.with_ttl(set.ttl() + 1)), None];
            let records: Vec<_> = set.records().map(<[u8]>::to_vec).collect();
            let mut flipped = records.clone();
            // The last byte of all types here can be any; not so that of a name.
            if ![Rtype::NS, Rtype::DNAME].contains(&key.rtype()) {
                *flipped[0].last_mut().unwrap() ^= 1;
                changes.push(Some(RrSet::sorted(set.ttl(), &flipped).unwrap()));
            }
            for change in changes {
                let Ok(changed) = signed.with_sets(&[(key.clone(), change)].into()) else {
                    continue; // SOA and NS of the apex cannot go.
                };
                let report = verify(&changed, NOW);
                assert!(!report.is_right(), "{key}");
                assert_eq!(verify_with(&checked, &changed, NOW), report, "{key}");
            }
        }
        let more = Key::new("new.example.".parse().unwrap(), Rtype::A);
        let set = RrSet::new(Rtype::A, 60, vec![vec![1; 4]]).unwrap();
        let report = verify(&signed.with_sets(&[(more, Some(set))].into()).unwrap(), NOW);
        // Not signed, not denied, another's denial wrong, digest wrong.
        assert!(report.problem_count >= 3, "{:?}", report.problems);
    }
}

#[test]
fn signatures_hold_only_in_their_time() {
    let signed = signed(Denial::Nsec);
    let problems = |now| verify(&signed, now).problems;
    assert!(problems(NOW - 3_600).is_empty());
    assert!(matches!(problems(NOW - 3_601)[0], Problem::NotYet(_, time) if time == NOW - 3_600));
    let end = NOW + 13 * 86_400;
    assert!(problems(end).is_empty());
    assert!(matches!(problems(end + 1)[0], Problem::Expired(_, time) if time == end));
    let checked = Checked::default();
    for now in [NOW - 3_601, NOW - 3_600, end, end + 1, NOW - 3_601] {
        assert_eq!(verify_with(&checked, &signed, now), verify(&signed, now));
    }
}

#[test]
fn only_what_has_changed_is_signed_again() {
    let Setting { mut zsk, recipe } = setting(Denial::Nsec);
    let first = recipe.sign(&zone(CONTENT), None, &mut zsk).unwrap();
    let all = recipe.begin(&zone(CONTENT), None).unwrap().messages().len();
    let signing = |text: &str| recipe.begin(&zone(text), Some(&first)).unwrap();
    let names = |text: &str| signing(text).sets().map(ToString::to_string).collect::<Vec<_>>();

    assert_eq!(names(CONTENT), [""; 0]);
    assert_eq!(signing(CONTENT).kept(), all);
    let next = CONTENT.replace(" 7 ", " 8 ");
    assert_eq!(names(&next), ["example. SOA"]);
    assert_eq!(names(&next.replace("31852", "31853")), ["example. SOA", "sub.example. DS"]);
    // A new name changes the denial before it.
    let more = format!("{next}tail A 192.0.2.7\n");
    let wanted = ["example. SOA", "sub.example. NSEC", "tail.example. A", "tail.example. NSEC"];
    assert_eq!(names(&more), wanted);
    let second = recipe.sign(&zone(&more), Some(&first), &mut zsk).unwrap();
    assert!(verify(&second, NOW).is_right());
    assert_eq!(first.with(&Delta::between(&first, &second)).unwrap(), second);
}

#[test]
fn signatures_are_made_again_in_time_and_with_another_key() {
    let Setting { mut zsk, recipe } = setting(Denial::Nsec);
    let first = recipe.sign(&zone(CONTENT), None, &mut zsk).unwrap();
    let all = recipe.begin(&zone(CONTENT), None).unwrap().messages().len();
    let left = |terms: Terms, zsk: &ShareSigner<_>| {
        let key = Dnskey::of(zsk.key(), Role::Zsk).unwrap();
        let apex = "example.".parse().unwrap();
        let keys = KeySet::sign(&apex, vec![key.clone()], 60, &terms, &mut signer(1)).unwrap();
        let recipe = Recipe::new(keys, key, Denial::Nsec, true, terms).unwrap();
        recipe.begin(&zone(CONTENT), Some(&first)).unwrap().messages().len()
    };
    let later = |days: u32| Terms::usual(NOW + days * 86_400).unwrap();
    assert_eq!(left(later(8), &zsk), 0);
    assert_eq!(left(later(9), &zsk), all, "four days before they end");
    assert_eq!(left(later(0), &signer(3)), all, "another key");
}

#[test]
fn a_wrong_signature_never_gets_into_a_zone() {
    let Setting { mut zsk, recipe } = setting(Denial::Nsec);
    let begin = || recipe.begin(&zone(CONTENT), None).unwrap();
    let mut signatures = zsk.sign(&begin().messages()).unwrap();
    assert!(begin().put(&signatures).is_ok());
    let missing = &signatures[1..];
    assert!(matches!(begin().put(missing), Err(Error::WrongSignature(_))));
    signatures.swap(3, 4);
    assert_eq!(begin().put(&signatures).unwrap_err(), Error::WrongSignature(3));
}

#[test]
fn what_comes_signed_is_refused_until_it_is_stripped() {
    let Setting { mut zsk, recipe } = setting(Denial::Nsec);
    let signed = recipe.sign(&zone(CONTENT), None, &mut zsk).unwrap();
    assert!(matches!(recipe.begin(&signed, None), Err(Error::Unwanted(_))));
    assert!(recipe.begin(&strip(&signed).unwrap(), None).is_ok());
    let cds = zone(&format!("{CONTENT}@ CDS 0 0 0 00\n"));
    assert_eq!(recipe.begin(&cds, None).unwrap_err(), Error::Unwanted(Rtype::CDS));
}

#[test]
fn the_answer_for_dnskey_is_never_too_large() {
    let (apex, terms) = (Name::root(), Terms::usual(NOW).unwrap());
    let keys = |count: u64| -> Vec<_> {
        (10..10 + count).map(|n| Dnskey::of(signer(n).key(), Role::Zsk).unwrap()).collect()
    };
    let sign = |count| KeySet::sign(&apex, keys(count), 60, &terms, &mut signer(1));
    // One of each: what unbound sees (measured: 216 bytes).
    let one = sign(1).unwrap();
    assert_eq!(dnskey_answer_bytes(&apex, one.keys(), one.signatures()), 216);
    assert!(sign(22).is_ok());
    assert_eq!(sign(23).unwrap_err(), Error::LargeAnswer { bytes: 1_250, limit: 1_232 });
    assert!(matches!(sign(0), Err(Error::Terms(_))));
}

#[test]
fn times_that_cannot_be_are_refused() {
    assert!(Terms::new(10, 30, 20).is_ok());
    assert!(Terms::new(u32::MAX - 5, 30, 20).is_ok(), "times wrap in 2106");
    for (inception, expiration, renew) in
        [(10, 30, 30), (10, 30, 10), (30, 10, 20), (0, 9_000_000, 5)]
    {
        assert!(Terms::new(inception, expiration, renew).is_err());
    }
}

#[test]
fn shares_that_do_not_belong_together_are_refused() {
    use bftkv_threshold::Error as Failure;
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let roster = Roster::first(4, 3).unwrap();
    let mut deal = || -> Vec<_> {
        let shares = ed25519::deal(&roster, &mut rng).unwrap();
        shares.iter().map(|share| share.to_secret_bytes()).collect()
    };
    let (one, other) = (deal(), deal());
    let with = |shares: &[&bftkv_threshold::SecretBytes]| {
        let bytes: Vec<&[u8]> = shares.iter().map(|share| share.as_slice()).collect();
        match ShareSigner::new(&bytes, ChaCha20Rng::seed_from_u64(1)) {
            Ok(_) => None,
            Err(Error::Threshold(failure)) => Some(failure),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(with(&[&one[0], &one[1], &one[3]]), None);
    assert_eq!(with(&[&one[0], &one[1]]), Some(Failure::TooFew { have: 2, need: 3 }));
    assert_eq!(with(&[&one[0], &one[1], &other[2]]), Some(Failure::OtherKey));
    assert!(matches!(with(&[&one[0], &one[1], &one[1]]), Some(Failure::Repeated(_))));
    assert_eq!(with(&[]), Some(Failure::TooFew { have: 0, need: 2 }));
}
