//! Threshold Ed25519: RFC vectors, ordinary verifiers, making keys together, refresh, repair.

use std::collections::{BTreeMap, BTreeSet};

use bftkv_threshold::ed25519::{
    self, Dkg, DkgDealt, Ed25519Key, Ed25519Share, Refresh, RefreshDealt, dealing_is_right,
    refresh_dealing_is_right, repair,
};
use bftkv_threshold::rand_core::{CryptoRng, Error as RngError, RngCore};
use bftkv_threshold::{
    Error, GroupKey, KeyShare, Offence, Party, Roster, SecretBytes, Session, Step,
};
use serde_json::Value;

use crate::support::{
    boxed, der, finish, has_openssl, honest, messages, openssl_accepts, partials, party, rng,
    signatures, unhex,
};

type Packages = BTreeMap<Party, Vec<u8>>;
type Sealed = BTreeMap<Party, BTreeMap<Party, SecretBytes>>;

fn roster(n: u8, k: usize) -> Roster {
    Roster::first(n, k).unwrap()
}

fn caught<T>(result: Result<T, Error>) -> (u8, Offence) {
    match result.map(|_| ()) {
        Err(Error::Caught { party, offence }) => (party.number(), offence),
        other => panic!("{other:?}"),
    }
}

fn dalek_accepts(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).unwrap();
    let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
    key.verify_strict(message, &signature).is_ok()
}

/// Signs with these shares and lets an ordinary verifier judge.
fn sign_and_verify(shares: &[&Ed25519Share], seed: u64) {
    let key = shares[0].public().clone();
    let signers: Vec<&dyn KeyShare> = shares.iter().map(|share| *share as &dyn KeyShare).collect();
    let signatures = signatures(&signers, messages(1), seed);
    assert!(dalek_accepts(key.verifying_key(), b"message 0", &signatures[0]));
    assert!(!dalek_accepts(key.verifying_key(), b"message 1", &signatures[0]));
}

/// Gives out the bytes that it was made with, and no others.
struct Fixed(Vec<u8>);

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        unreachable!()
    }
    fn next_u64(&mut self) -> u64 {
        unreachable!()
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&std::mem::replace(&mut self.0, rest));
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RngError> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl CryptoRng for Fixed {}

