//! Which DS records a delegated zone gets, and from whom.

use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::publish::{Access, Responder, Rule, Server, ServerLimits};
use crate::sign::{Checked, Task, Terms};
use crate::sign::{Dnskey, dnskey_key};
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
        Vouched::by(&known, &name(), (&keys, &signatures), at).ok().map(|vouched| vouched.ds)
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
    assert!(Vouched::by(&ds(&[&old]), &name(), (&keys, &signatures), 5_000).is_err());
}

#[test]
fn only_who_is_known_says_when_it_was_signed() {
    let (old, new) = (signer(1, 257), signer(2, 257));
    let (keys, first) = shown(&[&old, &new], &[&old, &new], (1_000, 9_000));
    let (_, later) = shown(&[&old, &new], &[&old], (2_000, 9_000));
    let both = first.records().chain(later.records()).map(<[u8]>::to_vec).collect();
    let signatures = RrSet::new(Rtype::RRSIG, TTL, both).unwrap();
    let signed = |known: &[&Signer]| {
        Vouched::by(&ds(known), &name(), (&keys, &signatures), 5_000).unwrap().signed
    };
    assert_eq!(signed(&[&old]), 2_000);
    // The key that was given up was stolen, and signs what the new one once signed.
    assert_eq!(signed(&[&new]), 1_000);
    assert_eq!(signed(&[&old, &new]), 2_000);
}

/// A source that shows this.
struct Shown(Mutex<Arc<Content>>);

impl Source for Shown {
    fn read(&self) -> Result<(u32, Arc<Content>), String> {
        Ok((7, Arc::clone(&lock(&self.0))))
    }
}

/// A zone with the delegations c, which has DS records for these keys, d, which has one for a key
/// that nobody has, and e, which has none.
fn parent(signers: &[&Signer]) -> Arc<Content> {
    let records: String = signers.iter().map(|signer| signer.key.ds_line(&name()) + "\n").collect();
    let text = format!(
        "$TTL 777\n. IN SOA . . 1 1 1 1 1\n. IN NS n.c.\nc. IN NS n.c.\nd. IN NS n.c.\ne. IN NS n.c.\n\
         d. IN DS 1 8 2 AA\n{records}",
    );
    let zone = Zone::read(text.as_bytes(), Some(Name::root()), Limits::default()).unwrap();
    Arc::new(super::super::content_of(&zone).unwrap())
}

