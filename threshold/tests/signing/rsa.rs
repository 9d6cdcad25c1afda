//! Threshold RSA: ordinary verifiers, uniqueness, proofs, bad dealers.

use std::cell::RefCell;

use bftkv_threshold::rsa::{self, EXPONENT, RsaKey, RsaShare, SafePrimes};
use bftkv_threshold::{Error, GroupKey, KeyShare, Offence, Roster, Step, key_share_from_bytes};

use crate::support::{
    boxed, der, finish, has_openssl, honest, messages, openssl_accepts, partials, party,
    prime_bytes, primes, rng, signatures, unhex,
};

fn deal(bits: usize, n: u8, k: usize) -> Vec<RsaShare> {
    rsa::deal(&Roster::first(n, k).unwrap(), &primes(bits), &mut rng(1)).unwrap()
}

/// The padding of the crate `rsa`, which has its own SHA-256 only as an option.
fn pkcs1v15() -> ::rsa::Pkcs1v15Sign {
    let prefix = unhex("3031300d060960864801650304020105000420").into();
    ::rsa::Pkcs1v15Sign { hash_len: Some(32), prefix }
}

fn public_der(key: &RsaKey) -> Vec<u8> {
    let mut modulus = vec![0];
    modulus.extend(key.modulus());
    let numbers = [der(2, &modulus), der(2, &EXPONENT.to_be_bytes()[1..])].concat();
    // rsaEncryption, NULL.
    let algorithm = der(0x30, &[6, 9, 42, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0]);
    let bits = [vec![0], der(0x30, &numbers)].concat();
    der(0x30, &[algorithm, der(3, &bits)].concat())
}

#[test]
fn ordinary_verifiers_accept_what_the_parties_sign() {
    let shares = deal(2048, 7, 4);
    let key = shares[0].public().clone();
    let shares = boxed(shares);
    let signers: Vec<_> = shares[2..6].iter().map(|share| &**share).collect();
    let signature = &signatures(&signers, messages(3), 2)[1];
    assert_eq!(signature.len(), 256);

    let number = ::rsa::BigUint::from_bytes_be(&key.modulus());
    let plain = ::rsa::RsaPublicKey::new(number, EXPONENT.into()).unwrap();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(b"message 1");
    plain.verify(pkcs1v15(), &hash, signature).unwrap();
    let other = <sha2::Sha256 as sha2::Digest>::digest(b"message 2");
    assert!(plain.verify(pkcs1v15(), &other, signature).is_err());

    if has_openssl() {
        let der = public_der(&key);
        assert!(openssl_accepts(&der, b"message 1", signature, false));
        assert!(!openssl_accepts(&der, b"message 2", signature, false));
    }
}

/// The signature is the one that the whole private key gives, whoever signs.
#[test]
fn any_k_parties_give_the_same_bytes_as_the_private_key() {
    let [p, q] = prime_bytes(1536).map(|bytes| ::rsa::BigUint::from_bytes_be(&bytes));
    let private = ::rsa::RsaPrivateKey::from_p_q(p, q, EXPONENT.into()).unwrap();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(b"message 0");
    let right = private.sign(pkcs1v15(), &hash).unwrap();
    let shares = boxed(deal(1536, 5, 3));
    for subset in [[0, 1, 2], [0, 2, 4], [2, 3, 4], [4, 1, 0]] {
        let signers = subset.map(|i| &*shares[i]);
        assert_eq!(signatures(&signers, messages(1), 3), std::slice::from_ref(&right));
    }
}

