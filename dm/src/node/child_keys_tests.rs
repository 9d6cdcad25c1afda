//! Which DS records a delegated zone gets, and from whom.

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::publish::{Access, Responder, Rule, Server, ServerLimits};
use crate::sign::{Checked, Task, Terms};
use crate::zone::{Class, Limits, Zone, ZoneBuilder};

const TTL: u32 = 3_600;

fn name() -> Name {
    "c.".parse().unwrap()
}

/// A key with these flags.
struct Signer {
    pair: Ed25519KeyPair,
    key: Dnskey,
}

fn signer(seed: u8, flags: u16) -> Signer {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let head = [&flags.to_be_bytes()[..], &[3, 15]].concat();
    let rdata = [&head, pair.public_key().as_ref()].concat();
    Signer { pair, key: Dnskey::from_rdata(&rdata).unwrap() }
}

/// The set of these keys, signed by those, from and until then.
fn shown(keys: &[&Signer], by: &[&Signer], (from, until): (u32, u32)) -> (RrSet, RrSet) {
    let rdata = keys.iter().map(|signer| signer.key.rdata()).collect();
    let set = RrSet::new(Rtype::DNSKEY, TTL, rdata).unwrap();
    let terms = Terms::new(from, until, from + 1).unwrap();
    let sign = |signer: &&Signer| {
        let task = Task::new(&name(), &dnskey_key(&name()), &set, &signer.key, &terms);
        let signature = signer.pair.sign(task.message());
        let (_, signed) = task.signed(signature.as_ref(), &Checked::default()).unwrap();
        signed.records().next().unwrap().to_vec()
    };
    let signatures = RrSet::new(Rtype::RRSIG, TTL, by.iter().map(sign).collect()).unwrap();
    (set, signatures)
}

fn ds(signers: &[&Signer]) -> DsSet {
    signers.iter().map(|signer| signer.key.ds(&name())).collect()
}

#[test]
fn a_key_gets_a_record_if_it_signs_and_one_that_has_a_record_signs_too() {
    let (old, new, zsk, revoked) = (signer(1, 257), signer(2, 257), signer(3, 256), signer(4, 385));
    let known = ds(&[&old]);
    let holds = (1_000, 9_000);
    let wants = |keys: &[&Signer], by: &[&Signer], times, at| {
        let (keys, signatures) = shown(keys, by, times);
        wanted(&name(), (&keys, &signatures), &known, at).ok()
    };
    let all = [&old, &new, &zsk, &revoked];
    assert_eq!(wants(&all, &[&old], holds, 5_000), Some(ds(&[&old])), "the new one does not sign");
    assert_eq!(wants(&all, &all, holds, 5_000), Some(ds(&[&old, &new])));
    assert_eq!(wants(&all, &[&new, &zsk], holds, 5_000), None, "nobody vouches for it");
    assert_eq!(wants(&[&new], &[&new], holds, 5_000), None);
    assert_eq!(wants(&[&new], &[&old], holds, 5_000), None, "the key is not among them");
    for at in [999, 9_001] {
        assert_eq!(wants(&all, &all, holds, at), None, "at {at} it does not hold");
    }
    let many: Vec<Signer> = (10..27).map(|seed| signer(seed, 257)).collect();
    let many: Vec<&Signer> = many.iter().collect();
    assert_eq!(wants(&many, &[&old], holds, 5_000), None, "too many keys");
}

#[test]
fn a_changed_set_is_not_taken() {
    let (old, new) = (signer(1, 257), signer(2, 257));
    let (_, signatures) = shown(&[&old], &[&old], (1_000, 9_000));
    let (keys, _) = shown(&[&old, &new], &[&old], (1_000, 9_000));
    assert!(wanted(&name(), (&keys, &signatures), &ds(&[&old]), 5_000).is_err());
}

/// A source that shows the same.
struct Fixed(Arc<Content>);

impl Source for Fixed {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        Ok((7, Arc::clone(&self.0)))
    }
}

