//! Tests of the keyring: bounds, merging, robustness.

use sequoia_openpgp::Packet;
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::SignatureType;

use super::*;
use crate::record::{parse, split};
use crate::testing::{key, keyring, keyring_of};
use crate::{Statement, generate_key};

fn strangers(count: usize) -> Vec<CertificateRecord> {
    let make = |n| generate_key(&format!("u{n} <u{n}@example.org>"), None).unwrap();
    (0..count).map(|n| make(n).key.record().clone()).collect()
}

#[test]
fn the_oldest_strangers_are_forgotten_and_local_ones_never() {
    let options = KeyringOptions { max_strangers: 2, ..KeyringOptions::default() };
    let ring = Keyring::new(options);
    let people = strangers(5);
    ring.add(people[0].clone(), Origin::Local).unwrap();
    people[1..].iter().for_each(|one| {
        ring.add(one.clone(), Origin::Stranger).unwrap();
    });
    let known: Vec<bool> = people.iter().map(|one| ring.contains(one.id())).collect();
    assert_eq!(known, [true, false, false, true, true]);
    assert!(ring.keep(people[3].id()));
    ring.add(people[1].clone(), Origin::Stranger).unwrap();
    ring.add(people[2].clone(), Origin::Stranger).unwrap();
    assert!(ring.contains(people[3].id()), "kept");
    assert!(!ring.contains(people[4].id()), "the oldest stranger");
    assert!(!ring.keep(people[4].id()));
}

#[test]
fn the_bytes_of_strangers_are_bounded() {
    let people = strangers(4);
    let size = people[0].bytes().as_bytes().len();
    let options = KeyringOptions { max_stranger_bytes: 2 * size + 50, ..KeyringOptions::default() };
    let ring = Keyring::new(options);
    people.iter().for_each(|one| {
        ring.add(one.clone(), Origin::Stranger).unwrap();
    });
    assert_eq!(ring.len(), 2);
}

#[test]
fn copies_are_merged_both_ways() {
    let (a, b, c) = (key("gnupg-ed25519/n1"), key("gnupg-ed25519/n2"), key("gnupg-ed25519/n3"));
    let carol = generate_key("carol <c@example.org>", None).unwrap().key;
    let address = Address::new("c@example.org").unwrap();
    let certify = |who: &OwnKey| {
        let statement = Statement::Certify { valid_for: None };
        who.certify(carol.certificate_bytes(), &address, statement).unwrap()
    };
    let ring = Keyring::new(KeyringOptions::default());
    [&a, &b, &c].into_iter().for_each(|one| {
        ring.add(one.record().clone(), Origin::Local).unwrap();
    });
    use bftkv_protocol::Sign;
    let record = |bytes: &CertificateBytes| CertificateRecord::new(bytes).unwrap();
    assert_eq!(ring.add(record(&certify(&a)), Origin::Local), Ok(true));
    ring.add_stranger(&certify(&b)).unwrap();
    ring.add_stranger(&certify(&c)).unwrap();
    let graph = ring.graph();
    let certifiers: BTreeSet<&NodeId> = graph.certifiers_of(carol.id()).collect();
    assert_eq!(certifiers, [a.id(), b.id(), c.id()].into());
    let same = ring.record(carol.id()).unwrap();
    assert_eq!(ring.add((*same).clone(), Origin::Stranger), Ok(false), "nothing new");
}

#[test]
fn foreign_certifications_cannot_crowd_out_real_ones() {
    // A stranger hands over copies of carol's certificate, full of made-up certifications.
    let member = key("gnupg-ed25519/n1");
    let carol = generate_key("carol <c@example.org>", None).unwrap().key;
    let address = Address::new("c@example.org").unwrap();
    let ring = Keyring::new(KeyringOptions::default());
    ring.add(member.record().clone(), Origin::Local).unwrap();
    ring.add(carol.record().clone(), Origin::Local).unwrap();
    let flood = |seed: u8| {
        let junk = generate_key("junk <j@example.org>", None).unwrap().key;
        let signer = junk.certifier(SystemTime::now()).unwrap();
        let mut signer = &*signer;
        let cert = carol.certificate().cert().clone();
        // As many as fit, so that a real one no longer does.
        let mut packets = Vec::new();
        let mut room = CertificateBytes::MAX_BYTES - cert.to_vec().unwrap().len() - 100;
        for n in 0u32.. {
            let user_id = cert.userids().next().unwrap().userid().clone();
            let mut fingerprint = [seed; 20];
            fingerprint[..4].copy_from_slice(&n.to_be_bytes());
            let fake = Fingerprint::V4(fingerprint);
            let signature = SignatureBuilder::new(SignatureType::GenericCertification)
                .set_issuer_fingerprint(fake)
                .unwrap()
                .sign_userid_binding(&mut signer, cert.primary_key().key(), &user_id)
                .unwrap();
            let signature = Packet::from(signature);
            let Some(left) = room.checked_sub(signature.to_vec().unwrap().len()) else { break };
            room = left;
            packets.push(Packet::from(user_id));
            packets.push(signature);
        }
        cert.insert_packets(packets).unwrap().0.to_vec().unwrap()
    };
    for seed in 0..3 {
        for record in split(&flood(seed)).unwrap().into_iter().flatten() {
            let _ = ring.add(record, Origin::Stranger);
        }
    }
    let statement = Statement::Certify { valid_for: None };
    let certified = member.certify(carol.certificate_bytes(), &address, statement).unwrap();
    ring.add_stranger(&certified).unwrap();
    use bftkv_protocol::Sign;
    assert!(ring.graph().certifies(member.id(), carol.id()));
}