#[test]
fn whoever_gives_a_wrong_partial_is_named_by_its_own_proof() {
    let shares = boxed(deal(1536, 7, 4));
    let signers: Vec<_> = shares.iter().map(|share| &**share).collect();
    let (session, mut sent) = partials(&signers, messages(3), 4);
    // Parties 2 and 3 swap their partial signatures of two messages; each is a right one of
    // another message.
    for liar in [2, 3] {
        let bytes = sent.get_mut(&party(liar)).unwrap();
        bytes.rotate_left(192);
    }
    let mut combiner = shares[0].group().combiner(&session).unwrap();
    let end = finish(&mut *combiner, &sent, &mut honest(&shares, &session));
    let caught: Vec<_> = end.culprits.into_iter().collect();
    assert_eq!(caught, [(party(2), Offence::WrongProof), (party(3), Offence::WrongProof)]);
    let Step::Done(signatures) = end.last else { unreachable!() };
    assert!(signatures.iter().zip(messages(3)).all(|(s, m)| shares[0].group().verify(&m, s)));
    // Proofs of one message only, of the four whose combination was wrong.
    assert_eq!(end.proofs, 4);
}

#[test]
fn numbers_that_are_no_partial_are_refused_at_once() {
    let shares = deal(1536, 4, 2);
    let key = shares[0].public().clone();
    let (session, _) = partials(&[&shares[0], &shares[1]], messages(1), 5);
    let n = key.modulus();
    let mut above = n.clone();
    above[0] = 0xff;
    for wrong in [vec![0; 192], n, above, vec![0xff; 192]] {
        let mut combiner = key.combiner(&session).unwrap();
        let caught = Error::Caught { party: party(3), offence: Offence::Malformed };
        assert_eq!(combiner.add(party(3), &wrong), Err(caught));
        assert_eq!(combiner.culprits().len(), 1);
        assert!(!key.verify(b"message 0", &wrong));
    }
}

#[test]
fn silence_is_no_offence() {
    let shares = boxed(deal(1536, 4, 2));
    let signers: Vec<_> = shares.iter().map(|share| &**share).collect();
    let (session, mut sent) = partials(&signers, messages(1), 5);
    sent.get_mut(&party(1)).unwrap()[7] ^= 1;
    let mut combiner = shares[0].group().combiner(&session).unwrap();
    let mut answers = honest(&shares, &session);
    // The liar does not answer; party 2 does not either.
    let mut prove = |who, message| if who < party(3) { None } else { answers(who, message) };
    let end = finish(&mut *combiner, &sent, &mut prove);
    assert!(end.culprits.is_empty());
    assert!(matches!(end.last, Step::Done(_)), "{:?}", end.last);
}

#[test]
fn no_proof_is_taken_for_another_partial_party_or_message() {
    let shares = boxed(deal(1536, 4, 2));
    let signers: Vec<_> = shares.iter().map(|share| &**share).collect();
    let (session, mut sent) = partials(&signers, messages(2), 6);
    sent.get_mut(&party(1)).unwrap()[7] ^= 1;
    let right = shares[1].prove(&session, 0, &mut rng(7)).unwrap();
    let mut wrong = vec![
        Vec::new(),
        right[..right.len() - 1].to_vec(),
        [&right[..], &[0]].concat(),
        shares[1].prove(&session, 1, &mut rng(7)).unwrap(),
        shares[2].prove(&session, 0, &mut rng(7)).unwrap(),
    ];
    for at in [0, 31, 32, 33, 97, 98, 150, right.len() - 1] {
        let mut flipped = right.clone();
        flipped[at] ^= 1;
        wrong.push(flipped);
    }
    for proof in &wrong {
        let mut combiner = shares[0].group().combiner(&session).unwrap();
        for (party, bytes) in &sent {
            combiner.add(*party, bytes).unwrap();
        }
        let asked = Step::Prove { message: 0, from: vec![party(1), party(2)] };
        assert_eq!(combiner.step().unwrap(), asked);
        assert_eq!(combiner.add_proof(party(2), 1, &right), Err(Error::Unasked));
        assert_eq!(combiner.add_proof(party(3), 0, &right), Err(Error::Unasked));
        let caught = Error::Caught { party: party(2), offence: Offence::WrongProof };
        assert_eq!(combiner.add_proof(party(2), 0, proof), Err(caught));
    }
    let mut combiner = shares[0].group().combiner(&session).unwrap();
    let end = finish(&mut *combiner, &sent, &mut |who, _| (who != party(1)).then(|| right.clone()));
    assert!(end.culprits.is_empty() && matches!(end.last, Step::Done(_)));
}

