//! The whole real root zone.

use std::sync::{Arc, OnceLock};

use bftkv_dm::sample::{root_zone, root_zone_updates};
use bftkv_dm::sign::{Denial, KeySet, Recipe, Terms, verify};
use bftkv_dm::zone::{Key, Limits, Name, RrSet, Rtype, Zone};

use crate::programs::{all_accept, judge, now};
use crate::signers::{Signer, Zsk, ed25519_key, p256_key, rsa_key};

fn recipe(ksk: &mut Signer, zsk: &Zsk) -> Recipe {
    let terms = Terms::usual(now()).unwrap();
    let keys = KeySet::sign(&Name::root(), vec![zsk.dnskey()], 172_800, &terms, ksk).unwrap();
    Recipe::new(keys, zsk.dnskey(), Denial::Nsec, true, terms).unwrap()
}

/// The root zone and its twelve updates, each signed on top of the one before; with the number of
/// signatures that each needed before ZONEMD.
pub(crate) fn all_versions(ksk: &mut Signer, zsk: &mut Zsk) -> (Vec<Arc<Zone>>, Vec<usize>) {
    let recipe = recipe(ksk, zsk);
    let (mut versions, mut counts) = (Vec::<Arc<Zone>>::new(), Vec::new());
    let read =
        |text: String| Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
    let updates = root_zone_updates().map(|text| read(text.unwrap()));
    for content in std::iter::once(root_zone().unwrap()).chain(updates) {
        let last = versions.last().map(Arc::as_ref);
        counts.push(recipe.begin(&content, last).unwrap().messages().len());
        let signed = zsk.sign(&recipe, &content, last);
        versions.push(Arc::new(signed));
    }
    (versions, counts)
}

/// All versions with Ed25519, made once for all tests.
pub(crate) fn published() -> &'static (Vec<Arc<Zone>>, Vec<usize>) {
    static MADE: OnceLock<(Vec<Arc<Zone>>, Vec<usize>)> = OnceLock::new();
    MADE.get_or_init(|| all_versions(&mut ed25519_key(1), &mut Zsk::shares(ed25519_key(2))))
}

#[test]
fn signed_by_shares_with_ed25519_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (versions, counts) = published();
    // SOA, NS, 1,439 NSEC, 1,350 DS; the KSK has signed DNSKEY, and ZONEMD comes last.
    // Every update needs the signatures of what it changes.
    assert_eq!(*counts, [2_791, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    all_accept(&versions[0], folder.path());
    all_accept(&versions[12], folder.path());
}

#[test]
fn signed_by_shares_with_rsa_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ksk, mut zsk) = (rsa_key(1_536, 1), Zsk::shares(rsa_key(2_048, 2)));
    let recipe = recipe(&mut ksk, &zsk);
    all_accept(&zsk.sign(&recipe, &root_zone().unwrap(), None), folder.path());
}

/// With P-256 the ZSK is whole here, because presigning for all of the root zone takes minutes
/// ([`signed_by_shares_with_p256_it_is_accepted_by_all`]); the KSK is in shares.
#[test]
fn signed_with_p256_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut zsk = Zsk::whole_p256();
    let recipe = recipe(&mut p256_key(1), &zsk);
    all_accept(&zsk.sign(&recipe, &root_zone().unwrap(), None), folder.path());
}

#[test]
#[ignore = "takes minutes: presigning 2,792 times by three parties in one process"]
fn signed_by_shares_with_p256_it_is_accepted_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ksk, mut zsk) = (p256_key(1), Zsk::shares(p256_key(2)));
    let recipe = recipe(&mut ksk, &zsk);
    all_accept(&zsk.sign(&recipe, &root_zone().unwrap(), None), folder.path());
}

/// What we find wrong, the others find wrong, so none of us is blind.
#[test]
fn a_forged_root_zone_is_rejected_by_all() {
    let folder = tempfile::tempdir().unwrap();
    let signed = &published().0[0];
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