fn child_zone(serial: u32, keys: &[&Signer], by: &[&Signer]) -> Arc<Zone> {
    let soa = format!("c. 60 IN SOA c. c. {serial} 1 1 1 1\n");
    let text = soa + "c. 60 IN NS n.c.\nn.c. 60 IN A 192.0.2.1\n";
    let plain = Zone::read(text.as_bytes(), Some(name()), Limits::default()).unwrap();
    let mut builder = ZoneBuilder::new(Some(name()), Limits::default());
    let times = (now() - 1_000, now() + 1_000_000);
    let (keys, signatures) = shown(keys, by, times);
    let plain =
        plain.sets().iter().map(|(key, set)| (key.name().clone(), key.rtype(), set.clone()));
    let more = [(name(), Rtype::DNSKEY, keys), (name(), Rtype::RRSIG, signatures)];
    for (owner, rtype, set) in plain.chain(more) {
        for rdata in set.records() {
            builder.add(None, owner.clone(), (rtype, Class::IN), set.ttl(), rdata).unwrap();
        }
    }
    Arc::new(builder.finish().unwrap())
}

/// The DS records that the source shows once they are these, or after a while.
fn ds_shown(source: &ChildKeys, expected: &DsSet) -> DsSet {
    let mut seen = DsSet::new();
    for _ in 0..200 {
        let (serial, content) = source.read().unwrap();
        assert_eq!(serial, 7);
        seen = ds_in(&content, &name()).unwrap();
        if seen == *expected {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    seen
}

#[tokio::test]
async fn the_records_of_a_delegation_follow_a_change_of_its_keys() {
    let (old, new, forged) = (signer(1, 257), signer(2, 257), signer(3, 257));
    let rule = Rule { from: "127.0.0.1".parse().unwrap(), key: None };
    let responder = Arc::new(Responder::new(name(), Access::new(vec![rule])));
    assert!(responder.publish(child_zone(1, &[&old], &[&old])));
    let any = ([127, 0, 0, 1], 0).into();
    let server = Server::bind(any, Arc::clone(&responder), ServerLimits::default()).await.unwrap();

    let records: String =
        [&old.key.ds_line(&name()), "d. IN DS 1 8 2 AA"].map(|line| format!("{line}\n")).concat();
    let text = format!(
        "$TTL 777\n. IN SOA . . 1 1 1 1 1\n. IN NS n.c.\nc. IN NS n.c.\nd. IN NS n.c.\ne. IN NS n.c.\n{records}",
    );
    let zone = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
    let under = Arc::new(super::super::content_of(&zone).unwrap());
    let server = Primary { address: server.local_addr(), key: None };
    let child = |name: &str| Child { name: name.parse().unwrap(), server: server.clone() };
    // Nobody answers for the second, and the third has no DS records.
    let children = ["c.", "d.", "e."].map(child).to_vec();
    let (before, every) = (Arc::new(Fixed(Arc::clone(&under))), Duration::from_millis(5));
    let source = Arc::new(ChildKeys::new(before, children, every));
    let shows = async |signers: &[&Signer]| {
        let (source, expected) = (Arc::clone(&source), ds(signers));
        let seen = tokio::task::spawn_blocking(move || (ds_shown(&source, &expected), expected));
        let (seen, expected) = seen.await.unwrap();
        assert_eq!(seen, expected);
    };
    shows(&[&old]).await;
    assert!(responder.publish(child_zone(2, &[&old, &new], &[&old, &new])));
    shows(&[&old, &new]).await;
    let (_, content) = source.read().unwrap();
    let delta: Vec<_> = under.delta_to(&content).into_iter().collect();
    let [(place, Some(value))] = delta.as_slice() else { panic!("{delta:?}") };
    assert_eq!(
        (Some(place.clone()), &value[..4]),
        (place_of(&ds_key(&name())), &777u32.to_be_bytes()[..])
    );
    let (_, again) = source.read().unwrap();
    assert!(Arc::ptr_eq(&content, &again), "nothing new is the same content");
    // Somebody else's keys change nothing; the end of the change does.
    assert!(responder.publish(child_zone(3, &[&forged], &[&forged])));
    tokio::time::sleep(Duration::from_millis(100)).await;
    shows(&[&old, &new]).await;
    assert!(responder.publish(child_zone(4, &[&new], &[&new])));
    shows(&[&new]).await;
}
