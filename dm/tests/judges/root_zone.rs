//! The whole real root zone.

use bftkv_dm::sample::{root_zone, root_zone_updates};
use bftkv_dm::sign::{BatchSigner, Denial, Dnskey, KeySet, Recipe, Role, Terms, verify};
use bftkv_dm::zone::{Key, Limits, Name, RrSet, Rtype, Zone};
use p256::ecdsa::signature::Signer as _;

use crate::programs::{all_accept, judge, now};
use crate::signers::{Signer, ed25519_key, p256_key, rsa_key};

fn recipe(ksk: &mut Signer, zsk: &Dnskey) -> Recipe {
    let terms = Terms::usual(now()).unwrap();
    let keys = KeySet::sign(&Name::root(), vec![zsk.clone()], 172_800, &terms, ksk).unwrap();
    Recipe::new(keys, zsk.clone(), Denial::Nsec, true, terms).unwrap()
}

fn recipe_of(ksk: &mut Signer, zsk: &Signer) -> Recipe {
    recipe(ksk, &Dnskey::of(zsk.key(), Role::Zsk).unwrap())
}

#[test]
fn signed_by_shares_with_ed25519_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ksk, mut zsk) = (ed25519_key(1), ed25519_key(2));
    let recipe = recipe_of(&mut ksk, &zsk);
    let root = root_zone().unwrap();
    // SOA, NS, 1,439 NSEC, 1,350 DS; the KSK has signed DNSKEY, and ZONEMD comes last.
    assert_eq!(recipe.begin(&root, None).unwrap().messages().len(), 2_791);
    let mut signed = recipe.sign(&root, None, &mut zsk).unwrap();
    all_accept(&signed, folder.path());

    // Every update needs the signatures of what it changes, and is accepted.
    let mut counts = Vec::new();
    let updates: Vec<_> = root_zone_updates().map(Result::unwrap).collect();
    for text in &updates {
        let next = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
        counts.push(recipe.begin(&next, Some(&signed)).unwrap().messages().len());
        signed = recipe.sign(&next, Some(&signed), &mut zsk).unwrap();
    }
    assert_eq!(counts, [1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    all_accept(&signed, folder.path());
}

#[test]
fn signed_by_shares_with_rsa_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ksk, mut zsk) = (rsa_key(1_536, 1), rsa_key(2_048, 2));
    let recipe = recipe_of(&mut ksk, &zsk);
    let signed = recipe.sign(&root_zone().unwrap(), None, &mut zsk).unwrap();
    all_accept(&signed, folder.path());
}

/// With P-256 the ZSK is whole here, because presigning for all of the root zone takes minutes
/// ([`signed_by_shares_with_p256_it_is_accepted_by_all`]); the KSK is in shares.
#[test]
fn signed_with_p256_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let zsk = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = zsk.verifying_key().to_encoded_point(false);
    let rdata = [&[1, 0, 3, 13], &point.as_bytes()[1..]].concat();
    let recipe = recipe(&mut p256_key(1), &Dnskey::from_rdata(&rdata).unwrap());
    let sign = |messages: Vec<Vec<u8>>| -> Vec<Vec<u8>> {
        let one = |message: &Vec<u8>| -> Vec<u8> {
            let signature: p256::ecdsa::Signature = zsk.sign(message);
            signature.to_bytes().to_vec()
        };
        messages.iter().map(one).collect()
    };
    let signing = recipe.begin(&root_zone().unwrap(), None).unwrap();
    let signatures = sign(signing.messages());
    let digesting = signing.put(&signatures).unwrap();
    let signatures = sign(digesting.messages());
    all_accept(&digesting.put(&signatures).unwrap(), folder.path());
}

#[test]
#[ignore = "takes minutes: presigning 2,792 times by three parties in one process"]
fn signed_by_shares_with_p256_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ksk, mut zsk) = (p256_key(1), p256_key(2));
    let recipe = recipe_of(&mut ksk, &zsk);
    let signed = recipe.sign(&root_zone().unwrap(), None, &mut zsk).unwrap();
    all_accept(&signed, folder.path());
}

/// What we find wrong, the others find wrong, so none of us is blind.
#[test]
fn a_forged_root_zone_is_rejected_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ksk, mut zsk) = (ed25519_key(1), ed25519_key(2));
    let recipe = recipe_of(&mut ksk, &zsk);
    let signed = recipe.sign(&root_zone().unwrap(), None, &mut zsk).unwrap();
    let with =
        |key: &Key, set: RrSet| signed.with_sets(&[(key.clone(), Some(set))].into()).unwrap();
    let flipped = |key: &Key, place: usize| {
        let set = signed.set(key).unwrap();
        let mut records: Vec<_> = set.records().map(<[u8]>::to_vec).collect();
        let at = records[0].len() - place;
        records[0][at] ^= 1;
        with(key, RrSet::new(key.rtype(), set.ttl(), records).unwrap())
    };
    let key = |name: &str, rtype| Key::new(name.parse().unwrap(), rtype);
    let ds = key("nl.", Rtype::DS);
    let glue = key("ns1.dns.nl.", Rtype::A);

    let cases = [
        ("a DS record", flipped(&ds, 1), &["dnssec-verify", "ldns-verify-zone", "kzonecheck"][..]),
        (
            "a signature",
            flipped(&Key::signatures_over(&ds), 1),
            &["dnssec-verify", "ldns-verify-zone", "kzonecheck"],
        ),
        // BIND 9.18 and Knot 3.2 do not look at the digest, and nobody signs glue.
        ("glue", flipped(&glue, 1), &["ldns-verify-zone"]),
        (
            "the digest",
            flipped(&key(".", Rtype::ZONEMD), 1),
            &["dnssec-verify", "ldns-verify-zone", "kzonecheck"],
        ),
    ];
    for (what, forged, wanted) in cases {
        assert!(!verify(&forged, now()).is_right(), "{what}: we");
        for (program, accepts, said) in judge(&forged, folder.path()) {
            if wanted.contains(&program) {
                assert!(!accepts, "{what}: {program}: {said}");
            }
        }
    }
}