/// What c shows: these keys, signed by those, so many seconds ago.
fn child_zone(serial: u32, keys: &[&Signer], by: &[&Signer], ago: u32) -> Arc<Zone> {
    let soa = format!("c. 60 IN SOA c. c. {serial} 1 1 1 1\n");
    let text = soa + "c. 60 IN NS n.c.\nn.c. 60 IN A 192.0.2.1\n";
    let plain = Zone::read(text.as_bytes(), Some(name()), Limits::default()).unwrap();
    let mut builder = ZoneBuilder::new(Some(name()), Limits::default());
    let times = (now() - ago, now() + 1_000_000);
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

/// A server of c, and the source that follows it.
struct World {
    responder: Arc<Responder>,
    server: Server,
    under: Arc<Shown>,
    folder: tempfile::TempDir,
    serial: u32,
}

impl World {
    async fn new(in_the_source: &[&Signer]) -> Self {
        let rule = Rule { from: "127.0.0.1".parse().unwrap(), key: None };
        let responder = Arc::new(Responder::new(name(), Access::new(vec![rule])));
        let any = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(any, Arc::clone(&responder), ServerLimits::default());
        let under = Arc::new(Shown(Mutex::new(parent(in_the_source))));
        let folder = tempfile::tempdir().unwrap();
        Self { responder, server: server.await.unwrap(), under, folder, serial: 0 }
    }

    /// As after a start of the DM.
    fn source(&self) -> Arc<ChildKeys> {
        let server = Primary { address: self.server.local_addr(), key: None };
        let child = |name: &str| Child { name: name.parse().unwrap(), server: server.clone() };
        let children = ["c.", "d.", "e."].map(child).to_vec();
        let under = Arc::clone(&self.under) as Arc<dyn Source>;
        let every = Duration::from_millis(5);
        let kept = self.folder.path().join("children");
        Arc::new(ChildKeys::new(under, children, every, kept).unwrap())
    }

    fn show(&mut self, keys: &[&Signer], by: &[&Signer], ago: u32) {
        self.serial += 1;
        assert!(self.responder.publish(child_zone(self.serial, keys, by, ago)));
    }
}

/// Reads until it is so, or for a while, beside the server.
async fn until(source: &Arc<ChildKeys>, is_so: impl Fn(&ChildKeys, &Content) -> bool) {
    for _ in 0..500 {
        let read = Arc::clone(source);
        let read = tokio::task::spawn_blocking(move || read.read()).await.unwrap();
        let (serial, content) = read.unwrap();
        assert_eq!(serial, 7);
        if is_so(source, &content) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", source.notes());
}

async fn shows(source: &Arc<ChildKeys>, signers: &[&Signer]) {
    let expected = ds(signers);
    until(source, |_, content| ds_in(content, &name()).unwrap() == expected).await;
}

/// The next answer is not taken, for that reason, and the records stay.
async fn refuses(source: &Arc<ChildKeys>, reason: &str, signers: &[&Signer]) {
    until(source, |source, _| {
        source.notes().iter().any(|note| note.starts_with("c.: ") && note.contains(reason))
    })
    .await;
    let (_, content) = source.read().unwrap();
    assert_eq!(ds_in(&content, &name()).unwrap(), ds(signers));
}

#[tokio::test]
async fn the_records_of_a_delegation_follow_a_change_of_its_keys() {
    let (old, new, forged) = (signer(1, 257), signer(2, 257), signer(3, 257));
    let mut world = World::new(&[&old]).await;
    world.show(&[&old], &[&old], 4_000);
    let source = world.source();
    shows(&source, &[&old]).await;
    world.show(&[&old, &new], &[&old, &new], 3_000);
    shows(&source, &[&old, &new]).await;
    let (_, content) = source.read().unwrap();
    let delta: Vec<_> = parent(&[&old]).delta_to(&content).into_iter().collect();
    let [(place, Some(value))] = delta.as_slice() else { panic!("{delta:?}") };
    assert_eq!(
        (Some(place.clone()), &value[..4]),
        (place_of(&ds_key(&name())), &777u32.to_be_bytes()[..])
    );
    let (_, again) = source.read().unwrap();
    assert!(Arc::ptr_eq(&content, &again), "nothing new is the same content");
    // Somebody else's keys change nothing; the end of the change does.
    world.show(&[&forged], &[&forged], 2_500);
    refuses(&source, "no key that a DS record names", &[&old, &new]).await;
    world.show(&[&new], &[&new], 2_000);
    shows(&source, &[&new]).await;
    // What is not taken is said, for each delegation.
    until(&source, |source, _| source.notes().len() == 2).await;
    let notes = source.notes();
    assert!(notes[0].starts_with("d.: ") && notes[1].starts_with("e.: "), "{notes:?}");
    assert!(notes[1].contains("no DS record"), "{notes:?}");
}

/// What was to follow was in the source all the time.
#[tokio::test]
async fn a_record_of_a_key_that_is_still_to_come_stays() {
    let (old, new) = (signer(1, 257), signer(2, 257));
    let mut world = World::new(&[&old, &new]).await;
    world.show(&[&old], &[&old], 4_000);
    let source = world.source();
    until(&source, |_, _| world.folder.path().join("children").exists()).await;
    shows(&source, &[&old, &new]).await;
    world.show(&[&new], &[&new], 3_000);
    shows(&source, &[&new]).await;
}

/// The source still names the old key, whose sets still hold.
#[tokio::test]
async fn an_older_set_is_not_accepted_again_also_after_a_restart() {
    let (old, new) = (signer(1, 257), signer(2, 257));
    let mut world = World::new(&[&old]).await;
    let mut source = world.source();
    for (keys, ago) in [(&[&old, &new][..], 3_000), (&[&new], 2_000)] {
        world.show(keys, keys, ago);
        shows(&source, keys).await;
    }
    for _ in 0..2 {
        world.show(&[&old], &[&old], 4_000);
        refuses(&source, "no key that a DS record names", &[&new]).await;
        world.show(&[&old, &new], &[&old, &new], 3_000);
        refuses(&source, "signed before", &[&new]).await;
        // Once more without asking anybody, from the first reading on.
        source = world.source();
        let (_, content) = source.read().unwrap();
        assert_eq!(ds_in(&content, &name()).unwrap(), ds(&[&new]));
    }
    // Whoever has the new key may take the old one back.
    world.show(&[&old, &new], &[&old, &new], 1_000);
    shows(&source, &[&old, &new]).await;
}

#[tokio::test]
async fn a_change_in_the_source_goes_first() {
    let (old, new, other) = (signer(1, 257), signer(2, 257), signer(3, 257));
    let mut world = World::new(&[&old]).await;
    let source = world.source();
    world.show(&[&old, &new], &[&old, &new], 3_000);
    shows(&source, &[&old, &new]).await;
    // The server shows nothing any more that would be accepted.
    world.show(&[&other], &[&other], 2_000);
    refuses(&source, "no key", &[&old, &new]).await;
    *lock(&world.under.0) = parent(&[&new]);
    let (_, content) = source.read().unwrap();
    assert_eq!(ds_in(&content, &name()).unwrap(), ds(&[&new]));
    // An older set does not come back with it.
    world.show(&[&old, &new], &[&old, &new], 3_500);
    refuses(&source, "signed before", &[&new]).await;
    // And when it is as it was once, nothing of then is left, on disk neither.
    *lock(&world.under.0) = parent(&[&old]);
    for source in [source, world.source()] {
        let (_, content) = source.read().unwrap();
        assert_eq!(ds_in(&content, &name()).unwrap(), ds(&[&old]));
    }
    // Without DS records it is not followed.
    *lock(&world.under.0) = parent(&[]);
    let source = world.source();
    refuses_without_records(&source).await;
}

async fn refuses_without_records(source: &Arc<ChildKeys>) {
    until(source, |source, content| {
        ds_in(content, &name()).is_none()
            && source.notes().iter().any(|note| note.starts_with("c.") && note.contains("no DS"))
    })
    .await;
}