/// RFC 9591, appendix E.1: from the shares and the random bytes to commitments, partial
/// signatures and signature.
#[test]
fn the_vectors_of_the_rfc() {
    let vectors: Value =
        serde_json::from_str(include_str!("../data/rfc9591-ed25519.json")).unwrap();
    let hex = |value: &Value| unhex(value.as_str().unwrap());
    let inputs = &vectors["inputs"];
    let public = hex(&inputs["verifying_key_key"]);
    let secrets: Vec<Vec<u8>> = inputs["participant_shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|share| hex(&share["participant_share"]))
        .collect();
    // Our encoding of a share of the vectors' key.
    let points = secrets.iter().flat_map(|secret| {
        let secret: [u8; 32] = secret.as_slice().try_into().unwrap();
        let scalar = frost_ed25519::keys::SigningShare::deserialize(&secret).unwrap();
        frost_ed25519::keys::VerifyingShare::from(scalar).serialize().unwrap()
    });
    let mut encoded = vec![15, 1, 2, 3, 1, 2, 3];
    encoded.extend(&public);
    encoded.extend(points);
    let share = |number: u8| {
        let mut bytes = encoded.clone();
        bytes.push(number);
        bytes.extend(&secrets[usize::from(number) - 1]);
        Ed25519Share::from_secret_bytes(&bytes).unwrap()
    };
    let shares = [share(1), share(3)];
    let (mut all, mut commitments) = (Vec::new(), BTreeMap::new());
    let outputs = vectors["round_one_outputs"]["outputs"].as_array().unwrap();
    for (share, output) in shares.iter().zip(outputs) {
        let random = ["hiding_nonce_randomness", "binding_nonce_randomness"];
        let mut rng = Fixed(random.map(|name| hex(&output[name])).concat());
        let (nonces, sent) = share.commit(1, &mut rng).unwrap();
        let names = ["hiding_nonce_commitment", "binding_nonce_commitment"];
        assert_eq!(sent, names.map(|name| hex(&output[name])).concat());
        all.push(nonces);
        commitments.insert(share.party(), sent);
    }
    let key = shares[0].public();
    let session = Session::new(key.id(), vec![hex(&inputs["message"])], commitments).unwrap();
    let mut combiner = key.combiner(&session).unwrap();
    let outputs = vectors["round_two_outputs"]["outputs"].as_array().unwrap();
    for ((share, nonces), output) in shares.iter().zip(all).zip(outputs) {
        let partial = share.sign(nonces, &session).unwrap();
        assert_eq!(partial, hex(&output["sig_share"]));
        combiner.add(share.party(), &partial).unwrap();
    }
    let signature = hex(&vectors["final_output"]["sig"]);
    assert_eq!(combiner.step().unwrap(), Step::Done(vec![signature]));
}

#[test]
fn ordinary_verifiers_accept_what_the_parties_sign() {
    let shares = ed25519::deal(&roster(7, 4), &mut rng(1)).unwrap();
    let key = shares[0].public().clone();
    let shares = boxed(shares);
    let signers: Vec<_> = shares[1..5].iter().map(|share| &**share).collect();
    let signature = &signatures(&signers, messages(3), 2)[1];
    assert!(dalek_accepts(key.verifying_key(), b"message 1", signature));
    assert!(!dalek_accepts(key.verifying_key(), b"message 2", signature));
    if has_openssl() {
        // id-Ed25519.
        let algorithm = der(0x30, &[6, 3, 0x2b, 0x65, 0x70]);
        let bits = [&[0][..], key.verifying_key()].concat();
        let der = der(0x30, &[algorithm, der(3, &bits)].concat());
        assert!(openssl_accepts(&der, b"message 1", signature, true));
        assert!(!openssl_accepts(&der, b"message 2", signature, true));
    }
}

#[test]
fn every_liar_of_a_session_is_named_at_once() {
    let shares = boxed(ed25519::deal(&roster(7, 4), &mut rng(1)).unwrap());
    let signers: Vec<_> = shares[..4].iter().map(|share| &**share).collect();
    let (session, mut sent) = partials(&signers, messages(3), 4);
    // Each lies about another message.
    for (liar, message) in [(1, 0), (3, 2)] {
        sent.get_mut(&party(liar)).unwrap()[message * 32] ^= 1;
    }
    let mut combiner = shares[0].group().combiner(&session).unwrap();
    let end = finish(&mut *combiner, &sent, &mut honest(&shares, &session));
    assert_eq!(end.last, Step::Restart);
    let caught: Vec<_> = end.culprits.into_iter().collect();
    assert_eq!(caught, [(party(1), Offence::WrongPartial), (party(3), Offence::WrongPartial)]);
    assert_eq!(end.proofs, 0);
}

/// Begins a DKG: everybody's part and packages.
fn start(roster: &Roster, seed: u64) -> (Vec<Dkg>, Packages) {
    let mut rng = rng(seed);
    let started = roster.parties().iter().map(|p| (p, Dkg::start(roster, *p, &mut rng).unwrap()));
    let (mut parts, mut packages) = (Vec::new(), BTreeMap::new());
    for (party, (part, package)) in started {
        parts.push(part);
        packages.insert(*party, package);
    }
    (parts, packages)
}

/// What each has dealt, by receiver.
fn turn(dealt: impl Iterator<Item = (Party, BTreeMap<Party, SecretBytes>)>) -> Sealed {
    let mut by_receiver = Sealed::new();
    for (from, shares) in dealt {
        for (to, share) in shares {
            by_receiver.entry(to).or_default().insert(from, share);
        }
    }
    by_receiver
}

fn dealt(roster: &Roster, seed: u64) -> (Vec<DkgDealt>, Sealed, Packages) {
    let (parts, packages) = start(roster, seed);
    let (mut waiting, mut shares) = (Vec::new(), Vec::new());
    for (party, part) in roster.parties().iter().zip(parts) {
        let (dealt, theirs) = part.deal(&packages).unwrap();
        waiting.push(dealt);
        shares.push((*party, theirs));
    }
    (waiting, turn(shares.into_iter()), packages)
}

fn made_together(roster: &Roster, seed: u64) -> Vec<Ed25519Share> {
    let (waiting, sealed, _) = dealt(roster, seed);
    let transcripts: BTreeSet<_> = waiting.iter().map(DkgDealt::transcript).collect();
    assert_eq!(transcripts.len(), 1);
    let parties = roster.parties().iter();
    waiting.iter().zip(parties).map(|(part, p)| part.finish(&sealed[p]).unwrap()).collect()
}

#[test]
fn parties_make_a_key_together_and_sign() {
    for (n, k) in [(2, 2), (4, 2), (4, 3), (7, 4), (13, 9)] {
        let shares = made_together(&roster(n, k), u64::from(n));
        let keys: BTreeSet<_> = shares.iter().map(|share| share.public().id()).collect();
        assert_eq!(keys.len(), 1);
        sign_and_verify(&shares.iter().rev().take(k).collect::<Vec<_>>(), 3);
    }
    // Any numbers will do.
    let odd = Roster::new([2, 77, 200, 255].map(party).into(), 3).unwrap();
    sign_and_verify(&made_together(&odd, 5).iter().take(3).collect::<Vec<_>>(), 3);
}

#[test]
fn a_wrong_package_names_its_sender() {
    let roster = roster(4, 2);
    let deal = |change: &dyn Fn(&mut Packages)| {
        let (parts, mut packages) = start(&roster, 1);
        change(&mut packages);
        parts.into_iter().next().unwrap().deal(&packages)
    };
    let of_another = start(&roster, 2).1;
    let cut = |p: &mut Packages| {
        p.get_mut(&party(3)).unwrap().pop();
    };
    assert_eq!(caught(deal(&cut)), (3, Offence::Malformed));
    let more = |p: &mut Packages| p.get_mut(&party(3)).unwrap().push(0);
    assert_eq!(caught(deal(&more)), (3, Offence::Malformed));
    // The package of party 2 under the name of party 4: it does not know the secret.
    let copied = |p: &mut Packages| {
        let theirs = p[&party(2)].clone();
        p.insert(party(4), theirs);
    };
    assert_eq!(caught(deal(&copied)), (4, Offence::WrongKnowledge));
    // Commitments of one package with the proof of another.
    let mixed = |p: &mut Packages| {
        p.get_mut(&party(2)).unwrap()[66..].copy_from_slice(&of_another[&party(2)][66..]);
    };
    assert_eq!(caught(deal(&mixed)), (2, Offence::WrongKnowledge));
    let missing = |p: &mut Packages| drop(p.remove(&party(2)));
    assert_eq!(deal(&missing).unwrap_err(), Error::TooFew { have: 3, need: 4 });
    let stranger = |p: &mut Packages| drop(p.insert(party(9), vec![]));
    assert_eq!(deal(&stranger).unwrap_err(), Error::NoSuchParty(9));
    let ours = |p: &mut Packages| {
        p.insert(party(1), of_another[&party(1)].clone());
    };
    assert_eq!(deal(&ours).unwrap_err(), Error::OtherNonces);
}

#[test]
fn a_wrong_share_names_its_dealer_and_others_can_judge() {
    let roster = roster(4, 3);
    let (waiting, sealed, packages) = dealt(&roster, 1);
    let right = &sealed[&party(1)];
    // The share that party 2 dealt to party 3.
    let mut wrong = right.clone();
    wrong.insert(party(2), sealed[&party(3)][&party(2)].clone());
    assert_eq!(caught(waiting[0].finish(&wrong)), (2, Offence::WrongDealing));
    let judge = |share: &SecretBytes| {
        dealing_is_right(&roster, &packages[&party(2)], party(1), share).unwrap()
    };
    assert!(!judge(&wrong[&party(2)]) && judge(&right[&party(2)]));
    wrong.insert(party(2), SecretBytes::new(vec![0xff; 32]));
    assert_eq!(caught(waiting[0].finish(&wrong)), (2, Offence::Malformed));
    wrong.remove(&party(2));
    assert_eq!(waiting[0].finish(&wrong).unwrap_err(), Error::TooFew { have: 2, need: 3 });
    waiting[0].finish(right).unwrap();
}

/// Two views of what party 4 broadcast: all is well for each, but the transcripts differ.
#[test]
fn a_broadcast_that_is_not_the_same_to_all_is_seen() {
    let roster = roster(4, 2);
    let (parts, packages) = start(&roster, 1);
    let mut other = packages.clone();
    other.insert(party(4), start(&roster, 2).1[&party(4)].clone());
    let mut parts = parts.into_iter();
    let one = parts.next().unwrap().deal(&packages).unwrap().0;
    let two = parts.next().unwrap().deal(&other).unwrap().0;
    assert_ne!(one.transcript(), two.transcript());
}

/// A refresh of those of the shares whose parties go on.
fn refreshing<'a>(
    shares: &[&'a Ed25519Share],
    seed: u64,
) -> (Vec<RefreshDealt<'a>>, Sealed, Packages) {
    let parties: BTreeSet<Party> = shares.iter().map(|share| share.party()).collect();
    let mut rng = rng(seed);
    let (mut parts, mut packages) = (Vec::new(), BTreeMap::new());
    for share in shares {
        let (part, package) = Refresh::start(share, parties.clone(), &mut rng).unwrap();
        parts.push(part);
        packages.insert(share.party(), package);
    }
    let (mut waiting, mut dealt) = (Vec::new(), Vec::new());
    for (share, part) in shares.iter().zip(parts) {
        let (part, theirs) = part.deal(&packages).unwrap();
        waiting.push(part);
        dealt.push((share.party(), theirs));
    }
    (waiting, turn(dealt.into_iter()), packages)
}

fn refreshed(shares: &[&Ed25519Share], seed: u64) -> Vec<Ed25519Share> {
    let (waiting, sealed, _) = refreshing(shares, seed);
    let transcripts: BTreeSet<_> = waiting.iter().map(RefreshDealt::transcript).collect();
    assert_eq!(transcripts.len(), 1);
    let each = waiting.iter().zip(shares);
    each.map(|(part, share)| part.finish(&sealed[&share.party()]).unwrap()).collect()
}

#[test]
fn a_refresh_keeps_the_key_and_makes_old_shares_worthless() {
    let old = made_together(&roster(5, 3), 1);
    let all: Vec<&Ed25519Share> = old.iter().collect();
    let new = refreshed(&all, 2);
    assert_eq!(new[0].public().verifying_key(), old[0].public().verifying_key());
    assert_ne!(new[0].public().id(), old[0].public().id());
    sign_and_verify(&new.iter().take(3).collect::<Vec<_>>(), 3);
    for (new, old) in new.iter().zip(&old) {
        assert_ne!(new.to_secret_bytes(), old.to_secret_bytes());
        // What is kept is right: FROST leaves the old verifying share in place.
        Ed25519Share::from_secret_bytes(&new.to_secret_bytes()).unwrap();
    }
    // An old share is no share of the new key, whatever it says of itself.
    let public = new[1].public().to_bytes();
    let mut forged = public.clone();
    forged.push(2);
    forged.extend(&old[1].to_secret_bytes()[public.len() + 1..]);
    assert_eq!(Ed25519Share::from_secret_bytes(&forged).unwrap_err(), Error::Inconsistent);
    // And it is not asked to sign for the new one, so nobody is blamed for having the old.
    let (nonces, commitments) = new[0].commit(1, &mut rng(1)).unwrap();
    let (stale, theirs) = old[1].commit(1, &mut rng(2)).unwrap();
    let commitments = [(party(1), commitments), (party(2), theirs)].into();
    let session = Session::new(new[0].public().id(), messages(1), commitments).unwrap();
    assert_eq!(old[1].sign(stale, &session).unwrap_err(), Error::OtherKey);
    drop(nonces);
}

#[test]
fn a_refresh_without_one_party_puts_it_out() {
    let old = made_together(&roster(7, 4), 1);
    let stay: Vec<&Ed25519Share> = old.iter().filter(|share| share.party() != party(3)).collect();
    let new = refreshed(&stay, 2);
    assert!(!new[0].public().roster().contains(party(3)));
    sign_and_verify(&new.iter().skip(2).collect::<Vec<_>>(), 3);
    // Four of seven cannot become four of three.
    let few = [1, 2, 4].map(party).into();
    let error = Refresh::start(&old[0], few, &mut rng(1)).unwrap_err();
    assert_eq!(error, Error::Threshold { n: 3, k: 4 });
    let strangers = [1, 2, 4, 5, 9].map(party).into();
    let error = Refresh::start(&old[0], strangers, &mut rng(1)).unwrap_err();
    assert_eq!(error, Error::NoSuchParty(9));
    let others = [2, 3, 4, 5, 6].map(party).into();
    let error = Refresh::start(&old[0], others, &mut rng(1)).unwrap_err();
    assert_eq!(error, Error::NoSuchParty(1));
}

#[test]
fn a_wrong_refresh_names_its_dealer_and_others_can_judge() {
    let old = made_together(&roster(4, 3), 1);
    let all: Vec<&Ed25519Share> = old.iter().collect();
    let (waiting, sealed, packages) = refreshing(&all, 2);
    let mut wrong = sealed[&party(1)].clone();
    wrong.insert(party(2), sealed[&party(3)][&party(2)].clone());
    assert_eq!(caught(waiting[0].finish(&wrong)), (2, Offence::WrongDealing));
    let roster = old[0].public().roster();
    let judge = |share: &SecretBytes| {
        refresh_dealing_is_right(roster, &packages[&party(2)], party(1), share).unwrap()
    };
    assert!(!judge(&wrong[&party(2)]) && judge(&sealed[&party(1)][&party(2)]));
    // A polynomial of a higher degree, or one whose value at 0 is not 0, cannot be written.
    let (part, own) = Refresh::start(&old[0], roster.parties().clone(), &mut rng(3)).unwrap();
    let mut packages = packages;
    packages.insert(party(1), own);
    let longer = [&packages[&party(2)][..], &packages[&party(3)][2..34]].concat();
    packages.insert(party(2), longer);
    assert_eq!(caught(part.deal(&packages)), (2, Offence::Malformed));
}

/// Party 3 of 7 is lost, and party 8 takes its place.
struct Replacement {
    shares: Vec<Ed25519Share>,
    key: Ed25519Key,
    helpers: BTreeSet<Party>,
    offers: BTreeMap<Party, repair::Offer>,
}

fn replacement() -> Replacement {
    let old = made_together(&roster(7, 4), 1);
    let stay = old.iter().filter(|share| share.party() != party(3));
    let shares: Vec<_> = stay.map(|s| s.replacing(party(3), party(8)).unwrap()).collect();
    let key = old[0].public().replacing(party(3), party(8)).unwrap();
    assert!(shares.iter().all(|share| share.public().id() == key.id()));
    let helpers: BTreeSet<Party> = [1, 2, 5, 7].map(party).into();
    let offers = shares.iter().filter(|share| helpers.contains(&share.party()));
    let offers = offers.map(|share| {
        let seed = u64::from(share.party().number());
        (share.party(), repair::offer(share, &helpers, party(8), &mut rng(seed)).unwrap())
    });
    let offers = offers.collect();
    Replacement { shares, key, helpers, offers }
}

impl Replacement {
    fn broadcast(&self) -> Packages {
        self.offers.iter().map(|(who, offer)| (*who, offer.commitments.clone())).collect()
    }

    fn pieces(&self, to: Party) -> BTreeMap<Party, SecretBytes> {
        self.offers.iter().map(|(who, offer)| (*who, offer.pieces[&to].clone())).collect()
    }
}

#[test]
fn a_new_party_takes_the_place_of_a_lost_one() {
    let it = replacement();
    let repair = repair::Repair::new(&it.key, party(8), &it.broadcast()).unwrap();
    let sum = |helper: &Party| (*helper, repair.add_up(*helper, &it.pieces(*helper)).unwrap());
    let share = repair.finish(&it.helpers.iter().map(sum).collect()).unwrap();
    assert_eq!(share.party(), party(8));
    sign_and_verify(&[&share, &it.shares[0], &it.shares[1], &it.shares[2]], 3);
    // After the refresh, which the lost share is not in, the new party signs with any others.
    let all: Vec<&Ed25519Share> = it.shares.iter().chain([&share]).collect();
    let new = refreshed(&all, 4);
    assert_eq!(new[0].public().verifying_key(), it.key.verifying_key());
    sign_and_verify(&new.iter().rev().take(4).collect::<Vec<_>>(), 5);
}

#[test]
fn a_helper_that_lies_is_named() {
    let it = replacement();
    let right = it.broadcast();
    let mut wrong = right.clone();
    wrong.insert(party(2), right[&party(5)].clone());
    let error = repair::Repair::new(&it.key, party(8), &wrong);
    assert_eq!(caught(error), (2, Offence::WrongCommitment));
    wrong.get_mut(&party(2)).unwrap().push(0);
    assert_eq!(caught(repair::Repair::new(&it.key, party(8), &wrong)), (2, Offence::Malformed));
    wrong.remove(&party(2));
    let error = repair::Repair::new(&it.key, party(8), &wrong).unwrap_err();
    assert_eq!(error, Error::TooFew { have: 3, need: 4 });

    let repair = repair::Repair::new(&it.key, party(8), &right).unwrap();
    let mut pieces = it.pieces(party(1));
    pieces.insert(party(5), it.pieces(party(2))[&party(5)].clone());
    assert_eq!(caught(repair.add_up(party(1), &pieces)), (5, Offence::WrongDealing));
    let sum = |helper: &Party| (*helper, repair.add_up(*helper, &it.pieces(*helper)).unwrap());
    let mut sums: BTreeMap<Party, SecretBytes> = it.helpers.iter().map(sum).collect();
    sums.insert(party(7), sums[&party(1)].clone());
    assert_eq!(caught(repair.finish(&sums)), (7, Offence::WrongDealing));
    sums.remove(&party(7));
    assert_eq!(repair.finish(&sums).unwrap_err(), Error::TooFew { have: 3, need: 4 });
}

/// Both are right by themselves; with pieces of one and sums of the other an honest helper would be named.
#[test]
fn a_helper_that_tells_different_things_is_seen_before_sums_are_sent() {
    let it = replacement();
    let transcript = |broadcast: &Packages| {
        repair::Repair::new(&it.key, party(8), broadcast).unwrap().transcript()
    };
    let two = it.shares.iter().find(|share| share.party() == party(2)).unwrap();
    let other = repair::offer(two, &it.helpers, party(8), &mut rng(99)).unwrap();
    let mut told = it.broadcast();
    assert_eq!(transcript(&told), transcript(&it.broadcast()));
    told.insert(party(2), other.commitments);
    assert_ne!(transcript(&told), transcript(&it.broadcast()));
}

#[test]
fn nobody_helps_itself_or_takes_a_place_that_is_not_free() {
    let it = replacement();
    let helpers: BTreeSet<Party> = [1, 2, 5, 8].map(party).into();
    let error = repair::offer(&it.shares[0], &helpers, party(8), &mut rng(1)).unwrap_err();
    assert_eq!(error, Error::Repeated(party(8)));
    let few: BTreeSet<Party> = [1, 2, 5].map(party).into();
    let error = repair::offer(&it.shares[0], &few, party(8), &mut rng(1)).unwrap_err();
    assert_eq!(error, Error::TooFew { have: 3, need: 4 });
    let not_us: BTreeSet<Party> = [2, 4, 5, 7].map(party).into();
    let error = repair::offer(&it.shares[0], &not_us, party(8), &mut rng(1)).unwrap_err();
    assert_eq!(error, Error::NoSuchParty(1));
    assert_eq!(it.key.replacing(party(3), party(9)).unwrap_err(), Error::NoSuchParty(3));
    assert_eq!(it.key.replacing(party(2), party(8)).unwrap_err(), Error::Repeated(party(8)));
}

/// A dealer who deals a polynomial of a lower degree than the key says, so that fewer would sign.
#[test]
fn a_key_with_a_lower_threshold_than_it_says_is_refused() {
    let shares = ed25519::deal(&roster(5, 2), &mut rng(1)).unwrap();
    let mut bytes = shares[0].public().to_bytes();
    Ed25519Key::from_bytes(&bytes).unwrap();
    bytes[2] = 3;
    assert_eq!(Ed25519Key::from_bytes(&bytes).unwrap_err(), Error::Inconsistent);
}