#[test]
fn user_ids_that_strangers_append_do_not_pile_up() {
    let carol = generate_key("carol <c@example.org>", None).unwrap().key;
    let ring = Keyring::new(KeyringOptions::default());
    for seed in 0..3 {
        let mut bytes = carol.certificate_bytes().as_bytes().to_vec();
        for n in 0..30 {
            let junk = sequoia_openpgp::packet::UserID::from(format!("j{seed}.{n} <j@x.y>"));
            bytes.extend(Packet::from(junk).to_vec().unwrap());
        }
        ring.add_stranger(&CertificateBytes::new(bytes).unwrap()).unwrap();
    }
    use bftkv_protocol::Sign;
    let kept = ring.record(carol.id()).unwrap();
    let again = CertificateRecord::new(kept.bytes());
    assert_eq!(again.map(|record| record.claims().len()), Ok(1), "peers take it, too");
}

#[test]
fn user_ids_that_the_owner_did_not_make_do_not_count() {
    let ring = keyring_of("gnupg-ed25519/n1");
    let alice = ring.certificate(key("gnupg-ed25519/bob").certificate().id()).unwrap();
    let forged = sequoia_openpgp::packet::UserID::from("bob (http://evil:1)");
    let mut packets: Vec<Packet> = alice.cert().clone().into_packets().collect();
    packets.push(Packet::from(forged));
    let bytes: Vec<u8> = packets.iter().flat_map(|p| p.to_vec().unwrap()).collect();
    let id = ring.import(&bytes).unwrap().pop().unwrap().unwrap();
    assert_eq!(ring.url(&id), None);
    assert!(!ring.graph().vertex(&id).unwrap().is_node);
}

#[test]
fn members_come_first_in_the_answer_to_join_and_the_limit_holds() {
    let ring = keyring_of("gnupg-ed25519/n1");
    let last = ring.records().last().unwrap().0.clone();
    let all = ring.for_join(&[last.id().clone()], usize::MAX);
    assert_eq!((all.len(), &all[0]), (14, last.bytes()));
    let room = last.bytes().as_bytes().len();
    assert_eq!(ring.for_join(&[last.id().clone()], room), [last.bytes().clone()]);
    assert_eq!(ring.for_join(&[last.id().clone()], room - 1), []);
    let people = strangers(1);
    ring.add(people[0].clone(), Origin::Stranger).unwrap();
    assert_eq!(ring.for_join(&[], usize::MAX).len(), 14, "users who are strangers are not told");
}

#[test]
fn the_graph_is_rebuilt_only_when_something_changed() {
    let ring = keyring_of("gnupg-ed25519/n1");
    let first = ring.graph();
    assert!(Arc::ptr_eq(&first, &ring.graph()));
    ring.add(strangers(1)[0].clone(), Origin::Stranger).unwrap();
    assert_eq!(ring.graph().len(), first.len() + 1);
}

#[test]
fn verified_signatures_are_remembered_within_bounds() {
    use bftkv_protocol::Sign;
    let own = key("gnupg-ed25519/n1");
    let signatures = NonZeroUsize::new(3).unwrap();
    let ring = Keyring::new(KeyringOptions { signatures, ..KeyringOptions::default() });
    ring.add(own.record().clone(), Origin::Local).unwrap();
    for n in 0..10u8 {
        let signature = own.sign(Purpose::Share, &[n]).unwrap();
        ring.verify(own.id(), Purpose::Share, &[n], &signature).unwrap();
        ring.verify(own.id(), Purpose::Share, &[n], &signature).unwrap();
    }
    assert_eq!(ring.signatures().len(), 3);
}

#[test]
fn cut_and_damaged_certificates_are_errors_never_panics() {
    let whole = keyring("gnupg-ed25519/n1/cert.asc");
    let binary = parse(&whole).unwrap().to_vec().unwrap();
    let good = CertificateRecord::new(&CertificateBytes::new(binary.clone()).unwrap()).unwrap();
    let swallow = |bytes: &[u8]| {
        let ring = Keyring::new(KeyringOptions::default());
        for id in ring.import(bytes).into_iter().flatten().flatten() {
            let (valid, url) = (ring.identities(&id), ring.url(&id));
            assert!(url.is_none() || !valid.is_empty());
            if id == *good.id() && ring.url(&id).is_some() {
                assert_eq!(valid[0].name, "n1");
            }
        }
        assert_eq!(ring.graph().len(), ring.len());
    };
    (0..binary.len()).for_each(|length| swallow(&binary[..length]));
    (0..whole.len()).step_by(7).for_each(|length| swallow(&whole[..length]));
    for bit in (0..binary.len() * 8).step_by(5) {
        let mut flipped = binary.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        swallow(&flipped);
    }
    for garbage in [&b""[..], b"\xa3\x01\x5b\xff", b"\x99\xff\xff", b"hello", &[0xff; 999]] {
        swallow(garbage);
    }
    let two = [binary.clone(), binary].concat();
    let two = CertificateRecord::new(&CertificateBytes::new(two).unwrap());
    assert!(matches!(two, Err(CertificateError::Count(2))), "{two:?}");
}

#[test]
fn what_was_signed_here_is_not_checked_again() {
    let (own, ring) = (key("gnupg-ed25519/n1"), keyring_of("gnupg-ed25519/n1"));
    let before = ring.signatures().len();
    let signature = ring.sign_with(&own, Purpose::Share, b"m").unwrap();
    assert_eq!(ring.signatures().len(), before + 1);
    assert_eq!(ring.verify(own.id(), Purpose::Share, b"m", &signature), Ok(()));
    assert_eq!(ring.signatures().len(), before + 1, "it was remembered");
    assert!(ring.verify(own.id(), Purpose::Share, b"n", &signature).is_err());
    assert!(ring.verify(own.id(), Purpose::Entry, b"m", &signature).is_err());
}
