//! Properties that every scheme has.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_threshold::{
    Error, KeyShare, Offence, Party, Roster, Scheme, Session, Step, ecdsa, group_key_from_bytes,
    key_share_from_bytes,
};
use proptest::prelude::*;

use crate::support::{
    boxed, finish, honest, keys, messages, partials, party, rng, session, shapes, signatures,
};

fn of<'a>(shares: &'a [Box<dyn KeyShare>], subset: &[usize]) -> Vec<&'a dyn KeyShare> {
    subset.iter().map(|i| &*shares[*i]).collect()
}

/// For every (k, n) to 13 and every size of a subset: k and more sign, fewer do not. The subset of
/// each size is another one each time.
#[test]
fn k_parties_sign_and_fewer_do_not() {
    for (round, (k, n)) in shapes().enumerate() {
        for shares in keys(n, k, round as u64) {
            let key = shares[0].group();
            let scheme = key.scheme();
            for size in 1..=usize::from(n) {
                let subset: Vec<usize> =
                    (0..size).map(|i| (i * 5 + round + size) % usize::from(n)).collect();
                let distinct: BTreeSet<_> = subset.iter().copied().collect();
                let subset: Vec<usize> = if distinct.len() == size {
                    subset
                } else {
                    (0..size).map(|i| (i + round) % usize::from(n)).collect()
                };
                let signers = of(&shares, &subset);
                if size >= k {
                    let signatures = signatures(&signers, messages(1), round as u64);
                    assert!(key.verify(b"message 0", &signatures[0]), "{scheme:?} {k} of {n}");
                    assert!(!key.verify(b"message 1", &signatures[0]));
                    continue;
                }
                let (session, nonces) = session(&signers, messages(1), 1).unwrap();
                let Ok(mut combiner) = key.combiner(&session) else {
                    assert_eq!(scheme, Scheme::Ed25519);
                    assert!(signers[0].sign(nonces.into_iter().next().unwrap(), &session).is_err());
                    continue;
                };
                for (signer, nonces) in signers.iter().zip(nonces) {
                    let bytes = signer.sign(nonces, &session).unwrap();
                    combiner.add(signer.party(), &bytes).unwrap();
                    assert!(combiner.add(signer.party(), &bytes).is_err(), "counted twice");
                }
                assert_eq!(combiner.step().unwrap(), Step::Wait { more: k - size });
            }
        }
    }
}

/// How one party misbehaves.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Honest,
    Silent,
    FlipsABit(usize),
    CutsShort(usize),
    SendsMore,
    SendsAnothersBytes,
    SendsOfAnotherKey,
}

impl Behaviour {
    fn is_lie(self) -> bool {
        !matches!(self, Self::Honest | Self::Silent)
    }
}

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        3 => Just(Behaviour::Honest),
        1 => Just(Behaviour::Silent),
        2 => any::<usize>().prop_map(Behaviour::FlipsABit),
        1 => any::<usize>().prop_map(Behaviour::CutsShort),
        1 => Just(Behaviour::SendsMore),
        1 => Just(Behaviour::SendsAnothersBytes),
        1 => Just(Behaviour::SendsOfAnotherKey),
    ]
}

