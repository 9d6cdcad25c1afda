//! Threshold ECDSA P-256: presigning with liars, ordinary verifiers, one use of each presignature.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_threshold::ecdsa::{
    self, EcdsaKey, EcdsaShare, Presign, PresignDealt, PresignProven, PresignShared, Presignatures,
    first_dealing_is_right, second_dealing_is_right,
};
use bftkv_threshold::{
    Error, GroupKey, KeyShare, MAX_BATCH, Nonces, Offence, Party, Roster, SecretBytes, Session,
    Step, key_share_from_bytes,
};

use crate::support::{der, finish, has_openssl, messages, openssl_accepts, party, rng, shapes};

type Packages = BTreeMap<Party, Vec<u8>>;
type Sealed = BTreeMap<Party, BTreeMap<Party, SecretBytes>>;

fn deal(n: u8, k: usize) -> Vec<EcdsaShare> {
    ecdsa::deal(&Roster::first(n, k).unwrap(), &mut rng(1)).unwrap()
}

fn caught<T>(result: Result<T, Error>) -> (u8, Offence) {
    match result.map(|_| ()) {
        Err(Error::Caught { party, offence }) => (party.number(), offence),
        other => panic!("{other:?}"),
    }
}

/// What each has dealt, by receiver.
fn turn(dealt: Vec<(Party, BTreeMap<Party, SecretBytes>)>) -> Sealed {
    let mut by_receiver = Sealed::new();
    for (from, shares) in dealt {
        for (to, share) in shares {
            by_receiver.entry(to).or_default().insert(from, share);
        }
    }
    by_receiver
}

fn start(shares: &[&EcdsaShare], count: usize, seed: u64) -> (Vec<Presign>, Packages) {
    let mut rng = rng(seed);
    let (mut parts, mut packages) = (Vec::new(), Packages::new());
    for share in shares {
        let (part, package) = share.presign(count, &mut rng).unwrap();
        parts.push(part);
        packages.insert(share.party(), package);
    }
    (parts, packages)
}

fn shared(
    shares: &[&EcdsaShare],
    count: usize,
    seed: u64,
) -> (Vec<PresignShared>, Sealed, Packages) {
    let (parts, packages) = start(shares, count, seed);
    let (mut waiting, mut dealt) = (Vec::new(), Vec::new());
    for (share, part) in shares.iter().zip(parts) {
        let (part, theirs) = part.deal(&packages).unwrap();
        waiting.push(part);
        dealt.push((share.party(), theirs));
    }
    (waiting, turn(dealt), packages)
}

fn proven(shares: &[&EcdsaShare], count: usize, seed: u64) -> (Vec<PresignProven>, Packages) {
    let (parts, sealed, _) = shared(shares, count, seed);
    let mut rng = rng(seed + 1);
    let (mut waiting, mut packages) = (Vec::new(), Packages::new());
    for (share, part) in shares.iter().zip(parts) {
        let (part, package) = part.prove(&sealed[&share.party()], &mut rng).unwrap();
        waiting.push(part);
        packages.insert(share.party(), package);
    }
    (waiting, packages)
}

fn dealt(shares: &[&EcdsaShare], count: usize, seed: u64) -> (Vec<PresignDealt>, Sealed, Packages) {
    let (parts, packages) = proven(shares, count, seed);
    let (mut waiting, mut dealt) = (Vec::new(), Vec::new());
    for (share, part) in shares.iter().zip(parts) {
        let (part, theirs) = part.deal(&packages).unwrap();
        waiting.push(part);
        dealt.push((share.party(), theirs));
    }
    (waiting, turn(dealt), packages)
}

fn presign(shares: &[&EcdsaShare], count: usize, seed: u64) -> Vec<Presignatures> {
    let (waiting, sealed, _) = dealt(shares, count, seed);
    let transcripts: BTreeSet<_> = waiting.iter().map(PresignDealt::transcript).collect();
    assert_eq!(transcripts.len(), 1);
    let each = shares.iter().zip(waiting);
    each.map(|(share, part)| part.finish(&sealed[&share.party()]).unwrap()).collect()
}

/// A session with the next presignatures of these signers.
fn session(
    key: &EcdsaKey,
    signers: &mut [(&EcdsaShare, &mut Presignatures)],
    messages: Vec<Vec<u8>>,
) -> (Session, Vec<Nonces>) {
    let (mut all, mut commitments) = (Vec::new(), BTreeMap::new());
    for (share, presignatures) in signers {
        let first = presignatures.next();
        let (nonces, bytes) = presignatures.take(first, messages.len()).unwrap();
        key.check_commitments(share.party(), &bytes, messages.len()).unwrap();
        all.push(nonces);
        commitments.insert(share.party(), bytes);
    }
    (Session::new(key.id(), messages, commitments).unwrap(), all)
}