#[test]
fn numbers_that_make_no_key_are_refused() {
    let [p, q] = prime_bytes(1536);
    let refused =
        |p: &[u8], q: &[u8]| SafePrimes::from_be_bytes(p, q).unwrap_err() == Error::Primes;
    assert!(refused(&p, &p), "a square");
    assert!(refused(&p, &q[1..]) && refused(&p[1..], &q[1..]), "a wrong size");
    assert!(refused(&p[..64], &q[..64]), "too small");
    let mut composite = q.clone();
    composite[95] ^= 2;
    assert!(refused(&p, &composite), "not prime");
    // A prime, but no safe one: 2^768 - 825 is the largest of its size.
    let mut plain = vec![0xff; 96];
    plain[94..].copy_from_slice(&(0u16.wrapping_sub(825)).to_be_bytes());
    assert!(refused(&p, &plain), "not safe");
    for bits in [0, 1024, 1600, 8192] {
        assert!(SafePrimes::generate(bits, &mut rng(8), &mut |_| ()).is_err());
    }
    let elsewhere = Roster::new([1, 2, 3, 5].map(party).into(), 2).unwrap();
    assert!(rsa::deal(&elsewhere, &primes(1536), &mut rng(1)).is_err(), "not 1 to n");
}

/// Minutes for the sizes in use, so here it is only seen to look, and to tell how far it is. With
/// `--ignored` it goes to the end.
#[test]
fn the_search_for_primes_tells_how_far_it_is() {
    let seen = RefCell::new(Vec::new());
    let stop = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        SafePrimes::generate(1536, &mut rng(9), &mut |tried| {
            seen.borrow_mut().push(tried);
            assert!(tried < 20, "enough");
        })
    }));
    assert!(stop.is_err() || stop.is_ok_and(|primes| primes.is_ok()));
    let seen = seen.into_inner();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
}

#[test]
#[ignore = "takes minutes"]
fn primes_of_our_own_make_a_key() {
    let primes = SafePrimes::generate(1536, &mut rng(10), &mut |_| ()).unwrap();
    let shares = rsa::deal(&Roster::first(4, 2).unwrap(), &primes, &mut rng(11)).unwrap();
    let shares = boxed(shares);
    signatures(&[&*shares[0], &*shares[3]], messages(1), 1);
}

#[test]
fn a_key_of_a_lying_dealer_is_refused() {
    let shares = deal(1536, 4, 3);
    let public = shares[0].public().to_bytes();
    let (size, head) = (192, 2 + 6 + 2);
    let check = |i: usize| head + 2 * size + i * size..head + 2 * size + (i + 1) * size;
    // One check value is another's: any three that include it would not sign.
    for (to, from) in [(0, 1), (3, 0), (1, 3)] {
        let mut bad = public.clone();
        bad.copy_within(check(from), check(to).start);
        assert_eq!(RsaKey::from_bytes(&bad).unwrap_err(), Error::Inconsistent, "{to} {from}");
    }
    // All of them 1, and v too, satisfy every equation.
    let mut ones = public.clone();
    for at in 1..6 {
        let place = head + at * size..head + (at + 1) * size;
        ones[place.clone()].fill(0);
        ones[place.end - 1] = 1;
    }
    assert_eq!(RsaKey::from_bytes(&ones).unwrap_err(), Error::Inconsistent);
    // A share of another party, and of another key.
    let mut bytes = shares[0].to_secret_bytes();
    let at = public.len();
    bytes[at] = 2;
    assert_eq!(key_share_from_bytes(&bytes).unwrap_err(), Error::Inconsistent);
}