/// What the party sends, given what all should.
fn misbehave(
    how: Behaviour,
    who: Party,
    sent: &BTreeMap<Party, Vec<u8>>,
    other_key: &BTreeMap<Party, Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut bytes = sent[&who].clone();
    match how {
        Behaviour::Honest => {}
        Behaviour::Silent => return None,
        Behaviour::FlipsABit(at) => {
            let at = at % (bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        }
        Behaviour::CutsShort(at) => bytes.truncate(at % bytes.len()),
        Behaviour::SendsMore => bytes.push(0),
        Behaviour::SendsAnothersBytes => {
            bytes = sent.iter().find(|(party, _)| **party != who).unwrap().1.clone();
        }
        Behaviour::SendsOfAnotherKey => bytes.clone_from(&other_key[&who]),
    }
    Some(bytes)
}

/// Runs sessions until one succeeds, as an embedding program does: the liars of one are not asked
/// in the next.
fn sign_among(
    shares: &[Box<dyn KeyShare>],
    others: &[Box<dyn KeyShare>],
    behaviours: &[Behaviour],
    seed: u64,
) -> Result<(), TestCaseError> {
    let key = shares[0].group();
    let k = key.roster().threshold();
    let behaves = |party: Party| behaviours[usize::from(party.number()) - 1];
    let mut out: BTreeSet<Party> = BTreeSet::new();
    for attempt in 0..=shares.len() as u64 {
        let signers = shares.iter().filter(|share| !out.contains(&share.party()));
        let mut signers: Vec<&dyn KeyShare> = signers.map(|share| &**share).collect();
        if key.scheme() == Scheme::Ed25519 {
            signers.truncate(k);
        }
        let honest_left = signers.iter().filter(|s| !behaves(s.party()).is_lie()).count();
        if signers.len() < k {
            // The liars and the silent were too many; that is all that can be wrong.
            let honest = behaviours.iter().filter(|b| matches!(b, Behaviour::Honest)).count();
            prop_assert!(honest < k, "{honest} honest of {k} did not sign ({honest_left})");
            return Ok(());
        }
        let seed = seed.wrapping_add(attempt * 1000);
        let (session, right) = partials(&signers, messages(2), seed);
        let theirs = signers.iter().map(|s| &*others[usize::from(s.party().number()) - 1]);
        let (_, other_key) = partials(&theirs.collect::<Vec<_>>(), messages(2), seed);
        let sent: BTreeMap<Party, Vec<u8>> = right
            .keys()
            .filter_map(|who| Some((*who, misbehave(behaves(*who), *who, &right, &other_key)?)))
            .collect();
        let mut combiner = key.combiner(&session).unwrap();
        let mut end = finish(&mut *combiner, &sent, &mut honest(shares, &session));
        for party in end.culprits.keys() {
            prop_assert!(behaves(*party).is_lie(), "{party} is framed");
        }
        if let Step::Wait { .. } = end.last {
            right.keys().filter(|who| !sent.contains_key(who)).for_each(|w| combiner.give_up(*w));
            out.extend(right.keys().filter(|who| !sent.contains_key(who)));
            end.last = combiner.step().unwrap();
        }
        match end.last {
            Step::Done(signatures) => {
                for (message, signature) in messages(2).iter().zip(&signatures) {
                    prop_assert!(key.verify(message, signature));
                }
                return Ok(());
            }
            Step::Restart | Step::Wait { .. } => {
                // Somebody who lied is named, so that the next session is better. Not all need be: who
                // spoiled another message of the batch is found when it is that one's turn.
                let named: BTreeSet<Party> = end.culprits.keys().copied().collect();
                prop_assert!(sent.len() < right.len() || !named.is_empty());
                out.extend(named);
            }
            _ => prop_assert!(false, "{:?}", end.last),
        }
    }
    prop_assert!(false, "no end");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..Default::default() })]

    /// Whatever the parties do: if k are honest, there is a signature; somebody who spoils a session
    /// is named; and nobody honest ever is.
    #[test]
    fn liars_are_named_and_the_honest_sign(
        shape in 0..shapes().count(),
        behaviours in prop::collection::vec(behaviour(), 13),
        seed in any::<u64>(),
    ) {
        let (k, n) = shapes().nth(shape).unwrap();
        for (shares, others) in keys(n, k, seed).iter().zip(&keys(n, k, seed ^ 1)) {
            sign_among(shares, others, &behaviours[..usize::from(n)], seed)?;
        }
    }
}