/// All parties presign and give their partial signatures.
fn signed(shares: &[EcdsaShare], count: usize, seed: u64) -> (Session, Packages) {
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let mut presignatures = presign(&all, count, seed);
    let mut signers: Vec<_> = shares.iter().zip(&mut presignatures).collect();
    let (session, nonces) = session(shares[0].public(), &mut signers, messages(count));
    let sent = shares.iter().zip(nonces);
    let sent = sent.map(|(share, nonces)| (share.party(), share.sign(nonces, &session).unwrap()));
    let sent = sent.collect();
    (session, sent)
}

fn done(step: Step) -> Vec<Vec<u8>> {
    match step {
        Step::Done(signatures) => signatures,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ordinary_verifiers_accept_what_the_parties_sign() {
    let shares = deal(7, 3);
    let key = shares[0].public();
    let (session, sent) = signed(&shares, 2, 2);
    let mut combiner = key.combiner(&session).unwrap();
    let end = finish(&mut *combiner, &sent, &mut |_, _| unreachable!());
    let signature = &done(end.last)[1];
    assert_eq!(signature.len(), 64);
    assert!(key.verify(b"message 1", signature) && !key.verify(b"message 0", signature));
    if has_openssl() {
        let integer = |bytes: &[u8]| {
            let start = bytes.iter().position(|byte| *byte != 0).unwrap();
            let sign = if bytes[start] & 0x80 == 0 { vec![] } else { vec![0] };
            der(2, &[&sign, &bytes[start..]].concat())
        };
        let encoded = der(0x30, &[integer(&signature[..32]), integer(&signature[32..])].concat());
        // id-ecPublicKey, prime256v1.
        let curve = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d];
        let algorithm = der(0x30, &[&curve[..], &[3, 1, 7]].concat());
        let bits = [&[0, 4][..], &key.verifying_key()].concat();
        let public = der(0x30, &[algorithm, der(3, &bits)].concat());
        assert!(openssl_accepts(&public, b"message 1", &encoded, false));
        assert!(!openssl_accepts(&public, b"message 0", &encoded, false));
    }
}

/// For every (k, n) to 13 that presigning allows: each size of a subset.
#[test]
fn k_parties_sign_and_fewer_do_not() {
    let mut seen = 0;
    for (round, (k, n)) in shapes().enumerate() {
        let roster = Roster::first(n, k).unwrap();
        let possible = 2 * k - 1 <= roster.size() - roster.faults();
        assert_eq!(ecdsa::deal(&roster, &mut rng(1)).is_ok(), possible, "{k} of {n}");
        if !possible {
            continue;
        }
        seen += 1;
        let shares = deal(n, k);
        let (session, sent) = signed(&shares, 1, round as u64);
        let key = shares[0].public();
        for size in 1..=usize::from(n) {
            let mut combiner = key.combiner(&session).unwrap();
            let parties: Vec<Party> = sent.keys().copied().collect();
            for i in 0..size {
                let who = parties[(i + round) % parties.len()];
                combiner.add(who, &sent[&who]).unwrap();
                assert_eq!(combiner.add(who, &sent[&who]), Err(Error::Repeated(who)));
            }
            match combiner.step().unwrap() {
                Step::Done(signatures) => {
                    assert!(size >= k && key.verify(b"message 0", &signatures[0]));
                }
                other => assert_eq!(other, Step::Wait { more: k - size }),
            }
        }
    }
    assert!(seen > 10);
}

#[test]
fn every_subset_of_k_gives_a_signature_of_the_same_presignature() {
    let shares = deal(5, 2);
    let (session, sent) = signed(&shares, 1, 3);
    let mut all = BTreeSet::new();
    for one in 1..=5 {
        for two in 1..one {
            let mut combiner = shares[0].public().combiner(&session).unwrap();
            for number in [one, two] {
                combiner.add(party(number), &sent[&party(number)]).unwrap();
            }
            all.insert(done(combiner.step().unwrap()));
        }
    }
    assert_eq!(all.len(), 1);
}

#[test]
fn liars_are_named_and_the_others_sign() {
    let shares = deal(7, 3);
    let key = shares[0].public();
    let (session, right) = signed(&shares, 2, 4);
    // Each lies about another number of another message; one sends another's bytes.
    for at in [0, 31, 32, 64, 127, 128, 255] {
        let mut sent = right.clone();
        sent.get_mut(&party(1)).unwrap()[at] ^= 1;
        let of_another = right[&party(2)].clone();
        sent.insert(party(3), of_another);
        let mut combiner = key.combiner(&session).unwrap();
        let end = finish(&mut *combiner, &sent, &mut |_, _| unreachable!());
        assert!(done(end.last).iter().zip(messages(2)).all(|(s, m)| key.verify(&m, s)));
        let named: BTreeSet<u8> = end.culprits.keys().map(|party| party.number()).collect();
        // A wrong blind does not spoil the signature, so nobody looks.
        let blind_only = [32, 127].contains(&at);
        assert!(named.contains(&3) && named.len() <= 2, "{at}: {named:?}");
        assert!(named.iter().all(|who| [1, 3].contains(who)));
        assert!(blind_only || named.contains(&1) || at > 255, "{at}: {named:?}");
    }
    let mut combiner = key.combiner(&session).unwrap();
    let bytes = &right[&party(1)];
    for wrong in [&bytes[..255], &[&bytes[..], &[0]].concat(), &[0xff; 256]] {
        let mut combiner = key.combiner(&session).unwrap();
        assert_eq!(caught(combiner.add(party(1), wrong)), (1, Offence::Malformed));
    }
    assert_eq!(combiner.add(party(8), bytes), Err(Error::NoSuchParty(8)));
}

#[test]
fn a_wrong_package_names_its_sender() {
    let shares = deal(4, 2);
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let first = |change: &dyn Fn(&mut Packages)| {
        let (parts, mut packages) = start(&all, 1, 1);
        change(&mut packages);
        parts.into_iter().next().unwrap().deal(&packages).map(|_| ())
    };
    let longer = |p: &mut Packages| p.get_mut(&party(3)).unwrap().push(0);
    assert_eq!(caught(first(&longer)), (3, Offence::Malformed));
    let shorter = |p: &mut Packages| p.get_mut(&party(3)).unwrap().truncate(100);
    assert_eq!(caught(first(&shorter)), (3, Offence::Malformed));
    let missing = |p: &mut Packages| drop((p.remove(&party(3)), p.remove(&party(4))));
    assert_eq!(first(&missing), Err(Error::TooFew { have: 2, need: 3 }));
    let ours = |p: &mut Packages| drop(p.remove(&party(1)));
    assert_eq!(first(&ours), Err(Error::OtherNonces));
    let stranger = |p: &mut Packages| drop(p.insert(party(9), p[&party(2)].clone()));
    assert_eq!(first(&stranger), Err(Error::NoSuchParty(9)));
    let own = |p: &mut Packages| drop(p.insert(party(1), p[&party(2)].clone()));
    assert_eq!(first(&own), Err(Error::OtherNonces));

    let second = |change: &dyn Fn(&mut Packages)| {
        let (parts, mut packages) = proven(&all, 1, 1);
        change(&mut packages);
        parts.into_iter().next().unwrap().deal(&packages).map(|_| ())
    };
    second(&|_| ()).unwrap();
    let longer = |p: &mut Packages| p.get_mut(&party(3)).unwrap().push(0);
    assert_eq!(caught(second(&longer)), (3, Offence::Malformed));
    // Everything of another party: right for that one, wrong under this name.
    let copied = |p: &mut Packages| drop(p.insert(party(4), p[&party(2)].clone()));
    assert_eq!(caught(second(&copied)), (4, Offence::WrongProof));
    // The nonce, the constant term of a product, or a scalar of a proof of another party.
    let (nonce, opening, product) = (2..35, 35..99, 99..132);
    let proof = 99 + 66..99 + 66 + 128;
    let (product_2, proof_2) = (293..326, 293 + 66..293 + 66 + 128);
    for place in [nonce, opening, product, proof, product_2, proof_2] {
        let swap = |p: &mut Packages| {
            let theirs = p[&party(2)][place.clone()].to_vec();
            p.get_mut(&party(3)).unwrap()[place.clone()].copy_from_slice(&theirs);
        };
        assert_eq!(caught(second(&swap)), (3, Offence::WrongProof), "{place:?}");
    }
}

#[test]
fn a_wrong_dealing_names_its_dealer_and_others_can_judge() {
    let shares = deal(4, 2);
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let roster = shares[0].public().roster();
    let wrong_of = |sealed: &Sealed, which: usize| {
        let mut wrong = sealed[&party(1)].clone();
        wrong.get_mut(&party(2)).unwrap()[which * 32 + 9] ^= 1;
        wrong
    };
    for which in 0..4 {
        let (parts, sealed, packages) = shared(&all, 1, 1);
        let wrong = wrong_of(&sealed, which);
        let part = parts.into_iter().next().unwrap();
        assert_eq!(caught(part.prove(&wrong, &mut rng(1))), (2, Offence::WrongDealing));
        let judge = |shares: &BTreeMap<Party, SecretBytes>| {
            let package = &packages[&party(2)];
            first_dealing_is_right(roster, 1, package, party(1), &shares[&party(2)]).unwrap()
        };
        assert!(judge(&sealed[&party(1)]) && !judge(&wrong));

        let (parts, sealed, packages) = dealt(&all, 1, 1);
        let wrong = wrong_of(&sealed, which);
        let part = parts.into_iter().next().unwrap();
        assert_eq!(caught(part.finish(&wrong)), (2, Offence::WrongDealing));
        let judge = |shares: &BTreeMap<Party, SecretBytes>| {
            let package = &packages[&party(2)];
            second_dealing_is_right(roster, 1, package, party(1), &shares[&party(2)]).unwrap()
        };
        assert!(judge(&sealed[&party(1)]) && !judge(&wrong));
    }
}

#[test]
fn those_who_are_there_presign_without_the_absent() {
    let shares = deal(7, 3);
    let five: Vec<&EcdsaShare> = shares.iter().skip(2).collect();
    let mut presignatures = presign(&five, 1, 5);
    let mut signers: Vec<_> = five.into_iter().zip(&mut presignatures).skip(2).collect();
    let key = shares[0].public();
    let (session, nonces) = session(key, &mut signers, messages(1));
    let mut combiner = key.combiner(&session).unwrap();
    for ((share, _), nonces) in signers.iter().zip(nonces) {
        combiner.add(share.party(), &share.sign(nonces, &session).unwrap()).unwrap();
    }
    done(combiner.step().unwrap());
    let (parts, packages) = start(&shares.iter().take(4).collect::<Vec<_>>(), 1, 1);
    let error = parts.into_iter().next().unwrap().deal(&packages).unwrap_err();
    assert_eq!(error, Error::TooFew { have: 4, need: 5 });
    for count in [0, MAX_BATCH + 1] {
        assert_eq!(shares[0].presign(count, &mut rng(1)).unwrap_err(), Error::BatchSize);
    }
}

/// A session may take presignatures of several batches. Their public parts, which everybody can
/// have, are the commitments.
#[test]
fn presignatures_of_two_batches_sign_one_session() {
    let shares = deal(4, 2);
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let mut batches = [presign(&all, 2, 11), presign(&all, 3, 12)];
    let key = shares[0].public();
    let public = [&batches[0][2].public()[1..], &batches[1][3].public()[..2]].concat().concat();
    let [first, second] = &mut batches;
    let mut join = |who: usize| {
        let parts = [first[who].take(1, 1).unwrap(), second[who].take(0, 2).unwrap()];
        let [(one, bytes), (two, more)] = parts;
        assert_eq!([bytes, more].concat(), public);
        Nonces::join(vec![one, two]).unwrap()
    };
    let nonces = [join(0), join(1)];
    let commitments = [1, 2].map(|number| (party(number), public.clone())).into();
    let session = Session::new(key.id(), messages(3), commitments).unwrap();
    let mut combiner = key.combiner(&session).unwrap();
    for (share, nonces) in shares.iter().zip(nonces) {
        combiner.add(share.party(), &share.sign(nonces, &session).unwrap()).unwrap();
    }
    done(combiner.step().unwrap());

    assert_eq!(Nonces::join(vec![]).unwrap_err(), Error::BatchSize);
    let other = ecdsa::deal(&Roster::first(4, 2).unwrap(), &mut rng(2)).unwrap();
    let mut theirs = presign(&other.iter().collect::<Vec<_>>(), 1, 13);
    let (ours, _) = second[2].take(0, 1).unwrap();
    let (theirs, _) = theirs[0].take(0, 1).unwrap();
    assert_eq!(Nonces::join(vec![ours, theirs]).unwrap_err(), Error::OtherKey);
}

#[test]
fn a_presignature_is_used_once() {
    let shares = deal(4, 2);
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let mut presignatures = presign(&all, 4, 6);
    let ours = &mut presignatures[0];
    ours.take(0, 1).unwrap();
    assert_eq!(ours.take(0, 1).unwrap_err(), Error::OtherNonces);
    assert_eq!(ours.take(1, 4).unwrap_err(), Error::BatchSize);
    assert_eq!(ours.take(1, 0).unwrap_err(), Error::BatchSize);
    assert_eq!((ours.next(), ours.left()), (1, 3));
    ours.take(2, 1).unwrap();
    // The one that was skipped is gone.
    assert_eq!(ours.take(1, 1).unwrap_err(), Error::OtherNonces);
    assert_eq!((ours.next(), ours.left()), (3, 1));
}

#[test]
fn no_session_with_other_presignatures_is_signed() {
    let shares = deal(4, 2);
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let mut presignatures = presign(&all, 3, 7);
    let key = shares[0].public();
    let mut take = |who: usize, first| presignatures[who].take(first, 1).unwrap();
    let ((n0, c0), (n1, c1)) = (take(0, 0), take(1, 0));
    let (n0_later, c0_later) = take(0, 1);
    assert_eq!(c0, c1);
    assert_ne!(c0, c0_later);
    let session = |one: &[u8], two: &[u8]| {
        let commitments = [(party(1), one.to_vec()), (party(2), two.to_vec())].into();
        Session::new(key.id(), messages(1), commitments).unwrap()
    };
    // The signers do not agree; or they agree on one that is not ours.
    let split = session(&c0, &c0_later);
    assert_eq!(key.combiner(&split).unwrap_err(), Error::OtherNonces);
    assert_eq!(shares[0].sign(n0, &split).unwrap_err(), Error::OtherNonces);
    assert_eq!(shares[0].sign(n0_later, &session(&c0, &c1)).unwrap_err(), Error::OtherNonces);
    // Not a signer.
    let (outside, _) = take(2, 0);
    assert_eq!(shares[2].sign(outside, &session(&c0, &c1)).unwrap_err(), Error::OtherNonces);
    let alone = Session::new(key.id(), messages(1), [(party(1), c0.clone())].into()).unwrap();
    assert_eq!(key.combiner(&alone).unwrap_err(), Error::TooFew { have: 1, need: 2 });
    shares[1].sign(n1, &session(&c0, &c1)).unwrap();
    assert_eq!(shares[0].commit(1, &mut rng(1)).unwrap_err(), Error::NoSuchStep);
}

/// The nonce of a signature is known only when the session is.
#[test]
fn another_session_moves_the_nonce() {
    let shares = deal(4, 2);
    let all: Vec<&EcdsaShare> = shares.iter().collect();
    let key = shares[0].public();
    let r = |text: &[u8], second: usize| {
        // The same presignature each time, for the test.
        let mut presignatures = presign(&all, 1, 8);
        let all = shares.iter().zip(&mut presignatures);
        let mut signers: Vec<_> = all.step_by(second).take(2).collect();
        let (session, nonces) = session(key, &mut signers, vec![text.to_vec()]);
        let mut combiner = key.combiner(&session).unwrap();
        for ((share, _), nonces) in signers.iter().zip(nonces) {
            combiner.add(share.party(), &share.sign(nonces, &session).unwrap()).unwrap();
        }
        done(combiner.step().unwrap())[0][..32].to_vec()
    };
    assert_eq!(r(b"one", 1), r(b"one", 1));
    assert_ne!(r(b"one", 1), r(b"two", 1));
    // The same message, but other signers.
    assert_ne!(r(b"one", 1), r(b"one", 2));
}

#[test]
fn a_share_is_read_as_written_and_in_no_other_way() {
    let shares = deal(4, 2);
    let bytes = shares[2].to_secret_bytes();
    let copy = key_share_from_bytes(&bytes).unwrap();
    assert_eq!((copy.to_secret_bytes(), copy.party()), (bytes.clone(), party(3)));
    assert_eq!(copy.group().id(), shares[2].public().id());
    for length in 0..bytes.len() {
        assert!(key_share_from_bytes(&bytes[..length]).is_err(), "{length}");
    }
    assert!(key_share_from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(key_share_from_bytes(&damaged).is_err(), "bit {bit}");
    }
    let shown = format!("{:?}", shares[2]);
    assert!(shown.len() < 200 && !shown.contains("secret"), "{shown}");
}