#[test]
fn who_is_no_party_is_not_heard() {
    for shares in keys(4, 2, 1) {
        let key = shares[0].group();
        let (session, sent) = partials(&of(&shares, &[0, 1]), messages(1), 1);
        let mut combiner = key.combiner(&session).unwrap();
        let bytes = &sent[&party(1)];
        assert_eq!(Party::new(0), Err(Error::NoSuchParty(0)));
        assert_eq!(combiner.add(party(5), bytes), Err(Error::NoSuchParty(5)));
        assert_eq!(combiner.add(party(255), bytes), Err(Error::NoSuchParty(255)));
        assert_eq!(key.check_commitments(party(5), &[], 1), Err(Error::NoSuchParty(5)));
        combiner.add(party(1), bytes).unwrap();
        // A second, different word of the same party: the first counts, and is right.
        let mut other = bytes.clone();
        other[3] ^= 1;
        assert_eq!(combiner.add(party(1), &other), Err(Error::Repeated(party(1))));
        combiner.add(party(2), &sent[&party(2)]).unwrap();
        assert!(matches!(combiner.step().unwrap(), Step::Done(_)));
        assert!(combiner.culprits().is_empty());
    }
}

#[test]
fn nothing_of_another_key_is_signed_or_combined() {
    for (shares, others) in keys(4, 2, 1).iter().zip(&keys(4, 2, 2)) {
        let (session, nonces) = session(&of(shares, &[0, 1]), messages(1), 1).unwrap();
        assert_eq!(others[0].group().combiner(&session).unwrap_err(), Error::OtherKey);
        let own = others[0].commit(1, &mut rng(1)).unwrap().0;
        assert_eq!(others[0].sign(own, &session).unwrap_err(), Error::OtherKey);
        let foreign = others[0].commit(1, &mut rng(1)).unwrap().0;
        assert_eq!(shares[0].sign(foreign, &session).unwrap_err(), Error::OtherKey);
        drop(nonces);
    }
}

#[test]
fn nonces_of_another_session_do_not_sign() {
    let [_, shares] = keys(4, 2, 1);
    let signers = of(&shares, &[0, 1]);
    let (one, nonces) = session(&signers, messages(2), 1).unwrap();
    let (_, others) = session(&signers, messages(2), 2).unwrap();
    let (short, _) = session(&signers, messages(1), 1).unwrap();
    let mut others = others.into_iter();
    let mut nonces = nonces.into_iter();
    assert_eq!(shares[0].sign(others.next().unwrap(), &one).unwrap_err(), Error::OtherNonces);
    assert_eq!(shares[1].sign(nonces.next().unwrap(), &one).unwrap_err(), Error::OtherNonces);
    assert_eq!(shares[1].sign(nonces.next().unwrap(), &short).unwrap_err(), Error::BatchSize);
    // Not a signer of the session.
    let outside = shares[2].commit(2, &mut rng(1)).unwrap().0;
    assert_eq!(shares[2].sign(outside, &one).unwrap_err(), Error::OtherNonces);
}

#[test]
fn wrong_commitments_are_found_before_the_session() {
    for shares in keys(4, 2, 1) {
        let key = shares[0].group();
        let right = shares[0].commit(2, &mut rng(1)).unwrap().1;
        key.check_commitments(party(1), &right, 2).unwrap();
        let mut wrong = vec![[&right[..], &[0]].concat()];
        if !right.is_empty() {
            wrong.push(right[..right.len() - 1].to_vec());
            wrong.push(right[..right.len() / 2].to_vec());
            // The identity, a point of small order, and no point at all.
            for point in [1u8, 0xec, 2] {
                let mut bytes = right.clone();
                bytes[..32].fill(if point == 0xec { 0xff } else { 0 });
                bytes[0] = point;
                bytes[31] = if point == 0xec { 0x7f } else { 0 };
                wrong.push(bytes);
            }
        }
        for bytes in wrong {
            let caught = Error::Caught { party: party(1), offence: Offence::Malformed };
            assert_eq!(key.check_commitments(party(1), &bytes, 2), Err(caught));
        }
    }
}

#[test]
fn a_share_comes_back_as_it_was_written() {
    for shares in keys(7, 4, 1) {
        let copies: Vec<_> = shares
            .iter()
            .map(|share| {
                let bytes = share.to_secret_bytes();
                let copy = key_share_from_bytes(&bytes).unwrap();
                assert_eq!(copy.to_secret_bytes(), bytes);
                assert_eq!((copy.party(), copy.group().id()), (share.party(), share.group().id()));
                copy
            })
            .collect();
        signatures(&of(&copies, &[6, 0, 3, 5]), messages(1), 1);
    }
}

#[test]
fn a_share_shows_nothing_when_it_is_printed() {
    for shares in keys(4, 2, 1) {
        let nonces = shares[0].commit(1, &mut rng(1)).unwrap().0;
        let shown = format!("{:?} {nonces:?}", shares[0]);
        assert!(shown.contains("party: Party(1)"), "{shown}");
        // Names, a party's number and two hashes.
        let hashes = format!("{:?}", shares[0].group().id());
        let rest = shown.replace(&hashes, "");
        assert!(rest.len() < 200 && !rest.contains("secret"), "{rest}");
        let longest = rest.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
        assert!(longest.unwrap() < 9, "{rest}");
    }
}

/// Every truncation, every flipped bit and trailing bytes: an error, never another share, and
/// never a panic.
#[test]
fn a_damaged_share_is_refused() {
    for shares in keys(4, 2, 1) {
        let bytes = shares[0].to_secret_bytes();
        for length in 0..bytes.len() {
            assert!(key_share_from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        assert!(key_share_from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        // Every bit, or where that takes long those of the head and some of each number.
        let all = shares[0].group().scheme() == Scheme::Ed25519;
        for at in (0..bytes.len()).filter(|at| all || *at < 12 || at % 13 == 0) {
            for bit in if all || at < 12 { 0..8 } else { at % 8..at % 8 + 1 } {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let read = key_share_from_bytes(&damaged);
                assert!(read.is_err(), "byte {at}, bit {bit}: {:?}", read.unwrap());
            }
        }
    }
}

#[test]
fn a_session_without_a_message_or_with_commitments_of_too_few_is_refused() {
    let [_, shares] = keys(4, 2, 1);
    let key = shares[0].group();
    let (nonces, bytes) = shares[0].commit(1, &mut rng(1)).unwrap();
    let one = BTreeMap::from([(party(1), bytes)]);
    let session = Session::new(key.id(), messages(1), one).unwrap();
    let too_few = Error::TooFew { have: 1, need: 2 };
    assert_eq!(key.combiner(&session).unwrap_err(), too_few);
    assert_eq!(shares[0].sign(nonces, &session).unwrap_err(), too_few);
    assert_eq!(shares[0].commit(0, &mut rng(1)).unwrap_err(), Error::BatchSize);
}

#[test]
fn a_public_key_is_read_as_written_and_in_no_other_way() {
    let roster = Roster::first(4, 2).unwrap();
    let ecdsa = boxed(ecdsa::deal(&roster, &mut rng(1)).unwrap());
    for shares in keys(4, 2, 1).into_iter().chain([ecdsa]) {
        let key = shares[0].group();
        let bytes = key.to_bytes();
        let copy = group_key_from_bytes(&bytes).unwrap();
        assert_eq!((copy.id(), copy.scheme()), (key.id(), key.scheme()));
        assert_eq!((copy.roster(), copy.to_bytes()), (key.roster(), bytes.clone()));
        for length in 0..bytes.len() {
            assert!(group_key_from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        assert!(group_key_from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        // A share is no key, and a key no share.
        assert!(group_key_from_bytes(&shares[0].to_secret_bytes()).is_err());
        assert!(key_share_from_bytes(&bytes).is_err());
        for scheme in 0..=255 {
            let mut other = bytes.clone();
            other[0] = scheme;
            assert_eq!(group_key_from_bytes(&other).is_ok(), scheme == key.scheme() as u8);
        }
    }
}
